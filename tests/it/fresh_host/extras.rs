//! What an agent is allowed beyond its unit: drop-ins that the installer puts there, and what the agent
//! does by them. Each leaves the host to the test it is part of.

use hidps_lab::world::World;
use hidps_lab::world::probe::wait_until;
use serde_json::json;

use super::PATIENCE;
use super::place::{Place, Programs};
use super::privileges::check_capabilities;

/// The installer found ufw and chose its drop-in: a row becomes a rule of ufw, by a root that may do
/// little.
pub(super) async fn filter_by_ufw(world: &mut World, place: &Place) {
    let status = check_capabilities(place);
    let owner = status.lines().find(|line| line.starts_with("Uid:"));
    assert_eq!(owner, Some("Uid:\t0\t0\t0\t0"));
    assert_names(place, "cap_net_raw", true);
    let rule = json!({
        "agent_id": place.agent_id, "action": "allow", "protocol": "tcp", "port_from": 8081,
    });
    world
        .admin
        .insert("firewall_rules", rule)
        .await
        .expect("the admin may");
    let whose = json!({"agent_id": place.agent_id});
    let on = json!({"firewall_enabled": true});
    let changed = world.admin.update("agent_stats", on, whose).await;
    changed.expect("the admin may");

    let filtered = wait_until("a rule of ufw", PATIENCE, async || {
        let status = place.ask("ufw status");
        let condition = place.ask("hidps-agent status");
        if status.contains("8081/tcp on +") && condition.contains("ufw is active") {
            Ok(())
        } else {
            Err(status + &condition + &place.log())
        }
    });

    filtered.await.expect("root may use ufw");
    let users = place.ask("ufw status");
    assert!(users.contains("22/tcp"), "rules of people stay: {users}");
    assert!(!place.ask("nft list tables").contains("inet hidps"));
}

/// Beside the first drop-in; fanotify answers only who has the right to see processes.
pub(super) async fn tell_file_actors(place: &Place) {
    assert!(!opened(place).contains("[fanotify]"));
    let again = |arguments: &str| {
        let ran = place.install("", &format!("--agent-id {} {arguments}", place.agent_id));
        assert_eq!(ran.code, Some(0), "{}{}", ran.said, place.log());
        ran.said
    };
    let planned = again("--with-file-actors --dry-run");
    let written = "would write /etc/systemd/system/hidps-agent.service.d/file-actors.conf";
    assert!(planned.contains(written), "{planned}");

    again("--with-file-actors");

    check_capabilities(place);
    assert_names(place, "cap_sys_admin", true);
    assert_names(place, "cap_net_raw", true);
    let told = wait_until("fanotify", PATIENCE, async || {
        let opened = opened(place);
        if opened.contains("[fanotify]") {
            Ok(())
        } else {
            Err(opened + &place.log())
        }
    });
    told.await.expect("the agent may ask it");
    let doctor = place.ask("hidps-agent doctor");
    assert!(doctor.contains("CAP_SYS_ADMIN by a drop-in"), "{doctor}");
    again("--without-file-actors");
    assert_names(place, "cap_sys_admin", false);
}

/// A drop-in with which the agent does not start is taken back, and the agent goes on without it.
pub(super) fn undo_what_it_does_not_start_with(place: &Place, programs: &Programs) {
    place.ask("cp /usr/local/bin/hidps-agent /opt/real-agent");
    programs.ask_too_much("/opt/real-agent");
    let installed = place.install("", "--upgrade");
    assert_eq!(installed.code, Some(0), "{}{}", installed.said, place.log());

    let ran = place.install("", &format!("--agent-id {} --with-ufw", place.agent_id));

    assert_eq!(ran.code, Some(11), "{}", ran.said);
    for words in ["217/USER", "service.d/ufw.conf; the agent runs as before"] {
        assert!(ran.said.contains(words), "{words}: {}", ran.said);
    }
    let shown = place.ask("systemctl show -p User,ActiveState,DropInPaths hidps-agent");
    for words in [
        "User=hidps-agent\n",
        "DropInPaths=\n",
        "ActiveState=active\n",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let drop_ins = "/etc/systemd/system/hidps-agent.service.d";
    assert!(!place.host.path(drop_ins).exists());
    programs.restore();
    let restored = place.install("", "--upgrade");
    assert_eq!(restored.code, Some(0), "{}{}", restored.said, place.log());
    place.ask("rm /opt/real-agent");
}

fn assert_names(place: &Place, capability: &str, is_named: bool) {
    let named = place.ask("systemctl show -p CapabilityBoundingSet --value hidps-agent");
    assert_eq!(named.contains(capability), is_named, "{named}");
}

/// What the agent has open.
fn opened(place: &Place) -> String {
    let process = place.process();
    // A file that it closes meanwhile makes the listing fail, and is as good as not open.
    let listed = place.run(&format!("ls -l /proc/{}/fd", process.trim()));
    assert!(listed.said.contains("socket:"), "{}", listed.said);
    listed.said
}
