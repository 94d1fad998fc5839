//! Which sources of log lines a host has: its journal, or the files of a logger and the kernel's log.
//! It follows no line itself.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::audit::{self, AuditSource};
use super::journal::{self, JournalSource, find_journal};
use super::kernel_log::{self, KernelSource};
use super::line_sink::LineSink;
use super::log_file::{self, LogFiles};
use super::positions::Positions;
use super::source_board::{SourceBoard, Standing};
use crate::config::{AuditMode, JournalMode, KernelLogMode, LogFileSource, LogSettings};

/// Where loggers write when nobody tells them otherwise: Debian's names, then Red Hat's. A line is
/// in one of each family only.
const WELL_KNOWN: [&str; 5] = [
    "/var/log/auth.log",
    "/var/log/syslog",
    "/var/log/secure",
    "/var/log/messages",
    "/var/log/cron",
];

/// The sources of one host.
pub struct LogSources {
    /// The journal, where it can be read.
    pub journal: Option<JournalSource>,
    /// The kernel's log, where the journal does not tell it or may cease to.
    pub kernel: Option<KernelSource>,
    /// The kernel's audit, unless it is not to be read.
    pub audit: Option<AuditSource>,
    /// The files.
    pub files: LogFiles,
}

impl LogSources {
    /// Opens the journal, and what takes its place where there is none.
    #[must_use]
    pub fn open(settings: &LogSettings, sink: &Arc<LineSink>, positions: &Arc<Positions>) -> Self {
        let mut followed = settings.files.clone();
        let opened = open_journal(settings.journal, sink, positions);
        tell_journal(sink.board(), &opened);
        let journal = match opened {
            Ok(journal) => journal,
            Err(error) => {
                if followed.is_empty() {
                    followed = list_well_known();
                }
                tracing::warn!(
                    %error,
                    n_files = followed.len(),
                    "the journal cannot be read; log files take its place"
                );
                None
            }
        };
        let mode = (settings.kernel_log, journal.is_some());
        let kernel = open_kernel_log(mode, sink, positions);
        let audit = (settings.audit != AuditMode::Off).then(|| {
            let (sink, positions) = (Arc::clone(sink), Arc::clone(positions));
            AuditSource::new(PathBuf::from("/"), sink, positions)
        });
        if audit.is_none() {
            sink.board()
                .tell("audit", Standing::Off, "audit = \"off\"", audit::CANNOT_SEE);
        }
        if followed.is_empty() {
            let how = "none is followed";
            sink.board()
                .tell(log_file::SOURCE, Standing::Off, how, log_file::CANNOT_SEE);
        }
        let files = LogFiles::start(&followed, Arc::clone(sink), Arc::clone(positions));
        Self {
            journal,
            kernel,
            audit,
            files,
        }
    }
}

fn open_journal(
    mode: JournalMode,
    sink: &Arc<LineSink>,
    positions: &Arc<Positions>,
) -> io::Result<Option<JournalSource>> {
    if mode == JournalMode::Off {
        return Ok(None);
    }
    let directories = find_journal()?;
    JournalSource::open(&directories, Arc::clone(sink), Arc::clone(positions)).map(Some)
}

/// The kernel's log as it is asked for, with a journal or without one.
fn open_kernel_log(
    (mode, has_journal): (KernelLogMode, bool),
    sink: &Arc<LineSink>,
    positions: &Arc<Positions>,
) -> Option<KernelSource> {
    match mode {
        KernelLogMode::Auto if has_journal => {
            let proc = Path::new("/proc");
            Some(KernelSource::beside_journal(proc, sink, positions))
        }
        KernelLogMode::Auto | KernelLogMode::On => KernelSource::alone(sink, positions),
        KernelLogMode::Off => {
            kernel_log::leave(sink, positions, "kernel_log = \"off\"");
            None
        }
    }
}

fn tell_journal(board: &SourceBoard, opened: &io::Result<Option<JournalSource>>) {
    let (standing, how) = match opened {
        Ok(Some(_)) => (Standing::Read, "from journald's files".to_owned()),
        Ok(None) => (Standing::Off, "journal = \"off\"".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (
            Standing::Absent,
            format!("{error}; log files take its place"),
        ),
        Err(error) => (
            Standing::Failed,
            format!("{error}; log files take its place"),
        ),
    };
    board.tell("journal", standing, &how, journal::CANNOT_SEE);
}

/// The well-known files that are there.
#[must_use]
pub fn list_well_known() -> Vec<LogFileSource> {
    let paths = WELL_KNOWN.iter().map(PathBuf::from);
    paths
        .filter(|path| path.is_file())
        .map(|path| LogFileSource {
            path,
            program: None,
        })
        .collect()
}

/// Which of some files hold what the journal tells as well.
#[must_use]
pub fn list_doubles(files: &[LogFileSource]) -> Vec<&Path> {
    let paths = files.iter().map(|file| file.path.as_path());
    let is_known = |path: &&Path| WELL_KNOWN.iter().any(|known| *path == Path::new(known));
    paths.filter(is_known).collect()
}
