//! What the agent tells of its host, and how often: as configured, and as it is desired since.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use hidps_wire::{
    AgentFrame, CollectionEntry, ConditionStatus, DesiredDocument, FacetCondition, Facts,
    FieldValue, LogEvent, Status, Usage,
};

use hidps_lab::command::{Running, run, wait_for};
use hidps_lab::say_skipped;

use crate::harness::{AgentHome, document};
use crate::scripted_daemon::{Connection, DEADLINE, Frame, ScriptedDaemon, condition};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Intervals that no test lives to see the end of.
const RARELY: &str = "firewall = \"observe\"\nusage_interval_secs = 3600\n\
     top_processes_interval_secs = 3600\nfacts_interval_secs = 3600\n";

/// The next frame that is as wanted.
fn next<T>(connection: &mut Connection, wanted: impl Fn(AgentFrame) -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    while Instant::now() < end {
        if let Frame::Control(frame) = connection.next_frame()
            && let Some(found) = wanted(frame)
        {
            return found;
        }
    }
    panic!("the wanted frame did not come within {DEADLINE:?}");
}

fn usage(frame: AgentFrame) -> Option<Usage> {
    if let AgentFrame::Usage(usage) = frame {
        Some(usage)
    } else {
        None
    }
}

fn facts(frame: AgentFrame) -> Option<Facts> {
    if let AgentFrame::Facts(facts) = frame {
        Some(*facts)
    } else {
        None
    }
}

#[test]
fn a_host_tells_at_once_what_it_is_and_what_runs_and_again_at_the_next_connect() {
    let daemon = ScriptedDaemon::start(LOOPBACK);
    let home = AgentHome::new(daemon.address(), RARELY);
    let _agent = home.start(None);
    let (mut connection, key) = daemon.admit();
    connection.greet(8, 15);

    // Which of the two is read sooner depends on the host.
    let (mut told, mut snapshot) = (None, None);
    while told.is_none() || snapshot.is_none() {
        let frame = next(&mut connection, Some);
        if let AgentFrame::Facts(facts) = frame {
            told = Some(*facts);
        } else if let AgentFrame::Processes(processes) = frame {
            snapshot = Some(processes);
        }
    }
    let (told, snapshot) = (told.unwrap(), snapshot.unwrap());
    connection.cut();
    let mut again = daemon.accept(&key);
    again.greet(8, 15);

    assert!(!told.kernel.is_empty());
    assert!(snapshot.top.iter().any(|process| process.memory_kib > 0));
    assert_eq!(next(&mut again, facts).kernel, told.kernel);
}

#[test]
fn a_desired_interval_holds_at_once_and_one_out_of_bounds_does_not() {
    let daemon = ScriptedDaemon::start(LOOPBACK);
    let home = AgentHome::new(daemon.address(), RARELY);
    let _agent = home.start(None);
    let (mut connection, _) = daemon.admit();
    connection.greet(8, 15);
    let wanting = |usage_interval| DesiredDocument {
        collection: Some(Box::new(CollectionEntry {
            usage_interval: Some(usage_interval),
            ..CollectionEntry::default()
        })),
        ..document(None, &[])
    };

    connection.apply(4, "four", wanting(1));
    let begun = Instant::now();
    for _ in 0..3 {
        next(&mut connection, usage);
    }
    let took = begun.elapsed();
    connection.apply(5, "five", wanting(0));
    let refused = connection.status_of(5);
    connection.apply(6, "six", document(None, &[]));
    let left = connection.status_of(6);

    assert!(took < Duration::from_secs(60), "{took:?}");
    let facet = FacetCondition::CollectionSynced;
    let is_refused = (ConditionStatus::False, "IntervalRefused");
    assert_eq!(condition(&refused, facet), is_refused);
    assert_eq!(
        condition(&left, facet),
        (ConditionStatus::True, "Configured")
    );
}

#[test]
fn every_source_is_listed_with_what_it_cannot_see() {
    let daemon = ScriptedDaemon::start(LOOPBACK);
    let home = AgentHome::observing(daemon.address());
    let _agent = home.start(None);
    let (mut connection, _) = daemon.admit();
    connection.greet(8, 15);
    connection.apply(1, "h", document(None, &[home.path()]));
    connection.status_of(1);
    let expected = [
        "audit",
        "connections",
        "file actors",
        "journal",
        "kernel log",
        "log files",
        "processes",
        "usage",
        "watched files",
    ];

    let listed = wait_for("every source to be listed", DEADLINE, || {
        let mut status = home.command("status");
        status.arg("--json");
        let printed = run(status, DEADLINE).ok()?.stdout;
        let shown: serde_json::Value = serde_json::from_slice(&printed).ok()?;
        let sources = shown["sources"].as_array()?.clone();
        let is_read = |name: &str| {
            sources
                .iter()
                .any(|it| it["name"] == name && it["standing"] == "read")
        };
        (is_read("usage") && is_read("watched files") && sources.len() >= expected.len())
            .then_some(sources)
    });

    let listed = listed.unwrap();
    let names: Vec<_> = listed
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, expected);
    for source in &listed {
        assert_ne!(
            source["cannot_see"].as_str().unwrap_or_default(),
            "",
            "{source}"
        );
    }
}

/// Every event until the wanted one came, with those that came beside it.
fn events_until(
    connection: &mut Connection,
    wanted: impl Fn(&LogEvent<'_>) -> bool,
) -> Vec<LogEvent<'static>> {
    let mut seen = Vec::new();
    while !seen.iter().any(&wanted) {
        let (seq, events) = connection.next_batch();
        connection.acknowledge(seq);
        seen.extend(events);
    }
    seen
}

/// Appends so many ordinary lines, each followed by a refused login, and at last a line that ends it.
fn log_lines(path: &Path, n_lines: usize, end: &str) {
    let mut text = String::new();
    for number in 0..n_lines {
        text += &format!("Nov 21 01:02:03 h app[7]: request {number} was served\n");
        text += "Nov 21 01:02:03 h sshd[8]: Failed password for root from 192.0.2.7 port 22 ssh2\n";
    }
    text += &format!("Nov 21 01:02:03 h sudo: {end}\n");
    let file = File::options().append(true).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

/// A document that wants one of so many lines.
fn wanting(sampling: u32) -> DesiredDocument {
    DesiredDocument {
        collection: Some(Box::new(CollectionEntry {
            sampling: Some(sampling),
            ..CollectionEntry::default()
        })),
        ..document(None, &[])
    }
}

/// How many lines an event says were left out.
fn told(event: &LogEvent<'_>) -> i64 {
    match event.fields.get("sampled") {
        Some(FieldValue::Integer(count)) => *count,
        _ => 0,
    }
}

#[test]
fn of_ordinary_lines_one_of_so_many_arrives_as_desired_and_every_line_of_sshd() {
    let daemon = ScriptedDaemon::start(LOOPBACK);
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("messages");
    fs::write(&log, "").unwrap();
    let settings = format!("{RARELY}[[log_file]]\npath = {log:?}");
    let home = AgentHome::new(daemon.address(), &settings);
    let _agent = home.start(None);
    let (mut connection, _) = daemon.admit();
    connection.greet(64, 15);
    connection.next_event(|event| event.message.ends_with("started"));
    let ends = |end: &'static str| move |event: &LogEvent<'_>| &*event.message == end;
    let served = |events: &[LogEvent<'_>]| -> Vec<String> {
        let events = events.iter().filter(|event| &*event.service == "app");
        events.map(|event| event.message.to_string()).collect()
    };

    connection.apply(4, "four", wanting(10));
    let applied = connection.status_of(4);
    log_lines(&log, 100, "the first end");
    let sampled = events_until(&mut connection, ends("the first end"));
    let mut n_told: i64 = sampled.iter().map(told).sum();
    while n_told < 90 {
        n_told += told(&connection.next_event(|event| told(event) > 0));
    }
    connection.apply(5, "five", wanting(1_001));
    let refused = connection.status_of(5);
    connection.apply(6, "six", wanting(10));
    connection.status_of(6);
    connection.apply(7, "seven", document(None, &[]));
    let left = connection.status_of(7);
    log_lines(&log, 25, "the second end");
    let whole = events_until(&mut connection, ends("the second end"));

    let expected: Vec<_> = (0..10)
        .map(|tens| format!("request {} was served", tens * 10))
        .collect();
    assert_eq!(served(&sampled), expected);
    let n_refused = sampled.iter().filter(|event| &*event.service == "sshd");
    assert_eq!(n_refused.count(), 100);
    assert_eq!(n_told, 90);
    assert_eq!(served(&whole).len(), 25);
    let shown = home.print("status");
    assert!(shown.contains("sampled: 90 left out"), "{shown}");
    let facet = FacetCondition::CollectionSynced;
    assert_eq!(
        [&applied, &refused, &left].map(|status| condition(status, facet)),
        [
            (ConditionStatus::True, "Applied"),
            (ConditionStatus::False, "SamplingRefused"),
            (ConditionStatus::True, "Configured"),
        ]
    );
}

#[test]
fn a_source_that_is_insisted_on_and_cannot_be_read_is_a_condition() {
    let test = "a_source_that_is_insisted_on_and_cannot_be_read_is_a_condition";
    let blinded = |program: &Command| {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", "-audit_read"]);
        command.arg(program.get_program()).args(program.get_args());
        command
    };
    match run(blinded(&Command::new("true")), DEADLINE) {
        Err(missing) if missing.tells_of_missing() => return say_skipped(test, &missing),
        blinded => blinded.unwrap(),
    };
    if Path::new("/run/auditd.pid").exists() {
        return say_skipped(test, &"auditd may run here, whose log root can read");
    }
    let told = |audit: &str| {
        let daemon = ScriptedDaemon::start(LOOPBACK);
        let home = AgentHome::new(daemon.address(), &format!("{RARELY}audit = \"{audit}\""));
        let command = blinded(&home.command("run"));
        let _agent = Running::start("hidps-agent", command).unwrap();
        let (mut connection, _) = daemon.admit();
        connection.greet(64, 15);
        let facet = FacetCondition::SourcesRead;
        let has_said = |status: &Status| status.conditions.iter().any(|told| told.facet == facet);
        let status = connection.next_status(has_said);
        let (is_read, reason) = condition(&status, facet);
        (is_read, reason.to_owned())
    };

    let insisted = told("on");
    let tried = told("auto");

    let unread = (ConditionStatus::False, "SourceUnread".to_owned());
    let reading = (ConditionStatus::True, "Reading".to_owned());
    assert_eq!((insisted, tried), (unread, reading));
}
