//! The beginning and the end of an agent's connection: its hello, and the daemon's goodbye.
//! It remembers nothing of what was in between.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use hidps_wire::{
    AgentFrame, DaemonFrame, Hello, MAX_AGENT_FRAME_BYTES, PROTOCOL_VERSION, RetryAdvice, decode,
    encode,
};
use tokio::time::timeout;

use crate::chance::draw_share;

/// Upper end of the pause asked of agents when the daemon stops, so that they return spread out.
pub(super) const RETURN_WITHIN_MS: u32 = 5_000;

/// What a ping asks a peer to repeat.
const ALIVE: &[u8] = b"still there?";

/// How long a peer may take to answer it; one that is gone never does.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Waits for the first frame, which has to be hello.
pub(super) async fn receive_hello(socket: &mut WebSocket) -> Result<Hello, String> {
    loop {
        match socket.recv().await {
            Some(Ok(Message::Text(text))) => match decode(&text, MAX_AGENT_FRAME_BYTES) {
                Ok(AgentFrame::Hello(hello)) if hello.protocol == PROTOCOL_VERSION => {
                    return Ok(hello);
                }
                Ok(AgentFrame::Hello(hello)) => {
                    return Err(format!(
                        "protocol {} is not spoken here, only {PROTOCOL_VERSION}; install the \
                         agent that belongs to this daemon",
                        hello.protocol
                    ));
                }
                Ok(
                    AgentFrame::Status(_)
                    | AgentFrame::Usage(_)
                    | AgentFrame::Processes(_)
                    | AgentFrame::Facts(_)
                    | AgentFrame::Answer { .. },
                ) => {
                    return Err("the first frame must be hello".into());
                }
                Err(error) => return Err(error.to_string()),
            },
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Binary(_) | Message::Close(_)) | Err(_)) | None => {
                return Err("the first frame must be hello".into());
            }
        }
    }
}

/// Says goodbye with the reason and closes; a peer that does not listen is left after a while.
pub(super) async fn part(mut socket: WebSocket, reason: &str, retry_ms: u32) {
    let goodbye = DaemonFrame::Goodbye(RetryAdvice {
        reason: reason.to_owned(),
        retry_ms,
    });
    let farewell = async {
        socket.send(Message::text(encode(&goodbye))).await?;
        let short: String = reason.chars().take(40).collect();
        let close = CloseFrame {
            code: close_code::NORMAL,
            reason: short.into(),
        };
        socket.send(Message::Close(Some(close))).await
    };
    match timeout(Duration::from_secs(1), farewell).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) | Err(_) => tracing::debug!(reason, "the peer was gone before the goodbye"),
    }
}

/// Whether somebody at the other end answers now; frames from before are passed over.
pub(super) async fn is_alive(socket: &mut WebSocket) -> bool {
    let answer = async {
        socket.send(Message::Ping(ALIVE.into())).await.ok()?;
        loop {
            match socket.recv().await?.ok()? {
                Message::Pong(payload) if *payload == *ALIVE => return Some(()),
                Message::Close(_) => return None,
                Message::Text(_) | Message::Binary(_) | Message::Ping(_) | Message::Pong(_) => {}
            }
        }
    };
    matches!(timeout(ANSWER_WITHIN, answer).await, Ok(Some(())))
}

/// A pause from 0 to [`RETURN_WITHIN_MS`], different for each connection.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the product lies between 0 and the constant"
)]
pub(super) fn stagger() -> u32 {
    (draw_share() * f64::from(RETURN_WITHIN_MS)) as u32
}
