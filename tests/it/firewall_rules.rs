//! A person writes a firewall rule in a browser, and packets of the host obey it.

use std::time::Duration;

use hidps_lab::command::find_program;
use hidps_lab::say_skipped;
use hidps_lab::world::probe::wait_until;
use hidps_lab::world::{AGENT, VIEWER, World};
use serde_json::json;

use crate::turn::start_world;

const PATIENCE: Duration = Duration::from_secs(60);

/// As long as a dropped packet makes a test wait.
const KNOCK: Duration = Duration::from_millis(1_500);

/// As long as an answer may take a machine that is busy.
const REACH: Duration = Duration::from_secs(20);

/// A port nobody keeps open.
const PORT: u16 = 7_321;

/// Waits until the host says that the newest generation is in force.
async fn wait_synced(world: &World) {
    let synced = wait_until("the host to be as desired", PATIENCE, async || {
        let outside = world.outside();
        let wanted = outside.read_generation(AGENT).await;
        let wanted = wanted.map_err(|error| error.to_string())?;
        let row = outside.read_condition(AGENT, "FirewallSynced").await;
        match row.map_err(|error| error.to_string())? {
            Some(row) if row.observed_generation == Some(wanted) && row.status == "true" => Ok(()),
            other => Err(format!("{other:?}, not generation {wanted}")),
        }
    });
    synced.await.expect("the host converges");
}

#[tokio::test]
async fn a_rule_that_a_person_inserts_decides_about_packets_until_it_is_deleted() {
    let test = "a_rule_that_a_person_inserts_decides_about_packets_until_it_is_deleted";
    let mut turn = start_world().await;
    let world = &mut turn.world;
    if let Some(why) = world.host.why_degraded() {
        return say_skipped(test, &why);
    }
    let _listener = world.host.listen(PORT).expect("the port is free");
    let on = json!({"firewall_enabled": true});
    let of_it = json!({"agent_id": AGENT});
    let settings = json!({"agent_id": AGENT, "default_incoming": "allow"});
    let inserted = world.admin.insert("firewall_settings", settings).await;
    inserted.expect("the admin may write");
    let switched = world.admin.update("agent_stats", on, of_it.clone()).await;
    switched.expect("the admin may write");
    wait_synced(world).await;
    let knock = |world: &World| world.host.connect_as_stranger(PORT, KNOCK);
    let reach = |world: &World| world.host.connect_as_stranger(PORT, REACH);
    reach(world).expect("packets pass by default");

    let rule = json!({
        "agent_id": AGENT, "action": "deny", "protocol": "tcp", "port_from": PORT,
        "comment": "closed for a test"
    });
    world
        .admin
        .insert("firewall_rules", rule.clone())
        .await
        .expect("the admin may write");
    wait_synced(world).await;
    knock(world).expect_err("packets are dropped");

    let mut viewer = world.sign_in(VIEWER).await.expect("signed in");
    let other = json!({"agent_id": AGENT, "action": "allow", "protocol": "tcp", "port_from": 1});
    let refused = viewer.insert("firewall_rules", other).await;
    assert_eq!(
        refused.expect_err("a viewer only reads").code(),
        Some("42501")
    );
    let refused = viewer.delete("firewall_rules", of_it.clone()).await;
    assert_eq!(
        refused.expect_err("a viewer only reads").code(),
        Some("42501")
    );
    let doubled = world.admin.insert("firewall_rules", rule).await;
    assert_eq!(doubled.expect_err("it is there").code(), Some("23505"));
    let nonsense = json!({"agent_id": AGENT, "action": "deny", "source": "10.0.0.1/8"});
    let refused = world.admin.insert("firewall_rules", nonsense).await;
    let said = refused.expect_err("it is no network").to_string();
    assert!(said.contains("write 10.0.0.1 or 10.0.0.0/8"), "{said}");

    let deleted = world.admin.delete("firewall_rules", of_it.clone()).await;
    deleted.expect("the admin may delete");
    wait_synced(world).await;
    reach(world).expect("packets pass again");

    let off = json!({"firewall_enabled": false});
    let switched = world.admin.update("agent_stats", off, of_it).await;
    switched.expect("the admin may write");
    wait_synced(world).await;
    let left = world.host.list_firewall().expect("readable");
    assert!(!left.contains("inet hidps"), "{left}");

    obeys_through_ufw(world).await;
}

/// From the moment ufw rules the host, the same rows decide through it.
async fn obeys_through_ufw(world: &mut World) {
    if find_program("ufw").is_none() {
        return say_skipped(
            "a_rule_on_a_host_with_ufw",
            &"ufw is missing: apt-get install ufw",
        );
    }
    for order in [
        &["default", "allow", "incoming"][..],
        &["allow", "7/tcp"],
        &["--force", "enable"],
    ] {
        world.host.ufw(order).expect("ufw works");
    }
    let of_it = json!({"agent_id": AGENT});
    let knock = |world: &World| world.host.connect_as_stranger(PORT, KNOCK);
    let reach = |world: &World| world.host.connect_as_stranger(PORT, REACH);
    let rule = json!({
        "agent_id": AGENT, "action": "reject", "protocol": "tcp", "port_from": PORT
    });
    let inserted = world.admin.insert("firewall_rules", rule).await;
    inserted.expect("the admin may write");
    let on = json!({"firewall_enabled": true});
    let switched = world.admin.update("agent_stats", on, of_it.clone()).await;
    switched.expect("the admin may write");
    wait_synced(world).await;

    knock(world).expect_err("packets are refused");
    let row = world
        .outside()
        .read_condition(AGENT, "FirewallSynced")
        .await;
    let said = format!("{:?}", row.expect("readable"));
    assert!(said.contains("ufw is active with 1 rule"), "{said}");
    let filter = world.host.list_firewall().expect("readable");
    assert!(!filter.contains("inet hidps"), "{filter}");

    let off = json!({"firewall_enabled": false});
    let switched = world.admin.update("agent_stats", off, of_it).await;
    switched.expect("the admin may write");
    wait_synced(world).await;
    reach(world).expect("packets pass again");
}
