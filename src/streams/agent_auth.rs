//! Decides whether a connect, or the wish for another key, comes from the agent it names.
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
    RotateClaim, RotateRequest,
};
use jiff::Timestamp;

use crate::model::{AgentCredential, KeyStatus, OwnedAgent, PublicKey};
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
    /// It was signed for a daemon of another name, which may have passed it on.
    #[error(
        "this is signed for a daemon of another name; reach this one by its own, which its operator \
         lists in HIDPS_AGENT_HOSTS"
    )]
    Host,
    /// The headers name another agent than the path.
    #[error("the path is of another agent than the header {HEADER_AGENT}")]
    OtherAgent,
    /// The new key is none, or whoever asks does not have it.
    #[error("public_key is not an Ed25519 key that signed this request in proof")]
    Proof,
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

/// The headers of a signed request.
struct SignedHeaders {
    agent_id: AgentId,
    host: String,
    timestamp: u64,
    nonce: String,
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

    /// The agent that signed these headers of a connect.
    ///
    /// # Errors
    /// Says what the agent has to change.
    pub async fn verify(
        &self,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<OwnedAgent, ConnectError> {
        let signed = parse_headers(headers)?;
        let claim = ConnectClaim {
            agent_id: signed.agent_id,
            host: &signed.host,
            timestamp: signed.timestamp,
            nonce: &signed.nonce,
        };
        let claim = claim.signing_bytes();
        self.check(&signed, &claim, now).await
    }

    /// The agent that asks for another key, and that key: both have signed.
    ///
    /// # Errors
    /// Says what the agent has to change.
    pub async fn verify_rotation(
        &self,
        agent: AgentId,
        headers: &HeaderMap,
        request: &RotateRequest,
        now: Timestamp,
    ) -> Result<(OwnedAgent, PublicKey), ConnectError> {
        let signed = parse_headers(headers)?;
        if signed.agent_id != agent {
            return Err(ConnectError::OtherAgent);
        }
        let claim = RotateClaim {
            agent_id: agent,
            host: &signed.host,
            timestamp: signed.timestamp,
            nonce: &signed.nonce,
            public_key: &request.public_key,
        };
        let claim = claim.signing_bytes();
        let successor = check_proof(request, &claim).ok_or(ConnectError::Proof)?;
        Ok((self.check(&signed, &claim, now).await?, successor))
    }

    /// The agent that signed this claim, now and for the first time.
    async fn check(
        &self,
        signed: &SignedHeaders,
        claim: &[u8],
        now: Timestamp,
    ) -> Result<OwnedAgent, ConnectError> {
        let now = u64::try_from(now.as_second()).unwrap_or(0);
        let off = now.abs_diff(signed.timestamp);
        let credential = self.keys.credential(signed.agent_id).await;
        if off > CLOCK_TOLERANCE {
            let credential = credential.ok().flatten();
            let is_own = check_signature(signed, claim, credential.as_ref()).is_ok();
            let seconds = i64::try_from(off).unwrap_or(i64::MAX);
            return Err(ConnectError::Clock(ClockFault {
                seconds: if signed.timestamp > now {
                    seconds
                } else {
                    -seconds
                },
                signer: is_own.then_some(signed.agent_id),
            }));
        }
        let credential = credential.map_err(ConnectError::Unavailable)?;
        let owned = check_signature(signed, claim, credential.as_ref())?;
        let expires = signed.timestamp + CLOCK_TOLERANCE;
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        match nonces.insert(signed.agent_id, &signed.nonce, now, expires) {
            Verdict::Fresh => Ok(owned),
            Verdict::Replayed => Err(ConnectError::Replayed),
            Verdict::TooMany => Err(ConnectError::TooOften),
        }
    }
}

/// Whose the agent is that signed, if its key may connect.
fn check_signature(
    signed: &SignedHeaders,
    claim: &[u8],
    credential: Option<&AgentCredential>,
) -> Result<OwnedAgent, ConnectError> {
    let credential = credential.ok_or(ConnectError::Unknown)?;
    let key = VerifyingKey::from_bytes(&credential.public_key);
    let key = key.map_err(|_| ConnectError::Unknown)?;
    // Strict: a key of small order would let one signature pass for many messages.
    key.verify_strict(claim, &signed.signature)
        .map_err(|_| ConnectError::Unknown)?;
    judge(Some(credential)).map(|credential| OwnedAgent {
        agent: signed.agent_id,
        org: credential.org,
        key: credential.public_key,
    })
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

/// The new key of a rotation, if it signed this claim; strictly, as every key.
fn check_proof(request: &RotateRequest, claim: &[u8]) -> Option<PublicKey> {
    let bytes = STANDARD.decode(&request.public_key).ok()?;
    let key = VerifyingKey::try_from(bytes.as_slice()).ok()?;
    let proof = STANDARD.decode(&request.proof).ok()?;
    let proof = Signature::from_slice(&proof).ok()?;
    key.verify_strict(claim, &proof).ok()?;
    Some(key.to_bytes())
}

fn parse_headers(headers: &HeaderMap) -> Result<SignedHeaders, ConnectError> {
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
    Ok(SignedHeaders {
        agent_id,
        host,
        timestamp,
        nonce: nonce.to_owned(),
        signature,
    })
}

#[cfg(test)]
mod tests;
