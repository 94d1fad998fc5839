//! The agent's key, and while it is being replaced the one to come: which files hold them, and when
//! one takes the other's place. It never removes a key that the daemon may know by now.

use std::time::Duration;

use tokio::time::sleep;

use crate::error_chain::chain;
use crate::identity::{Identity, IdentityError, PRESENT, SUCCESSOR};
use crate::state_dir::{StateDir, StateError, StateLock};

/// How often a key that is not in its file yet is put there again; a full disk is mended in minutes.
const FILE_AGAIN: Duration = Duration::from_secs(60);

/// Both keys, as they were last read.
#[derive(Debug)]
pub struct Keys {
    state: StateDir,
    present: Identity,
    successor: Option<Identity>,
    /// Whether the present key has yet to be put into its file.
    is_unfiled: bool,
}

/// Why the files of keys are not, or are not known to be, as they should be.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// A file of a key cannot be read.
    #[error("could not read which key is where")]
    Read(#[source] IdentityError),
    /// A file of a key cannot be changed.
    #[error("could not change the file of a key")]
    Change(#[source] StateError),
    /// The key is not where it was put.
    #[error("the agent's key is gone from its file; restore it from a backup, or enroll again")]
    Gone,
}

impl Keys {
    /// Reads the keys, and makes the first one on the first run.
    ///
    /// # Errors
    /// Fails when a key cannot be read or kept; a malformed one is never replaced silently.
    pub fn load_or_create(state: StateDir) -> Result<Self, IdentityError> {
        // In this order: a successor that takes its place between the two reads is seen twice.
        let successor = Identity::load_from(&state, SUCCESSOR)?;
        let present = Identity::load_or_create(&state)?;
        Ok(Self {
            successor: successor.filter(|key| key.public_key() != present.public_key()),
            state,
            present,
            is_unfiled: false,
        })
    }

    /// Reads the keys again, for another process may have replaced them, and says whether the
    /// present one is another.
    ///
    /// # Errors
    /// Fails when they cannot be read; they stay as they were known.
    pub(crate) fn reload(&mut self) -> Result<bool, KeyFileError> {
        let successor = Identity::load_from(&self.state, SUCCESSOR).map_err(KeyFileError::Read)?;
        let present = Identity::load(&self.state).map_err(KeyFileError::Read)?;
        let present = present.ok_or(KeyFileError::Gone)?;
        self.successor = successor.filter(|key| key.public_key() != present.public_key());
        let is_other = present.public_key() != self.present.public_key();
        if is_other {
            self.present = present;
        }
        self.is_unfiled = false;
        Ok(is_other)
    }

    /// The key that is the agent's.
    #[must_use]
    pub const fn present(&self) -> &Identity {
        &self.present
    }

    /// The key that is to take its place, or has already and the agent was not told.
    #[must_use]
    pub const fn successor(&self) -> Option<&Identity> {
        self.successor.as_ref()
    }

    /// Takes the keys for this process, unless another one has them: whoever asks the daemon to take
    /// a key, and whoever removes one from the disk, holds this from before the first to after the
    /// last step, so that nobody removes what somebody else has just had accepted.
    pub(crate) fn lock(&self) -> Result<Option<StateLock>, StateError> {
        self.state.lock_key()
    }

    /// The successor, which the daemon knows now, takes the present key's place; on the disk only
    /// for who holds the lock.
    pub(crate) fn adopt(&mut self, lock: Option<&StateLock>) {
        let Some(successor) = self.successor.take() else {
            return;
        };
        self.present = successor;
        tracing::info!(
            public_key = self.present.public_key(),
            "the agent's key was replaced"
        );
        self.is_unfiled = lock.is_none();
        if lock.is_some()
            && let Err(error) = adopt_file(&self.state, &self.present)
        {
            self.is_unfiled = true;
            let reason = chain(&error);
            tracing::warn!(
                reason,
                "the new key is not in its file yet; trying again later"
            );
        }
    }

    /// Puts the present key into its file, in case that could not be done when it was adopted; until
    /// then everybody else on this host takes the former one for the agent's.
    pub(crate) async fn keep_filing(&self) {
        if !self.is_unfiled {
            return;
        }
        loop {
            sleep(FILE_AGAIN).await;
            let filed = match self.lock() {
                Ok(Some(_lock)) => adopt_file(&self.state, &self.present),
                // Whoever has it may be doing the same.
                Ok(None) => continue,
                Err(error) => Err(KeyFileError::Change(error)),
            };
            match filed {
                Ok(()) => {
                    tracing::info!("the new key is in its file now");
                    return;
                }
                Err(error) => {
                    tracing::debug!(reason = chain(&error), "the new key is not in its file yet");
                }
            }
        }
    }

    /// Forgets the successor, which can never be the agent's key; for who holds the lock.
    pub(crate) fn forget(&mut self, _: &StateLock) {
        let Some(successor) = self.successor.take() else {
            return;
        };
        if let Err(error) = forget_file(&self.state, &successor) {
            tracing::warn!(reason = chain(&error), "a useless key stays on the disk");
        }
    }
}

/// Gives a key that the daemon knows the name of the present one, unless it has it; for who holds
/// the key's lock.
pub(crate) fn adopt_file(state: &StateDir, successor: &Identity) -> Result<(), KeyFileError> {
    // First what needs no change: a successor beside it may be a newer one.
    if holds(state, PRESENT, successor)? {
        return Ok(());
    }
    if !holds(state, SUCCESSOR, successor)? {
        return Err(KeyFileError::Gone);
    }
    let renamed = state.rename(SUCCESSOR, PRESENT);
    renamed.map_err(KeyFileError::Change)
}

/// Removes a key that can never be the agent's; for who holds the key's lock.
pub(crate) fn forget_file(state: &StateDir, successor: &Identity) -> Result<(), KeyFileError> {
    if holds(state, SUCCESSOR, successor)? {
        state.remove(SUCCESSOR).map_err(KeyFileError::Change)?;
    }
    Ok(())
}

/// Whether a file holds this key; another process may have replaced it meanwhile.
fn holds(state: &StateDir, file: &str, key: &Identity) -> Result<bool, KeyFileError> {
    let found = Identity::load_from(state, file).map_err(KeyFileError::Read)?;
    Ok(found.is_some_and(|found| found.public_key() == key.public_key()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> (tempfile::TempDir, Keys) {
        let parent = tempfile::tempdir().unwrap();
        let state = StateDir::open(&parent.path().join("state")).unwrap();
        let keys = Keys::load_or_create(state).unwrap();
        (parent, keys)
    }

    /// Begins a rotation as another process does, and gives the new public key.
    fn begin(keys: &Keys) -> String {
        Identity::create(&keys.state, SUCCESSOR)
            .unwrap()
            .public_key()
    }

    #[test]
    fn a_successor_that_is_adopted_is_the_only_key_on_the_disk() {
        let (_parent, mut keys) = keys();
        let successor = begin(&keys);
        assert!(!keys.reload().unwrap());

        let lock = keys.lock().unwrap();
        keys.adopt(lock.as_ref());

        assert_eq!(keys.present().public_key(), successor);
        assert!(!keys.state.has(SUCCESSOR));
        let again = Keys::load_or_create(keys.state).unwrap();
        assert_eq!(again.present().public_key(), successor);
        assert!(again.successor().is_none() && !again.present().is_new());
    }

    #[test]
    fn a_key_that_another_process_replaced_is_noticed() {
        let (_parent, mut keys) = keys();
        let successor = begin(&keys);
        keys.state.rename(SUCCESSOR, PRESENT).unwrap();

        assert!(keys.reload().unwrap());
        assert_eq!(keys.present().public_key(), successor);
        assert!(!keys.reload().unwrap());
    }

    #[test]
    fn a_newer_successor_never_takes_the_place_of_the_one_that_was_proven() {
        let (_parent, mut keys) = keys();
        let proven = begin(&keys);
        keys.reload().unwrap();
        keys.state.rename(SUCCESSOR, PRESENT).unwrap();
        let newer = begin(&keys);

        let lock = keys.lock().unwrap();
        keys.adopt(lock.as_ref());

        let on_disk = Keys::load_or_create(keys.state).unwrap();
        assert_eq!(on_disk.present().public_key(), proven);
        let successor = on_disk.successor().map(Identity::public_key);
        assert_eq!(successor, Some(newer));
    }

    #[test]
    fn files_are_left_alone_by_who_does_not_hold_the_lock() {
        let (_parent, mut keys) = keys();
        let present = keys.present().public_key();
        let successor = begin(&keys);
        keys.reload().unwrap();
        let _held = keys.lock().unwrap().unwrap();
        assert!(keys.lock().unwrap().is_none(), "another process has it");

        keys.adopt(None);

        assert_eq!(keys.present().public_key(), successor);
        let on_disk = Identity::load(&keys.state).unwrap().unwrap();
        assert_eq!(on_disk.public_key(), present);
        assert!(keys.state.has(SUCCESSOR));
    }

    #[test]
    fn a_damaged_or_missing_key_does_not_end_an_agent_that_has_it() {
        let (_parent, mut keys) = keys();
        let present = keys.present().public_key();

        keys.state.write(PRESENT, b"damaged").unwrap();
        assert!(matches!(keys.reload(), Err(KeyFileError::Read(_))));
        keys.state.remove(PRESENT).unwrap();
        assert!(matches!(keys.reload(), Err(KeyFileError::Gone)));

        assert_eq!(keys.present().public_key(), present);
    }

    #[test]
    fn a_successor_without_a_future_is_forgotten() {
        let (_parent, mut keys) = keys();
        let present = keys.present().public_key();
        begin(&keys);
        keys.reload().unwrap();

        let lock = keys.lock().unwrap();
        keys.forget(lock.as_ref().unwrap());

        assert!(!keys.state.has(SUCCESSOR) && keys.successor().is_none());
        assert_eq!(keys.present().public_key(), present);
    }

    #[test]
    fn a_key_is_never_said_to_be_in_place_while_its_file_cannot_be_read_or_is_gone() {
        let (_parent, keys) = keys();
        begin(&keys);
        let proven = Identity::load_from(&keys.state, SUCCESSOR)
            .unwrap()
            .unwrap();

        keys.state.write(SUCCESSOR, b"damaged").unwrap();
        let damaged = adopt_file(&keys.state, &proven);
        let kept = forget_file(&keys.state, &proven);
        keys.state.remove(SUCCESSOR).unwrap();
        let gone = adopt_file(&keys.state, &proven);

        assert!(matches!(damaged, Err(KeyFileError::Read(_))));
        assert!(matches!(kept, Err(KeyFileError::Read(_))));
        assert!(matches!(gone, Err(KeyFileError::Gone)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_could_not_be_put_into_its_file_is_put_there_later() {
        let (_parent, mut keys) = keys();
        let successor = begin(&keys);
        keys.reload().unwrap();
        keys.adopt(None);
        let held = keys.lock().unwrap();

        let freed = async {
            sleep(3 * FILE_AGAIN).await;
            let on_disk = Identity::load(&keys.state).unwrap().unwrap();
            assert_ne!(
                on_disk.public_key(),
                successor,
                "somebody else has the lock"
            );
            drop(held);
        };
        tokio::join!(keys.keep_filing(), freed);

        let on_disk = Identity::load(&keys.state).unwrap().unwrap();
        assert_eq!(on_disk.public_key(), successor);
        assert!(!keys.state.has(SUCCESSOR));
    }
}
