//! The agent's key, and while it is being replaced the one to come: which files hold them, and when
//! one takes the other's place. It never removes a key that the daemon may know by now.

use crate::error_chain::chain;
use crate::identity::{Identity, IdentityError, PRESENT, SUCCESSOR};
use crate::state_dir::{StateDir, StateError, StateLock};

/// Both keys, as they were last read.
#[derive(Debug)]
pub struct Keys {
    state: StateDir,
    present: Identity,
    successor: Option<Identity>,
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
        })
    }

    /// Reads the keys again, for another process may have replaced them, and says whether the
    /// present one is another; what cannot be read stays as it was known.
    pub(crate) fn reload(&mut self) -> bool {
        let read = Identity::load_from(&self.state, SUCCESSOR)
            .and_then(|successor| Ok((successor, Identity::load(&self.state)?)));
        let (successor, present) = match read {
            Ok((successor, Some(present))) => (successor, present),
            Ok((_, None)) => {
                tracing::warn!("the agent's key is gone from its file; going on with it");
                return false;
            }
            Err(error) => {
                tracing::warn!(reason = chain(&error), "going on with the key as it was");
                return false;
            }
        };
        self.successor = successor.filter(|key| key.public_key() != present.public_key());
        let is_other = present.public_key() != self.present.public_key();
        if is_other {
            self.present = present;
        }
        is_other
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
        let adopted = lock.map_or(Ok(()), |_| adopt_file(&self.state, &self.present));
        if let Err(error) = adopted {
            let reason = chain(&error);
            tracing::warn!(
                reason,
                "the new key is not in its file yet; trying again later"
            );
        }
    }

    /// Forgets the successor, which can never be the agent's key; on the disk only for who holds the
    /// lock.
    pub(crate) fn forget(&mut self, lock: Option<&StateLock>) {
        let Some(successor) = self.successor.take() else {
            return;
        };
        let forgotten = lock.map_or(Ok(()), |_| forget_file(&self.state, &successor));
        if let Err(error) = forgotten {
            tracing::warn!(reason = chain(&error), "a useless key stays on the disk");
        }
    }
}

/// Gives a key that the daemon knows the name of the present one; for who holds the key's lock.
pub(crate) fn adopt_file(state: &StateDir, successor: &Identity) -> Result<(), StateError> {
    if holds(state, SUCCESSOR, successor) {
        state.rename(SUCCESSOR, PRESENT)?;
    }
    Ok(())
}

/// Removes a key that can never be the agent's; for who holds the key's lock.
pub(crate) fn forget_file(state: &StateDir, successor: &Identity) -> Result<(), StateError> {
    if holds(state, SUCCESSOR, successor) {
        state.remove(SUCCESSOR)?;
    }
    Ok(())
}

/// Whether a file holds this key; another process may have replaced it meanwhile.
fn holds(state: &StateDir, file: &str, key: &Identity) -> bool {
    let found = Identity::load_from(state, file);
    found.is_ok_and(|found| found.is_some_and(|found| found.public_key() == key.public_key()))
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
        assert!(!keys.reload());

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

        assert!(keys.reload());
        assert_eq!(keys.present().public_key(), successor);
        assert!(!keys.reload());
    }

    #[test]
    fn a_newer_successor_never_takes_the_place_of_the_one_that_was_proven() {
        let (_parent, mut keys) = keys();
        let proven = begin(&keys);
        keys.reload();
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
        keys.reload();
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
        assert!(!keys.reload());
        keys.state.remove(PRESENT).unwrap();
        assert!(!keys.reload());

        assert_eq!(keys.present().public_key(), present);
    }

    #[test]
    fn a_successor_without_a_future_is_forgotten() {
        let (_parent, mut keys) = keys();
        let present = keys.present().public_key();
        begin(&keys);
        keys.reload();

        let lock = keys.lock().unwrap();
        keys.forget(lock.as_ref());

        assert!(!keys.state.has(SUCCESSOR) && keys.successor().is_none());
        assert_eq!(keys.present().public_key(), present);
    }
}
