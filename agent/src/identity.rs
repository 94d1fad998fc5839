//! An Ed25519 key of the agent: made once, kept private, used to sign what proves who the agent is.
//! The private key never leaves this file and the state directory.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{SECRET_KEY_LENGTH, Signer as _, SigningKey};
use zeroize::Zeroizing;

use crate::state_dir::{StateDir, StateError, StateView};

/// The key's file: 32 bytes in base64.
pub(crate) const PRESENT: &str = "agent.key";

/// The file of the key that is to take its place.
pub(crate) const SUCCESSOR: &str = "agent.key.next";

/// Who this agent is.
pub struct Identity {
    key: SigningKey,
    is_new: bool,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The state directory failed.
    #[error("could not keep the agent's key")]
    State(#[source] StateError),
    /// The key file holds something else.
    #[error(
        "{0} is not a key of this agent; restore it from a backup, or remove it and enroll again"
    )]
    Malformed(std::path::PathBuf),
    /// The system has no randomness to give.
    #[error("could not draw random bytes for a key")]
    Random(#[source] getrandom::Error),
}

impl Identity {
    /// Reads the key, or makes one on the first run.
    ///
    /// # Errors
    /// Fails when the key cannot be read or kept; a malformed key is never replaced silently.
    pub fn load_or_create(state: &StateDir) -> Result<Self, IdentityError> {
        Self::load(state)?.map_or_else(|| Self::create(state, PRESENT), Ok)
    }

    /// Reads the key, if there is one yet.
    ///
    /// # Errors
    /// Fails when it is there and cannot be read or is no key.
    pub fn load(state: &StateView) -> Result<Option<Self>, IdentityError> {
        Self::load_from(state, PRESENT)
    }

    /// Reads the key of a file, if it is there.
    pub(crate) fn load_from(state: &StateView, file: &str) -> Result<Option<Self>, IdentityError> {
        let Some(content) = state.read(file).map_err(IdentityError::State)? else {
            return Ok(None);
        };
        let read = Self::parse(&Zeroizing::new(content));
        let malformed = || IdentityError::Malformed(state.path().join(file));
        read.ok_or_else(malformed).map(Some)
    }

    /// Reads what a key's file holds; none where that is no key.
    #[must_use]
    pub fn parse(content: &[u8]) -> Option<Self> {
        let mut seed = Zeroizing::new([0; SECRET_KEY_LENGTH]);
        let read = BASE64.decode_slice(content.trim_ascii(), &mut *seed);
        (read == Ok(SECRET_KEY_LENGTH)).then(|| Self {
            key: SigningKey::from_bytes(&seed),
            is_new: false,
        })
    }

    /// Makes a key; when this returns, it is on the disk.
    pub(crate) fn create(state: &StateDir, file: &str) -> Result<Self, IdentityError> {
        let mut seed = Zeroizing::new([0; SECRET_KEY_LENGTH]);
        getrandom::fill(&mut *seed).map_err(IdentityError::Random)?;
        let text = Zeroizing::new(BASE64.encode(*seed));
        state
            .write(file, text.as_bytes())
            .map_err(IdentityError::State)?;
        Ok(Self {
            key: SigningKey::from_bytes(&seed),
            is_new: true,
        })
    }

    /// Whether the key was made by this run, so that no daemon can know it yet.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.is_new
    }

    /// The public key in base64.
    #[must_use]
    pub fn public_key(&self) -> String {
        BASE64.encode(self.key.verifying_key().as_bytes())
    }

    /// The signature of a claim's bytes in base64.
    #[must_use]
    pub fn sign(&self, claim: &[u8]) -> String {
        BASE64.encode(self.key.sign(claim).to_bytes())
    }
}

/// A nonce for a signed request: 16 random bytes in hex.
pub(crate) fn draw_nonce() -> Result<String, getrandom::Error> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    Ok(format!("{:032x}", u128::from_be_bytes(random)))
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.public_key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
    use hidps_wire::{AgentId, ConnectClaim};

    fn state() -> (tempfile::TempDir, StateDir) {
        let parent = tempfile::tempdir().unwrap();
        let state = StateDir::open(&parent.path().join("state")).unwrap();
        (parent, state)
    }

    #[test]
    fn the_key_of_the_first_run_is_kept() {
        let (_parent, state) = state();

        let first = Identity::load_or_create(&state).unwrap();
        let second = Identity::load_or_create(&state).unwrap();

        assert!(first.is_new() && !second.is_new());
        assert_eq!(first.public_key(), second.public_key());
    }

    #[test]
    fn a_connect_is_signed_verifiably() {
        let (_parent, state) = state();
        let identity = Identity::load_or_create(&state).unwrap();
        let claim = ConnectClaim {
            agent_id: AgentId::new(uuid::Uuid::nil()),
            host: "hub.example",
            timestamp: 1,
            nonce: "00",
        };

        let signature = BASE64
            .decode(identity.sign(&claim.signing_bytes()))
            .unwrap();

        let key = BASE64.decode(identity.public_key()).unwrap();
        let key = VerifyingKey::try_from(key.as_slice()).unwrap();
        let signature = Signature::from_slice(&signature).unwrap();
        key.verify(&claim.signing_bytes(), &signature).unwrap();
    }

    #[test]
    fn a_damaged_key_is_refused_and_left_alone() {
        let (_parent, state) = state();
        for content in ["", "not base64!", "c2hvcnQ="] {
            state.write(PRESENT, content.as_bytes()).unwrap();

            let refused = Identity::load_or_create(&state);

            assert!(
                matches!(refused, Err(IdentityError::Malformed(_))),
                "{content:?}"
            );
            assert_eq!(state.read(PRESENT).unwrap().unwrap(), content.as_bytes());
        }
    }

    #[test]
    fn debug_output_shows_the_public_half_only() {
        let (_parent, state) = state();
        let identity = Identity::load_or_create(&state).unwrap();

        let secret = String::from_utf8(state.read(PRESENT).unwrap().unwrap()).unwrap();

        assert!(!format!("{identity:?}").contains(&secret));
    }
}
