//! Daemons that are wrong before the first frame.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use super::LOOPBACK;
use crate::harness::AgentHome;
use crate::scripted_daemon::{DEADLINE, ScriptedDaemon, Visit};

/// Answers a connect with bytes, and returns the nonce that it was made with.
fn answer(daemon: &ScriptedDaemon, bytes: impl FnOnce(&str) -> Vec<u8>) -> TcpStream {
    let Visit::Connect(mut stream) = daemon.next_visit() else {
        panic!("the agent enrolls instead of connecting");
    };
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        request.push(byte[0]);
    }
    let request = String::from_utf8(request).unwrap();
    let key = request.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("sec-websocket-key")
            .then_some(value)
    });
    let key = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.unwrap().as_bytes());
    // It may hang up before all is said.
    stream.write_all(&bytes(&key)).ok();
    stream
}

fn accepted(key: &str, more: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {key}\r\n{more}\r\n"
    )
    .into_bytes()
}

/// What a daemon answers, given the key that accepts.
type AnswerText = fn(&str) -> Vec<u8>;

#[test]
fn a_handshake_that_is_wrong_is_refused_in_words_and_tried_again() {
    let attacks: [(&str, AnswerText); 8] = [
        ("a WebSocket of nobody's making", |_| {
            accepted("d3Jvbmc=", "")
        }),
        ("an extension", |key| {
            accepted(key, "Sec-WebSocket-Extensions: permessage-deflate\r\n")
        }),
        ("another protocol", |key| {
            accepted(key, "Sec-WebSocket-Protocol: shell\r\n")
        }),
        ("no HTTP", |_| b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()),
        ("bytes", |_| vec![0xff; 5_000]),
        ("a header without end", |_| {
            [b"HTTP/1.1 101 X\r\na: ".as_slice(), &[b'a'; 1_000_000]].concat()
        }),
        ("headers without end", |_| {
            [
                b"HTTP/1.1 101 X\r\n".as_slice(),
                &b"a: b\r\n".repeat(100_000),
            ]
            .concat()
        }),
        ("a failure", |_| {
            b"HTTP/1.1 503 X\r\nRetry-After: 1\r\nContent-Length: 5\r\n\r\nlater".to_vec()
        }),
    ];

    thread::scope(|scope| {
        for (what, bytes) in attacks {
            scope.spawn(move || {
                let daemon = ScriptedDaemon::start(LOOPBACK);
                let home = AgentHome::observing(daemon.address());
                let mut agent = home.start(None);
                let visit = daemon.next_enrollment();
                let key = visit.request.public_key.clone();
                visit.answer(200, r#"{"enrollment":"admitted"}"#);

                let stream = answer(&daemon, bytes);
                let down = |line: &str| line.contains("the link is down");
                let line = agent.wait_for_line(what, DEADLINE, down).unwrap();
                stream.shutdown(Shutdown::Both).ok();
                daemon.accept(&key).greet(8, 15);

                let said = [
                    "does not speak WebSocket here",
                    "an extension of WebSocket",
                    "HTTP status 503",
                ];
                assert!(
                    said.iter().any(|words| line.contains(words)),
                    "{what}: {line}"
                );
                let log = agent.log();
                assert!(!log.contains("panicked"), "{what}: {log}");
            });
        }
    });
}

#[test]
fn a_redirect_is_never_followed_neither_at_enrollment_nor_at_connect() {
    let daemon = ScriptedDaemon::start(LOOPBACK);
    let elsewhere = ScriptedDaemon::start(LOOPBACK);
    let location = format!("http://{}/v1/agents/connect", elsewhere.address());
    let home = AgentHome::observing(daemon.address());
    let mut command = home.command("run");
    command.env("HIDPS_TOKEN", "hidps_token");
    let mut agent = hidps_lab::command::Running::start("hidps-agent", command).unwrap();

    let visit = daemon.next_enrollment();
    visit.redirect(307, &location);
    let says = |line: &str| line.contains("a redirect, which is never followed");
    agent.wait_for_line("the reason", DEADLINE, says).unwrap();
    let visit = daemon.next_enrollment();
    let key = visit.request.public_key.clone();
    visit.answer(200, r#"{"enrollment":"admitted"}"#);
    answer(&daemon, |_| {
        format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
            .into_bytes()
    });
    let says = |line: &str| line.contains("HTTP status 302 Found, a redirect");
    agent.wait_for_line("the reason", DEADLINE, says).unwrap();
    daemon.accept(&key).greet(8, 15);

    assert!(elsewhere.is_left_alone_for(Duration::from_millis(100)));
}

#[test]
fn a_handshake_that_comes_byte_by_byte_is_given_up() {
    let daemon = ScriptedDaemon::start(LOOPBACK);
    let home = AgentHome::observing(daemon.address());
    let mut agent = home.start(None);
    let visit = daemon.next_enrollment();
    let key = visit.request.public_key.clone();
    visit.answer(200, r#"{"enrollment":"admitted"}"#);

    let mut stream = answer(&daemon, |_| b"HTTP/1.1 101 X\r\na: ".to_vec());
    let dribble = thread::spawn(move || {
        while stream.write_all(b"a").is_ok() {
            // Many more bytes at once would look like an attack before the time is up.
            thread::sleep(Duration::from_millis(500));
        }
    });
    let says = |line: &str| line.contains("did not answer the connect within 20 s");
    let given_up = agent.wait_for_line("the reason", 3 * DEADLINE, says);

    given_up.unwrap();
    dribble.join().unwrap();
    daemon.accept(&key).greet(8, 15);
}
