//! One connection: hello and welcome, then reading and writing side by side until one ends.
//! It remembers nothing beyond its end.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hidps_wire::{
    AgentFrame, DaemonFrame, DecodeError, Hello, PROTOCOL_VERSION, RetryAdvice, Welcome, decode,
    encode,
};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{self, Message};

use super::handshake::Socket;
use super::reader::Reader;
use super::writer::Writer;
use super::{Link, LinkState, MAX_QUOTE_BYTES};
use crate::firewall::Firewall;
use crate::host_facts::AGENT_VERSION;
use crate::text::printable;

/// The daemon answers hello from what it holds in memory.
const WELCOME_DEADLINE: Duration = Duration::from_secs(15);

/// What comes first is a hundred bytes, or a goodbye with its sentence.
const MAX_WELCOME_BYTES: usize = 64 * 1024;

/// Questions that wait for the writer; more are refused by the daemon's own limit.
const QUESTION_QUEUE: usize = 8;

/// Heartbeats outside of this range are a mistake of the daemon.
const HEARTBEAT_SECS: std::ops::RangeInclusive<u32> = 1..=300;

/// A daemon that sent nothing, not even the answer to a ping, for so many heartbeats is gone.
const SILENT_HEARTBEATS: u32 = 3;

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum SessionEnd {
    /// The agent ends.
    Shutdown,
    /// The daemon said goodbye and when to come back.
    Advised(RetryAdvice),
    /// Something failed.
    Failed(SessionError),
}

/// What failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// The socket failed.
    #[error("the connection broke")]
    Socket(#[source] tungstenite::Error),
    /// The daemon closed without a goodbye.
    #[error("the daemon closed the connection{0}")]
    Closed(String),
    /// The daemon is silent.
    #[error("the daemon sent nothing for {} s", .0.as_secs())]
    Silent(Duration),
    /// The daemon does not read.
    #[error("the daemon took no frame for {} s", .0.as_secs())]
    Stalled(Duration),
    /// The first frame is not welcome.
    #[error("the daemon answered hello with something else")]
    NoWelcome,
    /// The first frame is not of the protocol.
    #[error("could not read the daemon's welcome")]
    Welcome(#[source] DecodeError),
    /// The daemon speaks another protocol.
    #[error(
        "the daemon speaks protocol {0}, this agent {PROTOCOL_VERSION}; update the older of them"
    )]
    Protocol(u32),
    /// Too many frames of the daemon were refused.
    #[error("the daemon sent {0} frames that are not of the protocol")]
    Nonsense(u32),
}

/// Talks until something ends the connection.
pub(super) async fn run<F: Firewall>(mut socket: Socket, link: &mut Link<F>) -> SessionEnd {
    let welcome = match greet(&mut socket, link).await {
        Ok(welcome) => welcome,
        Err(end) => return end,
    };
    let backend = link.dialer.backend().to_string();
    tracing::info!(backend, credit = welcome.credit, "connected to the daemon");
    link.state.send_replace(LinkState::Connected { backend });
    link.events.on_connected(welcome.credit);
    link.pulse.on_up();

    let heartbeat = welcome
        .heartbeat_secs
        .clamp(*HEARTBEAT_SECS.start(), *HEARTBEAT_SECS.end());
    let heartbeat = Duration::from_secs(u64::from(heartbeat));
    let (sink, stream) = socket.split();
    let (questions_tx, questions) = mpsc::channel(QUESTION_QUEUE);
    link.statuses.on_connected();
    let writer = Writer::new(sink, link, questions, heartbeat);
    let reader = Reader {
        stream,
        events: &link.events,
        applies: &link.applies,
        questions: questions_tx,
        pulse: &link.pulse,
        silence: heartbeat * SILENT_HEARTBEATS,
        n_refused: 0,
        n_left_out: 0,
    };
    let filing = async {
        link.keys.keep_filing().await;
        std::future::pending().await
    };
    tokio::select! {
        end = reader.run() => end,
        end = writer.run() => end,
        end = filing => end,
    }
}

async fn greet<F>(socket: &mut Socket, link: &Link<F>) -> Result<Welcome, SessionEnd> {
    let hello = AgentFrame::Hello(Hello {
        protocol: PROTOCOL_VERSION,
        agent_version: AGENT_VERSION.to_owned(),
        hostname: link.facts.hostname.clone(),
        os: link.facts.os.clone(),
        arch: link.facts.arch.clone(),
        boot: link.facts.boot,
        retires_keys: true,
        applied: link.record.borrow().as_ref().map(|record| record.applied()),
    });
    let mut shutdown = link.shutdown.clone();
    let exchange = async {
        let sent = socket.send(Message::text(encode(&hello))).await;
        sent.map_err(SessionError::Socket)?;
        read_welcome(socket).await
    };
    let exchanged = tokio::select! {
        exchanged = tokio::time::timeout(WELCOME_DEADLINE, exchange) => exchanged,
        () = shutdown.requested() => return Err(SessionEnd::Shutdown),
    };
    let frame = exchanged
        .unwrap_or(Err(SessionError::Silent(WELCOME_DEADLINE)))
        .map_err(SessionEnd::Failed)?;
    match frame {
        DaemonFrame::Welcome(welcome) if welcome.protocol == PROTOCOL_VERSION => Ok(welcome),
        DaemonFrame::Welcome(other) => {
            Err(SessionEnd::Failed(SessionError::Protocol(other.protocol)))
        }
        DaemonFrame::Goodbye(advice) => Err(SessionEnd::Advised(advice)),
        DaemonFrame::Apply(_) | DaemonFrame::Ack { .. } | DaemonFrame::Ask { .. } => {
            Err(SessionEnd::Failed(SessionError::NoWelcome))
        }
    }
}

async fn read_welcome(socket: &mut Socket) -> Result<DaemonFrame, SessionError> {
    loop {
        let message = match socket.next().await {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(SessionError::Socket(error)),
            None => return Err(SessionError::Closed(String::new())),
        };
        match message {
            Message::Text(text) => {
                return decode(&text, MAX_WELCOME_BYTES).map_err(SessionError::Welcome);
            }
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Close(close) => {
                return Err(SessionError::Closed(close_reason(close.as_ref())));
            }
            Message::Binary(_) | Message::Frame(_) => return Err(SessionError::NoWelcome),
        }
    }
}

/// What a close frame says, to be put after a sentence.
pub(super) fn close_reason(close: Option<&tungstenite::protocol::CloseFrame>) -> String {
    close.map_or_else(String::new, |close| {
        let reason = printable(&close.reason, MAX_QUOTE_BYTES);
        format!(" ({}: {reason})", close.code)
    })
}
