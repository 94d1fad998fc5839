//! Changes and broadcasts that are lost, doubled, out of order or incomplete without a word.
//! Never touches a connection: heartbeats and channels are as they should be.

use std::time::Duration;

use hidps_local_supabase::{ChangeError, Lane};
use hidps_realtime::{ChangeKind, Event, Subscription};

use super::{GENERATIONS, Heard, alone, bump, config, heard, next, ready, until_ready};

#[test]
fn two_tables_and_broadcasts_come_by_one_private_channel() {
    alone(async |stack, _| {
        let mut subscription = ready(stack).await;

        let generations = [bump(stack).await, bump(stack).await];
        // Reads up to a change of the second table.
        let heard = heard(stack, &mut subscription).await;

        assert_eq!(heard.changes, generations);
        assert_eq!(heard.broadcasts, generations);
    });
}

#[test]
fn each_lane_can_be_silent_while_the_other_goes_on() {
    alone(async |stack, faults| {
        let mut subscription = ready(stack).await;
        faults.limit_to(&GENERATIONS);
        for lanes in [&[Lane::Changes][..], &[Lane::Broadcasts], &Lane::BOTH, &[]] {
            faults.go_silent(lanes);
            let generation = bump(stack).await;
            let heard = heard(stack, &mut subscription).await;

            let expected = |lane| {
                let silent = lanes.contains(&lane);
                (!silent).then_some(generation).into_iter().collect()
            };
            let expected = Heard {
                changes: expected(Lane::Changes),
                broadcasts: expected(Lane::Broadcasts),
            };
            assert_eq!(heard, expected, "{lanes:?}");
        }
    });
}

#[test]
fn a_server_that_is_silent_altogether_still_answers_heartbeats() {
    alone(async |stack, faults| {
        let mut config = config(stack);
        config.reply_deadline = Duration::from_secs(4);
        let mut subscription = Subscription::new(config).expect("the configuration is right");
        until_ready(&mut subscription).await;

        faults.go_silent(&Lane::BOTH);
        bump(stack).await;
        // Longer than several heartbeats and the deadline of one.
        let silence = tokio::time::timeout(Duration::from_secs(5), subscription.next()).await;
        faults.go_silent(&[]);
        let generation = bump(stack).await;

        assert!(silence.is_err(), "{silence:?}");
        assert_eq!(heard(stack, &mut subscription).await.changes, [generation]);
    });
}

#[test]
fn skipped_deliveries_are_missing_without_a_word() {
    alone(async |stack, faults| {
        let mut subscription = ready(stack).await;
        faults.limit_to(&GENERATIONS);

        faults.skip(Lane::Changes, 2);
        faults.skip(Lane::Broadcasts, 1);
        let generations = [bump(stack).await, bump(stack).await, bump(stack).await];
        let heard = heard(stack, &mut subscription).await;

        assert_eq!(heard.changes, generations[2..]);
        assert_eq!(heard.broadcasts, generations[1..]);
    });
}

#[test]
fn doubled_deliveries_are_told_twice() {
    alone(async |stack, faults| {
        let mut subscription = ready(stack).await;
        faults.limit_to(&GENERATIONS);

        faults.double(Lane::Changes, 1);
        faults.double(Lane::Broadcasts, 2);
        let [first, second] = [bump(stack).await, bump(stack).await];
        let heard = heard(stack, &mut subscription).await;

        assert_eq!(heard.changes, [first, first, second]);
        assert_eq!(heard.broadcasts, [first, first, second, second]);
    });
}

#[test]
fn reversed_deliveries_are_told_in_the_order_they_came() {
    alone(async |stack, faults| {
        let mut subscription = ready(stack).await;
        faults.limit_to(&GENERATIONS);

        faults.reverse(Lane::Changes, 3);
        faults.reverse(Lane::Broadcasts, 2);
        let [first, second, third] = [bump(stack).await, bump(stack).await, bump(stack).await];
        let heard = heard(stack, &mut subscription).await;

        assert_eq!(heard.changes, [third, second, first]);
        assert_eq!(heard.broadcasts, [second, first, third]);
    });
}

#[test]
fn held_deliveries_come_late_when_the_fault_ends_before_they_are_complete() {
    alone(async |stack, faults| {
        let mut subscription = ready(stack).await;
        faults.limit_to(&GENERATIONS);

        faults.reverse(Lane::Changes, 2);
        let generation = bump(stack).await;
        let while_held = heard(stack, &mut subscription).await;
        faults.reverse(Lane::Changes, 0);
        let afterwards = heard(stack, &mut subscription).await;

        assert!(while_held.changes.is_empty());
        assert_eq!(while_held.broadcasts, [generation]);
        assert_eq!(afterwards.changes, [generation]);
    });
}

#[test]
fn spoiled_changes_are_not_intact_and_only_a_large_one_still_names_its_row() {
    alone(async |stack, faults| {
        let mut subscription = ready(stack).await;
        for (error, is_named) in [
            (ChangeError::TooLarge, true),
            (ChangeError::NoPrimaryKey, false),
            (ChangeError::Unauthorized, false),
        ] {
            faults.spoil_changes(error, 1);
            bump(stack).await;
            let change = loop {
                if let Event::Change(change) = next(&mut subscription).await {
                    break change;
                }
            };

            assert_eq!(
                (change.table.as_str(), change.kind),
                (GENERATIONS[0], ChangeKind::Update)
            );
            assert!(!change.intact, "{error:?}");
            assert_eq!(
                change.record.contains_key("agent_id"),
                is_named,
                "{error:?}"
            );
            assert_eq!(change.old.contains_key("agent_id"), is_named, "{error:?}");
            assert_eq!(change.commit_timestamp.is_some(), is_named, "{error:?}");
        }
    });
}
