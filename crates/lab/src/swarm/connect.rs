//! The signed connect of one agent of the swarm, over plaintext on this machine.
//! It never enrolls and never corrects a clock: keys are rows, and both ends share one clock.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use hidps_wire::{
    AgentId, CONNECT_PATH, ConnectClaim, HEADER_AGENT, HEADER_NONCE, HEADER_SIGNATURE,
    HEADER_TIMESTAMP, MAX_AGENT_FRAME_BYTES, MAX_DAEMON_FRAME_BYTES,
};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error as SocketError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::{HeaderName, InvalidHeaderValue, RETRY_AFTER};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use uuid::Uuid;

/// As long as the agent program waits.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(20);

/// As small as the agent program's; the library's default would cost a swarm gigabytes.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// A connection that carries frames.
pub type Socket = WebSocketStream<TcpStream>;

/// Why an agent did not get in.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers at the address.
    #[error("the daemon was not reached: {0}")]
    Dial(#[source] std::io::Error),
    /// The request could not be made.
    #[error("the request could not be made: {0}")]
    Request(#[source] SocketError),
    /// A value cannot be a header.
    #[error("a header could not be made: {0}")]
    Header(#[source] InvalidHeaderValue),
    /// The daemon refused.
    #[error("refused with HTTP status {status}")]
    Refused {
        /// The status.
        status: u16,
        /// When to come back, if it said so.
        retry_after: Option<Duration>,
    },
    /// The answer is not one of a WebSocket server.
    #[error("the handshake failed: {0}")]
    Handshake(#[source] SocketError),
    /// It took too long.
    #[error("the daemon did not answer in time")]
    Deadline,
}

impl ConnectError {
    /// When the daemon wants to be asked again.
    pub(super) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Dial(_)
            | Self::Request(_)
            | Self::Header(_)
            | Self::Handshake(_)
            | Self::Deadline => None,
        }
    }
}

/// Connects once.
///
/// # Errors
/// When the daemon is not reached or refuses.
pub async fn connect(
    address: SocketAddr,
    agent: AgentId,
    key: &SigningKey,
) -> Result<Socket, ConnectError> {
    let dialled = timeout(CONNECT_WITHIN, TcpStream::connect(address)).await;
    let stream = dialled.map_err(|_| ConnectError::Deadline)?;
    let stream = stream.map_err(ConnectError::Dial)?;
    stream.set_nodelay(true).map_err(ConnectError::Dial)?;
    let request = sign_request(address, agent, key)?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * MAX_AGENT_FRAME_BYTES)
        .max_message_size(Some(MAX_DAEMON_FRAME_BYTES))
        .max_frame_size(Some(MAX_DAEMON_FRAME_BYTES));
    let handshake = client_async_with_config(request, stream, Some(config));
    let shaken = timeout(HANDSHAKE_WITHIN, handshake).await;
    match shaken.map_err(|_| ConnectError::Deadline)? {
        Ok((socket, _)) => Ok(socket),
        Err(SocketError::Http(response)) => {
            let header = |name: HeaderName| response.headers().get(name)?.to_str().ok();
            let seconds = header(RETRY_AFTER).and_then(|text| text.parse().ok());
            Err(ConnectError::Refused {
                status: response.status().as_u16(),
                retry_after: seconds.map(Duration::from_secs),
            })
        }
        Err(error) => Err(ConnectError::Handshake(error)),
    }
}

fn sign_request(
    address: SocketAddr,
    agent: AgentId,
    key: &SigningKey,
) -> Result<Request, ConnectError> {
    let host = address.to_string();
    let nonce = Uuid::new_v4().simple().to_string();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let timestamp = now.unwrap_or_default().as_secs();
    let claim = ConnectClaim {
        agent_id: agent,
        host: &host,
        timestamp,
        nonce: &nonce,
    };
    let signature = STANDARD.encode(key.sign(&claim.signing_bytes()).to_bytes());
    let mut request = format!("ws://{host}{CONNECT_PATH}")
        .into_client_request()
        .map_err(ConnectError::Request)?;
    let values = [
        (HEADER_AGENT, agent.to_string()),
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
