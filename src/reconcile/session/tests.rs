//! The session keeps its laws whatever the order of what it hears.

use hidps_wire::{ContentHash, DesiredDocument, Generation};
use uuid::Uuid;

use super::*;
use crate::model::HoldMark;

fn desired(generation: u64) -> Arc<DesiredState> {
    Arc::new(DesiredState {
        generation: Generation(generation),
        hash: ContentHash(format!("hash-{generation}")),
        document: DesiredDocument {
            firewall_enabled: Some(true),
            monitored_files: Vec::new(),
            ..DesiredDocument::default()
        },
        changed_at: Timestamp::UNIX_EPOCH,
        hold: None,
        released: false,
    })
}

fn applied(generation: u64) -> Applied {
    Applied {
        generation: Generation(generation),
        hash: ContentHash(format!("hash-{generation}")),
        entries: 0,
    }
}

fn hello(applied: Option<Applied>) -> Hello {
    Hello {
        protocol: 1,
        agent_version: "0".into(),
        hostname: "web".into(),
        os: "linux".into(),
        arch: "x86_64".into(),
        boot: None,
        retires_keys: false,
        applied,
    }
}

fn status(generation: u64) -> Status {
    let condition = |facet, reason: &str| AgentCondition {
        facet,
        status: ConditionStatus::True,
        reason: reason.into(),
        message: "loaded".into(),
        subjects: Vec::new(),
    };
    Status {
        applied: Some(applied(generation)),
        conditions: vec![
            condition(FacetCondition::FirewallSynced, "Enabled"),
            condition(FacetCondition::FilesWatched, "Watching"),
        ],
        firewall_active: Some(true),
    }
}

fn sent(session: &mut Session) -> Vec<u64> {
    let generation = |frame| {
        let DaemonFrame::Apply(apply) = frame else {
            panic!("a session sends only documents, not {frame:?}")
        };
        apply.generation.0
    };
    std::iter::from_fn(|| session.poll_frame())
        .map(generation)
        .collect()
}

fn session() -> (Session, Instant) {
    (
        Session::new(AgentId::new(Uuid::nil()), Mode::Enforce),
        Instant::now(),
    )
}

#[test]
fn nothing_is_sent_before_the_agent_has_spoken() {
    let (mut session, now) = session();

    session.on_desired(desired(1), now);

    assert!(sent(&mut session).is_empty());
}

#[test]
fn an_agent_that_is_behind_gets_the_whole_document_once() {
    let (mut session, now) = session();
    session.on_hello(&hello(Some(applied(1))), now);

    session.on_desired(desired(2), now);
    session.on_desired(desired(2), now);

    assert_eq!(sent(&mut session), [2]);
}

#[test]
fn an_agent_that_is_up_to_date_gets_nothing() {
    let (mut session, now) = session();
    session.on_hello(&hello(Some(applied(2))), now);

    session.on_desired(desired(2), now);
    session.on_status(status(2), now);

    assert!(sent(&mut session).is_empty());
    assert_eq!(session.deadline(), None);
}

#[test]
fn a_newer_state_overtakes_the_one_in_flight() {
    let (mut session, now) = session();
    session.on_hello(&hello(None), now);
    session.on_desired(desired(1), now);

    session.on_desired(desired(2), now);
    session.on_status(status(1), now);

    assert_eq!(sent(&mut session), [1, 2]);
}

#[test]
fn a_database_set_back_while_a_document_is_in_flight_is_held_once_that_is_applied() {
    let (mut session, now) = session();
    session.on_hello(&hello(None), now);
    session.on_desired(desired(2), now);

    session.on_desired(desired(1), now);
    session.on_status(status(2), now);

    assert_eq!(sent(&mut session), [2]);
    let held = session.poll_conditions();
    assert_eq!(
        held.last().expect("a condition").reason,
        "GenerationWentBack"
    );
}

#[test]
fn a_database_set_back_is_followed_if_the_newer_document_was_not_applied() {
    let (mut session, now) = session();
    session.on_hello(&hello(None), now);
    session.on_desired(desired(2), now);
    let deadline = session.deadline().expect("a document is in flight");

    session.on_desired(desired(1), now);
    session.on_deadline(deadline);

    assert_eq!(sent(&mut session), [2, 1]);
}

#[test]
fn a_confirmed_state_is_reported_with_its_generation() {
    let (mut session, now) = session();
    session.on_hello(&hello(None), now);
    session.on_desired(desired(1), now);

    session.on_status(status(1), now);

    let conditions = session.poll_conditions();
    let conditions: Vec<_> = conditions
        .iter()
        .filter(|it| it.kind == ConditionKind::FirewallSynced)
        .collect();
    assert_eq!(conditions.len(), 1);
    assert_eq!(conditions[0].observed_generation, Some(Generation(1)));
    assert_eq!(session.deadline(), None);
}

#[test]
fn silence_is_answered_by_sending_again_and_said() {
    let (mut session, now) = session();
    session.on_hello(&hello(None), now);
    session.on_desired(desired(1), now);
    let deadline = session.deadline().expect("a document is in flight");

    session.on_deadline(deadline);

    assert_eq!(sent(&mut session), [1, 1]);
    let conditions = session.poll_conditions();
    let facets = conditions
        .iter()
        .filter(|it| it.kind != ConditionKind::Held);
    assert!(facets.clone().count() > 0);
    assert!(
        facets
            .into_iter()
            .all(|it| it.status == ConditionStatus::Unknown)
    );
    assert!(session.deadline().expect("still in flight") > deadline + ANSWER_WITHIN);
}

#[test]
fn a_database_that_went_back_is_held_and_released_when_it_catches_up() {
    let (mut session, now) = session();
    session.on_hello(&hello(Some(applied(9))), now);

    session.on_desired(desired(3), now);
    let held = session.poll_conditions();
    session.on_desired(desired(10), now);
    let released = session.poll_conditions();

    assert_eq!(held[0].reason, "GenerationWentBack");
    assert_eq!(held[0].status, ConditionStatus::True);
    assert_eq!(released[0].status, ConditionStatus::False);
    assert_eq!(sent(&mut session), [10]);
}

#[test]
fn a_hold_that_an_earlier_connection_left_behind_is_taken_back() {
    let (mut session, now) = session();
    session.on_hello(&hello(Some(applied(2))), now);

    session.on_desired(desired(2), now);

    let conditions = session.poll_conditions();
    assert_eq!(conditions.len(), 1);
    assert_eq!(conditions[0].kind, ConditionKind::Held);
    assert_eq!(conditions[0].status, ConditionStatus::False);
}

#[test]
fn a_hostile_reason_is_tamed_before_it_is_recorded() {
    let (mut session, now) = session();
    session.on_hello(&hello(None), now);
    let mut hostile = status(1);
    hostile.conditions[0].reason = "x".repeat(5_000);
    hostile.conditions[0].message = "a\u{0}b\nc".into();

    session.on_status(hostile, now);

    let conditions = session.poll_conditions();
    assert_eq!(conditions[0].reason.len(), MAX_REASON);
    assert_eq!(conditions[0].message, "a\u{fffd}b\u{fffd}c");
}

fn milestones(session: &mut Session) -> Vec<(u64, Milestone)> {
    let taken = session.poll_milestones();
    taken
        .into_iter()
        .map(|(generation, _, milestone)| (generation.0, milestone))
        .collect()
}

#[test]
fn each_step_of_a_change_is_told_once() {
    let (mut session, now) = session();
    session.on_hello(&hello(None), now);

    session.on_desired(desired(1), now);
    let sent = milestones(&mut session);
    session.on_status(status(1), now);
    session.on_status(status(1), now);
    let rest = milestones(&mut session);

    assert_eq!(sent, [(1, Milestone::Sent)]);
    assert_eq!(rest, [(1, Milestone::Applied), (1, Milestone::Observed)]);
}

#[test]
fn an_applied_change_is_not_observed_while_a_facet_fails() {
    let (mut session, now) = session();
    session.on_hello(&hello(None), now);
    session.on_desired(desired(1), now);
    session.poll_milestones();
    let mut failing = status(1);
    failing.conditions[0].status = ConditionStatus::False;

    session.on_status(failing, now);
    let while_failing = milestones(&mut session);
    session.on_status(status(1), now);

    assert_eq!(while_failing, [(1, Milestone::Applied)]);
    assert_eq!(milestones(&mut session), [(1, Milestone::Observed)]);
}

#[test]
fn an_applied_change_is_not_observed_while_a_facet_is_not_told() {
    for facet in 0..2 {
        let (mut session, now) = session();
        session.on_hello(&hello(Some(applied(1))), now);
        session.on_desired(desired(1), now);
        let mut partial = status(1);
        partial.conditions.remove(facet);

        session.on_status(partial, now);

        assert_eq!(milestones(&mut session), [(1, Milestone::Applied)]);
    }
}

#[test]
fn a_generation_that_no_database_can_hold_does_not_hide_what_is_held() {
    let (mut session, now) = session();
    session.on_hello(&hello(Some(applied(u64::MAX))), now);

    session.on_desired(desired(1), now);

    let told = session.poll_conditions();
    assert_eq!(told[0].reason, "GenerationWentBack");
    assert_eq!(told[0].observed_generation, None);
}

#[test]
fn other_content_is_never_told_as_the_desired_generation() {
    let (mut session, now) = session();
    session.on_hello(&hello(Some(applied(1))), now);
    let other = DesiredState {
        hash: ContentHash("other".into()),
        ..(*desired(1)).clone()
    };
    session.on_desired(Arc::new(other), now);

    session.on_status(status(1), now);

    let told = session.poll_conditions();
    for report in told {
        let named = report.observed_generation.map(|generation| generation.0);
        let expected = (report.kind == ConditionKind::Held).then_some(1);
        assert_eq!(named, expected, "{:?}", report.kind);
    }
}

#[test]
fn a_change_that_was_applied_while_the_daemon_was_away_is_told_on_return() {
    let (mut session, now) = session();
    session.on_hello(&hello(Some(applied(1))), now);
    session.on_desired(desired(1), now);

    session.on_status(status(1), now);

    let told = [(1, Milestone::Applied), (1, Milestone::Observed)];
    assert_eq!(milestones(&mut session), told);
}

#[test]
fn a_marked_change_is_held_until_it_is_released() {
    let (mut session, now) = session();
    session.on_hello(&hello(Some(applied(1))), now);
    let marked = DesiredState {
        hold: Some(HoldMark::BlastRadius),
        ..(*desired(2)).clone()
    };
    let released = DesiredState {
        released: true,
        ..(*desired(3)).clone()
    };

    session.on_desired(Arc::new(marked), now);
    let held = session.poll_conditions();
    let sent_while_held = sent(&mut session);
    session.on_desired(Arc::new(released), now);

    assert_eq!(held[0].reason, "BlastRadius");
    assert!(held[0].message.contains("held_releases"));
    assert!(sent_while_held.is_empty());
    assert_eq!(sent(&mut session), [3]);
}

#[test]
fn a_mass_removal_is_held_and_named_with_its_numbers() {
    let (mut session, now) = session();
    let many = Applied {
        entries: 40,
        ..applied(1)
    };
    session.on_hello(&hello(Some(many)), now);

    session.on_desired(desired(2), now);

    let held = session.poll_conditions();
    assert_eq!(held[0].reason, "MassShrink");
    assert!(
        held[0]
            .message
            .contains("40 desired things of late, and only 1"),
        "{}",
        held[0].message
    );
    assert!(sent(&mut session).is_empty());
}

#[test]
fn an_observing_daemon_sends_nothing_and_says_so() {
    let now = Instant::now();
    let mut session = Session::new(AgentId::new(Uuid::nil()), Mode::ReadOnly);
    session.on_hello(&hello(None), now);

    session.on_desired(desired(1), now);
    session.on_status(status(0), now);

    let conditions = session.poll_conditions();
    assert_eq!(conditions[0].reason, "ReadOnly");
    assert!(conditions.iter().any(|it| it.kind != ConditionKind::Held));
    assert!(sent(&mut session).is_empty());
    assert_eq!(session.deadline(), None);
}

#[test]
fn subjects_are_tamed_and_recorded() {
    let (mut session, now) = session();
    session.on_hello(&hello(None), now);
    let mut named = status(1);
    named.conditions[0].subjects = vec![SubjectCondition {
        subject: "/etc/\u{1b}[31m".into(),
        status: ConditionStatus::False,
        reason: "PathMissing".into(),
        message: "m".repeat(1_000),
    }];

    session.on_status(named, now);

    let subject = &session.poll_conditions()[0].subjects[0];
    assert_eq!(subject.subject, "/etc/\u{fffd}[31m");
    assert_eq!(subject.message.len(), MAX_SUBJECT);
}

#[test]
fn taking_things_away_one_by_one_is_held_as_well() {
    let (mut session, mut now) = session();
    let document = |generation: u64, paths: u64| {
        let monitored_files = (0..paths).map(|n| format!("/etc/{n}")).collect();
        let mut state = (*desired(generation)).clone();
        state.document.monitored_files = monitored_files;
        Arc::new(state)
    };
    let reply = |generation: u64, entries: u32| {
        let mut reply = status(generation);
        reply.applied = Some(Applied {
            entries,
            ..applied(generation)
        });
        reply
    };
    session.on_hello(&hello(Some(reply(1, 20).applied.expect("given"))), now);

    let mut reached = 20;
    for step in 1..=20_u32 {
        now += Duration::from_secs(1);
        let generation = u64::from(step) + 1;
        // The firewall is one of the things.
        session.on_desired(document(generation, u64::from(19 - step.min(19))), now);
        if sent(&mut session).is_empty() {
            break;
        }
        reached = 20 - step;
        session.on_status(reply(generation, reached), now);
    }

    assert_eq!(reached, 10);
    let held = session.poll_conditions();
    assert_eq!(held.last().expect("a condition").reason, "MassShrink");
}

#[test]
fn an_agent_that_says_nothing_of_its_host_after_hello_is_not_believed_what_it_said_earlier() {
    let (mut session, now) = session();
    session.on_hello(&hello(Some(applied(1))), now);
    session.on_desired(desired(1), now);
    session.poll_conditions();

    let deadline = session.deadline().expect("a status is waited for");
    session.on_deadline(deadline);

    let told = session.poll_conditions();
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|it| it.status == ConditionStatus::Unknown));
    assert_eq!(session.deadline(), None);
}
