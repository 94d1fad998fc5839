//! Why ufw could not be read or changed, each with what to do.
//! It holds texts and numbers, and nothing that can be tried again.

use std::io;
use std::path::PathBuf;

/// Why ufw could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum UfwError {
    /// There is no ufw.
    #[error("ufw is not installed; install the package ufw, or set firewall = \"nftables\"")]
    Missing,
    /// ufw takes orders of root alone.
    #[error(
        "ufw takes orders of root alone; install.sh --with-ufw has the agent run as root with few \
         capabilities; or set firewall = \"nftables\""
    )]
    Privilege,
    /// A file of its cannot be read.
    #[error("could not read ufw's file {path}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file of its is being written, or damaged.
    #[error("ufw's file {path} is not whole; run ufw status, and restore it if that fails")]
    NotWhole {
        /// The file.
        path: String,
    },
    /// How it was before cannot be kept, read or forgotten.
    #[error("could not use {path}, which keeps how ufw was, so nothing is changed")]
    Kept {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The thread that waits for the disk has ended.
    #[error(
        "what is kept of ufw could not be used; look for an error before this in the agent's log"
    )]
    Broken(#[source] tokio::task::JoinError),
    /// How it was before is not readable.
    #[error(
        "the file {0} says nothing sensible of how ufw was; remove it to take ufw as it is now"
    )]
    Memory(String),
    /// Its lock cannot be taken, so nobody knows who is writing.
    #[error("could not take ufw's lock {path}")]
    Lock {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody else's call goes on and on.
    #[error("somebody else has used ufw for {seconds} s; look for a ufw that hangs: pgrep -a ufw")]
    Busy {
        /// How long it was waited for.
        seconds: u64,
    },
    /// A file of its was half written and cannot be put back.
    #[error("ufw's file {path} is half written and cannot be put back; restore it from a backup")]
    Mend {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A call was broken off in the middle of a write, which is undone.
    #[error("a call of ufw was broken off and left {files} half written; as before now")]
    BrokenOff {
        /// The files that are put back.
        files: String,
        /// How the call ended.
        #[source]
        source: Box<Self>,
    },
    /// It could not be started.
    #[error("could not run {program}")]
    Run {
        /// ufw or iptables.
        program: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It failed too often in a row to be tried at once.
    #[error("{said}")]
    Paused {
        /// How it failed last.
        said: String,
        /// The word for machines of that.
        reason: &'static str,
    },
    /// It printed without an end.
    #[error("{program} printed more than {mebibytes} MiB; look at its rules")]
    TooLong {
        /// ufw or iptables.
        program: &'static str,
        /// What it may print at most.
        mebibytes: u64,
    },
    /// It hung.
    #[error("{program} did not answer within {seconds} s")]
    Deadline {
        /// ufw or iptables.
        program: &'static str,
        /// How long it had.
        seconds: u64,
    },
    /// It refused.
    #[error("{program} failed: {said}")]
    Refused {
        /// The program and what it was told.
        program: String,
        /// What it said.
        said: String,
    },
    /// A change was accepted and is not there.
    #[error("ufw is not as it was told to be: {0}")]
    ReadBack(String),
}

impl UfwError {
    /// The word for machines.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "UfwMissing",
            Self::Privilege => "MissingPrivilege",
            Self::ReadBack(_) => "NotApplied",
            Self::Paused { reason, .. } => reason,
            Self::Read { .. }
            | Self::NotWhole { .. }
            | Self::Kept { .. }
            | Self::Broken(_)
            | Self::Memory(_)
            | Self::Lock { .. }
            | Self::Busy { .. }
            | Self::TooLong { .. }
            | Self::Mend { .. }
            | Self::BrokenOff { .. }
            | Self::Run { .. }
            | Self::Deadline { .. }
            | Self::Refused { .. } => "UfwFailed",
        }
    }

    /// Whether ufw was told to change something, which its own files tell of then.
    #[must_use]
    pub const fn follows_calls(&self) -> bool {
        matches!(
            self,
            Self::ReadBack(_)
                | Self::BrokenOff { .. }
                | Self::Deadline { .. }
                | Self::TooLong { .. }
                | Self::Refused { .. }
        )
    }

    /// Whether it says that a file of ufw's is not there, which is more than that it cannot be read.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether nothing was even tried.
    #[must_use]
    pub const fn is_untried(&self) -> bool {
        matches!(self, Self::Missing | Self::Privilege)
    }
}
