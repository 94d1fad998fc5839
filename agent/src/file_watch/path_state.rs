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
    #[error(
        "the kernel's limit is reached; raise fs.inotify.max_user_watches or \
         fs.inotify.max_user_instances by sysctl"
    )]
    LimitReached,
    /// The agent may not look.
    #[error("the agent may not read it or its directory; run it as root")]
    Denied,
    /// Something else.
    #[error("{0}")]
    Other(String),
}

impl WatchProblem {
    /// The word for machines.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::LimitReached => "LimitReached",
            Self::Denied => "MissingPrivilege",
            Self::Other(_) => "WatchFailed",
        }
    }
}

impl From<&io::Error> for WatchProblem {
    fn from(error: &io::Error) -> Self {
        let code = error
            .raw_os_error()
            .map(rustix::io::Errno::from_raw_os_error);
        if code == Some(rustix::io::Errno::NOSPC) || code == Some(rustix::io::Errno::MFILE) {
            Self::LimitReached
        } else if error.kind() == io::ErrorKind::PermissionDenied {
            Self::Denied
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
