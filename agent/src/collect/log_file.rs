//! Log files into events: woken by inotify, by a timer where inotify cannot tell.
//! It keeps no line longer than it takes to read it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use inotify::{EventStream, Inotify, WatchMask};
use tokio::time::{Instant, sleep};

use super::follower::{Follower, Start};
use super::line_sink::LineSink;
use super::positions::{Position, Positions};
use super::source_board::Standing;
use crate::config::LogFileSource;
use crate::shutdown::Shutdown;

/// What following files cannot see.
pub const CANNOT_SEE: &str = "lines that a logger truncates away before the next look, lines of \
                              rotated files that were packed while the agent did not run, and \
                              who really wrote a line";

/// The name of this source, where losses are counted as well.
pub const SOURCE: &str = "log files";

/// A look without being told: inotify does not see what happens behind a symbolic link.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The least time between two looks: short enough that a line is on its way within twenty
/// milliseconds, and as long as that allows. On a host at rest every look finds its processor
/// asleep and its caches cold, which costs more than the lines that it reads (docs/footprint.md).
const PAUSE: Duration = Duration::from_millis(15);

/// A directory event is at most 272 bytes.
const READ_BUFFER_BYTES: usize = 4_096;

/// The followed files.
pub struct LogFiles {
    files: Vec<FollowedFile>,
    sink: Arc<LineSink>,
    positions: Arc<Positions>,
    /// None where inotify is not to be had; the timer is slower but enough.
    wakes: Option<EventStream<Vec<u8>>>,
    /// When inotify was last asked.
    asked_at: Instant,
}

/// What a look at all files came to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Look {
    /// Nobody has written.
    Nothing,
    /// There were new lines, and more will come soon.
    Found,
    /// There is more at once.
    More,
}

struct FollowedFile {
    follower: Follower,
    program: String,
    /// Why it is not read; none while it is, and before it was looked at.
    fault: Option<Fault>,
    /// Whether it was said how it is with it.
    is_told: bool,
    /// Its name among the positions.
    key: String,
    position: Option<Position>,
}

/// Why a file is not read.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Fault {
    is_absent: bool,
    error: String,
}

impl LogFiles {
    /// Prepares to follow files from where an earlier run has got to, or from their present ends.
    #[must_use]
    pub fn start(
        sources: &[LogFileSource],
        sink: Arc<LineSink>,
        positions: Arc<Positions>,
    ) -> Self {
        let start = |source| FollowedFile::start(source, &positions);
        let files: Vec<_> = sources.iter().map(start).collect();
        positions.retain(|key| !is_key(key) || files.iter().any(|file| file.key == key));
        let directories: BTreeSet<_> = sources.iter().filter_map(|s| s.path.parent()).collect();
        let wakes = watch_directories(&directories);
        if let Err(error) = &wakes {
            tracing::warn!(%error, "inotify is not to be had; log files are looked at by a timer");
        }
        Self {
            files,
            sink,
            positions,
            wakes: wakes.ok(),
            asked_at: Instant::now(),
        }
    }

    /// Follows them until the agent ends.
    pub async fn run(mut self, mut shutdown: Shutdown) {
        let mut was_told = true;
        loop {
            let look = self.read_all();
            let wake = async {
                match look {
                    Look::More => tokio::task::yield_now().await,
                    // What inotify has told and nobody has fetched it does not tell again: no line
                    // of a busy file wakes anybody.
                    Look::Found if self.asked_at.elapsed() < LOOK_INTERVAL => sleep(PAUSE).await,
                    Look::Nothing if !was_told => was_told = self.wait().await,
                    Look::Found | Look::Nothing => {
                        sleep(PAUSE).await;
                        was_told = self.wait().await;
                    }
                }
            };
            tokio::select! {
                () = wake => {}
                () = shutdown.requested() => return,
            }
        }
    }

    /// Waits until it is time to look; true when inotify said so.
    async fn wait(&mut self) -> bool {
        if self.files.is_empty() {
            return std::future::pending().await;
        }
        let Some(stream) = &mut self.wakes else {
            sleep(LOOK_INTERVAL).await;
            return false;
        };
        let told = tokio::time::timeout(LOOK_INTERVAL, stream.next()).await;
        // What else has happened is seen by the same look.
        while let Some(Some(Ok(_))) = stream.next().now_or_never() {}
        self.asked_at = Instant::now();
        if let Ok(None | Some(Err(_))) = told {
            tracing::warn!("inotify failed; log files are looked at by a timer");
            self.wakes = None;
        }
        told.is_ok()
    }

    fn read_all(&mut self) -> Look {
        let mut look = Look::Nothing;
        for file in &mut self.files {
            look = look.max(file.read_new(&self.sink, &self.positions));
        }
        if self.files.iter().any(|file| !file.is_told) {
            self.tell();
            self.files.iter_mut().for_each(|file| file.is_told = true);
        }
        look
    }

    /// Says how it is with the files: one that is not read is enough to say that they are not.
    fn tell(&self) {
        let faults = || self.files.iter().filter_map(|file| file.fault.as_ref());
        let standing = match faults().map(|fault| fault.is_absent).reduce(|a, b| a && b) {
            None => Standing::Read,
            Some(true) => Standing::Absent,
            Some(false) => Standing::Failed,
        };
        // What is wrong goes first, as the sentence is cut where it is long.
        let mut files: Vec<_> = self.files.iter().collect();
        files.sort_by_key(|file| file.fault.is_none());
        let told: Vec<_> = files.into_iter().map(FollowedFile::describe).collect();
        let board = self.sink.board();
        board.tell(SOURCE, standing, &told.join(", "), CANNOT_SEE);
    }
}

impl FollowedFile {
    fn start(source: &LogFileSource, positions: &Positions) -> Self {
        let key = key_of(&source.path);
        let position = positions.last(&key);
        let start = match &position {
            None | Some(Position::Journal(_) | Position::Kernel(_)) => Start::AtEnd,
            Some(Position::File(None)) => Start::AtBeginning,
            Some(Position::File(Some(place))) => Start::At(place.clone()),
        };
        let follower = Follower::start(&source.path, start);
        if let Ok(place) = follower.position() {
            positions.begin(&key, Position::File(place));
        }
        let stem = source.path.file_stem().unwrap_or_default();
        Self {
            follower,
            program: source
                .program
                .clone()
                .unwrap_or_else(|| stem.to_string_lossy().into_owned()),
            fault: None,
            is_told: false,
            key,
            position,
        }
    }

    fn read_new(&mut self, sink: &LineSink, positions: &Positions) -> Look {
        let program = &self.program;
        let push = |line: super::lines::Line<'_>| sink.push_line(line, program);
        let read = self.follower.read_new(Instant::now(), push);
        for _ in 0..self.follower.take_gaps() {
            let path = self.follower.path().display();
            let why = format!("{path} was replaced while the agent did not run");
            sink.count_lost(SOURCE, None, why);
        }
        let has_moved = self.note_position(positions);
        let fault = read.as_ref().err().map(|error| Fault {
            is_absent: error.kind() == io::ErrorKind::NotFound,
            error: error.to_string(),
        });
        if self.fault.is_some() != fault.is_some() {
            tell_readable(self.follower.path(), read.as_ref().err());
        }
        self.is_told &= self.fault == fault;
        self.fault = fault;
        match read {
            Ok(true) => Look::More,
            Ok(false) if has_moved => Look::Found,
            Ok(false) | Err(_) => Look::Nothing,
        }
    }

    /// Its path, and why it is not read.
    fn describe(&self) -> String {
        let path = self.follower.path().display();
        match &self.fault {
            None => path.to_string(),
            Some(fault) => format!("{path} (not read: {})", fault.error),
        }
    }

    /// Takes note of where it has got to; whether that is another place than before.
    fn note_position(&mut self, positions: &Positions) -> bool {
        let Ok(place) = self.follower.position() else {
            return false;
        };
        let position = Position::File(place);
        let has_moved = self.position.as_ref() != Some(&position);
        if has_moved {
            self.position = Some(position.clone());
            positions.reached(&self.key, position);
        }
        has_moved
    }
}

/// The name of a file among the positions.
fn key_of(path: &Path) -> String {
    format!("file {}", path.display())
}

fn is_key(key: &str) -> bool {
    key.starts_with("file ")
}

fn tell_readable(path: &Path, error: Option<&io::Error>) {
    let path = path.display();
    match error {
        Some(error) => tracing::warn!(%path, %error, "a log file cannot be read; still trying"),
        None => tracing::info!(%path, "a log file can be read again"),
    }
}

/// Hears of changes in some directories; one that cannot be watched is left to a timer.
pub(super) fn watch_directories(directories: &BTreeSet<&Path>) -> io::Result<EventStream<Vec<u8>>> {
    let inotify = Inotify::init()?;
    let mask = WatchMask::MODIFY | WatchMask::CREATE | WatchMask::MOVED_TO;
    let unwatched: Vec<PathBuf> = directories
        .iter()
        .filter(|directory| inotify.watches().add(directory, mask).is_err())
        .map(|directory| directory.to_path_buf())
        .collect();
    if !unwatched.is_empty() {
        tracing::debug!(?unwatched, "some log directories are looked at by a timer");
    }
    inotify.into_event_stream(vec![0; READ_BUFFER_BYTES])
}

#[cfg(test)]
mod tests;
