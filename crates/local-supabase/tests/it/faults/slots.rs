//! Replication slots and workers that are lost while channels stay joined and heartbeats go on.
//! Never expects a word of it: what commits in between is simply never heard of.

use hidps_local_supabase::Lane;
use hidps_realtime::RealtimeError;

use super::{Heard, alone, bump, heard, heard_in_passing, ready, until_lost, until_ready};

#[test]
fn a_slot_made_anew_knows_nothing_of_what_was_committed_in_between() {
    alone(async |stack, faults| {
        let mut subscription = ready(stack).await;
        for lane in Lane::BOTH {
            faults.lose_slots(&[lane]).await;
            let first = bump(stack).await;
            faults.restore_slots().await;
            let second = bump(stack).await;
            let heard = heard(stack, &mut subscription).await;

            let (changes, broadcasts) = match lane {
                Lane::Changes => (vec![second], vec![first, second]),
                Lane::Broadcasts => (vec![first, second], vec![second]),
            };
            let expected = Heard {
                changes,
                broadcasts,
            };
            assert_eq!(heard, expected, "{lane:?}");
        }
    });
}

#[test]
fn stopped_workers_are_started_by_a_join_and_only_for_those_who_join() {
    alone(async |stack, faults| {
        let (mut doubting, mut trusting) = (ready(stack).await, ready(stack).await);

        faults.stop_workers().await;
        bump(stack).await;
        doubting.rejoin("nothing is heard");
        let error = until_lost(&mut doubting).await;
        until_ready(&mut doubting).await;
        let generation = bump(stack).await;
        let by_doubting = heard(stack, &mut doubting).await.changes;
        let by_trusting = heard_in_passing(stack, &mut trusting).await;

        assert!(matches!(error, RealtimeError::Doubted { .. }), "{error:?}");
        assert_eq!(by_doubting, [generation]);
        assert_eq!(
            (by_trusting.changes.len(), by_trusting.broadcasts.len()),
            (0, 2)
        );
    });
}
