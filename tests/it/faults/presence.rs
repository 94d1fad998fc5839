//! Who is online: the newest connection wins, what an older one leaves behind changes nothing, and
//! a daemon that died leaves nobody online.

use std::process::Command;
use std::time::Duration;

use hidps_lab::command::run;
use hidps_lab::say_skipped;
use hidps_lab::world::probe::wait_until;
use hidps_lab::world::{AGENT, World};
use serde_json::json;

use super::settled::{change_everything, wait_settled};
use super::shared::with_world;

const SETTINGS: [(&str, &str); 1] = [("HIDPS_CANARY_SECS", "1")];

/// Far beyond the moment in which the kernel tells of a closed connection.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn the_late_end_of_an_older_connection_leaves_the_newer_one_online() {
    with_world(&SETTINGS, async |world| {
        if let Some(why) = world.host.why_degraded() {
            return say_skipped("the_late_end_of_an_older_connection", &why);
        }
        let old_port = connection_port(world).expect("the agent is connected");
        // Nothing of the old connection's end gets out, as when a cable is cut.
        nft(
            world,
            &format!(
                "add table inet cut; add chain inet cut out {{ type filter hook output priority -300; }}; \
             add rule inet cut out tcp sport {old_port} drop"
            ),
        );
        world.agent.kill().expect("it can be killed");
        world.agent.restart(&world.host).expect("it comes back");
        change_everything(world).await;
        wait_settled(world).await;
        nft(world, "delete table inet cut");
        let ended =
            wait_until(
                "the end of the old connection",
                PATIENCE,
                async || match is_known_to_machine(world, old_port) {
                    true => Err("it is still there".to_owned()),
                    false => Ok(()),
                },
            );
        ended.await.expect("the kernel ends it");

        wait_settled(world).await;
        change_everything(world).await;
        wait_settled(world).await;
    });
}

#[test]
fn a_daemon_that_was_killed_leaves_nobody_online_once_the_lease_is_over() {
    with_world(&SETTINGS, async |world| {
        world.daemon.kill().expect("it can be killed");
        // A minute and a half later.
        let age = format!(
            "update agents set last_seen = now() - interval '91 seconds' where id = '{AGENT}'"
        );
        world.stack.sql(&age).await.expect("the superuser may");
        let computed =
            format!("select public.online(a)::text as online from agents a where a.id = '{AGENT}'");
        let computed = world.stack.sql(&computed).await.expect("it is computed");
        let expire = "select public.expire_presence()";
        world.stack.sql(expire).await.expect("the superuser may");
        let whose = json!({"agent_id": AGENT});
        let fleet = world.admin.select("fleet_convergence", whose).await;
        let fleet = fleet.expect("people may ask")[0].clone();
        let connected = world.outside().read_condition(AGENT, "Connected").await;

        assert_eq!(computed[0]["online"].as_deref(), Some("false"));
        assert!(
            !world
                .outside()
                .is_online(AGENT)
                .await
                .expect("there is a row")
        );
        let connected = connected.expect("readable").expect("there is a row");
        assert_eq!(
            (&*connected.status, &*connected.reason),
            ("unknown", "LeaseExpired")
        );
        assert_eq!(fleet["online"], json!(false), "{fleet}");
        assert_eq!(fleet["reasons"], json!(["Offline"]), "{fleet}");
        world.daemon.restart().await.expect("it comes back");
        wait_settled(world).await;
    });
}

/// The local port of the agent's connection to the daemon.
fn connection_port(world: &World) -> Option<u16> {
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", world.agent.id())).ok()?;
    let daemon = format!(":{:04X}", world.daemon.address().port());
    // 01 is an established connection.
    let mut lines = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line = lines.find(|columns| columns[2].ends_with(&daemon) && columns[3] == "01")?;
    u16::from_str_radix(line[1].split(':').nth(1)?, 16).ok()
}

/// Whether the daemon's side still has a connection from this port of the host.
fn is_known_to_machine(world: &World, port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("readable");
    let (near, far) = (
        format!(":{:04X}", world.daemon.address().port()),
        format!(":{port:04X}"),
    );
    table.lines().any(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        columns[1].ends_with(&near) && columns[2].ends_with(&far) && columns[3] == "01"
    })
}

/// Changes the packet filter of the host.
pub(super) fn nft(world: &World, commands: &str) {
    let namespace = world.host.namespace().expect("the host has a namespace");
    let mut nft = Command::new("nft");
    nft.arg(commands);
    run(namespace.exec(&nft), Duration::from_secs(30)).expect("nft does it");
}
