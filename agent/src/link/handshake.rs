//! The signed connect: one WebSocket handshake that proves who the agent is.
//! It corrects the host's clock for the signature once, and never anything else.

use std::time::Duration;

use hidps_wire::{
    AgentId, CONNECT_PATH, ConnectClaim, HEADER_AGENT, HEADER_NONCE, HEADER_SIGNATURE,
    HEADER_TIMESTAMP, MAX_AGENT_FRAME_BYTES, MAX_DAEMON_FRAME_BYTES,
};
use jiff::Timestamp;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::header::{
    DATE, HOST, HeaderName, InvalidHeaderValue, RETRY_AFTER, SEC_WEBSOCKET_EXTENSIONS,
};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Error as WebSocketError};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::MAX_QUOTE_BYTES;
use crate::backoff::parse_retry_after;
use crate::clock::{ClockOffset, parse_http_date};
use crate::dial::{DialError, Dialer, Stream};
use crate::identity::{Identity, draw_nonce};
use crate::text::printable;

/// A daemon under a storm of agents may take its time, but not for ever.
const DEADLINE: Duration = Duration::from_secs(20);

/// A frame of the daemon is mostly a few hundred bytes.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// A connection that carries frames.
pub(super) type Socket = WebSocketStream<Box<dyn Stream>>;

/// Why a connect failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// There is no connection.
    #[error("could not reach the daemon")]
    Dial(#[source] DialError),
    /// The system has no randomness to give.
    #[error("could not draw a nonce")]
    Random(#[source] getrandom::Error),
    /// The address cannot be part of a request.
    #[error("could not make the request")]
    Request(#[source] tungstenite::Error),
    /// A value cannot be a header.
    #[error("could not make a header of the request")]
    Header(#[source] InvalidHeaderValue),
    /// The daemon refused.
    #[error("the daemon refused the connection with HTTP status {status}{}: {text}", advice(*status))]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// What it said.
        text: String,
        /// Its time.
        date: Option<Timestamp>,
        /// When to come back, if it said so.
        retry_after: Option<Duration>,
    },
    /// The answer is not one of a WebSocket server.
    #[error("the daemon does not speak WebSocket here")]
    Handshake(#[source] tungstenite::Error),
    /// It uses what nobody asked for.
    #[error("the daemon uses an extension of WebSocket that this agent does not speak")]
    Extension,
    /// It took too long.
    #[error("the daemon did not answer the connect within {} s", DEADLINE.as_secs())]
    Deadline,
}

fn advice(status: StatusCode) -> &'static str {
    if status.is_redirection() {
        ", a redirect, which is never followed; check backend_url"
    } else {
        ""
    }
}

impl ConnectError {
    /// When the daemon wants to be asked again.
    pub(super) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Dial(_)
            | Self::Random(_)
            | Self::Request(_)
            | Self::Header(_)
            | Self::Handshake(_)
            | Self::Extension
            | Self::Deadline => None,
        }
    }

    /// Whether the daemon refused who the agent is.
    pub(super) fn is_about_identity(&self) -> bool {
        let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
        matches!(self, Self::Refused { status, .. } if refused.contains(status))
    }
}

/// Connects; a refusal that shows a wrong clock is answered with one attempt by the daemon's.
pub(super) async fn connect(
    dialer: &Dialer,
    agent_id: AgentId,
    identity: &Identity,
    offset: &mut ClockOffset,
) -> Result<Socket, ConnectError> {
    let first = connect_once(dialer, agent_id, identity, *offset).await;
    let Err(refusal) = first else {
        return first;
    };
    let ConnectError::Refused {
        date: Some(date), ..
    } = &refusal
    else {
        return Err(refusal);
    };
    let corrected = ClockOffset::between(*date, Timestamp::now());
    if !refusal.is_about_identity() || !corrected.differs_from(*offset) {
        return Err(refusal);
    }
    let seconds = corrected.seconds();
    tracing::warn!(
        seconds,
        "the daemon's clock is so far ahead; signing by the daemon's"
    );
    *offset = corrected;
    connect_once(dialer, agent_id, identity, corrected).await
}

async fn connect_once(
    dialer: &Dialer,
    agent_id: AgentId,
    identity: &Identity,
    offset: ClockOffset,
) -> Result<Socket, ConnectError> {
    let stream = dialer.dial().await.map_err(ConnectError::Dial)?;
    let request = sign_request(dialer, agent_id, identity, offset)?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        // One frame that could not be written yet and the next.
        .max_write_buffer_size(2 * MAX_AGENT_FRAME_BYTES)
        .max_message_size(Some(MAX_DAEMON_FRAME_BYTES))
        .max_frame_size(Some(MAX_DAEMON_FRAME_BYTES));
    // In a box: the handshake's state is large and not needed afterwards.
    let handshake = Box::pin(client_async_with_config(request, stream, Some(config)));
    let shaken = tokio::time::timeout(DEADLINE, handshake).await;
    match shaken.map_err(|_| ConnectError::Deadline)? {
        // Frames that are packed could be unpacked to any size.
        Ok((_, response)) if response.headers().contains_key(SEC_WEBSOCKET_EXTENSIONS) => {
            Err(ConnectError::Extension)
        }
        Ok((socket, _)) => Ok(socket),
        Err(WebSocketError::Http(response)) => Err(read_refusal(&response)),
        Err(error) => Err(ConnectError::Handshake(error)),
    }
}

fn sign_request(
    dialer: &Dialer,
    agent_id: AgentId,
    identity: &Identity,
    offset: ClockOffset,
) -> Result<Request, ConnectError> {
    let backend = dialer.backend();
    let host = backend.host_header();
    let nonce = draw_nonce().map_err(ConnectError::Random)?;
    let timestamp = offset.daemon_seconds(Timestamp::now());
    let claim = ConnectClaim {
        agent_id,
        host: &host,
        timestamp,
        nonce: &nonce,
    };
    let signature = identity.sign(&claim.signing_bytes());
    // TLS, if any, is below this stream already.
    let address = format!("ws://{host}{}", backend.target(CONNECT_PATH));
    let mut request = address
        .into_client_request()
        .map_err(ConnectError::Request)?;
    let values = [
        (HOST.as_str(), host),
        (HEADER_AGENT, agent_id.to_string()),
        (HEADER_TIMESTAMP, timestamp.to_string()),
        (HEADER_NONCE, nonce),
        (HEADER_SIGNATURE, signature),
    ];
    for (name, value) in values {
        let value = HeaderValue::try_from(value).map_err(ConnectError::Header)?;
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

fn read_refusal(response: &tungstenite::http::Response<Option<Vec<u8>>>) -> ConnectError {
    let header = |name: HeaderName| response.headers().get(name)?.to_str().ok();
    let body = response.body().as_deref().unwrap_or_default();
    let date = header(DATE).and_then(parse_http_date);
    ConnectError::Refused {
        status: response.status(),
        text: printable(&String::from_utf8_lossy(body), MAX_QUOTE_BYTES),
        date,
        retry_after: header(RETRY_AFTER).and_then(|text| parse_retry_after(text, date)),
    }
}
