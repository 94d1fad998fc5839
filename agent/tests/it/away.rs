//! A watched file that is changed while no agent runs.
//! Whether each kind of change is found is tested where files are watched.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use hidps_wire::{FieldValue, LogEvent};

use crate::harness::{AgentHome, document};
use crate::scripted_daemon::{DEADLINE, ScriptedDaemon};

/// The hash of "2".
const OF_TWO: &str = "d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35";

#[test]
fn a_change_made_while_no_agent_ran_is_told_with_how_the_file_was() {
    let daemon = ScriptedDaemon::start(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let home = AgentHome::observing(daemon.address());
    let watched = home.path().join("watched");
    fs::write(&watched, "1").unwrap();
    let mut agent = home.start(None);
    let (mut connection, key) = daemon.admit();
    connection.greet(64, 15);
    connection.apply(1, "h", document(None, &[&watched]));
    connection.status_of(1);
    fs::write(&watched, "2").unwrap();
    let is_told = |event: &LogEvent<'_>| event.message.contains("watched was modified");
    connection.next_event(is_told);
    let kept = || fs::read_to_string(home.path().join("state/files.json")).unwrap_or_default();
    let end = Instant::now() + DEADLINE;
    while !kept().contains(OF_TWO) {
        assert!(Instant::now() < end, "{}", kept());
        if let Some((seq, _)) = connection.poll_batch(Duration::from_millis(100)) {
            connection.acknowledge(seq);
        }
    }

    agent.kill().unwrap();
    drop(connection);
    fs::write(&watched, "3").unwrap();
    let _agent = home.start(None);
    let mut connection = daemon.accept(&key);
    connection.greet(64, 15);
    let told = connection.next_event(is_told);

    let away = "watched was modified while the agent was not running";
    assert!(told.message.ends_with(away), "{told:?}");
    assert_eq!(
        told.fields.get("old_sha256"),
        Some(&FieldValue::from(OF_TWO))
    );
    assert_eq!(told.fields.get("while_away"), Some(&FieldValue::Bool(true)));
}
