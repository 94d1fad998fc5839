//! What the agent sees of a host by looking: processes where the kernel does not tell of them, and
//! connections. It changes nothing outside of its namespaces.

use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use hidps_lab::command::{Running, run, wait_for};
use hidps_lab::netns::{self, Link, Namespace};
use hidps_lab::say_skipped;
use hidps_wire::{FieldValue, LogEvent};
use serde_json::Value;

use crate::harness::AgentHome;
use crate::scripted_daemon::{DEADLINE, ScriptedDaemon};

/// A host in a network namespace, where the kernel tells nobody of processes, and its cable to the
/// daemon on the machine.
fn make_host(test: &str) -> Option<(Namespace, Link, ScriptedDaemon)> {
    if let Err(missing) = netns::check() {
        say_skipped(test, &missing);
        return None;
    }
    let host = Namespace::new("host").unwrap();
    let cable = host.link_to_machine().unwrap();
    let daemon = ScriptedDaemon::start(cable.far.into());
    Some((host, cable, daemon))
}

/// What `status` says of a source, once the source is read.
fn read_source(home: &AgentHome, name: &str) -> Value {
    let read = || {
        let mut command = home.command("status");
        command.arg("--json");
        let shown = run(command, DEADLINE).ok()?;
        let mut shown: Value = serde_json::from_slice(&shown.stdout).ok()?;
        let sources = shown["sources"].as_array_mut()?;
        let source = sources.iter_mut().find(|source| source["name"] == name)?;
        (source["standing"] == "read").then(|| source.take())
    };
    wait_for(&format!("{name} to be read"), DEADLINE, read).unwrap()
}

fn is(event: &LogEvent<'_>, name: &str, value: impl Into<FieldValue<'static>>) -> bool {
    event.fields.get(name) == Some(&value.into())
}

#[test]
fn where_the_kernel_tells_of_no_process_they_are_seen_by_looking_and_status_says_so() {
    let test = "where_the_kernel_tells_of_no_process_they_are_seen_by_looking_and_status_says_so";
    let Some((host, _cable, daemon)) = make_host(test) else {
        return;
    };
    let settings = "firewall = \"observe\"\nprocesses = \"auto\"\nprocess_poll_secs = 1";
    let home = AgentHome::new(daemon.address(), settings);
    let _agent = home.start(Some(&host));
    let (mut connection, _) = daemon.admit();
    connection.greet(64, 15);
    let source = read_source(&home, "processes");

    // What was there at the first look is no event, so that one after the other begins.
    let mut begun = Vec::new();
    let is_sleep = |event: &LogEvent<'_>| is(event, "CommandLine", "/bin/sleep 1002");
    let event = wait_for("the process to be told", DEADLINE, || {
        let mut sleep = Command::new("/bin/sleep");
        sleep.arg("1002");
        begun.push(Running::start("sleep", sleep).unwrap());
        let (seq, events) = connection.poll_batch(Duration::from_secs(2))?;
        connection.acknowledge(seq);
        events.into_iter().find(is_sleep)
    });
    let event = event.unwrap();
    let shown = home.print("status");

    let how = source["how"].as_str().unwrap();
    assert!(
        how.starts_with("by looking: could not ask the process connector"),
        "{how}"
    );
    let unseen = "programs that begin and end between two looks";
    let cannot_see = source["cannot_see"].as_str().unwrap();
    assert!(cannot_see.starts_with(unseen), "{cannot_see}");
    assert!(
        shown.contains("by looking: ") && shown.contains(unseen),
        "{shown}"
    );
    assert!(is(&event, "SeenLate", FieldValue::Bool(true)), "{event:?}");
    let parent = i64::from(std::process::id());
    assert!(is(&event, "ParentProcessId", parent), "{event:?}");
    let begun = begun.iter().map(|sleep| i64::from(sleep.id()));
    assert!(
        begun.into_iter().any(|id| is(&event, "ProcessId", id)),
        "{event:?}"
    );
}

#[test]
fn a_connection_out_is_told_with_where_it_goes_and_whose_it_is() {
    let test = "a_connection_out_is_told_with_where_it_goes_and_whose_it_is";
    let Some((host, cable, daemon)) = make_host(test) else {
        return;
    };
    let settings = "firewall = \"observe\"\nnetwork = \"poll\"\nnetwork_interval_secs = 1";
    let home = AgentHome::new(daemon.address(), settings);
    let _agent = home.start(Some(&host));
    let (mut connection, _) = daemon.admit();
    connection.greet(64, 15);
    read_source(&home, "connections");

    let listener = TcpListener::bind((cable.far, 0)).unwrap();
    let there = listener.local_addr().unwrap();
    let connected = host.run_inside(|| TcpStream::connect_timeout(&there, DEADLINE).unwrap());
    let connected = connected.unwrap();
    let port = i64::from(there.port());
    let event = connection.next_event(|event| is(event, "DestinationPort", port));

    let here = connected.local_addr().unwrap();
    assert!(
        is(&event, "DestinationIp", there.ip().to_string()),
        "{event:?}"
    );
    assert!(is(&event, "SourceIp", here.ip().to_string()), "{event:?}");
    assert!(
        is(&event, "SourcePort", i64::from(here.port())),
        "{event:?}"
    );
    assert!(is(&event, "Protocol", "tcp"), "{event:?}");
    assert!(is(&event, "Initiated", FieldValue::Bool(true)), "{event:?}");
    assert!(
        is(&event, "ProcessId", i64::from(std::process::id())),
        "{event:?}"
    );
    let image = std::env::current_exe().unwrap();
    let image = image.to_str().unwrap().to_owned();
    assert!(is(&event, "Image", image), "{event:?}");
}
