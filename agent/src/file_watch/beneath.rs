//! Opens what is below a watched directory, and nothing else: no symbolic link is followed on the
//! way, so that whoever can write below it never chooses what the agent looks at.
//! It reads no content.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// How often a way is tried that others rename meanwhile.
const MAX_TRIES: usize = 8;

/// How a directory is opened to be listed.
const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// How something is opened to be known and not read: nothing happens to a device or a pipe.
const LOOK: OFlags = OFlags::PATH;

/// How a directory on the way is opened.
const STEP: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// A watched directory that was opened, whatever its path leads to later.
#[derive(Debug)]
pub(super) struct Beneath {
    directory: OwnedFd,
    path: PathBuf,
}

impl Beneath {
    /// Opens a directory; a symbolic link is none.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let directory = openat(CWD, path, whole(STEP), Mode::empty())?;
        Ok(Self {
            directory,
            path: path.to_owned(),
        })
    }

    /// The directory itself.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory itself, as it was opened.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.directory)
    }

    /// Opens a directory below to be listed.
    pub(super) fn open_directory(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open_at(path, LIST)
    }

    /// Opens whatever is below to be known, and neither read nor waited for.
    pub(super) fn open_to_look(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open_at(path, LOOK)
    }

    fn open_at(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let below = path.strip_prefix(&self.path);
        let below = below.map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let below = if below.as_os_str().is_empty() {
            Path::new(".")
        } else {
            below
        };
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..MAX_TRIES {
            match openat2(&self.directory, below, whole(flags), Mode::empty(), resolve) {
                Ok(opened) => return Ok(opened),
                Err(Errno::AGAIN) => {}
                // Kernels before 5.6, and filters of system calls that do not know it.
                Err(Errno::NOSYS | Errno::PERM) => return self.open_by_steps(below, flags),
                Err(error) => return Err(error.into()),
            }
        }
        self.open_by_steps(below, flags)
    }

    /// The same, one directory after the other.
    fn open_by_steps(&self, below: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let mut at = openat(&self.directory, ".", whole(STEP), Mode::empty())?;
        let names: Vec<&OsStr> = below
            .components()
            .filter_map(|component| match component {
                Component::Normal(name) => Some(name),
                Component::CurDir
                | Component::ParentDir
                | Component::Prefix(_)
                | Component::RootDir => None,
            })
            .collect();
        let Some((last, above)) = names.split_last() else {
            return Ok(openat(&at, ".", whole(flags), Mode::empty())?);
        };
        for name in above {
            at = openat(&at, *name, whole(STEP), Mode::empty())?;
        }
        Ok(openat(&at, *last, whole(flags), Mode::empty())?)
    }
}

const fn whole(flags: OFlags) -> OFlags {
    flags.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC)
}

/// Opens what a path leads to, and no link in its last place, to be known and neither read nor
/// waited for.
pub(super) fn open_to_look(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, whole(LOOK), Mode::empty())?)
}

/// The path by which the kernel finds exactly what was opened.
pub(super) fn magic_path(opened: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::symlink;

    type Way = fn(&Beneath, &Path) -> io::Result<OwnedFd>;

    /// Every way to open a directory below.
    const WAYS: [Way; 2] = [Beneath::open_directory, |beneath, path| {
        let below = path.strip_prefix(&beneath.path).unwrap();
        beneath.open_by_steps(below, LIST)
    }];

    #[test]
    fn what_is_below_is_opened_and_no_link_is_followed_wherever_it_is() {
        let root = tempfile::tempdir().unwrap();
        let (inside, outside) = (root.path().join("in"), root.path().join("out"));
        fs::create_dir_all(inside.join("a/b")).unwrap();
        fs::create_dir_all(outside.join("b")).unwrap();
        symlink(&outside, inside.join("link")).unwrap();
        symlink("a", inside.join("near")).unwrap();
        let beneath = Beneath::open(&inside).unwrap();

        for way in WAYS {
            assert!(way(&beneath, &inside).is_ok());
            let opened = way(&beneath, &inside.join("a/b")).unwrap();
            let found = fs::read_link(magic_path(opened.as_fd())).unwrap();
            assert_eq!(found, inside.join("a/b"));
            for link in ["link", "link/b", "near", "near/b"] {
                assert!(way(&beneath, &inside.join(link)).is_err(), "{link}");
            }
        }
        assert!(beneath.open_directory(&outside).is_err());
        assert!(Beneath::open(&inside.join("link")).is_err());
    }

    #[test]
    fn a_directory_that_others_swap_for_a_link_never_leads_outside() {
        let root = tempfile::tempdir().unwrap();
        let (inside, outside) = (root.path().join("in"), root.path().join("out"));
        fs::create_dir_all(inside.join("a/b")).unwrap();
        fs::create_dir_all(outside.join("b")).unwrap();
        symlink(&outside, inside.join("link")).unwrap();
        let beneath = Beneath::open(&inside).unwrap();
        let (here, there) = (inside.join("a"), inside.join("link"));
        let is_over = std::sync::atomic::AtomicBool::new(false);

        std::thread::scope(|scope| {
            scope.spawn(|| {
                let both = rustix::fs::RenameFlags::EXCHANGE;
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    rustix::fs::renameat_with(CWD, &here, CWD, &there, both).unwrap();
                }
            });
            let mut n_opened = 0;
            for round in 0..20_000 {
                let Ok(opened) = WAYS[round % 2](&beneath, &inside.join("a/b")) else {
                    continue;
                };
                n_opened += 1;
                let found = fs::read_link(magic_path(opened.as_fd())).unwrap();
                assert!(!found.starts_with(&outside), "{}", found.display());
            }
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(n_opened > 0, "it is opened now and then");
        });
    }
}
