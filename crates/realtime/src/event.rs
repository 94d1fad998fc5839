//! What a subscription tells its owner.
//! Never decides anything: an event is a hint to look again.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::RealtimeError;

/// One thing the owner should know, in the order it happened on the channel.
#[derive(Debug)]
pub enum Event {
    /// The server receives changes from now on: compare everything. Comes again after every reconnect, after a new
    /// token and whenever the server subscribed anew by itself.
    Ready,
    /// A row changed.
    Change(Change),
    /// A message was broadcast; the first may come before [`Event::Ready`], which speaks of changes.
    Broadcast(Broadcast),
    /// Nothing is received until the next [`Event::Ready`]; the subscription reconnects by itself.
    Lost {
        /// What went wrong.
        error: RealtimeError,
        /// When the next attempt begins.
        retry_in: Duration,
    },
}

/// A change of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Schema of the table.
    pub schema: String,
    /// Name of the table.
    pub table: String,
    /// What happened to the row.
    pub kind: ChangeKind,
    /// The new row; empty for a delete. A missing key is not null: it was not sent.
    pub record: Map<String, Value>,
    /// The old row as far as sent, usually its primary key; empty for an insert.
    pub old: Map<String, Value>,
    /// When the transaction committed, as the server wrote it; ties happen, so never order by it.
    pub commit_timestamp: Option<String>,
    /// False if the server left something out (too large, no primary key, not readable): read the row instead.
    pub intact: bool,
}

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Insert,
    /// It has new values.
    Update,
    /// It is gone.
    Delete,
}

/// A message somebody broadcast on the channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Broadcast {
    /// Name the sender gave it.
    pub event: String,
    /// Its content.
    pub payload: BroadcastPayload,
}

/// Content of a broadcast.
#[derive(Debug, Clone, PartialEq)]
pub enum BroadcastPayload {
    /// A JSON value.
    Json(Value),
    /// Bytes the sender did not describe.
    Binary(Vec<u8>),
}

impl BroadcastPayload {
    /// Gives the JSON value, if it is one.
    #[must_use]
    pub fn as_json(&self) -> Option<&Value> {
        match self {
            Self::Json(value) => Some(value),
            Self::Binary(_) => None,
        }
    }
}
