//! How the agent finds, proves itself to and stays with its daemon.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use hidps_wire::{DaemonFrame, FacetCondition, Generation, RetryAdvice};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::http::StatusCode;

use crate::harness::{AGENT_ID, AgentHome, document, tells_modified};
use crate::scripted_daemon::{DEADLINE, ScriptedDaemon, condition};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[test]
fn an_agent_enrolls_connects_and_applies() {
    let daemon = ScriptedDaemon::start(LOOPBACK);
    let home = AgentHome::observing(daemon.address());
    let watched = home.path().join("watched");
    fs::write(&watched, "1").unwrap();
    let mut command = home.command("run");
    command.env("HIDPS_TOKEN", "hidps_token");
    let _agent = hidps_lab::command::Running::start("hidps-agent", command).unwrap();

    let visit = daemon.next_enrollment();
    assert_eq!(visit.token.as_deref(), Some("hidps_token"));
    assert_eq!(visit.path, format!("/v1/agents/{AGENT_ID}/enroll"));
    let key = visit.request.public_key.clone();
    visit.answer(200, r#"{"enrollment":"admitted"}"#);
    let mut connection = daemon.accept(&key);
    let hello = connection.greet(8, 15);
    connection.apply(4, "h", document(None, &[&watched]));
    let status = connection.status_of(4);
    fs::write(&watched, "2").unwrap();
    let event = connection.next_event(|event| &*event.service == "inotify");

    assert_eq!(hello.applied, None);
    assert_eq!(
        condition(&status, FacetCondition::FilesWatched).1,
        "AllWatched"
    );
    assert!(tells_modified(&event, &watched), "{event:?}");
}

#[test]
fn a_wrong_clock_is_corrected_by_the_daemons() {
    let mut daemon = ScriptedDaemon::start(LOOPBACK);
    daemon.clock_ahead = 7_200;
    let home = AgentHome::observing(daemon.address());
    let _agent = home.start(None);
    let visit = daemon.next_enrollment();
    let key = visit.request.public_key.clone();
    visit.answer(200, r#"{"enrollment":"admitted"}"#);

    let refused = daemon.try_accept(&key).err();
    let mut connection = daemon.accept(&key);

    assert_eq!(refused, Some(StatusCode::UNAUTHORIZED));
    connection.greet(8, 15);
}

#[test]
fn a_pending_agent_waits_and_asks_again() {
    let daemon = ScriptedDaemon::start(LOOPBACK);
    let home = AgentHome::observing(daemon.address());
    let mut agent = home.start(None);

    daemon
        .next_enrollment()
        .answer(200, r#"{"enrollment":"pending"}"#);
    let said = agent.wait_for_line("the reason", DEADLINE, |line| {
        line.contains("has to approve")
    });
    let (mut connection, _) = daemon.admit();

    said.unwrap();
    connection.greet(8, 15);
}

#[test]
fn a_refused_enrollment_says_what_to_do_and_goes_on() {
    let daemon = ScriptedDaemon::start(LOOPBACK);
    let home = AgentHome::observing(daemon.address());
    let mut agent = home.start(None);

    for (status, body, words) in [
        (
            403,
            r#"{"error":"the token is used up"}"#,
            "use a valid token",
        ),
        (404, r#"{"error":"no such agent"}"#, "check agent_id"),
        (404, "a page of a proxy", "something else than the daemon"),
        (429, "", "too many enrollments"),
        (200, "not json", "something else than an enrollment"),
    ] {
        daemon.next_enrollment().answer(status, body);
        let line = agent.wait_for_line("the advice", DEADLINE, |line| line.contains(words));
        let line = line.unwrap();
        // Its log has the reason in quotes.
        let quoted = body.replace('"', "\\\"");
        assert!(status == 200 || line.contains(&quoted), "{line}");
    }
}

#[test]
fn a_refused_connect_leads_to_a_new_enrollment() {
    let daemon = ScriptedDaemon::start(LOOPBACK);
    let home = AgentHome::observing(daemon.address());
    let mut agent = home.start(None);
    daemon
        .next_enrollment()
        .answer(200, r#"{"enrollment":"admitted"}"#);

    daemon.refuse(StatusCode::FORBIDDEN, "the agent was revoked");

    let (mut connection, _) = daemon.admit();
    connection.greet(8, 15);
    let said = |line: &str| line.contains("HTTP status 403") && line.contains("was revoked");
    agent.wait_for_line("the reason", DEADLINE, said).unwrap();
}

#[test]
fn a_daemon_that_fails_otherwise_is_no_reason_to_enroll() {
    let daemon = ScriptedDaemon::start(LOOPBACK);
    let home = AgentHome::observing(daemon.address());
    let _agent = home.start(None);
    let visit = daemon.next_enrollment();
    let key = visit.request.public_key.clone();
    visit.answer(200, r#"{"enrollment":"admitted"}"#);

    daemon.refuse(StatusCode::SERVICE_UNAVAILABLE, "starting");

    daemon.accept(&key).greet(8, 15);
}

#[test]
fn a_goodbye_is_honoured_and_nobody_comes_early() {
    let daemon = ScriptedDaemon::start(LOOPBACK);
    let home = AgentHome::observing(daemon.address());
    let _agent = home.start(None);
    let (mut connection, key) = daemon.admit();
    connection.greet(8, 15);

    let told = Instant::now();
    connection.send(&DaemonFrame::Goodbye(RetryAdvice {
        reason: "restarting".to_owned(),
        retry_ms: 2_500,
    }));

    let mut again = daemon.accept(&key);
    let waited = told.elapsed();
    assert!(waited >= Duration::from_millis(2_500), "{waited:?}");
    again.greet(8, 15);
}

#[test]
fn a_silent_daemon_is_given_up_and_found_again() {
    let daemon = ScriptedDaemon::start(LOOPBACK);
    let home = AgentHome::observing(daemon.address());
    let mut agent = home.start(None);
    let (mut connection, key) = daemon.admit();
    connection.greet(8, 1);
    let is_ping = |message: &Message| matches!(message, Message::Ping(_));
    let pinged = hidps_lab::command::wait_for("a ping", DEADLINE, || {
        connection.next_message(DEADLINE).filter(is_ping)
    });

    // From here on the daemon does not even read, so no ping is answered.
    let mut again = daemon.accept(&key);

    pinged.unwrap();
    again.greet(8, 15);
    let said = |line: &str| line.contains("sent nothing for 3 s");
    agent.wait_for_line("the reason", DEADLINE, said).unwrap();
}

#[test]
fn events_wait_for_credit_and_are_sent_again_after_a_cut() {
    let daemon = ScriptedDaemon::start(LOOPBACK);
    let home = AgentHome::observing(daemon.address());
    let watched = home.path().join("watched");
    fs::write(&watched, "1").unwrap();
    let _agent = home.start(None);
    let (mut connection, key) = daemon.admit();
    connection.greet(1, 15);
    // The one granted batch is left without an acknowledgement.
    let (seq, first) = connection.next_batch();
    connection.apply(1, "h", document(None, &[&watched]));
    connection.status_of(1);

    fs::write(&watched, "2").unwrap();
    let second = connection.poll_batch(Duration::from_millis(1_500));
    connection.cut();
    let mut again = daemon.accept(&key);
    again.greet(8, 15);
    let (seq_again, resent) = again.next_batch();
    let modified = again.next_event_in(resent.clone(), |event| &*event.service == "inotify");

    assert_eq!((seq, seq_again), (1, 1));
    assert!(second.is_none(), "there was no credit");
    assert_eq!(
        first.first(),
        resent.first(),
        "the oldest comes first again"
    );
    assert!(tells_modified(&modified, &watched), "{modified:?}");
}

#[test]
fn a_hostile_daemon_is_refused_and_survived() {
    let daemon = ScriptedDaemon::start(LOOPBACK);
    let home = AgentHome::observing(daemon.address());
    let mut agent = home.start(None);
    let (mut connection, key) = daemon.admit();
    connection.greet(8, 15);

    for frame in [
        Message::text("not json"),
        Message::text(r#"{"type":"run","command":"id"}"#),
        Message::text(r#"{"type":"apply","generation":1}"#),
        Message::text("[".repeat(100_000)),
        Message::binary(vec![0; 9]),
    ] {
        connection.send_raw(frame);
    }
    connection.send(&DaemonFrame::Ack {
        seq: u64::MAX,
        credit: u32::MAX,
    });
    connection.apply(1, "h", document(None, &[]));
    let status = connection.status_of(1);
    // Larger than a daemon may send; the agent may close before it has taken all of it.
    connection.try_send_raw(Message::text("x".repeat(9 * 1024 * 1024)));
    let mut again = daemon.accept(&key);

    assert_eq!(
        status.applied.map(|applied| applied.generation),
        Some(Generation(1))
    );
    again.greet(8, 15);
    for words in [
        "not JSON",
        // Of the command that there is not; what a frame holds is never quoted.
        "not one of the protocol (line 1, column 13)",
        // Of the document without a hash, whose absence is seen where the frame ends.
        "not one of the protocol (line 1, column 31)",
        "a binary frame",
        "never sent",
        "the connection broke",
    ] {
        let said = |line: &str| line.contains(words);
        agent.wait_for_line(words, DEADLINE, said).unwrap();
    }
}

#[test]
fn endless_nonsense_ends_the_connection() {
    let daemon = ScriptedDaemon::start(LOOPBACK);
    let home = AgentHome::observing(daemon.address());
    let _agent = home.start(None);
    let (mut connection, key) = daemon.admit();
    connection.greet(8, 15);

    for _ in 0..16 {
        connection.try_send_raw(Message::text("nonsense"));
    }

    daemon.accept(&key).greet(8, 15);
}

#[test]
fn older_and_conflicting_documents_are_answered_with_what_is_held() {
    let daemon = ScriptedDaemon::start(LOOPBACK);
    let home = AgentHome::observing(daemon.address());
    let mut agent = home.start(None);
    let (mut connection, _) = daemon.admit();
    connection.greet(8, 15);
    connection.apply(5, "five", document(None, &[]));
    connection.status_of(5);

    connection.apply(4, "four", document(None, &[]));
    let after_older = connection.status_of(5);
    connection.apply(5, "other", document(None, &[]));
    let after_conflict = connection.status_of(5);

    let hash = |status: &hidps_wire::Status| status.applied.clone().map(|a| a.hash.0);
    assert_eq!(hash(&after_older).as_deref(), Some("five"));
    assert_eq!(hash(&after_conflict).as_deref(), Some("five"));
    for words in [
        "generation 4 is older than 5",
        "generation 5 came with the hash other",
    ] {
        agent
            .wait_for_line(words, DEADLINE, |line| line.contains(words))
            .unwrap();
    }
}

#[test]
fn a_restarted_agent_says_what_it_has_applied() {
    let daemon = ScriptedDaemon::start(LOOPBACK);
    let home = AgentHome::observing(daemon.address());
    let mut agent = home.start(None);
    let (mut connection, key) = daemon.admit();
    connection.greet(8, 15);
    connection.apply(6, "six", document(None, &[]));
    connection.status_of(6);

    agent.kill().unwrap();
    connection.cut();
    let mut agent = home.start(None);
    let hello = daemon.accept(&key).greet(8, 15);
    let printed = home.print("desired");
    let ended = agent.terminate(DEADLINE).unwrap();

    assert_eq!(
        hello.applied.map(|applied| applied.generation),
        Some(Generation(6))
    );
    assert!(printed.contains("generation 6"), "{printed}");
    assert!(ended.success(), "SIGTERM ends it cleanly");
    assert!(home.print("status").contains("no; this is what it knew"));
}

#[test]
fn refused_paths_are_told_and_the_others_watched() {
    let daemon = ScriptedDaemon::start(LOOPBACK);
    let home = AgentHome::observing(daemon.address());
    let _agent = home.start(None);
    let (mut connection, _) = daemon.admit();
    connection.greet(8, 15);
    let mut wanted = document(None, &[home.path()]);
    let long = format!("/{}", "x".repeat(5_000));
    for path in ["../etc/passwd", "/etc/../shadow", "/a\0b", "", &long] {
        wanted.monitored_files.push(path.to_owned());
    }

    connection.apply(1, "h", wanted);
    let status = connection.status_of(1);

    let files = condition(&status, FacetCondition::FilesWatched);
    assert_eq!(files.1, "PathRefused");
    fs::write(home.path().join("entry"), "x").unwrap();
    connection.next_event(|event| event.message.contains("entry was created"));
}

#[test]
fn a_second_agent_with_the_same_state_does_not_start() {
    let daemon = ScriptedDaemon::start(LOOPBACK);
    let home = AgentHome::observing(daemon.address());
    let _agent = home.start(None);
    let visit = daemon.next_enrollment();

    let mut second = home.start(None);
    let said = |line: &str| line.contains("another agent runs");
    second.wait_for_line("the reason", DEADLINE, said).unwrap();
    let status = second.wait_exit(DEADLINE).unwrap();

    assert!(!status.success());
    visit.answer(200, r#"{"enrollment":"admitted"}"#);
}
