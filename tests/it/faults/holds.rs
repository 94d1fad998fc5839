//! What is held back, end to end: each of these changes would have reached the host, and does so
//! only after an admin has said that it is meant.

use std::time::Duration;

use hidps_lab::world::probe::wait_until;
use hidps_lab::world::{AGENT, ORGANIZATION, VIEWER, World};
use serde_json::{Value, json};

use super::settled::{host_differs, read_intent, wait_settled, want_firewall, want_watched};
use super::shared::with_world;

const OFTEN: [(&str, &str); 2] = [("HIDPS_CANARY_SECS", "1"), ("HIDPS_RESYNC_SECS", "5")];

/// A change is held in milliseconds, on a machine busy with builds in seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Agents that have rows and no host.
const N_ROWS: usize = 10;

/// Waits until people read that the agent is held for this reason.
pub(super) async fn wait_held(world: &mut World, reason: &str) {
    let admin = &mut world.admin;
    let wanted = format!("Held/{reason}");
    let held = wait_until(&wanted, PATIENCE, async || {
        let condition = json!({"agent_id": AGENT, "type": "Held"});
        let rows = admin.select("agent_conditions", condition).await;
        let condition = rows.map_err(|error| error.to_string())?[0].clone();
        let rows = admin
            .select("fleet_convergence", json!({"agent_id": AGENT}))
            .await;
        let fleet = rows.map_err(|error| error.to_string())?[0].clone();
        let reasons = fleet["reasons"].as_array().cloned().unwrap_or_default();
        let is_held = condition["status"] == "true" && condition["reason"] == reason;
        let has_not_converged = fleet["converged"] == false && reasons.contains(&json!(wanted));
        if is_held && has_not_converged {
            Ok(())
        } else {
            Err(format!("{condition} {fleet}"))
        }
    });
    if let Err(error) = held.await {
        panic!("{error}\ndaemon:\n{}", world.daemon.log());
    }
}

/// Somebody who may only read cannot release; the admin's row releases so many, and the host follows.
async fn release(world: &mut World, agent: Option<&str>, expected: u64) {
    let mut viewer = world.sign_in(VIEWER).await.expect("signed in");
    let mut row = json!({"org_id": ORGANIZATION, "note": "meant so"});
    if let Some(agent) = agent {
        row["agent_id"] = json!(agent);
    }

    let refused = viewer.insert("held_releases", row.clone()).await;
    let released = world.admin.insert("held_releases", row).await;

    assert_eq!(refused.expect_err("read-only").code(), Some("42501"));
    assert_eq!(released.expect("the admin may")["released"], expected);
    wait_settled(world).await;
}

/// A host with a firewall as given and five files of ours watched, or seven with the seed's.
async fn prepare(world: &mut World, firewall: Value) {
    let matching = json!({"agent_id": AGENT});
    let values = json!({"firewall_enabled": firewall});
    let written = world.admin.update("agent_stats", values, matching).await;
    written.expect("the admin may write");
    for number in 0..5 {
        want_watched(world, number, true).await;
    }
    wait_settled(world).await;
}

/// Removes all watched paths by one request.
async fn want_nothing_watched(world: &mut World) {
    let removed = world
        .admin
        .delete("monitored_files", json!({"agent_id": AGENT}));
    removed.await.expect("the admin may write");
}

#[test]
fn a_host_that_would_lose_everything_is_held_until_that_is_released() {
    with_world(&OFTEN, async |world| {
        prepare(world, Value::Null).await;
        let before = read_intent(world).await;
        want_nothing_watched(world).await;
        wait_held(world, "Emptied").await;

        let kept = host_differs(world, &before);
        assert_eq!(kept, None, "the host keeps what it has");
        release(world, Some(AGENT), 1).await;
    });
}

#[test]
fn a_host_that_would_lose_most_is_held_until_that_is_released() {
    with_world(&OFTEN, async |world| {
        prepare(world, json!(true)).await;
        let before = read_intent(world).await;
        want_nothing_watched(world).await;
        wait_held(world, "MassShrink").await;

        let kept = host_differs(world, &before);
        assert_eq!(kept, None, "the host keeps what it has");
        release(world, Some(AGENT), 1).await;
    });
}

#[test]
fn a_database_that_was_set_back_is_held_until_that_is_released() {
    with_world(&OFTEN, async |world| {
        prepare(world, json!(true)).await;
        let before = read_intent(world).await;
        // As a restored backup: no trigger runs, and the generation is an older one.
        let restore = format!(
            "begin; set local session_replication_role = replica; \
             update desired_generations set generation = generation - 3, \
               changed_at = changed_at - interval '1 hour' where agent_id = '{AGENT}'; \
             update agent_stats set firewall_enabled = false where agent_id = '{AGENT}'; \
             delete from monitored_files where agent_id = '{AGENT}'; commit"
        );
        world.stack.sql(&restore).await.expect("the superuser may");
        wait_held(world, "GenerationWentBack").await;

        let kept = host_differs(world, &before);
        assert_eq!(kept, None, "the host keeps what it has");
        release(world, Some(AGENT), 1).await;
    });
}

#[test]
fn a_change_of_too_many_hosts_at_once_is_held_until_the_organization_is_released() {
    with_world(&OFTEN, async |world| {
        want_firewall(world, false).await;
        wait_settled(world).await;
        add_rows(world).await;
        let before = read_intent(world).await;
        let change = json!({"firewall_enabled": true});
        let of_all = json!({"firewall_enabled": false});
        let changed = world.admin.update("agent_stats", change, of_all).await;
        let n_changed = changed.expect("the admin may write");
        assert_eq!(n_changed.as_array().map(Vec::len), Some(N_ROWS + 1));
        wait_held(world, "BlastRadius").await;

        let kept = host_differs(world, &before);
        assert_eq!(kept, None, "the host keeps what it has");
        release(world, None, N_ROWS as u64 + 1).await;
        remove_rows(world).await;
    });
}

/// Adds agents that have applied something, and lets few of them be changed at once.
async fn add_rows(world: &World) {
    let add = format!(
        "with row as ( \
           insert into agents (name, owner_id, org_id) \
           select 'row-' || n, a.owner_id, a.org_id from agents a, generate_series(1, {N_ROWS}) n \
           where a.id = '{AGENT}' returning id \
         ) \
         insert into agent_conditions (agent_id, type, status, reason, observed_generation) \
         select id, 'FirewallSynced', 'true', 'Disabled', 1 from row; \
         update agent_stats set firewall_enabled = false where agent_id in \
           (select id from agents where name like 'row-%'); \
         update organizations set settings = '{{\"hold_blast_min_agents\": 3}}' \
         where id = '{ORGANIZATION}'"
    );
    world.stack.sql(&add).await.expect("agents can be added");
}

async fn remove_rows(world: &World) {
    let remove = format!(
        "delete from agents where name like 'row-%'; \
         update organizations set settings = '{{}}' where id = '{ORGANIZATION}'"
    );
    world
        .stack
        .sql(&remove)
        .await
        .expect("agents can be removed");
}
