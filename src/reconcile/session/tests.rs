//! The session keeps its laws whatever the order of what it hears.

use hidps_wire::{ContentHash, DesiredDocument, Generation};
use uuid::Uuid;

use super::*;

fn desired(generation: u64) -> Arc<DesiredState> {
    Arc::new(DesiredState {
        generation: Generation(generation),
        hash: ContentHash(format!("hash-{generation}")),
        document: DesiredDocument {
            firewall_enabled: Some(true),
            monitored_files: Vec::new(),
        },
    })
}

fn applied(generation: u64) -> Applied {
    Applied {
        generation: Generation(generation),
        hash: ContentHash(format!("hash-{generation}")),
    }
}

fn hello(applied: Option<Applied>) -> Hello {
    Hello {
        protocol: 1,
        agent_version: "0".into(),
        hostname: "web".into(),
        os: "linux".into(),
        arch: "x86_64".into(),
        applied,
    }
}

fn status(generation: u64) -> Status {
    let condition = AgentCondition {
        facet: FacetCondition::FirewallSynced,
        status: ConditionStatus::True,
        reason: "Enabled".into(),
        message: "loaded".into(),
    };
    Status {
        applied: Some(applied(generation)),
        conditions: vec![condition],
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
    (Session::new(AgentId::new(Uuid::nil())), Instant::now())
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
fn a_late_older_read_does_not_bring_the_older_state_back() {
    let (mut session, now) = session();
    session.on_hello(&hello(None), now);
    session.on_desired(desired(2), now);

    session.on_desired(desired(1), now);
    session.on_status(status(2), now);

    assert_eq!(sent(&mut session), [2]);
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
