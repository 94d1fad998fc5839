//! An admin asks for another key from a console, and whatever is killed meanwhile, the agent takes one
//! and no second, and the rows say so.

use std::path::Path;
use std::time::Duration;

use hidps_lab::world::probe::wait_until;
use hidps_lab::world::{AGENT, RestFault, World};
use serde_json::{Value, json};

use super::rotation::known_key;
use super::settled::wait_settled;
use super::shared::with_world;

/// Beyond the time that a request may take, and the pause after one that failed.
const PATIENCE: Duration = Duration::from_secs(150);

/// Asks as the admin, by what every console calls.
async fn ask(world: &mut World) {
    let asked = world
        .admin
        .rpc("request_key_rotation", json!({"agent_id": AGENT}));
    let since = asked.await.expect("an admin may");
    assert!(since.is_string(), "it says since when: {since}");
}

/// What the admin reads of it.
async fn read_rotation(world: &mut World) -> Value {
    let rows = world
        .admin
        .select("key_rotations", json!({"agent_id": AGENT}));
    rows.await.expect("an admin may read it")[0].clone()
}

/// How often the agent put another key in the place of the one.
async fn n_replaced(world: &World, before: &str) -> String {
    let query = format!(
        "select count(*)::text as value from audit_log where agent_id = '{AGENT}' \
           and resource = 'agent_keys' and actor_kind = 'agent' \
           and details -> 'old' ->> 'public_key' = '{before}'"
    );
    let rows = world.stack.sql(&query).await.expect("the superuser may");
    rows[0]["value"].clone().expect("a count")
}

/// Waits until rows, disk and host agree on one new key, and gives it.
async fn wait_rotated(world: &mut World, before: &str) -> String {
    let admin = &mut world.admin;
    let rotated = wait_until("the key being replaced", PATIENCE, async || {
        let rows = admin
            .select("key_rotations", json!({"agent_id": AGENT}))
            .await;
        let row = rows.map_err(|error| error.to_string())?[0].clone();
        if row["rotated"] == true {
            Ok(row)
        } else {
            Err(row.to_string())
        }
    });
    let told = rotated.await.map(|(row, _)| row);
    let told = told.unwrap_or_else(|error| {
        panic!(
            "{error}\nagent:\n{}\ndaemon:\n{}",
            world.agent.log(),
            world.daemon.log()
        )
    });
    assert_eq!(told["reason"], "Rotated");
    assert_eq!(told["retired_key"], before);
    assert!(told["rotated_at"].is_string(), "{told}");
    wait_settled(world).await;
    let outside = world.outside();
    let desired = outside.read_generation(AGENT).await.expect("it has one");
    let said = wait_until("the host saying so", PATIENCE, async || {
        match outside.read_condition(AGENT, "KeyRotated").await {
            Ok(Some(row)) if row.status == "true" && row.observed_generation == Some(desired) => {
                Ok(())
            }
            other => Err(format!("{other:?}")),
        }
    });
    said.await.expect("it does");
    assert!(!successor(world).exists(), "no other key is on the disk");
    let after = known_key(world).await;
    assert_ne!(after, before);
    assert_eq!(n_replaced(world, before).await, "1");
    assert_eq!(
        n_replaced(world, &after).await,
        "0",
        "one request, one rotation"
    );
    after
}

fn successor(world: &World) -> std::path::PathBuf {
    world.agent.state_dir().join("agent.key.next")
}

async fn wait_for_file(path: &Path) {
    let there = wait_until("a key to come", PATIENCE, async || {
        if path.exists() {
            Ok(())
        } else {
            Err("there is none yet".to_owned())
        }
    });
    there.await.expect("the agent makes one");
}

async fn restart_both(world: &mut World) {
    world.agent.restart(&world.host).expect("it comes back");
    world.daemon.restart().await.expect("it comes back");
}

#[test]
fn a_key_that_an_admin_asks_for_is_taken_once_and_a_repeated_wish_is_none() {
    with_world(&[], async |world| {
        let before = known_key(world).await;
        ask(world).await;
        ask(world).await;

        let after = wait_rotated(world, &before).await;

        // A restart reads the same wish again, and it is fulfilled.
        world.agent.kill().expect("it can be killed");
        world.daemon.kill().expect("it can be killed");
        restart_both(world).await;
        wait_settled(world).await;
        assert_eq!(known_key(world).await, after);
        assert_eq!(read_rotation(world).await["reason"], "Rotated");
    });
}

#[test]
fn a_wish_outlives_agent_and_daemon_killed_before_during_and_after_the_rotation() {
    with_world(&[], async |world| {
        let first = known_key(world).await;
        // Before: nobody is there to hear of it.
        world.agent.kill().expect("it can be killed");
        world.daemon.kill().expect("it can be killed");
        ask(world).await;
        let waiting = read_rotation(world).await;
        assert_eq!(waiting["rotated"], false, "{waiting}");
        restart_both(world).await;
        let second = wait_rotated(world, &first).await;

        // During: the database is asked and does not answer, or does it and the answer is lost.
        let mut present = second;
        for fault in [RestFault::Hanging, RestFault::Truncated] {
            let faults = world.stack.faults();
            faults.limit_rest_to(&["rotate_agent_key"]);
            faults.set_rest(fault);
            ask(world).await;
            wait_for_file(&successor(world)).await;
            if fault == RestFault::Truncated {
                wait_taken(world, &present).await;
            }
            world.agent.kill().expect("it can be killed");
            world.daemon.kill().expect("it can be killed");
            let faults = world.stack.faults();
            faults.set_rest(RestFault::None);
            faults.limit_rest_to(&[]);
            restart_both(world).await;
            present = wait_rotated(world, &present).await;
        }
    });
}

/// Waits until the database has another key of the agent.
async fn wait_taken(world: &World, before: &str) {
    let taken = wait_until("the database taking it", PATIENCE, async || {
        let known = known_key(world).await;
        if known == before { Err(known) } else { Ok(()) }
    });
    taken.await.expect("it does");
}
