//! The systemd journal as a source of lines, read from journald's own files.
//! It starts no program and never writes to them.
//!
//! journald tells of new entries a quarter of a second late, so while entries come the files are
//! looked at by a timer; a journal at rest is looked at when it is told to.

mod bytes;
mod file;
mod format;
#[cfg(test)]
mod image;
mod journals;
mod record;
mod unpack;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use inotify::{EventStream, Inotify, WatchMask};
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::line_sink::LineSink;
use super::positions::{Position, Positions};
use crate::normalize::{JournalEntry, normalize_entry};
use crate::shutdown::Shutdown;
use format::EntryHead;
pub use journals::Cursor;
use journals::{Journals, Told};
use record::Record;

/// What reading the journal cannot see.
pub const CANNOT_SEE: &str = "lines that journald itself dropped by its rate limit or never got, \
                              journals of other namespaces and machines, and kernel messages \
                              where journald does not read them";

/// The name of this source, where losses are counted and among the positions.
const SOURCE: &str = "journal";

/// How often a journal is looked at while entries come.
const BUSY_PAUSE: Duration = Duration::from_millis(15);

/// How long entries are expected to go on coming.
const BUSY_TIME: Duration = Duration::from_secs(3);

/// A look without being told: a directory may come later, and inotify may be used up.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// An event of a directory is at most 272 bytes.
const READ_BUFFER_BYTES: usize = 4_096;

/// Where journald keeps its files, each host's below its own number.
const PLACES: [&str; 2] = ["/run/log/journal", "/var/log/journal"];

/// The journal of this host.
pub struct JournalSource {
    journals: Journals,
    sink: Arc<LineSink>,
    positions: Arc<Positions>,
    wakes: Option<EventStream<Vec<u8>>>,
    /// What the agent itself logs is not passed on: each line would lead to the next.
    own_pid: u32,
}

/// The directories of this host's journal.
///
/// # Errors
/// Fails when the host has no number, or no journal.
pub fn find_journal() -> io::Result<Vec<PathBuf>> {
    let number = fs::read_to_string("/etc/machine-id")?;
    let number = number.trim();
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(io::Error::other("/etc/machine-id holds no number"));
    }
    let directories: Vec<_> = PLACES
        .iter()
        .map(|place| Path::new(place).join(number))
        .collect();
    if directories.iter().any(|directory| directory.is_dir()) {
        return Ok(directories);
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        "journald keeps no files on this host",
    ))
}

/// Looks whether the journal can be read.
///
/// # Errors
/// Says why it cannot.
pub fn check_readable() -> io::Result<()> {
    Journals::open(&find_journal()?, None).map(drop)
}

impl JournalSource {
    /// Opens the journal where an earlier run has got to, or at its end.
    ///
    /// # Errors
    /// Fails when there is no journal, or it cannot be read.
    pub fn open(
        directories: &[PathBuf],
        sink: Arc<LineSink>,
        positions: Arc<Positions>,
    ) -> io::Result<Self> {
        let cursor = match positions.last(SOURCE) {
            Some(Position::Journal(cursor)) => Some(cursor),
            Some(_) | None => None,
        };
        let journals = Journals::open(directories, cursor)?;
        if let Some(cursor) = journals.cursor() {
            positions.begin(SOURCE, Position::Journal(cursor.clone()));
        }
        let wakes = watch(directories);
        if let Err(error) = &wakes {
            tracing::warn!(%error, "inotify is not to be had; the journal is looked at by a timer");
        }
        Ok(Self {
            journals,
            sink,
            positions,
            wakes: wakes.ok(),
            own_pid: std::process::id(),
        })
    }

    /// Reads it until the agent ends.
    pub async fn run(mut self, mut shutdown: Shutdown) {
        let mut busy_until = Instant::now();
        loop {
            let (n_told, more) = self.read_new();
            if n_told > 0 {
                busy_until = Instant::now() + BUSY_TIME;
            }
            let wake = async {
                if more {
                    tokio::task::yield_now().await;
                } else if Instant::now() < busy_until {
                    sleep(BUSY_PAUSE).await;
                } else {
                    self.wait().await;
                }
            };
            tokio::select! {
                () = wake => {}
                () = shutdown.requested() => return,
            }
        }
    }

    async fn wait(&mut self) {
        let Some(stream) = &mut self.wakes else {
            return sleep(LOOK_INTERVAL).await;
        };
        let woken = tokio::time::timeout(LOOK_INTERVAL, stream.next()).await;
        while let Some(Some(Ok(_))) = stream.next().now_or_never() {}
        if let Ok(None | Some(Err(_))) = woken {
            tracing::warn!("inotify failed; the journal is looked at by a timer");
            self.wakes = None;
        }
    }

    fn read_new(&mut self) -> (usize, bool) {
        let (sink, own_pid) = (&self.sink, self.own_pid);
        let mut n_told = 0;
        let more = self.journals.read_new(|told| {
            n_told += 1;
            match told {
                Told::Entry(head, record) if record.pid != Some(own_pid) => {
                    push_record(sink, &head, &record);
                }
                Told::Entry(..) => {}
                Told::Lost(n_lost, why) => sink.count_lost(SOURCE, Some(n_lost), why),
            }
        });
        if n_told > 0
            && let Some(cursor) = self.journals.cursor()
        {
            self.positions
                .reached(SOURCE, Position::Journal(cursor.clone()));
        }
        (n_told, more)
    }
}

/// Reads a file as far as it can be read, for a fuzzer: how many entries it told.
#[must_use]
pub fn read_any(bytes: &[u8]) -> usize {
    let Ok(mut file) = file::JournalFile::open(bytes) else {
        return 0;
    };
    // A damaged header may claim any number.
    let numbers = 0..file.header().n_entries.min(bytes.len() as u64);
    let read = numbers.filter(|number| {
        let entry = file.read_entry(*number);
        entry.is_ok_and(|entry| file.read_record(&entry).is_ok())
    });
    let n_read = read.count();
    file.find_first(|head| head.seqnum > 1).ok();
    n_read
}

fn push_record(sink: &LineSink, head: &EntryHead, record: &Record) {
    let Some(message) = &record.message else {
        return;
    };
    let message = String::from_utf8_lossy(message);
    let message = message.trim_end();
    let is_copy =
        (record.is_audit && sink.has_audit()) || (record.is_kernel && sink.is_audits(message));
    if message.is_empty() || is_copy {
        return;
    }
    let micros = i64::try_from(head.realtime).unwrap_or(i64::MAX);
    let entry = JournalEntry {
        message,
        identifier: record.identifier.as_deref(),
        pid: record.pid,
        uid: record.uid,
        comm: record.comm.as_deref(),
        exe: record.exe.as_deref(),
        unit: record.unit.as_deref(),
        is_kernel: record.is_kernel,
        time: Timestamp::from_microsecond(micros).unwrap_or_else(|_| Timestamp::now()),
    };
    sink.push(normalize_entry(&entry), record.is_cut);
}

fn watch(directories: &[PathBuf]) -> io::Result<EventStream<Vec<u8>>> {
    let inotify = Inotify::init()?;
    let mask = WatchMask::MODIFY | WatchMask::CREATE | WatchMask::MOVED_TO;
    for directory in directories {
        // One of the two places is often absent; the timer finds it when it comes.
        inotify.watches().add(directory, mask).ok();
    }
    inotify.into_event_stream(vec![0; READ_BUFFER_BYTES])
}
