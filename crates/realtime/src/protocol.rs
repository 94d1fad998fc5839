//! Frames of protocol version 2.0.0: text in both directions, binary broadcasts from the server.
//! Never keeps state and never touches a socket.

use serde_json::{Value, json};

use crate::event::{Broadcast, BroadcastPayload};

/// Topic of the frames that belong to the socket and not to a channel.
pub(crate) const SOCKET_TOPIC: &str = "phoenix";

/// First byte of a broadcast that the server sends in binary.
const SERVER_BROADCAST: u8 = 4;
/// Bytes in front of the strings of such a frame: kind, three lengths, encoding.
const SERVER_BROADCAST_HEAD: usize = 5;

/// Why a frame cannot be understood; names the part, never its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Undecodable(pub(crate) &'static str);

/// One text frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    /// Reference of the join the frame belongs to.
    pub(crate) join_ref: Option<String>,
    /// Reference a reply repeats.
    pub(crate) reference: Option<String>,
    /// Channel, or [`SOCKET_TOPIC`].
    pub(crate) topic: String,
    /// What the frame says.
    pub(crate) event: String,
    /// Its content.
    pub(crate) payload: Value,
}

impl Frame {
    /// Writes the frame.
    pub(crate) fn encode(&self) -> String {
        json!([
            self.join_ref,
            self.reference,
            self.topic,
            self.event,
            self.payload
        ])
        .to_string()
    }
}

/// Reads a text frame.
pub(crate) fn parse_text(text: &str) -> Result<Frame, Undecodable> {
    let (join_ref, reference, topic, event, payload) =
        serde_json::from_str(text).map_err(|_| Undecodable("text frame"))?;
    Ok(Frame {
        join_ref,
        reference,
        topic,
        event,
        payload,
    })
}

/// Reads a binary frame: the topic and the broadcast on it.
pub(crate) fn parse_binary(bytes: &[u8]) -> Result<(String, Broadcast), Undecodable> {
    let (head, rest) = bytes
        .split_first_chunk::<SERVER_BROADCAST_HEAD>()
        .ok_or(Undecodable("binary head"))?;
    let [kind, topic_len, event_len, meta_len, encoding] = *head;
    if kind != SERVER_BROADCAST {
        return Err(Undecodable("binary kind"));
    }
    let (topic, rest) = take_string(rest, topic_len)?;
    let (event, rest) = take_string(rest, event_len)?;
    let (_meta, payload) = take_string(rest, meta_len)?;
    let payload = match encoding {
        0 => BroadcastPayload::Binary(payload.to_vec()),
        1 => BroadcastPayload::Json(
            serde_json::from_slice(payload).map_err(|_| Undecodable("binary payload"))?,
        ),
        _ => return Err(Undecodable("binary encoding")),
    };
    Ok((topic, Broadcast { event, payload }))
}

fn take_string(bytes: &[u8], len: u8) -> Result<(String, &[u8]), Undecodable> {
    let (string, rest) = bytes
        .split_at_checked(usize::from(len))
        .ok_or(Undecodable("binary length"))?;
    let string = std::str::from_utf8(string).map_err(|_| Undecodable("binary string"))?;
    Ok((string.to_owned(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(topic: &str, event: &str, meta: &str, encoding: u8, payload: &[u8]) -> Vec<u8> {
        let length = |text: &str| u8::try_from(text.len()).unwrap();
        let mut bytes = vec![4, length(topic), length(event), length(meta), encoding];
        for part in [topic.as_bytes(), event.as_bytes(), meta.as_bytes(), payload] {
            bytes.extend_from_slice(part);
        }
        bytes
    }

    #[test]
    fn a_heartbeat_is_written_as_the_official_client_writes_it() {
        let frame = Frame {
            join_ref: None,
            reference: Some("11".into()),
            topic: "phoenix".into(),
            event: "heartbeat".into(),
            payload: json!({}),
        };

        assert_eq!(frame.encode(), r#"[null,"11","phoenix","heartbeat",{}]"#);
    }

    #[test]
    fn a_text_frame_survives_the_round_trip() {
        let frame = Frame {
            join_ref: Some("1".into()),
            reference: None,
            topic: "realtime:x".into(),
            event: "broadcast".into(),
            payload: json!({"event": "ö", "payload": [1, null]}),
        };

        assert_eq!(parse_text(&frame.encode()), Ok(frame));
    }

    #[test]
    fn anything_but_five_parts_is_refused() {
        for text in [
            "",
            "{}",
            "[]",
            r#"["1","2","t","e"]"#,
            r#"["1","2","t","e",{},1]"#,
            "[1,2,3,4,5]",
        ] {
            assert_eq!(parse_text(text), Err(Undecodable("text frame")), "{text}");
        }
    }

    #[test]
    fn a_binary_broadcast_with_json_is_read() {
        let bytes = binary("realtime:feed", "generation", "{}", 1, br#"{"n":7}"#);

        let (topic, broadcast) = parse_binary(&bytes).unwrap();

        assert_eq!(topic, "realtime:feed");
        assert_eq!(broadcast.event, "generation");
        assert_eq!(broadcast.payload.as_json(), Some(&json!({"n": 7})));
    }

    #[test]
    fn a_binary_broadcast_with_bytes_is_read() {
        let bytes = binary("t", "e", "", 0, &[0, 255]);

        let (_, broadcast) = parse_binary(&bytes).unwrap();

        assert_eq!(broadcast.payload, BroadcastPayload::Binary(vec![0, 255]));
    }

    #[test]
    fn every_truncation_of_a_binary_frame_is_refused_or_shorter() {
        let whole = binary("topic", "event", "{}", 1, b"{}");
        let head = whole.len() - 2;

        for length in 0..head {
            assert!(parse_binary(&whole[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn wrong_kind_encoding_and_text_of_a_binary_frame_are_named() {
        let mut kind = binary("t", "e", "", 1, b"{}");
        kind[0] = 3;

        assert_eq!(parse_binary(&kind), Err(Undecodable("binary kind")));
        assert_eq!(
            parse_binary(&binary("t", "e", "", 2, b"")),
            Err(Undecodable("binary encoding"))
        );
        assert_eq!(
            parse_binary(&binary("t", "e", "", 1, b"{")),
            Err(Undecodable("binary payload"))
        );
        assert_eq!(
            parse_binary(&[4, 1, 0, 0, 0, 255]),
            Err(Undecodable("binary string"))
        );
    }
}
