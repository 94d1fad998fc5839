//! What the installed agent may do, as the kernel has it: its capabilities, where it can write, and
//! that every collector finds what it needs with that. It changes nothing that stays.

use hidps_lab::world::World;
use hidps_lab::world::probe::wait_until;
use serde_json::{Value, json};

use super::PATIENCE;
use super::place::Place;

/// The numbers of capabilities that a unit may name, from `linux/capability.h`.
const NUMBERS: [(&str, u32); 9] = [
    ("cap_dac_read_search", 2),
    ("cap_kill", 5),
    ("cap_net_admin", 12),
    ("cap_net_raw", 13),
    ("cap_sys_ptrace", 19),
    ("cap_sys_admin", 21),
    ("cap_syslog", 34),
    ("cap_audit_read", 37),
    ("cap_bpf", 39),
];

/// Has the kernel say what the unit promises, and that nothing of it is root's.
pub(super) fn check_status(place: &Place) {
    let status = check_capabilities(place);

    let is_root = |line: &str| line.split_whitespace().skip(1).any(|id| id == "0");
    let mut owners = status
        .lines()
        .filter(|line| line.starts_with("Uid:") || line.starts_with("Gid:"));
    assert!(!owners.any(is_root), "{status}");
}

/// Has the kernel say the capabilities that the unit and its drop-ins name; gives all it says.
pub(super) fn check_capabilities(place: &Place) -> String {
    let named = place.ask("systemctl show -p CapabilityBoundingSet --value hidps-agent");
    let number = |name: &str| {
        let known = NUMBERS.iter().find(|(known, _)| *known == name);
        known
            .unwrap_or_else(|| panic!("{name} has no number here"))
            .1
    };
    let promised = named
        .split_whitespace()
        .fold(0_u64, |set, name| set | 1 << number(name));
    assert_ne!(promised, 0, "the unit names some");
    let status = place.ask(&format!("cat /proc/{}/status", place.process().trim()));
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name}: {status}")).trim()
    };

    for set in ["CapEff:", "CapPrm:", "CapBnd:", "CapAmb:"] {
        let found = u64::from_str_radix(value(set), 16).expect("hexadecimal");
        assert_eq!(found, promised, "{set} {named}");
    }
    assert_eq!(value("NoNewPrivs:"), "1");
    assert_eq!(value("Seccomp:"), "2", "system calls are filtered");
    status
}

/// Where even root could not write with the agent's mounts, its user cannot; its own directories it
/// can change, and /home it may read, as intruders live there, too.
pub(super) fn check_mounts(place: &Place) {
    // Its own root as well: what the lab boots is a directory of this machine.
    let enter = format!("nsenter -t {} -m -r", place.process().trim());
    place.ask("touch /home/probe");
    let writes = |path: &str| place.run(&format!("{enter} touch {path}")).code == Some(0);

    for path in [
        "/etc/probe",
        "/usr/local/bin/probe",
        "/var/log/probe",
        "/var/lib/probe",
        "/home/probe",
        "/root/probe",
        "/tmp/probe",
        "/boot/probe",
        "/etc/hidps/agent.toml",
    ] {
        assert!(!writes(path), "{path}");
    }
    for path in ["/var/lib/hidps-agent/probe", "/run/hidps-agent/probe"] {
        assert!(writes(path), "{path}");
        place.ask(&format!("rm {path}"));
    }
    let set = place.run(&format!("{enter} sh -c 'echo 1 >/proc/sys/kernel/sysrq'"));
    assert_ne!(set.code, Some(0), "{}", set.said);
    place.ask(&format!("{enter} cat /home/probe; rm /home/probe"));
}

/// Each collector has told something that it can only know with what it has.
pub(super) async fn check_collectors(world: &mut World, place: &Place) {
    let quick = json!({
        "agent_id": place.agent_id, "network_interval": 1, "facts_interval": 10,
        "process_poll_interval": 1,
    });
    let inserted = world.admin.insert("collection_settings", quick).await;
    inserted.expect("the admin decides");
    let host = json!({"agent_id": place.agent_id});
    let applied = wait_until("the intervals", PATIENCE, async || {
        let row = world
            .outside()
            .read_condition(&place.agent_id, "CollectionSynced")
            .await;
        match row.map_err(|error| error.to_string())? {
            Some(row) if row.status == "true" && row.reason == "Applied" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    applied.await.expect("the host takes them");

    for (table, is_told) in [
        ("agent_facts", has_sshd as fn(&Value) -> bool),
        ("agent_processes", has_processes),
        ("agent_stats", has_usage),
    ] {
        let told = wait_until("what a collector tells", PATIENCE, async || {
            let rows = world.admin.select(table, host.clone()).await;
            let rows = rows.map_err(|error| error.to_string())?;
            match rows.get(0) {
                Some(row) if is_told(row) => Ok(()),
                other => Err(format!("{table}: {other:?}")),
            }
        });
        told.await.expect("it does");
    }
    let doctor = place.run("hidps-agent doctor");
    assert_eq!(doctor.code, Some(0), "{}", doctor.said);
    assert!(
        doctor
            .said
            .contains("the running agent has every capability it needs"),
        "{}",
        doctor.said
    );
}

/// Whose socket it is, is told by another user's open files alone.
fn has_sshd(facts: &Value) -> bool {
    let ports = facts["open_ports"].as_array();
    ports.is_some_and(|ports| {
        ports
            .iter()
            .any(|port| port["port"] == 22 && port["process"] == "sshd")
    }) && facts["pending_updates"].is_null() != facts["updates_unknown"].is_null()
}

/// The command line of process 1 is root's.
fn has_processes(snapshot: &Value) -> bool {
    let processes = snapshot["processes"].as_array();
    processes.is_some_and(|processes| {
        processes
            .iter()
            .any(|process| process["pid"] == 1 && process["command"].is_string())
    })
}

fn has_usage(stats: &Value) -> bool {
    stats["ram_usage"].as_f64().is_some_and(|ram| ram > 0.0) && stats["details"]["load"].is_array()
}
