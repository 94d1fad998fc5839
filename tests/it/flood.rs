//! An agent that sends as much as it can, with and without regard to its credit: what the daemon holds in
//! memory stays bounded, all of it is counted, and another agent and a viewer go on.

use std::fs;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hidps_lab::swarm::connect::Socket;
use hidps_lab::world::AGENT;
use hidps_lab::world::World;
use hidps_lab::world::probe::wait_until;
use hidps_lab::world::viewer::Viewer;
use hidps_wire::{LogEvent, MAX_EVENT_TEXT_BYTES, MAX_EVENTS_PER_BATCH};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::faults::shared::with_world;
use crate::raw_agent::RawAgent;

const PATIENCE: Duration = Duration::from_secs(60);

/// Batches of one flood; together some 100 MiB.
const N_BATCHES: u64 = 500;

/// Most that the daemon may grow by, in KiB: a fifth of what was sent.
const MOST_GROWN: u64 = 20 * 1024;

/// A batch nearly as large as a frame may be.
fn batch(seq: u64) -> Message {
    let event = json!({
        "timestamp": "2026-11-21T00:00:00Z", "type": "process", "service": "flood",
        "message": "x".repeat(MAX_EVENT_TEXT_BYTES / 10),
    });
    let events = vec![event; MAX_EVENTS_PER_BATCH];
    let batch = json!({"type": "events", "seq": seq, "dropped": 0, "events": events});
    Message::text(batch.to_string())
}

/// A line of what the kernel says of the daemon's memory, in KiB.
fn memory(world: &World, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", world.daemon.id()));
    let status = status.expect("it runs");
    let line = status.lines().find_map(|text| text.strip_prefix(line));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("the kernel says")
}

/// Most that the daemon held in memory since it was forgotten, in KiB.
fn most_resident(world: &World) -> u64 {
    memory(world, "VmHWM:")
}

/// Lets the kernel forget the most that the daemon held.
fn forget_most(world: &World) {
    let path = format!("/proc/{}/clear_refs", world.daemon.id());
    // 5 resets the peak, says the kernel's manual.
    fs::write(path, "5").expect("the kernel does");
}

/// Sends without regard to any credit, as fast as the daemon reads.
async fn flood_regardless(socket: &mut Socket) {
    for seq in 1..=N_BATCHES {
        let sent = timeout(PATIENCE, socket.send(batch(seq))).await;
        sent.expect("it is read, sooner or later").expect("taken");
    }
}

/// Sends every batch as soon as there is credit for it, as an agent does.
async fn flood_within_credit(socket: &mut Socket) {
    let mut may_send = 1;
    for seq in 1..=N_BATCHES {
        while seq > may_send {
            let frame = timeout(PATIENCE, socket.next()).await.expect("it goes on");
            let Message::Text(text) = frame.expect("open").expect("whole") else {
                continue;
            };
            let frame: Value = serde_json::from_str(&text).expect("JSON");
            if frame["type"] == "ack" {
                let number = |name: &str| frame[name].as_u64().expect("a number");
                may_send = may_send.max(number("seq") + number("credit"));
            }
        }
        let sent = timeout(PATIENCE, socket.send(batch(seq))).await;
        sent.expect("it goes on").expect("it is taken");
    }
}

#[test]
fn a_flood_of_full_batches_costs_bounded_memory_is_counted_and_nobody_else_feels_it() {
    with_world(&[], async |world| {
        let agent = RawAgent::admit(world).await;
        let viewer = Viewer::connect(world.daemon.address(), world.admin.access_token()).await;
        let mut viewer = viewer.expect("let in");
        let seeds = AGENT.parse().expect("a UUID");
        viewer.subscribe(seeds).await.expect("the admin may");
        let before = memory(world, "VmRSS:");

        let mut honest = agent.greet(world, "raw").await;
        forget_most(world);
        flood_within_credit(&mut honest).await;
        let after_honest = most_resident(world).saturating_sub(before);
        let mut hostile = agent.greet(world, "raw").await;
        forget_most(world);
        flood_regardless(&mut hostile).await;
        let after_hostile = most_resident(world).saturating_sub(before);

        let grown = after_honest.max(after_hostile);
        assert!(
            grown <= MOST_GROWN,
            "{after_honest} and {after_hostile} KiB"
        );
        let all = (2 * N_BATCHES * MAX_EVENTS_PER_BATCH as u64) as f64;
        let counted = wait_until("every event being counted", PATIENCE, async || match world
            .daemon
            .metric("hidps_events_received_total")
            .await
        {
            Some(count) if count >= all => Ok(()),
            other => Err(format!("{other:?} of {all}")),
        });
        counted.await.expect("nothing is lost in silence");
        if let Some(ssh) = world.host.ssh() {
            let user = format!("u{}", Uuid::new_v4().simple());
            ssh.fail_login(world.host.namespace(), &user, 1)
                .expect("sshd refuses the login");
            let login = |event: &LogEvent<'_>| event.message.contains(&user);
            let seen = viewer.next_event("a later login", PATIENCE, login);
            seen.await.expect("the viewer goes on");
        }
        let connected = world.daemon.metric("hidps_agents_connected").await;
        assert_eq!(connected, Some(2.0), "the other agent goes on");
        agent.dismiss(world).await;
    });
}
