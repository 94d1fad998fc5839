//! Faults of Realtime, each ending in the host being what the rows say. What a fault loses without
//! a word is found by the canary; where Realtime gives nothing at all, the timer's comparison does.

use std::time::Duration;

use hidps_lab::world::{ChangeError, Faults, Lane, RestFault, SystemOk, World};

use super::health::wait_health;
use super::settled::{change_everything, wait_settled, want_watched};
use super::shared::with_world;

/// Only the feed can tell of a change: the next comparison by the timer is an hour away.
const FEED_ALONE: [(&str, &str); 2] = [("HIDPS_CANARY_SECS", "1"), ("HIDPS_RESYNC_SECS", "3600")];

/// The timer compares often; for faults in which Realtime gives nothing for a long while.
const WITH_TIMER: [(&str, &str); 2] = [("HIDPS_CANARY_SECS", "1"), ("HIDPS_RESYNC_SECS", "5")];

/// Generations alone, by both of their ways; canaries go on.
const GENERATIONS: [&str; 2] = ["desired_generations", "generation"];

/// Makes something go wrong while everything desired changes; the host follows all the same.
fn check(fault: impl AsyncFnOnce(&mut World)) {
    with_world(&FEED_ALONE, async |world| {
        fault(world).await;
        change_everything(world).await;

        wait_settled(world).await;
    });
}

/// Has Realtime give nothing from the daemon's start on: it says so, and the host follows by the
/// timer.
fn check_dead(fault: impl Fn(&Faults)) {
    with_world(&WITH_TIMER, async |world| {
        fault(&world.stack.faults());
        world.daemon.kill().expect("it can be killed");
        world.daemon.respawn().expect("it starts");
        wait_health(world, "FeedHealthy", "false", "NotJoined").await;
        change_everything(world).await;

        wait_settled(world).await;
    });
}

#[test]
fn a_dropped_socket_loses_no_change() {
    check(async |world| world.stack.faults().drop_sockets());
}

#[test]
fn a_server_that_goes_away_loses_no_change() {
    check(async |world| world.stack.faults().close_sockets(1001));
}

#[test]
fn a_crashed_channel_loses_no_change() {
    check(async |world| world.stack.faults().crash_channels());
}

#[test]
fn a_closed_channel_loses_no_change() {
    check(async |world| world.stack.faults().close_channels());
}

#[test]
fn a_system_error_with_a_close_loses_no_change() {
    let message = "replication slot is in use";
    check(async |world| world.stack.faults().fail_channels(message));
}

#[test]
fn a_token_that_expires_in_the_stream_loses_no_change() {
    check(async |world| world.stack.faults().expire_tokens());
}

#[test]
fn a_late_system_ok_loses_no_change() {
    check(async |world| {
        let late = SystemOk::Delayed(Duration::from_secs(2));
        world.stack.faults().set_system_ok(late);
        world.stack.faults().drop_sockets();
    });
}

#[test]
fn a_system_ok_that_comes_too_early_loses_no_change() {
    check(async |world| {
        let faults = world.stack.faults();
        // Nothing else may tell of what the premature answer promised.
        faults.limit_to(&GENERATIONS);
        faults.go_silent(&[Lane::Broadcasts]);
        faults.set_system_ok(SystemOk::Premature(Duration::from_secs(1)));
        faults.drop_sockets();
        wait_health(world, "FeedHealthy", "true", "Healthy").await;
    });
}

#[test]
fn a_subscription_that_the_server_renews_loses_no_change() {
    check(async |world| {
        let faults = world.stack.faults();
        faults.limit_to(&GENERATIONS);
        faults.go_silent(&[Lane::Broadcasts]);
        faults.resubscribe_channels();
    });
}

#[test]
fn slots_made_anew_at_now_lose_no_change_once_the_canary_was_missed() {
    with_world(&FEED_ALONE, async |world| {
        let faults = world.stack.faults();
        faults.lose_slots(&Lane::BOTH).await;
        change_everything(world).await;
        wait_health(world, "FeedHealthy", "false", "CanarySilent").await;
        faults.restore_slots().await;

        wait_settled(world).await;
        wait_health(world, "FeedHealthy", "true", "Healthy").await;
    });
}

#[test]
fn slots_made_anew_between_two_canaries_leave_the_timer() {
    with_world(&WITH_TIMER, async |world| {
        let faults = world.stack.faults();
        faults.lose_slots(&Lane::BOTH).await;
        change_everything(world).await;
        faults.restore_slots().await;

        wait_settled(world).await;
    });
}

#[test]
fn broadcast_alone_is_enough() {
    check(async |world| {
        let faults = world.stack.faults();
        faults.limit_to(&GENERATIONS);
        faults.go_silent(&[Lane::Changes]);
    });
}

#[test]
fn postgres_changes_alone_are_enough() {
    check(async |world| {
        let faults = world.stack.faults();
        faults.limit_to(&GENERATIONS);
        faults.go_silent(&[Lane::Broadcasts]);
    });
}

#[test]
fn doubled_and_reversed_events_do_no_harm() {
    check(async |world| {
        let faults = world.stack.faults();
        faults.limit_to(&GENERATIONS);
        faults.double(Lane::Changes, 10);
        faults.reverse(Lane::Broadcasts, 4);
        change_everything(world).await;
    });
}

#[test]
fn changes_with_an_error_instead_of_a_row_are_hints_all_the_same() {
    with_world(&FEED_ALONE, async |world| {
        let faults = world.stack.faults();
        faults.limit_to(&GENERATIONS);
        faults.go_silent(&[Lane::Broadcasts]);
        let errors = [
            ChangeError::TooLarge,
            ChangeError::NoPrimaryKey,
            ChangeError::Unauthorized,
        ];
        for error in errors {
            faults.spoil_changes(error, 10);
            change_everything(world).await;
            wait_settled(world).await;
        }
    });
}

#[test]
fn what_a_rate_limit_skips_while_the_canary_lives_is_found_by_the_timer() {
    with_world(&WITH_TIMER, async |world| {
        let faults = world.stack.faults();
        faults.limit_to(&GENERATIONS);
        faults.go_silent(&[Lane::Broadcasts]);
        faults.skip(Lane::Changes, 10);
        change_everything(world).await;

        wait_settled(world).await;
        wait_health(world, "FeedHealthy", "true", "Healthy").await;
    });
}

#[test]
fn workers_that_are_gone_behind_green_heartbeats_are_noticed_and_joined_again() {
    with_world(&FEED_ALONE, async |world| {
        world.stack.faults().stop_workers().await;
        wait_health(world, "FeedHealthy", "false", "ChangesSilent").await;
        change_everything(world).await;

        wait_settled(world).await;
        wait_health(world, "FeedHealthy", "true", "Healthy").await;
    });
}

#[test]
fn silent_broadcasts_are_told_while_changes_go_on() {
    with_world(&FEED_ALONE, async |world| {
        world.stack.faults().go_silent(&[Lane::Broadcasts]);
        wait_health(world, "FeedHealthy", "false", "BroadcastSilent").await;
        change_everything(world).await;
        wait_settled(world).await;

        world.stack.faults().clear();
        wait_health(world, "FeedHealthy", "true", "Healthy").await;
    });
}

#[test]
fn a_half_open_socket_is_left_by_the_canary_and_what_it_lost_is_compared() {
    with_world(&FEED_ALONE, async |world| {
        let faults = world.stack.faults();
        faults.mute_heartbeats(true);
        faults.go_silent(&Lane::BOTH);
        change_everything(world).await;

        // The new join is as deaf, but whoever joins compares.
        wait_settled(world).await;
        wait_health(world, "FeedHealthy", "false", "CanarySilent").await;
        faults.clear();
        wait_health(world, "FeedHealthy", "true", "Healthy").await;
    });
}

#[test]
fn a_canary_that_cannot_be_written_is_told_and_what_it_hid_is_compared() {
    with_world(&FEED_ALONE, async |world| {
        let faults = world.stack.faults();
        faults.limit_rest_to(&["beat_canary"]);
        faults.set_rest(RestFault::Unavailable);
        wait_health(world, "FeedHealthy", "false", "CanaryNotWritten").await;
        // Lost while nothing can prove that it was.
        faults.limit_to(&GENERATIONS);
        for lane in Lane::BOTH {
            faults.skip(lane, 10);
        }
        change_everything(world).await;
        faults.set_rest(RestFault::None);

        wait_settled(world).await;
        wait_health(world, "FeedHealthy", "true", "Healthy").await;
    });
}

#[test]
fn a_system_ok_that_never_comes_leaves_the_timer() {
    check_dead(|faults| faults.set_system_ok(SystemOk::Omitted));
}

#[test]
fn joins_that_nobody_answers_leave_the_timer() {
    check_dead(|faults| faults.ignore_joins(true));
}

#[test]
fn joins_refused_for_good_leave_the_timer() {
    let reason = "Unauthorized: You do not have permissions to read from this Channel topic";
    check_dead(|faults| faults.refuse_joins(Some(reason)));
}

#[test]
fn joins_refused_by_a_rate_limit_leave_the_timer() {
    let reason = "ClientJoinRateLimitReached: Too many joins per second";
    check_dead(|faults| faults.refuse_joins(Some(reason)));
}

#[test]
fn connections_refused_with_401_leave_the_timer() {
    check_dead(|faults| faults.refuse_connects(Some(401)));
}

#[test]
fn connections_refused_with_429_leave_the_timer() {
    check_dead(|faults| faults.refuse_connects(Some(429)));
}

#[test]
fn joins_refused_for_a_while_are_tried_until_they_pass() {
    let reasons = [
        "InitializingProjectConnection: Realtime is initializing the project connection",
        "InvalidJWTToken: Token has expired 3 seconds ago",
    ];
    with_world(&FEED_ALONE, async |world| {
        let faults = world.stack.faults();
        for reason in reasons {
            faults.refuse_joins(Some(reason));
            faults.drop_sockets();
            wait_health(world, "FeedHealthy", "false", "NotJoined").await;
            change_everything(world).await;
            faults.refuse_joins(None);

            wait_settled(world).await;
        }
    });
}

#[test]
fn many_changes_while_the_feed_comes_and_goes_end_as_the_last_row_says() {
    with_world(&FEED_ALONE, async |world| {
        for number in 1..6 {
            want_watched(world, number, true).await;
            world.stack.faults().drop_sockets();
            change_everything(world).await;
        }

        wait_settled(world).await;
    });
}
