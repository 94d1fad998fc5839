//! Reads of desired state that fail, are denied, time out or come short: the host keeps what it has,
//! everybody is told, and afterwards the host is what the rows say.

use std::time::Duration;

use hidps_lab::world::probe::{http_get, wait_until};
use hidps_lab::world::{AGENT, Lane, RestFault, World};

use super::health::wait_health;
use super::settled::{
    change_everything, host_differs, read_intent, wait_settled, want_firewall, want_watched,
};
use super::shared::with_world;

/// Long enough for a machine busy with builds.
const PATIENCE: Duration = Duration::from_secs(120);

/// Compares often, so that both kinds of reads meet the fault.
const OFTEN: [(&str, &str); 2] = [("HIDPS_CANARY_SECS", "1"), ("HIDPS_RESYNC_SECS", "5")];

/// Has a host with a firewall and watches, makes one kind of read fail in each of these ways, and
/// changes everything: the host keeps exactly what it had until the fault is over, and then becomes
/// what the rows say.
fn check(reads: &'static str, ways: &[RestFault], reason: &'static str) {
    with_world(&OFTEN, async |world| {
        prepare(world).await;
        for fault in ways {
            let before = read_intent(world).await;
            let faults = world.stack.faults();
            faults.limit_rest_to(&[reads]);
            faults.set_rest(*fault);
            change_everything(world).await;
            wait_health(world, "FeedHealthy", "false", reason).await;

            if reads == "desired_state" {
                let kept = host_differs(world, &before);
                assert_eq!(kept, None, "{fault:?}: the host keeps what it has");
            }
            faults.set_rest(RestFault::None);
            wait_settled(world).await;
            wait_health(world, "FeedHealthy", "true", "Healthy").await;
        }
    });
}

/// A firewall that is on and watches that could be taken away.
async fn prepare(world: &mut World) {
    want_firewall(world, true).await;
    for number in 1..4 {
        want_watched(world, number, true).await;
    }
    wait_settled(world).await;
}

#[test]
fn a_failed_read_takes_nothing_from_the_host() {
    check("desired_state", &[RestFault::Unavailable], "ReadFailed");
}

#[test]
fn a_denied_read_takes_nothing_from_the_host() {
    let ways = [RestFault::Refusing(401), RestFault::Refusing(403)];
    check("desired_state", &ways, "ReadFailed");
}

#[test]
fn a_read_that_times_out_takes_nothing_from_the_host() {
    check("desired_state", &[RestFault::Hanging], "ReadFailed");
}

#[test]
fn a_read_cut_off_in_the_middle_takes_nothing_from_the_host() {
    check("desired_state", &[RestFault::Truncated], "ReadFailed");
}

#[test]
fn an_answer_without_the_agent_takes_nothing_from_the_host() {
    check("desired_state", &[RestFault::Empty], "ReadPartial");
}

#[test]
fn a_failed_or_denied_comparison_is_told_and_leaves_the_hints() {
    let ways = [
        RestFault::Unavailable,
        RestFault::Refusing(401),
        RestFault::Truncated,
    ];
    check("desired_generations", &ways, "ComparisonFailed");
}

#[test]
fn a_comparison_that_says_there_is_nobody_is_doubted_and_takes_nothing_from_the_host() {
    with_world(&OFTEN, async |world| {
        prepare(world).await;
        let intent = read_intent(world).await;
        let faults = world.stack.faults();
        faults.limit_rest_to(&["desired_generations"]);
        faults.set_rest(RestFault::Empty);
        let compared = world.daemon.metric("hidps_realtime_resyncs_total").await;
        // Each is counted as it begins, so the second says that the first is over.
        wait_for_comparisons(world, compared, 2.0).await;
        let kept = host_differs(world, &intent);
        assert_eq!(kept, None, "the host keeps what it has");

        // No event tells of it: only the doubt of such a comparison does.
        faults.limit_to(&["desired_generations", "generation"]);
        faults.go_silent(&Lane::BOTH);
        change_everything(world).await;
        wait_settled(world).await;
    });
}

#[test]
fn a_list_that_breaks_between_two_pages_takes_nothing_and_is_done_again() {
    with_world(&OFTEN, async |world| {
        prepare(world).await;
        add_agents(world, 1_500).await;
        let faults = world.stack.faults();
        faults.limit_rest_to(&["desired_generations"]);
        for fault in [RestFault::Refusing(500), RestFault::Truncated] {
            faults.set_rest_after(1, fault);
            world.stack.faults().drop_sockets();
            wait_health(world, "FeedHealthy", "false", "ComparisonFailed").await;
            let intent = read_intent(world).await;
            assert_eq!(
                host_differs(world, &intent),
                None,
                "the host keeps what it has"
            );
            faults.set_rest(RestFault::None);
            change_everything(world).await;
            wait_settled(world).await;
        }
        wait_health(world, "FeedHealthy", "true", "Healthy").await;
        remove_agents(world).await;
    });
}

#[test]
fn a_postgres_killed_in_the_middle_of_a_list_takes_nothing_from_the_host() {
    with_world(&OFTEN, async |world| {
        prepare(world).await;
        add_agents(world, 1_500).await;
        let faults = world.stack.faults();
        faults.limit_rest_to(&["desired_generations"]);
        // The second page of the next list waits until Postgres is gone.
        faults.set_rest_after(1, RestFault::Waiting);
        let compared = world.daemon.metric("hidps_realtime_resyncs_total").await;
        wait_for_comparisons(world, compared, 1.0).await;
        let intent = read_intent(world).await;
        world.stack.crash_postgres().await.expect("it ends");
        faults.set_rest(RestFault::None);
        wait_unready(world).await;

        assert_eq!(
            host_differs(world, &intent),
            None,
            "the host keeps what it has"
        );
        world.stack.revive_postgres().await.expect("it comes back");
        change_everything(world).await;
        wait_settled(world).await;
        wait_health(world, "FeedHealthy", "true", "Healthy").await;
        remove_agents(world).await;
    });
}

/// Waits until so many comparisons have begun that had not begun before.
async fn wait_for_comparisons(world: &World, before: Option<f64>, n: f64) {
    let wanted = before.unwrap_or(0.0) + n;
    let begun = wait_until("more comparisons", PATIENCE, async || {
        let now = world.daemon.metric("hidps_realtime_resyncs_total").await;
        if now.is_some_and(|count| count >= wanted) {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    });
    begun.await.expect("the timer compares");
}

/// Waits until the daemon has noticed that nothing can be read.
async fn wait_unready(world: &World) {
    let noticed = wait_until("the daemon noticing the outage", PATIENCE, async || {
        let answer = http_get(world.daemon.address(), "/readyz").await;
        match answer {
            Ok((503, body)) if body.contains("was not read") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    noticed.await.expect("the daemon notices");
}

/// Adds agents without hosts, so that a list has several pages.
async fn add_agents(world: &World, count: usize) {
    let add = format!(
        "insert into agents (name, owner_id, org_id) \
         select 'row-' || n, a.owner_id, a.org_id from agents a, generate_series(1, {count}) n \
         where a.id = '{AGENT}'"
    );
    world.stack.sql(&add).await.expect("agents can be added");
}

async fn remove_agents(world: &World) {
    let remove = "delete from agents where name like 'row-%'";
    world
        .stack
        .sql(remove)
        .await
        .expect("agents can be removed");
}
