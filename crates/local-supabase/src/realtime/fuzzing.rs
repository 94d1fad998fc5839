//! Doors for the fuzz targets of this repository, and for nobody else: the two decoders of the stand-in.
//! Never part of what this crate promises.

use super::frame::{
    Broadcast, Content, Frame, Version, encode, encode_broadcast, parse_binary, parse_text,
};
use super::join::Join;
use super::pgoutput::{Cell, LogMessage, parse_message};

/// Reads a message of the log and gives how many bytes of text and how many cells it holds, unless it is refused.
#[must_use]
pub fn weigh_log_message(data: &[u8]) -> Option<usize> {
    let weigh = |cells: &[Cell]| -> usize {
        let weight = |cell: &Cell| match cell {
            Cell::Null | Cell::Unchanged => 1,
            Cell::Text(text) => 1 + text.len(),
        };
        cells.iter().map(weight).sum()
    };
    Some(match parse_message(data).ok()? {
        LogMessage::Begin { .. } | LogMessage::Other => 0,
        LogMessage::Relation(relation) => {
            let columns: usize = relation.columns.iter().map(|name| 1 + name.len()).sum();
            relation.schema.len() + relation.table.len() + columns
        }
        LogMessage::Insert { new, .. } => weigh(&new),
        LogMessage::Update { old, new, .. } => weigh(&old.unwrap_or_default()) + weigh(&new),
        LogMessage::Delete { old, .. } => weigh(&old),
    })
}

/// Reads a client's frame in every form it could have, and writes what a broadcast in it becomes for others.
pub fn read_client_frame(data: &[u8]) {
    let text = std::str::from_utf8(data).ok();
    let texts = [Version::V1, Version::V2].map(|version| parse_text(text?, version));
    for frame in texts.into_iter().chain([parse_binary(data)]).flatten() {
        let Frame { topic, content, .. } = frame;
        match content {
            Content::Event(_, payload) => drop(Join::parse(&payload)),
            Content::Broadcast(broadcast) => relay(&topic, &broadcast),
        }
    }
}

/// Writes a broadcast for clients of both versions; what the first can read, it reads as the same event.
fn relay(topic: &str, broadcast: &Broadcast) {
    let (first, second) = (
        encode_broadcast(Version::V1, topic, broadcast),
        encode_broadcast(Version::V2, topic, broadcast),
    );
    assert!(second.is_some(), "version 2 takes every broadcast");
    let Some(first) = first else {
        return;
    };
    let text = first.to_text().expect("version 1 is text");
    let read = parse_text(text, Version::V1).expect("our own text is read");
    let Content::Event(event, payload) = read.content else {
        panic!("a text frame is an event");
    };
    assert_eq!((read.topic.as_str(), event.as_str()), (topic, "broadcast"));
    assert_eq!(payload["event"], broadcast.event);
    drop(encode(Version::V2, None, None, topic, &event, &payload));
}
