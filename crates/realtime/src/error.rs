//! What can go wrong with a subscription, and what cures it.
//! Never carries a key, a token or a URL's query.

use std::io;
use std::time::Duration;

use thiserror::Error;
use tokio_tungstenite::tungstenite;

use crate::refusal::JoinRefusal;

/// Why a configuration cannot be used at all.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The address is not `http(s)://host[:port][/path]`.
    #[error("parse the project address: {reason}")]
    Url {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The API key holds characters no key has.
    #[error("check the api key: it may hold only letters, digits, '.', '_' and '-'")]
    ApiKey,
    /// The topic is empty.
    #[error("check the topic: it must not be empty")]
    Topic,
    /// A secure address is given, but this build or this machine cannot verify certificates.
    #[error("prepare tls: {reason}")]
    Tls {
        /// What is missing.
        reason: String,
    },
}

/// Why nothing is received.
#[derive(Debug, Error)]
pub enum RealtimeError {
    /// No TCP or TLS connection came about.
    #[error("connect to {host}:{port}")]
    Connect {
        /// Name or address of the server.
        host: String,
        /// Its port.
        port: u16,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The connection took too long.
    #[error("connect within {0:?}")]
    ConnectDeadline(Duration),
    /// The server answered the upgrade with an HTTP status.
    #[error("open the socket: refused with http status {status}: {reason}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The server's words, cut.
        reason: String,
    },
    /// The answer to the upgrade was no WebSocket answer.
    #[error("open the socket")]
    Upgrade {
        /// What was wrong with it.
        #[source]
        source: Box<tungstenite::Error>,
    },
    /// The server refused the join.
    #[error("join the channel: {refusal:?}: {reason}")]
    JoinRefused {
        /// What the code means.
        refusal: JoinRefusal,
        /// The server's words, cut.
        reason: String,
    },
    /// The join was not answered.
    #[error("join the channel within {0:?}")]
    JoinDeadline(Duration),
    /// A heartbeat was not answered.
    #[error("get a heartbeat answered within {0:?}")]
    HeartbeatDeadline(Duration),
    /// The server never said that it receives changes.
    #[error("get database changes confirmed within {0:?}")]
    SystemOkDeadline(Duration),
    /// The server reported a failure of the channel.
    #[error("stay subscribed: the server says: {message}")]
    System {
        /// The server's words, cut.
        message: String,
    },
    /// The server closed the channel.
    #[error("stay joined: the server closed the channel")]
    ChannelClosed,
    /// The channel crashed on the server.
    #[error("stay joined: the channel crashed on the server")]
    ChannelCrashed,
    /// The server closed the socket.
    #[error("stay connected: the server closed the socket (code {code:?})")]
    SocketClosed {
        /// The close code, if one was sent.
        code: Option<u16>,
    },
    /// The socket broke.
    #[error("stay connected")]
    Socket {
        /// What the system said.
        #[source]
        source: Box<tungstenite::Error>,
    },
    /// The server sent something that cannot be understood, so a change may have been missed.
    #[error("decode a frame: {what}")]
    Undecodable {
        /// Which part.
        what: &'static str,
    },
    /// The owner no longer believed the connection.
    #[error("stay subscribed: the owner doubts the connection: {reason}")]
    Doubted {
        /// The owner's reason.
        reason: &'static str,
    },
    /// A change came for a subscription this join did not make.
    #[error("match a change to a subscription of this join")]
    UnknownSubscription,
}

/// What cures an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Trying again soon.
    Retry,
    /// Another access token.
    NewToken,
    /// Trying again much later.
    SlowDown,
    /// A change of configuration; trying again is only a courtesy.
    GiveUp,
}

impl RealtimeError {
    /// Tells what cures this error.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Refused { status, .. } => remedy_of_status(*status),
            Self::JoinRefused { refusal, .. } => refusal.remedy(),
            Self::System { message } => remedy_of_system_message(message),
            Self::Connect { .. }
            | Self::ConnectDeadline(_)
            | Self::Upgrade { .. }
            | Self::JoinDeadline(_)
            | Self::HeartbeatDeadline(_)
            | Self::SystemOkDeadline(_)
            | Self::ChannelClosed
            | Self::ChannelCrashed
            | Self::Doubted { .. }
            | Self::SocketClosed { .. }
            | Self::Socket { .. }
            | Self::Undecodable { .. }
            | Self::UnknownSubscription => Remedy::Retry,
        }
    }
}

fn remedy_of_status(status: u16) -> Remedy {
    match status {
        // The socket is opened with the API key, never with the access token.
        401 | 403 | 404 => Remedy::GiveUp,
        429 => Remedy::SlowDown,
        _ => Remedy::Retry,
    }
}

fn remedy_of_system_message(message: &str) -> Remedy {
    let words = message.to_ascii_lowercase();
    if words.contains("token") || words.contains("jwt") {
        Remedy::NewToken
    } else if words.contains("too many") || words.contains("rate limit") {
        Remedy::SlowDown
    } else {
        Remedy::Retry
    }
}
