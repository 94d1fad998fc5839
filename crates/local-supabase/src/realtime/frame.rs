//! Frames as a server reads and writes them, in both protocol versions.
//! Never keeps state and never touches a socket.

use axum::extract::ws::Message;
use serde_json::{Value, json};

/// First byte of a broadcast that a client sends in binary.
const CLIENT_BROADCAST: u8 = 3;
/// First byte of a broadcast that a server sends in binary.
const SERVER_BROADCAST: u8 = 4;
/// Bytes in front of the strings of a client's broadcast: kind, five lengths, encoding.
const CLIENT_BROADCAST_HEAD: usize = 7;

/// Protocol version of one socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// Objects; the server's frames carry no `join_ref`.
    V1,
    /// Arrays, and binary broadcasts.
    V2,
}

impl Version {
    /// Reads the `vsn` parameter; without one, version 1 is meant.
    pub(crate) fn parse(vsn: Option<&str>) -> Option<Self> {
        match vsn {
            None | Some("1.0.0") => Some(Self::V1),
            Some("2.0.0") => Some(Self::V2),
            Some(_) => None,
        }
    }
}

/// One frame of a client.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    /// Reference of the join it belongs to.
    pub(crate) join_ref: Option<String>,
    /// Reference that the reply repeats.
    pub(crate) reference: Option<String>,
    /// Channel.
    pub(crate) topic: String,
    /// What it says.
    pub(crate) content: Content,
}

/// What a frame of a client says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    /// A named event with a JSON payload.
    Event(String, Value),
    /// A broadcast in binary.
    Broadcast(Broadcast),
}

/// A message for everybody on a topic.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Broadcast {
    /// Name the sender gave it.
    pub(crate) event: String,
    /// Its content.
    pub(crate) body: Body,
}

/// Content of a broadcast, and how it came.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Body {
    /// A JSON value in a text frame, with what the server knows about the message.
    Text(Value, Option<Value>),
    /// Bytes of a binary frame; they are JSON if the flag says so.
    Binary {
        /// Whether the bytes are JSON.
        is_json: bool,
        /// The content itself.
        bytes: Vec<u8>,
    },
}

/// Reads a text frame.
pub(crate) fn parse_text(text: &str, version: Version) -> Option<Frame> {
    let value: Value = serde_json::from_str(text).ok()?;
    let part = |name: &str, index: usize| match version {
        Version::V1 => &value[name],
        Version::V2 => &value[index],
    };
    Some(Frame {
        join_ref: reference(part("join_ref", 0)),
        reference: reference(part("ref", 1)),
        topic: part("topic", 2).as_str()?.to_owned(),
        content: Content::Event(
            part("event", 3).as_str()?.to_owned(),
            part("payload", 4).clone(),
        ),
    })
}

/// Reads a binary frame, which is always a broadcast.
pub(crate) fn parse_binary(bytes: &[u8]) -> Option<Frame> {
    let (head, rest) = bytes.split_first_chunk::<CLIENT_BROADCAST_HEAD>()?;
    let [kind, join_ref, reference, topic, event, meta, encoding] = *head;
    if kind != CLIENT_BROADCAST || encoding > 1 {
        return None;
    }
    let (join_ref, rest) = take_string(rest, join_ref)?;
    let (reference, rest) = take_string(rest, reference)?;
    let (topic, rest) = take_string(rest, topic)?;
    let (event, rest) = take_string(rest, event)?;
    let (_meta, payload) = take_string(rest, meta)?;
    let present = |text: String| (!text.is_empty()).then_some(text);
    Some(Frame {
        join_ref: present(join_ref),
        reference: present(reference),
        topic,
        content: Content::Broadcast(Broadcast {
            event,
            body: Body::Binary {
                is_json: encoding == 1,
                bytes: payload.to_vec(),
            },
        }),
    })
}

/// Writes a frame of the server.
pub(crate) fn encode(
    version: Version,
    join_ref: Option<&str>,
    reference: Option<&str>,
    topic: &str,
    event: &str,
    payload: &Value,
) -> Message {
    let frame = match version {
        Version::V1 => {
            json!({ "ref": reference, "topic": topic, "event": event, "payload": payload })
        }
        Version::V2 => json!([join_ref, reference, topic, event, payload]),
    };
    Message::text(frame.to_string())
}

/// Writes a broadcast; version 1 has no way to say bytes that are not JSON.
pub(crate) fn encode_broadcast(
    version: Version,
    topic: &str,
    broadcast: &Broadcast,
) -> Option<Message> {
    let event = &broadcast.event;
    let payload = match (&broadcast.body, version) {
        (Body::Binary { is_json, bytes }, Version::V2) => {
            return encode_binary(topic, event, *is_json, bytes);
        }
        (Body::Binary { is_json: false, .. }, Version::V1) => return None,
        (
            Body::Binary {
                is_json: true,
                bytes,
            },
            Version::V1,
        ) => {
            let payload: Value = serde_json::from_slice(bytes).ok()?;
            json!({ "type": "broadcast", "event": event, "payload": payload })
        }
        (Body::Text(payload, None), _) => {
            json!({ "type": "broadcast", "event": event, "payload": payload })
        }
        (Body::Text(payload, Some(meta)), _) => {
            json!({ "type": "broadcast", "event": event, "payload": payload, "meta": meta })
        }
    };
    Some(encode(version, None, None, topic, "broadcast", &payload))
}

fn encode_binary(topic: &str, event: &str, is_json: bool, payload: &[u8]) -> Option<Message> {
    let length = |text: &str| u8::try_from(text.len()).ok();
    let mut bytes = vec![
        SERVER_BROADCAST,
        length(topic)?,
        length(event)?,
        0,
        u8::from(is_json),
    ];
    bytes.extend_from_slice(topic.as_bytes());
    bytes.extend_from_slice(event.as_bytes());
    bytes.extend_from_slice(payload);
    Some(Message::binary(bytes))
}

/// Clients write references as text; some old ones write numbers.
fn reference(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn take_string(bytes: &[u8], length: u8) -> Option<(String, &[u8])> {
    let (string, rest) = bytes.split_at_checked(usize::from(length))?;
    Some((std::str::from_utf8(string).ok()?.to_owned(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_broadcast(is_json: u8, payload: &[u8]) -> Vec<u8> {
        [&[3, 1, 2, 5, 4, 0, is_json][..], b"611topicname", payload].concat()
    }

    #[test]
    fn both_versions_read_the_same_frame() {
        let first = r#"{"topic":"t","event":"e","payload":{"a":1},"ref":"2","join_ref":"1"}"#;
        let second = r#"["1","2","t","e",{"a":1}]"#;

        let frame = parse_text(first, Version::V1);

        assert!(frame.is_some());
        assert_eq!(frame, parse_text(second, Version::V2));
    }

    #[test]
    fn what_is_no_frame_is_not_read() {
        for text in ["", "[]", "{}", "[1,2,3,4,5]"] {
            assert_eq!(parse_text(text, Version::V1), None, "{text}");
            assert_eq!(parse_text(text, Version::V2), None, "{text}");
        }
        assert_eq!(parse_binary(&[4, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(parse_binary(&[3, 9, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn a_binary_broadcast_reaches_a_version_2_client_as_bytes() {
        let frame = parse_binary(&client_broadcast(1, b"{}")).unwrap();
        let Content::Broadcast(broadcast) = frame.content else {
            panic!("a broadcast")
        };

        let message = encode_broadcast(Version::V2, &frame.topic, &broadcast);

        assert_eq!(
            message,
            Some(Message::binary(b"\x04\x05\x04\x00\x01topicname{}".to_vec()))
        );
        assert_eq!(
            (frame.join_ref.as_deref(), frame.reference.as_deref()),
            (Some("6"), Some("11"))
        );
    }

    #[test]
    fn a_binary_broadcast_of_json_reaches_a_version_1_client_as_text() {
        let frame = parse_binary(&client_broadcast(1, b"{\"n\":1}")).unwrap();
        let Content::Broadcast(broadcast) = frame.content else {
            panic!("a broadcast")
        };

        let message = encode_broadcast(Version::V1, &frame.topic, &broadcast).unwrap();

        let text: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
        let payload = json!({"type": "broadcast", "event": "name", "payload": {"n": 1}});
        assert_eq!(
            text,
            json!({"ref": null, "topic": "topic", "event": "broadcast", "payload": payload})
        );
    }

    #[test]
    fn bytes_that_are_not_json_cannot_reach_a_version_1_client() {
        let frame = parse_binary(&client_broadcast(0, &[255])).unwrap();
        let Content::Broadcast(broadcast) = frame.content else {
            panic!("a broadcast")
        };

        assert_eq!(encode_broadcast(Version::V1, "topic", &broadcast), None);
    }
}
