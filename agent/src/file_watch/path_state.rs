//! What a watched path is now, read without following a final symbolic link.
//! A path that cannot be read is never taken for one that is not there.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::text::printable;

/// The state of a desired path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PathState {
    /// It is there and watched.
    Watched(FileKind),
    /// It is not there; the agent notices when it appears.
    Missing,
    /// It is a directory whose content is still being walked through.
    Surveying {
        /// How many directories are watched so far.
        n_directories: usize,
        /// Whether it is because the kernel dropped events.
        has_lost: bool,
    },
    /// It is watched, and not everything below it.
    Partly(TreeLack),
    /// It cannot be watched.
    Failed(WatchProblem),
}

/// Nobody is told to raise a limit to less.
const MIN_RAISED: u64 = 8_192;

/// Longest name of a path in a sentence.
const MAX_NAME: usize = 200;

/// Why not everything below a directory is watched.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TreeLack {
    /// There are more directories than the agent watches.
    #[error(
        "of what is below all recursive paths only {} directories are watched; \
         watch a smaller part of it",
        super::inventory::MAX_DIRECTORIES
    )]
    TooManyDirectories,
    /// There are more files than the agent keeps in mind.
    #[error(
        "of what is below all watched directories only {} files are compared after lost events; \
         watch a smaller part of it",
        super::inventory::MAX_ENTRIES
    )]
    TooManyFiles,
    /// Directories are nested deeper than the agent goes.
    #[error("{} lies deeper than the agent looks; watch it by a path of its own",
        printable(&.0.to_string_lossy(), MAX_NAME))]
    TooDeep(PathBuf),
    /// A directory below cannot be watched.
    #[error("{} cannot be watched: {problem}", printable(&.first.to_string_lossy(), MAX_NAME))]
    Unwatched {
        /// The first such.
        first: PathBuf,
        /// Why.
        problem: WatchProblem,
    },
}

impl TreeLack {
    /// The word for machines.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::TooManyDirectories | Self::TooManyFiles | Self::TooDeep(_) => "TooLarge",
            Self::Unwatched { problem, .. } => problem.reason(),
        }
    }
}

/// What kind of file a path is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// A directory: its entries are watched, and what is below them where that is desired.
    Directory,
    /// A symbolic link: the link is watched, not what it points to.
    SymbolicLink,
    /// Anything else.
    File,
}

/// Why a path cannot be watched.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WatchProblem {
    /// The kernel's limit on watches or instances is reached.
    #[error("the kernel's limit is reached{}; raise it: sysctl {}",
        .0.shown_value(), .0.shown_setting())]
    LimitReached(WatchLimit),
    /// The agent may not look.
    #[error("the agent may not read it or its directory; run it as root")]
    Denied,
    /// Whoever looks has to wait.
    #[error(
        "it cannot be read: its file system does not answer; see whether its server or program runs"
    )]
    DoesNotAnswer,
    /// Something else.
    #[error("{0}")]
    Other(String),
}

impl WatchProblem {
    /// The word for machines.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::LimitReached(_) => "LimitReached",
            Self::Denied => "MissingPrivilege",
            Self::DoesNotAnswer => "DoesNotAnswer",
            Self::Other(_) => "WatchFailed",
        }
    }
}

impl WatchProblem {
    /// Why inotify is not to be had at all.
    pub(super) fn of_instance(error: &io::Error) -> Self {
        let code = error
            .raw_os_error()
            .map(rustix::io::Errno::from_raw_os_error);
        if code == Some(rustix::io::Errno::MFILE) {
            Self::LimitReached(WatchLimit::of_instances())
        } else {
            Self::from(error)
        }
    }
}

/// A limit of the kernel, under the name by which `sysctl` raises it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchLimit {
    setting: &'static str,
    /// None where the kernel does not show it.
    value: Option<u64>,
}

impl WatchLimit {
    /// How many files may be watched.
    pub(super) fn of_watches() -> Self {
        Self::least_of(["fs.inotify.max_user_watches", "user.max_inotify_watches"])
    }

    /// How often somebody may begin to watch.
    fn of_instances() -> Self {
        Self::least_of([
            "fs.inotify.max_user_instances",
            "user.max_inotify_instances",
        ])
    }

    /// A user namespace, such as a container's, may have a smaller one of its own.
    fn least_of([everywhere, here]: [&'static str; 2]) -> Self {
        let read = |setting: &'static str| Self {
            setting,
            value: read_sysctl(setting),
        };
        let (everywhere, here) = (read(everywhere), read(here));
        let is_less = here
            .value
            .is_some_and(|value| everywhere.value.is_none_or(|everywhere| value < everywhere));
        if is_less { here } else { everywhere }
    }

    /// What it is, after the word that it is reached.
    fn shown_value(&self) -> String {
        let value = self
            .value
            .map(|value| format!(": {} is {value}", self.setting));
        value.unwrap_or_default()
    }

    /// What to give to `sysctl`.
    fn shown_setting(&self) -> String {
        match self.value {
            // Room for as much again; who has little gets what a small host needs.
            Some(value) => {
                let more = value.saturating_mul(2).max(MIN_RAISED);
                format!("{}={more}", self.setting)
            }
            None => self.setting.to_owned(),
        }
    }
}

fn read_sysctl(setting: &str) -> Option<u64> {
    let path = format!("/proc/sys/{}", setting.replace('.', "/"));
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

impl From<&io::Error> for WatchProblem {
    fn from(error: &io::Error) -> Self {
        let code = error
            .raw_os_error()
            .map(rustix::io::Errno::from_raw_os_error);
        if code == Some(rustix::io::Errno::NOSPC) {
            Self::LimitReached(WatchLimit::of_watches())
        } else if error.kind() == io::ErrorKind::PermissionDenied {
            Self::Denied
        } else if error.kind() == io::ErrorKind::TimedOut {
            Self::DoesNotAnswer
        } else {
            Self::Other(error.to_string())
        }
    }
}

/// Enough of a file's metadata to notice what was missed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    pub(super) kind: FileKind,
    device: u64,
    inode: u64,
    /// File systems give the number of a file that is gone to the next one; none where the file
    /// system does not know when a file was made.
    born: Option<SystemTime>,
    links: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Reads a path; none when nothing is there.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if is_absence(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(Self::of(&metadata)))
    }

    /// Takes what the kernel says.
    pub(super) fn of(metadata: &Metadata) -> Self {
        let kind = if metadata.is_dir() {
            FileKind::Directory
        } else if metadata.is_symlink() {
            FileKind::SymbolicLink
        } else {
            FileKind::File
        };
        Self {
            kind,
            device: metadata.dev(),
            inode: metadata.ino(),
            born: metadata.created().ok(),
            links: metadata.nlink(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// By which device and number the kernel knows it.
    pub(super) const fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Whether both are of the same file.
    pub(super) fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode, self.born) == (other.device, other.inode, other.born)
    }

    /// Whether this can be a file that was created and then written.
    pub(super) fn is_new_with_content(&self) -> bool {
        self.kind == FileKind::File && self.size > 0 && self.links == 1
    }

    /// Whether the file has a name at all.
    pub(super) const fn is_linked(&self) -> bool {
        self.links > 0
    }
}

/// Whether an error says that nothing is at a path.
pub(super) fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Whether an error says that there is a symbolic link where none is followed.
pub(super) fn is_link(error: &io::Error) -> bool {
    let code = error
        .raw_os_error()
        .map(rustix::io::Errno::from_raw_os_error);
    code == Some(rustix::io::Errno::LOOP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_said_with_what_it_is_and_what_raises_it() {
        let limit = |value| {
            WatchProblem::LimitReached(WatchLimit {
                setting: "fs.inotify.max_user_watches",
                value,
            })
        };

        let known = limit(Some(65_536)).to_string();
        let small = limit(Some(8)).to_string();
        let unknown = limit(None).to_string();

        assert_eq!(
            known,
            "the kernel's limit is reached: fs.inotify.max_user_watches is 65536; raise it: sysctl \
             fs.inotify.max_user_watches=131072"
        );
        assert!(small.ends_with("=8192"), "{small}");
        assert!(unknown.ends_with("raise it: sysctl fs.inotify.max_user_watches"));
    }

    #[test]
    fn too_many_open_files_are_a_limit_of_inotify_only_where_it_is_asked_for() {
        let error = io::Error::from(rustix::io::Errno::MFILE);

        assert_eq!(WatchProblem::from(&error).reason(), "WatchFailed");
        assert_eq!(WatchProblem::of_instance(&error).reason(), "LimitReached");
    }
}
