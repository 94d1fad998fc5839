//! Frames from the daemon to an agent: a closed set of commands and questions.
//! There is no verb to run a program and no free text an agent would act on.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::desired::DesiredDocument;
use crate::ids::{ContentHash, Generation};
use crate::question::Question;

/// A frame from the daemon to an agent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
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
