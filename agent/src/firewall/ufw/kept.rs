//! What is kept to be put back by root, beside ufw's own files: where root alone has ever written.
//! It is never in the state directory, which may have been another user's: what an agent that is not
//! root has left there would be put back as if root had kept it.

use std::io;
use std::path::PathBuf;

use super::UfwError;
use super::files::UfwPlace;
use crate::state_dir::GuardedDir;

/// Larger than any of them: the copies of four files of ufw's, as JSON.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Bits of a mode that let somebody else write.
const OTHERS_WRITE: u32 = 0o022;

/// The directory of ufw's rules.
#[derive(Clone, Debug)]
pub(super) struct KeptFiles {
    directory: PathBuf,
}

impl KeptFiles {
    /// Those of a host.
    pub(super) fn of(place: &UfwPlace) -> Self {
        Self {
            directory: place.directory(),
        }
    }

    /// Where one is, for a message.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Whether one is there, whoever made it; where that cannot be seen, nothing is known to be absent.
    pub(super) fn has(&self, name: &str) -> Result<bool, UfwError> {
        let found = match GuardedDir::open(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            opened => opened.and_then(|it| it.has(name)),
        };
        found.map_err(|source| self.failed(name, source))
    }

    /// What one holds; none where it is not there.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, UfwError> {
        if !self.has(name)? {
            return Ok(None);
        }
        let read = self.open().and_then(|it| it.read(name, MAX_BYTES));
        read.map_err(|source| self.failed(name, source))
    }

    /// Keeps something, in the place of what was kept.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> Result<(), UfwError> {
        let written = self.open().and_then(|it| it.replace(name, content));
        written.map_err(|source| self.failed(name, source))
    }

    /// Keeps nothing any more, and no half of it that was left by a crash.
    pub(super) fn remove(&self, name: &str) -> Result<(), UfwError> {
        for name in [name, &format!("{name}.new")] {
            if self.has(name)? {
                let removed = self.open().and_then(|it| it.remove(name));
                removed.map_err(|source| self.failed(name, source))?;
            }
        }
        Ok(())
    }

    /// The directory, if nobody but root, or who this process is, can write there.
    fn open(&self) -> io::Result<GuardedDir> {
        let directory = GuardedDir::open(&self.directory)?.strictly();
        let owner = directory.owner();
        let is_ours = owner == 0 || owner == rustix::process::geteuid().as_raw();
        if is_ours && directory.mode()? & OTHERS_WRITE == 0 {
            return Ok(directory);
        }
        let path = self.directory.display();
        Err(io::Error::other(format!(
            "others than root can write in {path}; run: chown root: {path} && chmod go-w {path}"
        )))
    }

    fn failed(&self, name: &str, source: io::Error) -> UfwError {
        UfwError::Kept {
            path: self.path(name),
            source,
        }
    }
}

/// Waits for the disk on another thread: the agent has but one, and whoever watches over it is not
/// patient for long.
pub(super) async fn on_disk<K, T>(
    kept: &K,
    work: impl FnOnce(&K) -> Result<T, UfwError> + Send + 'static,
) -> Result<T, UfwError>
where
    K: Clone + Send + 'static,
    T: Send + 'static,
{
    let kept = kept.clone();
    let worked = tokio::task::spawn_blocking(move || work(&kept)).await;
    worked.unwrap_or_else(|ended| Err(UfwError::Broken(ended)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    const NAME: &str = "hidps-copies.json";

    fn kept() -> (tempfile::TempDir, KeptFiles) {
        let root = tempfile::tempdir().unwrap();
        let place = UfwPlace::below(root.path());
        fs::create_dir_all(place.directory()).unwrap();
        let kept = KeptFiles::of(&place);
        (root, kept)
    }

    #[test]
    fn what_is_kept_is_there_until_it_is_removed() {
        let (_root, kept) = kept();
        assert_eq!(kept.read(NAME).unwrap(), None);
        kept.remove(NAME).unwrap();

        kept.write(NAME, b"content").unwrap();
        assert_eq!(kept.read(NAME).unwrap().unwrap(), b"content");
        let mode = fs::metadata(kept.path(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        // A crash has left it.
        fs::write(kept.path("hidps-copies.json.new"), "half").unwrap();
        kept.remove(NAME).unwrap();
        assert!(!kept.has(NAME).unwrap() && !kept.has("hidps-copies.json.new").unwrap());
    }

    #[test]
    fn where_ufw_was_removed_nothing_is_kept() {
        let (root, kept) = kept();
        fs::remove_dir(root.path().join("etc/ufw")).unwrap();

        assert_eq!(kept.read(NAME).unwrap(), None);
        kept.remove(NAME).unwrap();
        assert!(kept.write(NAME, b"content").is_err());
    }

    #[test]
    fn what_cannot_be_looked_for_is_not_taken_for_absent() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        // Whoever is root is refused nothing, but not even root finds anything in a file.
        fs::write(root.path().join("etc/ufw"), "").unwrap();
        let kept = KeptFiles::of(&UfwPlace::below(root.path()));

        assert!(kept.has(NAME).is_err());
        assert!(kept.read(NAME).is_err());
        assert!(kept.remove(NAME).is_err());
    }

    #[test]
    fn what_others_than_root_could_have_kept_is_not_believed() {
        let (root, kept) = kept();
        let refused = |why: &str| {
            let error = crate::error_chain::chain(&kept.read(NAME).unwrap_err());
            assert!(error.contains(why), "{error}");
            assert!(kept.has(NAME).unwrap());
        };
        kept.write(NAME, b"forged").unwrap();
        let directory = root.path().join("etc/ufw");

        fs::set_permissions(&directory, Permissions::from_mode(0o775)).unwrap();
        refused("chmod go-w");
        assert!(kept.write(NAME, b"more").is_err() && kept.remove(NAME).is_err());
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();

        fs::rename(kept.path(NAME), kept.path("forged")).unwrap();
        symlink(kept.path("forged"), kept.path(NAME)).unwrap();
        refused("it is a link");
        fs::remove_file(kept.path(NAME)).unwrap();
        fs::hard_link(kept.path("forged"), kept.path(NAME)).unwrap();
        refused("a second name");
        fs::remove_file(kept.path("forged")).unwrap();
        fs::set_permissions(kept.path(NAME), Permissions::from_mode(0o666)).unwrap();
        refused("others can write");
        fs::set_permissions(kept.path(NAME), Permissions::from_mode(0o600)).unwrap();

        if rustix::process::geteuid().is_root() {
            chown(kept.path(NAME), Some(12_345), None).unwrap();
            refused("somebody else");
            chown(kept.path(NAME), Some(0), None).unwrap();
            chown(&directory, Some(12_345), None).unwrap();
            refused("chown root:");
        }
    }
}
