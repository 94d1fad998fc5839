//! A real sshd and real failed logins, seen as events.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use hidps_lab::ports::free_port;
use hidps_lab::say_skipped;
use hidps_lab::ssh_server::{SshError, SshServer};
use hidps_wire::{EventKind, FieldValue, LogEvent, Question};

use crate::harness::AgentHome;
use crate::scripted_daemon::{DEADLINE, ScriptedDaemon};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn text(event: &LogEvent<'_>, field: &str) -> Option<String> {
    match event.fields.get(field) {
        Some(FieldValue::Text(text)) => Some(text.to_string()),
        _ => None,
    }
}

#[test]
fn failed_logins_at_a_real_sshd_arrive_as_events() {
    let test = "failed_logins_at_a_real_sshd_arrive_as_events";
    let address = SocketAddr::new(LOOPBACK, free_port(LOOPBACK).unwrap());
    let sshd = match SshServer::start(None, address) {
        Ok(sshd) => sshd,
        Err(missing @ SshError::Missing { .. }) => return say_skipped(test, &missing),
        Err(error) => panic!("{error:?}"),
    };
    let daemon = ScriptedDaemon::start(LOOPBACK);
    let log = format!(
        "firewall = \"observe\"\n[[log_file]]\npath = {:?}\nprogram = \"sshd\"",
        sshd.log_path()
    );
    let home = AgentHome::new(daemon.address(), &log);
    let _agent = home.start(None);
    let (mut connection, _) = daemon.admit();
    connection.greet(64, 15);
    let is_failure = |event: &LogEvent<'_>| text(event, "outcome").as_deref() == Some("failure");

    sshd.fail_login(None, "root", 2).unwrap();
    let failures = [
        connection.next_event(is_failure),
        connection.next_event(is_failure),
    ];
    let forged_user = "root from 203.0.113.9 port 22 ssh2";
    sshd.fail_login(None, forged_user, 1).unwrap();
    let forged = connection.next_event(is_failure);

    for failure in failures {
        assert_eq!(
            (failure.kind, &*failure.service),
            (EventKind::Login, "sshd")
        );
        assert_eq!(text(&failure, "user").as_deref(), Some("root"));
        assert_eq!(text(&failure, "method").as_deref(), Some("password"));
        assert_eq!(text(&failure, "src_ip").as_deref(), Some("127.0.0.1"));
    }
    assert_eq!(text(&forged, "user").as_deref(), Some(forged_user));
    assert_eq!(text(&forged, "src_ip").as_deref(), Some("127.0.0.1"));
}

#[test]
fn a_rotated_log_goes_on_under_its_name() {
    let daemon = ScriptedDaemon::start(LOOPBACK);
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("auth.log");
    fs::write(&log, "before the agent\n").unwrap();
    let settings = format!("firewall = \"observe\"\n[[log_file]]\npath = {log:?}");
    let home = AgentHome::new(daemon.address(), &settings);
    let _agent = home.start(None);
    let (mut connection, _) = daemon.admit();
    connection.greet(64, 15);
    let says = |words: &'static str| move |event: &LogEvent<'_>| event.message.contains(words);
    connection.next_event(says("started"));

    fs::rename(&log, directory.path().join("auth.log.1")).unwrap();
    fs::write(
        &log,
        "Nov 21 01:02:03 h su: FAILED SU (to root) bob on pts/0\n",
    )
    .unwrap();
    let event = connection.next_event(|event| &*event.service == "su");

    assert_eq!(text(&event, "USER").as_deref(), Some("root"));
    assert_eq!(&*event.message, "FAILED SU (to root) bob on pts/0");
}

#[test]
fn a_restarted_agent_neither_loses_nor_repeats_a_line() {
    let mut daemon = ScriptedDaemon::start(LOOPBACK);
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("auth.log");
    fs::write(&log, "before the agent\n").unwrap();
    let settings = format!("firewall = \"observe\"\n[[log_file]]\npath = {log:?}");
    let home = AgentHome::new(daemon.address(), &settings);
    let mut agent = home.start(None);
    let (mut connection, key) = daemon.admit();
    connection.greet(64, 15);
    let of_log = |event: &LogEvent<'_>| &*event.service == "auth";
    let is_started = |event: &LogEvent<'_>| event.message.ends_with("started");
    connection.next_event(is_started);
    append(&log, "one\n");
    assert_eq!(&*connection.next_event(of_log).message, "one");
    // Its answer says that the acknowledgement before it was read.
    connection.ask(Question::FirewallStatus);

    // The daemon goes away; what comes then is not acknowledged by anybody.
    let address = daemon.address();
    daemon.stop();
    connection.cut();
    append(&log, "two\n");
    agent.terminate(DEADLINE).unwrap();
    append(&log, "three\n");
    fs::rename(&log, directory.path().join("auth.log.1")).unwrap();
    append(&log, "four\n");
    let daemon = ScriptedDaemon::start_at(address);
    let _agent = home.start(None);
    let mut connection = daemon.accept(&key);
    connection.greet(64, 15);

    // A batch may hold several of them.
    let mut messages = Vec::new();
    while messages.len() < 3 {
        let (_, events) = connection.next_batch();
        let lines = events.iter().filter(|event| of_log(event));
        messages.extend(lines.map(|event| event.message.to_string()));
    }
    assert_eq!(messages, ["two", "three", "four"]);
}

fn append(path: &Path, text: &str) {
    let file = File::options().create(true).append(true).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}
