//! What to subscribe to, as whom, and how patient to be; every default carries its reason.
//! Never opens a connection.

use std::time::Duration;

use tokio::sync::watch;

use crate::{Backoff, Secret};

/// Everything a [`crate::Subscription`] needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address of the project: `https://<ref>.supabase.co` or `http://127.0.0.1:<port>`.
    ///
    /// `/realtime/v1/websocket` is added, unless the path already ends in `/websocket`.
    pub url: String,
    /// Key that opens the socket: `sb_secret_…`, `sb_publishable_…` or a legacy JWT key.
    pub api_key: Secret,
    /// Who the channel is joined as.
    pub access_token: AccessToken,
    /// What is joined.
    pub channel: Channel,
    /// Pause between heartbeats; the server hangs up after about 60 s without a frame.
    pub heartbeat_interval: Duration,
    /// Longest wait for the answer to a join or a heartbeat; servers delay a refusal by 5 s.
    pub reply_deadline: Duration,
    /// Longest wait for `system ok` after the join or after a new token; a cold tenant needs several retries of 1–3 s.
    pub system_ok_deadline: Duration,
    /// Longest wait for TCP, TLS and the upgrade together; servers delay a refusal by 2 s.
    pub connect_deadline: Duration,
    /// How long to wait before connecting again.
    pub backoff: Backoff,
    /// Certificate authorities trusted beside the machine's own, in DER: for a self-hosted project.
    pub extra_roots: Vec<Vec<u8>>,
}

impl Config {
    /// Builds a configuration that joins `channel` with the key's own role and the default patience.
    pub fn new(url: impl Into<String>, api_key: impl Into<Secret>, channel: Channel) -> Self {
        Self {
            url: url.into(),
            api_key: api_key.into(),
            access_token: AccessToken::ApiKey,
            channel,
            // A quarter of the server's limit: a dead peer is noticed in 25 s at most.
            heartbeat_interval: Duration::from_secs(15),
            reply_deadline: Duration::from_secs(10),
            system_ok_deadline: Duration::from_secs(30),
            connect_deadline: Duration::from_secs(15),
            backoff: Backoff::default(),
            extra_roots: Vec::new(),
        }
    }
}

/// Where the token of a join comes from.
#[derive(Debug, Clone)]
pub enum AccessToken {
    /// The API key is the identity; the server derives the role from it.
    ApiKey,
    /// The newest value of a watch: every join uses it, and a change is sent on the joined channel.
    Watched(watch::Receiver<Secret>),
}

/// One Realtime channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Name of the channel, without the `realtime:` prefix.
    pub topic: String,
    /// Asks the server to authorize the join by row level security on `realtime.messages`.
    pub private: bool,
    /// Database changes to receive.
    pub changes: Vec<ChangeFilter>,
    /// Receives broadcast messages as well.
    pub broadcast: bool,
}

impl Channel {
    /// Starts a description of a public channel that receives nothing yet.
    pub fn new(topic: impl Into<String>) -> Self {
        Self {
            topic: topic.into(),
            private: false,
            changes: Vec::new(),
            broadcast: false,
        }
    }

    /// Makes the channel private.
    #[must_use]
    pub fn private(mut self) -> Self {
        self.private = true;
        self
    }

    /// Adds broadcast messages.
    #[must_use]
    pub fn broadcast(mut self) -> Self {
        self.broadcast = true;
        self
    }

    /// Adds every change of one table.
    #[must_use]
    pub fn changes(mut self, schema: impl Into<String>, table: impl Into<String>) -> Self {
        let (schema, table) = (schema.into(), table.into());
        self.changes.push(ChangeFilter {
            schema,
            table,
            event: ChangeEvent::Any,
        });
        self
    }
}

/// Which changes of which table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeFilter {
    /// Schema of the table, or `*`.
    pub schema: String,
    /// Name of the table, or `*`.
    pub table: String,
    /// Kind of change.
    pub event: ChangeEvent,
}

/// Kinds of change a filter lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeEvent {
    /// All of them.
    Any,
    /// New rows.
    Insert,
    /// Changed rows.
    Update,
    /// Removed rows.
    Delete,
}

impl ChangeEvent {
    /// Gives the name the protocol uses.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Any => "*",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}
