//! Frames from the daemon to an agent: a closed set of commands and questions.
//! There is no verb to run a program and no free text an agent would act on.
//!
//! The longest frames there are go this way. So `type` comes first in them, and what follows is read
//! into its place at once: the derived decoder would first keep all of it as values of no type, which
//! take up to thirty times the room of the text.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use crate::desired::DesiredDocument;
use crate::ids::{ContentHash, Generation};
use crate::question::Question;

/// A frame from the daemon to an agent.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DaemonFrame {
    /// The answer to `hello`.
    Welcome(Welcome),
    /// Become this.
    Apply(Apply),
    /// Batches up to `seq` were taken in; so many more may be sent.
    Ack {
        /// The highest batch number that was taken in.
        seq: u64,
        /// Batches that may be in flight beyond `seq`.
        credit: u32,
    },
    /// A question, to be answered within seconds.
    Ask {
        /// Comes back in the answer.
        id: Uuid,
        /// What is asked.
        question: Question,
    },
    /// The daemon closes this connection.
    Goodbye(RetryAdvice),
}

/// What holds for this connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Welcome {
    /// [`crate::PROTOCOL_VERSION`] of the daemon.
    pub protocol: u32,
    /// Batches the agent may send before the first acknowledgement.
    pub credit: u32,
    /// Seconds between the agent's WebSocket pings.
    pub heartbeat_secs: u32,
}

/// A whole desired document.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// Older than the ledger: refused. Equal with the same hash: acknowledged.
    pub generation: Generation,
    /// The hash of the document as the database computed it.
    pub hash: ContentHash,
    /// All that is desired of the host.
    pub document: DesiredDocument,
}

/// Why the daemon closes and when to come back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryAdvice {
    /// One sentence for the agent's log.
    pub reason: String,
    /// Milliseconds to wait before the next connect.
    pub retry_ms: u32,
}

/// The key that comes first.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum FirstKey {
    Type,
}

/// The value of that key.
#[derive(Deserialize)]
#[serde(variant_identifier, rename_all = "snake_case")]
enum FrameType {
    Welcome,
    Apply,
    Ack,
    Ask,
    Goodbye,
}

/// The fields of an acknowledgement.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ack {
    seq: u64,
    credit: u32,
}

/// The fields of a question.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    id: Uuid,
    question: Question,
}

impl<'de> Deserialize<'de> for DaemonFrame {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TypeFirst)
    }
}

struct TypeFirst;

impl<'de> Visitor<'de> for TypeFirst {
    type Value = DaemonFrame;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a frame whose type comes first")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<DaemonFrame, A::Error> {
        let Some(FirstKey::Type) = fields.next_key()? else {
            return Err(A::Error::missing_field("type"));
        };
        let frame_type = fields.next_value()?;
        let rest = MapAccessDeserializer::new(fields);
        Ok(match frame_type {
            FrameType::Welcome => DaemonFrame::Welcome(Welcome::deserialize(rest)?),
            FrameType::Apply => DaemonFrame::Apply(Apply::deserialize(rest)?),
            FrameType::Ack => {
                let Ack { seq, credit } = Ack::deserialize(rest)?;
                DaemonFrame::Ack { seq, credit }
            }
            FrameType::Ask => {
                let Ask { id, question } = Ask::deserialize(rest)?;
                DaemonFrame::Ask { id, question }
            }
            FrameType::Goodbye => DaemonFrame::Goodbye(RetryAdvice::deserialize(rest)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode;

    #[test]
    fn a_frame_is_read_only_if_its_type_comes_first_and_is_a_word() {
        let read = |text: &str| decode::<DaemonFrame>(text, text.len()).ok();
        let frame = DaemonFrame::Ack { seq: 1, credit: 2 };

        assert_eq!(read(r#"{"type":"ack","credit":2,"seq":1}"#), Some(frame));
        for refused in [
            r#"{"seq":1,"type":"ack","credit":2}"#,
            r#"{"seq":1,"credit":2}"#,
            r#"{"type":2,"seq":1,"credit":2}"#,
            r#"{"type":{"ack":null},"seq":1,"credit":2}"#,
            r#"{"type":"ack","type":"ack","seq":1,"credit":2}"#,
            r#"{"type":"ack","seq":1,"credit":2,"x":1}"#,
            r#"["ack",1,2]"#,
            "{}",
        ] {
            assert_eq!(read(refused), None, "{refused}");
        }
    }
}
