//! The directory with everything the agent remembers: private, locked, written atomically.
//! It never holds a log event.

mod guarded;
mod replace;

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::ops::Deref;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

pub(crate) use guarded::GuardedDir;
use replace::Disk as _;

/// Larger than any file of ours: a ledger of 1,000 paths of the greatest length is 4 MiB.
const MAX_FILE_BYTES: u64 = 32 * 1024 * 1024;

/// What a running agent holds.
const AGENT_LOCK: &str = "lock";

/// What is held by whoever changes the key.
const KEY_LOCK: &str = "key.lock";

/// How often a directory that is in use is asked for again.
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// The agent's directory, for whoever only looks at it.
#[derive(Clone, Debug)]
pub struct StateView {
    path: PathBuf,
    owner: u32,
}

/// The agent's directory, for whoever changes it.
#[derive(Clone, Debug)]
pub struct StateDir {
    view: StateView,
}

/// Held as long as somebody needs a directory, or a part of it, for itself.
#[derive(Debug)]
pub struct StateLock {
    /// Never read: the open file is the lock.
    _file: File,
}

/// Why the state cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory cannot be made or looked at.
    #[error("could not open the state directory {path}")]
    Open {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others could read or replace what is in it.
    #[error("the state directory {path} is open to others (mode {mode:o}); run: chmod 700 {path}")]
    Permissions {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to somebody else.
    #[error("the state directory {path} belongs to user {owner}, not to this process")]
    Owner {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Another agent runs with it.
    #[error("another agent runs with the state directory {path}")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("could not read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("could not write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl StateError {
    /// Whether the directory is not there, as before the first run.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Open { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl StateView {
    /// Opens the directory to look at it: root may, whoever the agent runs as.
    ///
    /// # Errors
    /// Fails when it is not there, belongs to another user than root's or this one, or is open to
    /// others.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let metadata = fs::metadata(path).map_err(|source| StateError::Open {
            path: path.to_owned(),
            source,
        })?;
        let path = path.to_owned();
        let (mode, owner) = (metadata.mode() & 0o777, metadata.uid());
        let user = rustix::process::geteuid();
        if owner != user.as_raw() && !user.is_root() {
            return Err(StateError::Owner { path, owner });
        }
        if mode & 0o077 != 0 {
            return Err(StateError::Permissions { path, mode });
        }
        Ok(Self { path, owner })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether an agent runs with the directory; asking makes no file, which the agent might not be
    /// allowed to use.
    ///
    /// # Errors
    /// Fails when that cannot be told, which is never the same as that none runs.
    pub fn is_in_use(&self) -> Result<bool, StateError> {
        let opened = self.guarded().and_then(|it| it.open_lock(AGENT_LOCK));
        let tried = match opened {
            Ok(file) => file.try_lock(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => Err(TryLockError::Error(error)),
        };
        match tried {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(source)) => Err(StateError::Read {
                path: self.path.join(AGENT_LOCK),
                source,
            }),
        }
    }

    /// The content of a file; none when it is not there.
    ///
    /// # Errors
    /// Fails when it is there and cannot be read, which is never the same as its absence.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        let read = self.guarded().and_then(|it| it.read(name, MAX_FILE_BYTES));
        read.map_err(|source| StateError::Read {
            path: self.path.join(name),
            source,
        })
    }

    /// Whether there is a file of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.guarded().and_then(|it| it.has(name)).unwrap_or(false)
    }

    /// The directory as it is now, which has to be its owner's still.
    fn guarded(&self) -> io::Result<GuardedDir> {
        let guarded = GuardedDir::open(&self.path)?;
        if guarded.owner() == self.owner {
            Ok(guarded)
        } else {
            Err(io::Error::other("another directory took its place"))
        }
    }
}

impl StateDir {
    /// Opens the directory, making it if it is not there.
    ///
    /// # Errors
    /// Fails when it cannot be made, belongs to another user or is open to others.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let failed = |source| StateError::Open {
            path: path.to_owned(),
            source,
        };
        if !path.exists() {
            make_directory(path).map_err(failed)?;
        }
        let opened = Self::open_to_change(path)?;
        let owner = opened.view.owner;
        if owner != rustix::process::geteuid().as_raw() {
            let path = path.to_owned();
            return Err(StateError::Owner { path, owner });
        }
        Ok(opened)
    }

    /// Opens the directory to change something beside its agent: root may, and what it writes is the
    /// agent's.
    ///
    /// # Errors
    /// As [`StateView::open`].
    pub fn open_to_change(path: &Path) -> Result<Self, StateError> {
        let view = StateView::open(path)?;
        Ok(Self { view })
    }

    /// Takes the directory for this process.
    ///
    /// # Errors
    /// Fails when another agent has it.
    pub fn lock(&self) -> Result<StateLock, StateError> {
        self.take_lock(AGENT_LOCK)?.ok_or(StateError::InUse {
            path: self.path.clone(),
        })
    }

    /// Takes the agent's key for this process, unless another one has it; for whoever changes it.
    ///
    /// # Errors
    /// Fails when the disk does.
    pub fn lock_key(&self) -> Result<Option<StateLock>, StateError> {
        self.take_lock(KEY_LOCK)
    }

    fn take_lock(&self, name: &str) -> Result<Option<StateLock>, StateError> {
        let file = self.change(name, |it| it.ensure_lock(name))?;
        Ok(file.try_lock().is_ok().then(|| StateLock { _file: file }))
    }

    /// Takes the directory for this process as soon as it is free.
    ///
    /// # Errors
    /// Fails when another agent has it for so long.
    pub async fn lock_within(&self, patience: Duration) -> Result<StateLock, StateError> {
        let give_up = Instant::now() + patience;
        loop {
            match self.lock() {
                Err(StateError::InUse { .. }) if Instant::now() < give_up => {
                    sleep(LOCK_RETRY).await;
                }
                answer => return answer,
            }
        }
    }

    /// Gives a file another name, in place of what had it.
    ///
    /// # Errors
    /// Fails when the disk does.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), StateError> {
        self.change(from, |it| {
            it.rename(from, to).and_then(|()| it.sync_directory())
        })
    }

    /// Removes a file.
    ///
    /// # Errors
    /// Fails when it is not there, or the disk does.
    pub fn remove(&self, name: &str) -> Result<(), StateError> {
        self.change(name, |it| {
            it.remove(name).and_then(|()| it.sync_directory())
        })
    }

    /// Replaces a file: after a crash it is either the old one or the new one, whole.
    ///
    /// # Errors
    /// Fails when the disk does; the old file is then still there, or the new one already.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), StateError> {
        self.change(name, |it| {
            // What could not be read back must not take the place of what can.
            if content.len() as u64 >= MAX_FILE_BYTES {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            it.replace(name, content)
        })
    }

    fn change<T>(
        &self,
        name: &str,
        change: impl FnOnce(&GuardedDir) -> io::Result<T>,
    ) -> Result<T, StateError> {
        let changed = self.guarded().and_then(|it| change(&it));
        changed.map_err(|source| StateError::Write {
            path: self.path.join(name),
            source,
        })
    }
}

impl Deref for StateDir {
    type Target = StateView;

    fn deref(&self) -> &StateView {
        &self.view
    }
}

/// Makes a private directory and those above it, so that what is synced below it later cannot be
/// lost with it.
fn make_directory(path: &Path) -> io::Result<()> {
    let missing: Vec<_> = path.ancestors().take_while(|path| !path.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for made in missing {
        // A relative path ends where this process is.
        let parent = made.parent().filter(|parent| *parent != Path::new(""));
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn fresh() -> (tempfile::TempDir, StateDir) {
        let parent = tempfile::tempdir().unwrap();
        let state = StateDir::open(&parent.path().join("a/state")).unwrap();
        (parent, state)
    }

    #[test]
    fn what_could_not_be_read_back_is_not_written() {
        let (_parent, state) = fresh();
        state.write("ledger", b"old").unwrap();

        let error = state.write("ledger", &vec![b'x'; 32 * 1024 * 1024]);

        assert!(matches!(error, Err(StateError::Write { .. })));
        assert_eq!(state.read("ledger").unwrap().unwrap(), b"old");
    }

    #[test]
    fn files_are_private_and_replaced_whole() {
        let (_parent, state) = fresh();

        state.write("file", b"a longer first content").unwrap();
        state.write("file", b"second").unwrap();

        assert_eq!(state.read("file").unwrap().unwrap(), b"second");
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&state.path().join("file")), 0o600);
        assert_eq!(mode(state.path()), 0o700);
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_absent_file_is_not_a_failed_read() {
        let (_parent, state) = fresh();
        fs::create_dir(state.path().join("directory")).unwrap();

        assert!(state.read("absent").unwrap().is_none());
        assert!(state.read("directory").is_err());
    }

    #[test]
    fn a_directory_open_to_others_is_refused_with_its_cure() {
        let (_parent, state) = fresh();
        fs::set_permissions(state.path(), fs::Permissions::from_mode(0o755)).unwrap();

        let error = StateDir::open(state.path()).unwrap_err().to_string();

        assert!(
            error.contains("mode 755") && error.contains("chmod 700"),
            "{error}"
        );
    }

    #[test]
    fn two_agents_never_share_a_directory() {
        let (_parent, state) = fresh();
        assert!(!state.is_in_use().unwrap());
        assert!(!state.has("lock"), "asking leaves nothing");
        let lock = state.lock().unwrap();

        assert!(matches!(state.lock(), Err(StateError::InUse { .. })));
        assert!(state.is_in_use().unwrap());
        drop(lock);
        assert!(!state.is_in_use().unwrap());
        state.lock().unwrap();
    }

    #[test]
    fn a_lock_that_cannot_be_asked_for_is_not_taken_for_a_free_one() {
        let (_parent, state) = fresh();
        fs::create_dir(state.path().join(AGENT_LOCK)).unwrap();

        let error = crate::error_chain::chain(&state.is_in_use().unwrap_err());

        assert!(error.contains("could not read"), "{error}");
    }

    #[test]
    fn what_root_writes_beside_an_agent_is_the_agents() {
        if !rustix::process::geteuid().is_root() {
            let test = "what_root_writes_beside_an_agent_is_the_agents";
            return hidps_lab::say_skipped(test, &"only root writes beside others");
        }
        let (_parent, state) = fresh();
        std::os::unix::fs::chown(state.path(), Some(12_345), Some(12_346)).unwrap();
        let state = StateDir::open_to_change(state.path()).unwrap();

        state.write("file", b"content").unwrap();
        let lock = state.lock_key().unwrap();
        std::os::unix::fs::symlink(state.path().join("file"), state.path().join(AGENT_LOCK))
            .unwrap();

        let error = crate::error_chain::chain(&state.lock().unwrap_err());
        assert!(error.contains("it is a link"), "{error}");
        let planted = state.is_in_use();
        assert!(
            planted.is_err(),
            "what is planted is not asked, and no answer"
        );
        assert!(lock.is_some() && state.lock_key().unwrap().is_none());
        for name in ["file", KEY_LOCK] {
            let made = fs::metadata(state.path().join(name)).unwrap();
            assert_eq!((made.uid(), made.gid()), (12_345, 12_346), "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_directory_that_becomes_free_is_waited_for_but_not_for_ever() {
        let (_parent, state) = fresh();
        let held = state.lock().unwrap();
        let patience = Duration::from_secs(5);

        let refused = state.lock_within(patience).await;
        let freed = async {
            sleep(Duration::from_secs(1)).await;
            drop(held);
        };
        let (taken, ()) = tokio::join!(state.lock_within(patience), freed);

        assert!(matches!(refused, Err(StateError::InUse { .. })));
        assert!(taken.is_ok());
    }
}
