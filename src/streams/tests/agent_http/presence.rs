//! Whether a host is there that holds no connection, and what is told when it is not any more.

use jiff::SignedDuration;

use super::*;
use crate::model::{Observation, Unheard};

const USAGE: &str = r#"{"type":"usage","cpu":1,"ram":1,"storage":1}"#;

fn later(seconds: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_secs(seconds)
}

/// What was told of silences, in order.
fn told(world: &World) -> Vec<&'static str> {
    let observations = locked(&world.recorder.observations);
    let told = observations.iter().filter_map(|(_, one)| match one {
        Observation::Silent { .. } => Some("silent"),
        Observation::Back { .. } => Some("back"),
        Observation::Twin { .. } | Observation::ClockSkew { .. } | Observation::Usage { .. } => {
            None
        }
    });
    told.collect()
}

/// What `Connected` says, by its reasons in order.
fn reasons(world: &World) -> Vec<String> {
    let conditions = locked(&world.recorder.conditions);
    let connected = conditions
        .iter()
        .filter(|condition| condition.kind == crate::model::ConditionKind::Connected);
    connected
        .map(|condition| condition.reason.clone())
        .collect()
}

/// The daemon has just started, and the agent was there half a minute before.
fn restart(world: &World, polls: bool) {
    let unheard = Unheard {
        agent: AGENT,
        heard_at: later(-30),
        polls,
    };
    world
        .links
        .presence
        .expect_return(unheard, Timestamp::now());
}

#[tokio::test]
async fn a_host_that_goes_on_asking_after_a_restart_is_not_missed_until_it_stops() {
    let world = world(KeyStatus::Admitted).await;
    let host = Host::of(&world, AGENT);
    desired::desire(&world, 8, 0);
    restart(&world, true);

    assert_eq!(status_of(host.desired("")).await, 200);
    world.links.presence.tell_silences(later(600));
    assert_eq!(told(&world), [] as [&str; 0]);
    assert_eq!(reasons(&world), ["Polling"]);

    world.links.presence.tell_silences(later(901));
    assert_eq!(told(&world), ["silent"]);
    assert_eq!(status_of(host.post(USAGE)).await, 200);
    assert_eq!(told(&world), ["silent", "back"]);
    assert_eq!(reasons(&world)[..2], ["Polling", "StoppedAsking"]);
    assert!(
        reasons(&world)[2].starts_with("Poll"),
        "{:?}",
        reasons(&world)
    );
}

#[tokio::test]
async fn any_request_ends_the_silence_that_a_restart_or_a_lost_connection_began() {
    let world = world(KeyStatus::Admitted).await;
    let host = Host::of(&world, AGENT);

    restart(&world, false);
    assert_eq!(status_of(host.post(USAGE)).await, 200);
    assert_eq!(reasons(&world), ["Polled"]);
    drop(world.agent(None).await);
    until("the connection ends", || {
        reasons(&world)
            .last()
            .is_some_and(|word| word == "Disconnected")
    })
    .await;
    assert_eq!(status_of(host.post(USAGE)).await, 200);

    world.links.presence.tell_silences(later(200));
    assert_eq!(told(&world), [] as [&str; 0]);
    assert_eq!(
        reasons(&world),
        ["Polled", "Connected", "Disconnected", "Polled"]
    );
}

#[tokio::test]
async fn what_a_connected_agent_sends_over_http_says_nothing_of_its_connection() {
    let world = world(KeyStatus::Admitted).await;
    let host = Host::of(&world, AGENT);
    let _socket = world.agent(None).await;

    assert_eq!(status_of(host.post(USAGE)).await, 200);

    assert_eq!(reasons(&world), ["Connected"]);
    assert!(world.links.presence.list_silent(later(0), true).is_empty());
}
