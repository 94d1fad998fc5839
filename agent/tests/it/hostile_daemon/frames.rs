//! Frames that are none of the protocol, and bytes that are no frames.

use std::thread;

use tokio_tungstenite::tungstenite::Message;

use super::Victim;

/// Frames that are refused one by one; there are fewer than end a connection.
const REFUSED: [(&str, &str); 14] = [
    ("no JSON", "run id"),
    (
        "an order to run something",
        r#"{"type":"run","command":"id"}"#,
    ),
    ("an agent's frame", r#"{"type":"hello","protocol":1}"#),
    ("no frame at all", "null"),
    (
        "a list",
        r#"[{"type":"goodbye","reason":"x","retry_ms":1}]"#,
    ),
    ("a number for a type", r#"{"type":7}"#),
    (
        "two types",
        r#"{"type":"ack","type":"ack","seq":0,"credit":1}"#,
    ),
    (
        "an unknown field",
        r#"{"type":"ack","seq":0,"credit":1,"exec":"id"}"#,
    ),
    (
        "an unknown field of a document",
        r#"{"type":"apply","generation":1,"hash":"h","document":{"firewall_enabled":null,"script":"id"}}"#,
    ),
    (
        "a field said twice",
        r#"{"type":"apply","generation":1,"generation":9,"hash":"h","document":{"firewall_enabled":null}}"#,
    ),
    (
        "a generation below zero",
        r#"{"type":"apply","generation":-1,"hash":"h","document":{"firewall_enabled":null}}"#,
    ),
    (
        "more credit than a number holds",
        r#"{"type":"ack","seq":0,"credit":18446744073709551615}"#,
    ),
    (
        "an acknowledgement of what was never sent",
        r#"{"type":"ack","seq":18446744073709551615,"credit":1}"#,
    ),
    (
        "an unknown question",
        r#"{"type":"ask","id":"7d444840-9dc0-11d1-b245-5ffdce74fad2","question":{"read_file":"/etc/shadow"}}"#,
    ),
];

#[test]
fn what_is_no_frame_of_the_protocol_is_refused_and_the_link_goes_on() {
    let mut victim = Victim::greet();

    for (_, text) in REFUSED {
        victim.connection.send_raw(Message::text(text));
    }
    victim.still_obeys(1);

    let log = victim.agent.log();
    let n_refused = log.matches("refused a frame of the daemon").count();
    assert_eq!(n_refused, REFUSED.len(), "{log}");
    // What a frame holds is never quoted.
    assert!(
        !log.contains("/etc/shadow") && !log.contains("exec"),
        "{log}"
    );
}

#[test]
fn nests_without_end_are_refused_and_the_link_goes_on() {
    let mut victim = Victim::greet();

    for unit in ["[", "{\"a\":", "{\"type\":\"apply\",\"document\":"] {
        victim
            .connection
            .send_raw(Message::text(unit.repeat(1_000_000 / unit.len())));
    }
    let deep = format!(
        r#"{{"type":"ask","id":{}{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    victim.connection.send_raw(Message::text(deep));

    victim.still_obeys(1);
}

/// A frame of WebSocket as a server writes it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    let mut bytes = vec![first];
    if length < 126 {
        bytes.push(u8::try_from(length).unwrap());
    } else {
        bytes.push(126);
        bytes.extend(length.to_be_bytes());
    }
    bytes.extend(payload);
    bytes
}

/// The beginning of a frame that claims to be so long.
fn claim(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first, 127];
    bytes.extend(length.to_be_bytes());
    bytes
}

#[test]
fn bytes_that_are_no_websocket_end_the_connection_and_the_agent_comes_back() {
    let mut piece = frame(0x00, &[b'x'; 60_000]);
    let endless: Vec<u8> = frame(0x01, b"x")
        .into_iter()
        .chain(std::iter::repeat_with(|| piece.clone()).take(200).flatten())
        .collect();
    let mut masked = vec![0x81, 0x80 | 2, 1, 2, 3, 4];
    masked.extend([1, 2]);
    piece.truncate(10);
    let attacks: [(&str, Vec<u8>); 10] = [
        ("text that is not UTF-8", frame(0x81, &[0xff, 0xfe, 0xc0])),
        ("a packed frame", frame(0xc1, &[0x4a, 0x4c, 0x02, 0x00])),
        ("an opcode there is not", frame(0x83, b"x")),
        ("a frame of 2^62 bytes", claim(0x81, 1 << 62)),
        ("a frame just too long", claim(0x81, 8 * 1024 * 1024 + 1)),
        ("pieces without end", endless),
        ("a piece of nothing", frame(0x80, b"x")),
        ("a ping in pieces", frame(0x09, b"x")),
        ("a ping that is too long", frame(0x89, &[b'x'; 200])),
        ("a masked frame", masked),
    ];

    thread::scope(|scope| {
        for (what, bytes) in attacks {
            scope.spawn(move || {
                let mut victim = Victim::greet();
                // It may have had enough before all of them are sent.
                victim.connection.try_send_bytes(&bytes);
                victim.says("the link is down");
                victim.comes_back();
                let log = victim.agent.log();
                let is_told = log.contains("the connection broke");
                assert!(is_told, "{what}: {log}");
            });
        }
    });
}

#[test]
fn binary_frames_are_refused_and_too_many_of_them_end_the_connection() {
    let mut victim = Victim::greet();

    victim.connection.send_raw(Message::binary(vec![0; 70_000]));
    victim.still_obeys(1);
    for _ in 0..16 {
        victim.connection.try_send_raw(Message::binary(vec![0; 9]));
    }

    victim.says("a binary frame");
    victim.says("frames that are not of the protocol");
    victim.comes_back();
}
