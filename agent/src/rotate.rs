//! Rotation: asks the daemon to take another key of this agent in the place of the present one.
//! It changes nothing on the disk; whether the daemon did it is known from its answer alone.

use std::time::Duration;

use hidps_wire::{
    AgentId, HEADER_AGENT, HEADER_NONCE, HEADER_SIGNATURE, HEADER_TIMESTAMP, RotateClaim,
    RotateRequest, RotateResponse, rotate_path,
};
use http_body_util::Full;
use hyper::StatusCode;
use hyper::body::Bytes;
use jiff::Timestamp;

use crate::clock::ClockOffset;
use crate::dial::Dialer;
use crate::exchange::{Answered, ExchangeError, MAX_BODY_BYTES, exchange, post};
use crate::identity::{Identity, draw_nonce};
use crate::text::printable;

/// Longest part of an answer that is quoted.
const MAX_QUOTE_BYTES: usize = 300;

/// Why the key is not known to be replaced.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// There is no answer.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The system has no randomness to give.
    #[error("could not draw a nonce")]
    Random(#[source] getrandom::Error),
    /// The daemon refused.
    #[error("the daemon refused to replace the key with HTTP status {status}: {text}")]
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
    /// The answer is not one of the protocol.
    #[error("the daemon answered something else than a rotation: {0}")]
    Answer(String),
}

impl RotateError {
    /// Whether the new key can never become the agent's: it was, and was revoked or replaced.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::CONFLICT)
    }

    /// When the daemon wants to be asked again.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Exchange(_) | Self::Random(_) | Self::Answer(_) => None,
        }
    }

    /// Whether this request has certainly changed nothing.
    #[must_use]
    pub fn changed_nothing(&self) -> bool {
        let refusals = [
            StatusCode::BAD_REQUEST,
            StatusCode::UNAUTHORIZED,
            StatusCode::FORBIDDEN,
            StatusCode::NOT_FOUND,
            StatusCode::CONFLICT,
            StatusCode::MISDIRECTED_REQUEST,
            StatusCode::TOO_MANY_REQUESTS,
        ];
        match self {
            Self::Refused { status, .. } => refusals.contains(status),
            Self::Exchange(ExchangeError::Dial(_)) | Self::Random(_) => true,
            Self::Exchange(_) | Self::Answer(_) => false,
        }
    }
}

/// Asks the daemon to take the second key in the place of the first; a refusal that shows a wrong
/// clock is answered with one attempt by the daemon's.
///
/// # Errors
/// Says what failed; only [`RotateError::changed_nothing`] says that the present key still holds.
pub async fn rotate(
    dialer: &Dialer,
    agent_id: AgentId,
    keys: (&Identity, &Identity),
    offset: &mut ClockOffset,
) -> Result<(), RotateError> {
    let first = ask(dialer, agent_id, keys, *offset).await;
    let Err(RotateError::Refused {
        status: StatusCode::UNAUTHORIZED,
        date: Some(date),
        ..
    }) = &first
    else {
        return first;
    };
    let corrected = ClockOffset::between(*date, Timestamp::now());
    if !corrected.differs_from(*offset) {
        return first;
    }
    *offset = corrected;
    ask(dialer, agent_id, keys, corrected).await
}

async fn ask(
    dialer: &Dialer,
    agent_id: AgentId,
    (present, successor): (&Identity, &Identity),
    offset: ClockOffset,
) -> Result<(), RotateError> {
    let host = dialer.backend().host_header();
    let nonce = draw_nonce().map_err(RotateError::Random)?;
    let timestamp = offset.daemon_seconds(Timestamp::now());
    let public_key = successor.public_key();
    let claim = RotateClaim {
        agent_id,
        host: &host,
        timestamp,
        nonce: &nonce,
        public_key: &public_key,
    };
    let claim = claim.signing_bytes();
    let request = post(dialer, &rotate_path(agent_id))
        .header(HEADER_AGENT, agent_id.to_string())
        .header(HEADER_TIMESTAMP, timestamp)
        .header(HEADER_NONCE, nonce)
        .header(HEADER_SIGNATURE, present.sign(&claim));
    let body = hidps_wire::encode(&RotateRequest {
        proof: successor.sign(&claim),
        public_key: public_key.clone(),
    });
    let request = request
        .body(Full::new(Bytes::from(body)))
        .expect("a parsed address, numbers and base64 make a request");
    parse_answer(exchange(dialer, request).await?, &public_key)
}

fn parse_answer(answered: Answered, public_key: &str) -> Result<(), RotateError> {
    let said = printable(&answered.text, MAX_QUOTE_BYTES);
    if answered.status != StatusCode::OK {
        return Err(RotateError::Refused {
            status: answered.status,
            text: said,
            date: answered.date,
            retry_after: answered.retry_after,
        });
    }
    let answer: RotateResponse = hidps_wire::decode(&answered.text, MAX_BODY_BYTES)
        .map_err(|error| RotateError::Answer(error.to_string()))?;
    if answer.public_key != public_key {
        return Err(RotateError::Answer(said));
    }
    Ok(())
}
