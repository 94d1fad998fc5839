//! The laws of the plan, for every pair of states.

use hidps_wire::{ContentHash, DesiredDocument, Generation};
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

fn paths(count: u32) -> DesiredDocument {
    DesiredDocument {
        firewall_enabled: None,
        monitored_files: (0..count).map(|n| format!("/etc/{n}")).collect(),
        ..DesiredDocument::default()
    }
}

fn state(generation: u64, entries: u32) -> DesiredState {
    DesiredState {
        generation: Generation(generation),
        hash: ContentHash("a".into()),
        document: paths(entries),
        changed_at: Timestamp::UNIX_EPOCH,
        hold: None,
        released: false,
    }
}

fn has(generation: u64, entries: u32) -> Applied {
    Applied {
        generation: Generation(generation),
        hash: ContentHash("a".into()),
        entries,
    }
}

fn desired() -> impl Strategy<Value = DesiredState> {
    let mark = proptest::option::of(Just(HoldMark::BlastRadius));
    (0_u64..4, "[ab]", 0_u32..12, mark, any::<bool>()).prop_map(
        |(generation, hash, entries, hold, released)| DesiredState {
            hash: ContentHash(hash),
            hold,
            released,
            ..state(generation, entries)
        },
    )
}

fn applied() -> impl Strategy<Value = Applied> {
    (0_u64..4, "[ab]", 0_u32..12).prop_map(|(generation, hash, entries)| Applied {
        hash: ContentHash(hash),
        ..has(generation, entries)
    })
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Enforce), Just(Mode::ReadOnly)]
}

proptest! {
    #[test]
    fn idle_means_nothing_desired_or_exactly_that_applied(
        desired in proptest::option::of(desired()),
        applied in proptest::option::of(applied()),
        mode in mode(),
    ) {
        let step = plan_step(desired.as_ref(), applied.as_ref(), mode, 0);

        let converged = match (&desired, &applied) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(d), Some(a)) => d.generation == a.generation && d.hash == a.hash,
        };
        prop_assert_eq!(step == Step::Idle, converged);
        prop_assert_eq!(step, plan_step(desired.as_ref(), applied.as_ref(), mode, 0));
    }

    #[test]
    fn applying_what_was_asked_for_leaves_nothing_to_do_whatever_was_before(
        desired in desired(),
        before in proptest::option::of(applied()),
    ) {
        prop_assume!(plan_step(Some(&desired), before.as_ref(), Mode::Enforce, 0) == Step::Apply);
        let after = Applied {
            generation: desired.generation,
            hash: desired.hash.clone(),
            entries: desired.document.entries(),
        };

        prop_assert_eq!(plan_step(Some(&desired), Some(&after), Mode::Enforce, 0), Step::Idle);
    }

    #[test]
    fn a_generation_never_goes_back(desired in desired(), applied in applied(), mode in mode()) {
        let step = plan_step(Some(&desired), Some(&applied), mode, 0);

        prop_assert!(step != Step::Apply || desired.generation > applied.generation);
    }

    #[test]
    fn an_observing_daemon_never_sends(
        desired in desired(),
        applied in proptest::option::of(applied()),
    ) {
        prop_assert_ne!(plan_step(Some(&desired), applied.as_ref(), Mode::ReadOnly, 0), Step::Apply);
    }

    #[test]
    fn what_is_released_is_held_by_nothing_but_the_order_of_generations(
        desired in desired(),
        applied in proptest::option::of(applied()),
    ) {
        let released = DesiredState { released: true, ..desired };
        let step = plan_step(Some(&released), applied.as_ref(), Mode::Enforce, 0);

        let by_order = [
            Step::Idle,
            Step::Apply,
            Step::Hold(HoldReason::WentBack),
            Step::Hold(HoldReason::OtherContent),
        ];
        prop_assert!(by_order.contains(&step), "{:?}", step);
    }
}

#[test]
fn taking_away_all_or_most_of_many_things_is_held() {
    let step = |applied, desired| {
        plan_step(
            Some(&state(2, desired)),
            Some(&has(1, applied)),
            Mode::Enforce,
            0,
        )
    };

    assert_eq!(step(4, 0), Step::Apply);
    assert_eq!(step(5, 0), Step::Hold(HoldReason::Emptied { applied: 5 }));
    assert_eq!(step(10, 5), Step::Apply);
    let shrunk = HoldReason::Shrunk {
        applied: 10,
        desired: 4,
    };
    assert_eq!(step(10, 4), Step::Hold(shrunk));
    assert_eq!(step(5, 12), Step::Apply);
}

#[test]
fn what_the_database_marked_is_held_also_on_a_host_without_a_ledger() {
    let marked = DesiredState {
        hold: Some(HoldMark::BlastRadius),
        ..state(2, 3)
    };

    let step = plan_step(Some(&marked), None, Mode::Enforce, 0);

    assert_eq!(step, Step::Hold(HoldReason::Marked(HoldMark::BlastRadius)));
}
