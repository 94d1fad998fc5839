//! What `hidps-agent rotate-key` does, beside the running agent or without one.
//! The new key is on the disk before the daemon hears of it, and stays there while it may be the one.

use std::time::Duration;

use hidps_wire::AgentId;

use crate::clock::ClockOffset;
use crate::config::Config;
use crate::dial::{DialError, Dialer};
use crate::identity::{Identity, IdentityError, SUCCESSOR};
use crate::keys::{KeyFileError, adopt_file, forget_file};
use crate::rotate::{RotateError, rotate};
use crate::state_dir::{StateDir, StateError};

/// Why the key was not replaced, or is not known to be.
#[derive(Debug, thiserror::Error)]
pub enum RotateKeyError {
    /// The state directory is of no use.
    #[error("could not use the state directory")]
    State(#[source] StateError),
    /// Another process replaces the key.
    #[error("the key is being replaced by another process; try again when it is done")]
    Busy,
    /// A key cannot be read or made.
    #[error("could not read or make a key")]
    Identity(#[source] IdentityError),
    /// There is nothing to replace.
    #[error("this agent has no key yet; its first run makes one")]
    NoKey,
    /// Connections cannot be prepared.
    #[error("could not prepare connections to the daemon")]
    Dialer(#[source] DialError),
    /// The daemon did not do it.
    #[error("the key was not replaced")]
    Unchanged(#[source] RotateError),
    /// Nobody knows whether the daemon did it.
    #[error(
        "it is not known whether the daemon replaced the key; both are kept, and the agent finds out \
         when it connects next"
    )]
    Unknown(#[source] RotateError),
    /// The daemon did it, and the disk failed.
    #[error(
        "the daemon replaced the key, and the agent puts it in its place when it connects next"
    )]
    Adopt(#[source] KeyFileError),
    /// The daemon did not do it, and the disk failed.
    #[error("the key was not replaced, and one of no use stays on the disk")]
    Forget(#[source] KeyFileError),
}

impl RotateKeyError {
    /// When the daemon wants to be asked again.
    pub(crate) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unchanged(error) | Self::Unknown(error) => error.retry_after(),
            Self::State(_)
            | Self::Busy
            | Self::Identity(_)
            | Self::NoKey
            | Self::Dialer(_)
            | Self::Adopt(_)
            | Self::Forget(_) => None,
        }
    }
}

/// Replaces the agent's key, or goes on with a rotation that was cut off, and says what came of it.
///
/// # Errors
/// Fails when the key was not replaced, or when that is not known.
pub async fn rotate_key(config: &Config) -> Result<String, RotateKeyError> {
    let state = StateDir::open_to_change(&config.state_dir).map_err(RotateKeyError::State)?;
    let dialer = Dialer::new(config.way()).map_err(RotateKeyError::Dialer)?;
    let replaced = replace_key(&state, &dialer, config.agent_id, None).await?;
    Ok(replaced.map_or_else(String::new, |Replaced { old, new }| {
        format!("the public key was {old} and is {new}\n")
    }))
}

/// One key in the place of another, by their public halves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Replaced {
    pub(crate) old: String,
    pub(crate) new: String,
}

/// Replaces the agent's key; none when `only` names another one, which is replaced already.
///
/// # Errors
/// Fails when the key was not replaced, or when that is not known.
pub(crate) async fn replace_key(
    state: &StateDir,
    dialer: &Dialer,
    agent_id: AgentId,
    only: Option<&str>,
) -> Result<Option<Replaced>, RotateKeyError> {
    let lock = state.lock_key().map_err(RotateKeyError::State)?;
    let _lock = lock.ok_or(RotateKeyError::Busy)?;
    let present = Identity::load(state).map_err(RotateKeyError::Identity)?;
    let present = present.ok_or(RotateKeyError::NoKey)?;
    if only.is_some_and(|only| present.public_key() != only) {
        return Ok(None);
    }
    let begun = Identity::load_from(state, SUCCESSOR).map_err(RotateKeyError::Identity)?;
    let is_new = begun.is_none();
    let successor = begun.map_or_else(|| Identity::create(state, SUCCESSOR), Ok);
    let successor = successor.map_err(RotateKeyError::Identity)?;

    let mut offset = ClockOffset::default();
    let keys = (&present, &successor);
    match rotate(dialer, agent_id, keys, &mut offset).await {
        Ok(()) => {
            adopt_file(state, &successor).map_err(RotateKeyError::Adopt)?;
            let (old, new) = (present.public_key(), successor.public_key());
            Ok(Some(Replaced { old, new }))
        }
        // A request of an earlier run may still change something; one that was never made cannot. The
        // agent makes none for this key as long as the lock is held.
        Err(error) if error.is_final() || is_new && error.changed_nothing() => {
            forget_file(state, &successor).map_err(RotateKeyError::Forget)?;
            Err(RotateKeyError::Unchanged(error))
        }
        Err(error) => Err(RotateKeyError::Unknown(error)),
    }
}
