//! The benchmarks with many agents, run with few: they must work on the day somebody needs them.
//! No time is asserted; that everything became as desired is.

use hidps_lab::bench::fleet::{FeedPath, FleetOptions};
use hidps_lab::bench::resync::ResyncOptions;
use hidps_lab::bench::storm::StormOptions;
use hidps_lab::bench::{Figure, fleet, resync, storm};

use crate::turn::take_turn;

/// Every figure is a number, and there is one whose metric holds each of these texts.
fn check(figures: &[Figure], wanted: &[&str]) {
    for figure in figures {
        assert!(figure.value.is_finite(), "{figure:?}");
    }
    for text in wanted {
        let found = figures.iter().any(|figure| figure.metric.contains(text));
        assert!(found, "no figure of {text:?} in {figures:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_fleet_converges_by_each_path_of_the_feed_alone() {
    let _turn = take_turn().await;
    let options = FleetOptions {
        sizes: vec![5],
        n_changes: 10,
        paths: vec![FeedPath::Broadcast, FeedPath::Changes, FeedPath::Dead],
        resync_secs: 5,
    };

    let figures = fleet::measure(&options).await.expect("all is applied");

    let wanted = [
        "5 agents, broadcast alone",
        "5 agents, postgres_changes alone",
        "5 agents, Realtime dead",
        "5 agents, broadcast alone: all at once",
        "5 agents, postgres_changes alone: all at once",
    ];
    check(&figures, &wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_more_agents_than_are_hinted_at_reaches_all_by_broadcast_alone() {
    let _turn = take_turn().await;
    let options = FleetOptions {
        sizes: vec![120],
        n_changes: 5,
        paths: vec![FeedPath::Broadcast],
        // No timer comes to the rescue.
        resync_secs: 3_600,
    };

    let figures = fleet::measure(&options).await.expect("all is applied");

    check(&figures, &["120 agents, broadcast alone: all at once"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_goes_through_every_page() {
    let _turn = take_turn().await;
    // More than two pages of the daemon's.
    let options = ResyncOptions {
        n_agents: 2_500,
        n_connected: 3,
        n_rounds: 1,
    };

    let figures = resync::measure(options).await.expect("the last is applied");

    check(&figures, &["to the last agent applied", "memory"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_fleet_comes_back_after_the_daemon_was_killed() {
    let _turn = take_turn().await;

    let figures = storm::measure(StormOptions { n_agents: 20 }).await;

    let figures = figures.expect("all come back and are confirmed");
    check(
        &figures,
        &["to the last connected", "confirmed in the database"],
    );
}
