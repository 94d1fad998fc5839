//! Decides during the handshake whether a connect comes from the agent it names.
//! It never trusts a header that is not covered by the signature.

mod key_lookup;

use std::sync::{Mutex, PoisonError};

use axum::http::HeaderMap;
use axum::http::header::HOST;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use hidps_wire::{
    AgentId, ConnectClaim, HEADER_AGENT, HEADER_NONCE, HEADER_SIGNATURE, HEADER_TIMESTAMP,
};
use jiff::Timestamp;

use crate::model::{AgentCredential, KeyStatus, OrgId, OwnedAgent};
use crate::streams::nonces::{Nonces, Verdict};

pub use key_lookup::{KeyLookup, KeyLookups};

/// Seconds a signature may be off the daemon's clock in either direction; an agent corrects its
/// clock from the refusal's `Date` header, so this only has to cover the way.
const CLOCK_TOLERANCE: u64 = 60;

/// Why a connect is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A header is missing or not of its form.
    #[error("the header {0} is missing or malformed")]
    Header(&'static str),
    /// The time of signing is too far off.
    #[error("the clock is off by {} s; set it by the Date header of this answer", .0.seconds.unsigned_abs())]
    Clock(ClockFault),
    /// The agent has no key, or the signature is not by it. One message for both, so that
    /// nobody learns which ids exist.
    #[error("this agent is not enrolled with this key; enroll it again")]
    Unknown,
    /// The nonce was used before.
    #[error("this handshake was used before; sign a new one")]
    Replayed,
    /// This agent connects too often.
    #[error("this agent connects too often; wait a minute")]
    TooOften,
    /// The key waits for approval.
    #[error("the key waits for an admin's approval")]
    Pending,
    /// The key was revoked.
    #[error("the key was revoked; enroll the agent again with a new token")]
    Revoked,
    /// The key could not be looked up.
    #[error("the key could not be looked up just now; try again")]
    Unavailable(#[source] key_lookup::LookupError),
}

/// A time of signing that is too far off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockFault {
    /// How far; positive is ahead of the daemon.
    pub seconds: i64,
    /// The agent, where the signature is its own: a name alone would be anybody's to say.
    pub signer: Option<AgentId>,
}

/// The check.
pub struct AgentAuth {
    keys: KeyLookup,
    nonces: Mutex<Nonces>,
}

impl std::fmt::Debug for AgentAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentAuth").finish_non_exhaustive()
    }
}

struct SignedConnect {
    agent_id: AgentId,
    timestamp: u64,
    nonce: String,
    signing_bytes: Vec<u8>,
    signature: Signature,
}

impl AgentAuth {
    /// A check against these keys.
    pub fn new(keys: KeyLookup) -> Self {
        Self {
            keys,
            nonces: Mutex::default(),
        }
    }

    /// The key of an agent, or none.
    ///
    /// # Errors
    /// When it could not be looked up.
    pub(super) async fn credential(
        &self,
        agent: AgentId,
    ) -> Result<Option<AgentCredential>, ConnectError> {
        let found = self.keys.credential(agent).await;
        found.map_err(ConnectError::Unavailable)
    }

    /// The agent that signed these headers.
    ///
    /// # Errors
    /// Says what the agent has to change.
    pub async fn verify(
        &self,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<OwnedAgent, ConnectError> {
        let connect = parse_connect(headers)?;
        let now = u64::try_from(now.as_second()).unwrap_or(0);
        let off = now.abs_diff(connect.timestamp);
        let credential = self.keys.credential(connect.agent_id).await;
        if off > CLOCK_TOLERANCE {
            let credential = credential.ok().flatten();
            let is_own = check_signature(&connect, credential.as_ref()).is_ok();
            let seconds = i64::try_from(off).unwrap_or(i64::MAX);
            return Err(ConnectError::Clock(ClockFault {
                seconds: if connect.timestamp > now {
                    seconds
                } else {
                    -seconds
                },
                signer: is_own.then_some(connect.agent_id),
            }));
        }
        let credential = credential.map_err(ConnectError::Unavailable)?;
        let org = check_signature(&connect, credential.as_ref())?;
        let expires = connect.timestamp + CLOCK_TOLERANCE;
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        match nonces.insert(connect.agent_id, &connect.nonce, now, expires) {
            Verdict::Fresh => Ok(OwnedAgent {
                agent: connect.agent_id,
                org,
            }),
            Verdict::Replayed => Err(ConnectError::Replayed),
            Verdict::TooMany => Err(ConnectError::TooOften),
        }
    }
}

/// Whose the agent is that signed, if its key may connect.
fn check_signature(
    connect: &SignedConnect,
    credential: Option<&AgentCredential>,
) -> Result<OrgId, ConnectError> {
    let credential = credential.ok_or(ConnectError::Unknown)?;
    let key = VerifyingKey::from_bytes(&credential.public_key);
    let key = key.map_err(|_| ConnectError::Unknown)?;
    // Strict: a key of small order would let one signature pass for many messages.
    key.verify_strict(&connect.signing_bytes, &connect.signature)
        .map_err(|_| ConnectError::Unknown)?;
    judge(Some(credential)).map(|credential| credential.org)
}

/// The key, if it may connect.
pub(super) fn judge(
    credential: Option<&AgentCredential>,
) -> Result<&AgentCredential, ConnectError> {
    let credential = credential.ok_or(ConnectError::Unknown)?;
    match credential.status {
        KeyStatus::Admitted => Ok(credential),
        KeyStatus::Pending => Err(ConnectError::Pending),
        KeyStatus::Revoked => Err(ConnectError::Revoked),
    }
}

fn parse_connect(headers: &HeaderMap) -> Result<SignedConnect, ConnectError> {
    let text = |name: &'static str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .ok_or(ConnectError::Header(name))
    };
    let agent_id = text(HEADER_AGENT)?
        .parse()
        .map_err(|_| ConnectError::Header(HEADER_AGENT))?;
    let timestamp = text(HEADER_TIMESTAMP)?;
    let timestamp = timestamp
        .parse()
        .map_err(|_| ConnectError::Header(HEADER_TIMESTAMP))?;
    let nonce = text(HEADER_NONCE)?;
    if nonce.len() != 32 || !nonce.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(ConnectError::Header(HEADER_NONCE));
    }
    let signature = STANDARD.decode(text(HEADER_SIGNATURE)?).ok();
    let signature = signature.and_then(|bytes| Signature::from_slice(&bytes).ok());
    let signature = signature.ok_or(ConnectError::Header(HEADER_SIGNATURE))?;
    let host = text(HOST.as_str())
        .map_err(|_| ConnectError::Header("host"))?
        .to_ascii_lowercase();
    let claim = ConnectClaim {
        agent_id,
        host: &host,
        timestamp,
        nonce,
    };
    let signing_bytes = claim.signing_bytes();
    Ok(SignedConnect {
        agent_id,
        timestamp,
        nonce: nonce.to_owned(),
        signing_bytes,
        signature,
    })
}

#[cfg(test)]
mod tests;
