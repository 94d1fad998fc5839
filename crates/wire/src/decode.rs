//! Text to frames and back, with errors that say what was wrong and where.
//! It never panics on input; every decoder here is a fuzz target.

use serde::{Deserialize, Serialize};

/// Why a frame was refused.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The text is longer than this kind of peer may send.
    #[error("a frame of {size} bytes is larger than the {limit} bytes allowed")]
    TooLarge {
        /// Bytes received.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The text is not JSON.
    #[error("the frame is not JSON (line {line}, column {column})")]
    NotJson {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// The text is JSON, but not a frame this peer may send. What stands there is not quoted: it
    /// may be a piece of a log line, and this error is logged and stored.
    #[error("the frame is not one of the protocol (line {line}, column {column})")]
    Unknown {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
}

/// Reads a frame of at most `limit` bytes.
///
/// # Errors
/// Says whether the frame was too large, not JSON, or not a frame of this type.
pub fn decode<'a, T: Deserialize<'a>>(text: &'a str, limit: usize) -> Result<T, DecodeError> {
    if text.len() > limit {
        return Err(DecodeError::TooLarge {
            size: text.len(),
            limit,
        });
    }
    serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        if error.is_data() {
            DecodeError::Unknown { line, column }
        } else {
            DecodeError::NotJson { line, column }
        }
    })
}

/// Writes a frame as one JSON object.
///
/// # Panics
/// Never: frames have string keys and no failing serializers.
#[must_use]
pub fn encode<T: Serialize>(frame: &T) -> String {
    serde_json::to_string(frame).expect("a frame always has a JSON form")
}

/// The `type` of a frame; the rest is skipped over without being built, so that a batch of events
/// is turned into events only once.
#[must_use]
pub fn frame_type(text: &str) -> Option<crate::Text<'_>> {
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(rename = "type", borrow)]
        name: crate::Text<'a>,
    }
    serde_json::from_str::<Typed<'_>>(text)
        .ok()
        .map(|typed| typed.name)
}
