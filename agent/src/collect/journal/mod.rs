//! The systemd journal as a source of lines, read from journald's own files.
//! It starts no program and never writes to them.
//!
//! journald writes through a mapping, of which inotify hears nothing, and pokes it a quarter of a
//! second late. So while anything goes on on the host, the count in each file's header is peeked at
//! every few milliseconds; on a host at rest, where a wake-up costs more than the read, it is not.

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
use crate::normalize::audit::{AuditId, AuditRecord, read_body};
use crate::normalize::{JournalEntry, normalize_entry};
use crate::shutdown::Shutdown;
use format::EntryHead;
pub use journals::Cursor;
use journals::{Journals, Told};
use record::Record;

/// What reading the journal cannot see.
pub const CANNOT_SEE: &str = "lines that journald itself dropped by its rate limit or never got, \
                              and journals of other namespaces and machines";

/// The name of this source, where losses are counted and among the positions.
const SOURCE: &str = "journal";

/// How often the headers are peeked at while something goes on; a line waits half of it.
const PEEK_PAUSE: Duration = Duration::from_millis(15);

/// How long lines are expected after something happened, such as a program that began.
const BUSY_TIME: Duration = Duration::from_secs(1);

/// Headers that are peeked at so often; with more of them it is done more seldom.
const PEEKED_FILES: u32 = 8;

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
    busy_until: Instant,
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
        let has_journal = PLACES.iter().any(|place| Path::new(place).is_dir());
        let kind = if has_journal {
            io::ErrorKind::InvalidData
        } else {
            io::ErrorKind::NotFound
        };
        return Err(io::Error::new(kind, "/etc/machine-id holds no number"));
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
            busy_until: Instant::now(),
            own_pid: std::process::id(),
        })
    }

    /// Reads it until the agent ends.
    pub async fn run(mut self, mut shutdown: Shutdown) {
        loop {
            let more = self.read_new();
            let wake = async {
                if more {
                    tokio::task::yield_now().await;
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

    /// Waits until there is something new, or it is time to look without being told.
    async fn wait(&mut self) {
        let look_at = Instant::now() + LOOK_INTERVAL;
        loop {
            let now = Instant::now();
            let is_busy = now < self.busy_until;
            let pause = if is_busy {
                PEEK_PAUSE * (1 + self.journals.n_files() / PEEKED_FILES)
            } else {
                look_at.saturating_duration_since(now)
            };
            let is_told = self.rest(pause, is_busy).await;
            if self.positions.events().stirred().now_or_never().is_some() {
                self.busy_until = Instant::now() + BUSY_TIME;
            }
            if is_told || self.journals.has_grown() || Instant::now() >= look_at {
                return;
            }
        }
    }

    /// Waits for the end of a pause, for inotify (true) or, unless it is busy, for events.
    async fn rest(&mut self, pause: Duration, is_busy: bool) -> bool {
        let events = Arc::clone(self.positions.events());
        let stirred = async {
            if is_busy {
                std::future::pending::<()>().await;
            } else {
                events.stirred().await;
            }
        };
        let told = async {
            match &mut self.wakes {
                Some(stream) => stream.next().await,
                None => std::future::pending().await,
            }
        };
        let woken = tokio::select! {
            woken = told => woken,
            () = stirred => {
                self.busy_until = Instant::now() + BUSY_TIME;
                return false;
            }
            () = sleep(pause) => return false,
        };
        if !matches!(woken, Some(Ok(_))) {
            tracing::warn!("inotify failed; new journals are found by a timer");
            self.wakes = None;
        } else if let Some(stream) = &mut self.wakes {
            while let Some(Some(Ok(_))) = stream.next().now_or_never() {}
        }
        true
    }

    fn read_new(&mut self) -> bool {
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
        more
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
    if message.is_empty() {
        return;
    }
    if record.is_audit {
        return sink.push_audit_copy(audit_copy(head, record, message));
    }
    if record.is_kernel && (sink.has_kernel_log() || sink.takes_audit_copy(message)) {
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
    sink.push(SOURCE, normalize_entry(&entry), record.is_cut);
}

/// The record of the audit that journald took in: it left out the stamp and put the name of the
/// kind before the rest.
fn audit_copy(head: &EntryHead, record: &Record, message: &str) -> Option<AuditRecord> {
    let (_, body) = message.split_once(' ')?;
    let kind = u16::try_from(record.audit_kind?).ok()?;
    let micros = record.source_time.unwrap_or(head.realtime);
    let id = AuditId {
        millis: i64::try_from(micros / 1_000).ok()?,
        serial: record.audit_serial?,
    };
    Some(read_body(kind, id, body, record.is_cut))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent_note::AgentNote;
    use crate::collect::source_board::SourceBoard;
    use crate::event_queue::EventQueue;
    use crate::state_dir::StateDir;
    use image::{Image, NewEntry};

    #[test]
    fn a_record_of_the_audit_in_the_journal_is_one_again_and_no_line() {
        let events = Arc::new(EventQueue::default());
        let (sink, _counts) = LineSink::new(Arc::clone(&events), SourceBoard::new().0);
        let mut image = Image::new(false, 1);
        let fields: [&[u8]; 7] = [
            b"_TRANSPORT=audit",
            b"SYSLOG_IDENTIFIER=audit",
            b"_AUDIT_TYPE=1309",
            b"_AUDIT_TYPE_NAME=EXECVE",
            b"_AUDIT_ID=124",
            b"_SOURCE_REALTIME_TIMESTAMP=1795290703468000",
            b"MESSAGE=EXECVE argc=2 a0=\"mysql\" a1=\"-phunter2\"",
        ];
        image.append(NewEntry::numbered(1), &fields);
        let mut file = file::JournalFile::open(image.bytes()).unwrap();
        let entry = file.read_entry(0).unwrap();
        let record = file.read_record(&entry).unwrap();

        let copy = audit_copy(&entry.head, &record, "EXECVE argc=2 a0=\"mysql\"").unwrap();
        push_record(&sink, &entry.head, &record);

        let expected = (
            AuditId {
                millis: 1_795_290_703_468,
                serial: 124,
            },
            "EXECVE",
        );
        assert_eq!((copy.id, &*copy.kind), expected);
        assert_eq!(events.pushed(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_is_told_at_once_where_something_goes_on_and_soon_where_nothing_does() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("system.journal");
        let mut image = Image::new(false, 1);
        image.append(NewEntry::numbered(1), &[b"MESSAGE=one"]);
        fs::write(&file, image.bytes()).unwrap();
        let state = StateDir::open(&directory.path().join("state")).unwrap();
        let events = Arc::new(EventQueue::default());
        events.on_connected(u32::MAX);
        let positions = Arc::new(Positions::load(state, Arc::clone(&events)));
        let (sink, _counts) = LineSink::new(Arc::clone(&events), SourceBoard::new().0);
        let places = [directory.path().to_owned()];
        let mut source = JournalSource::open(&places, sink, positions).unwrap();
        // A writer through a mapping tells it nothing.
        source.wakes = None;
        let (_switch, shutdown) = crate::shutdown::shutdown();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(source.run(shutdown));
        let mut waits = Vec::new();
        for (number, is_stirred) in (2..).zip([false, true]) {
            sleep(Duration::from_secs(60)).await;
            if is_stirred {
                events.push(AgentNote::Started.into_event());
                let note = events.next_batch().await;
                events.on_acknowledged(note.seq, u32::MAX);
                sleep(Duration::from_millis(200)).await;
            }
            let message = format!("MESSAGE=number {number}");
            image.append(NewEntry::numbered(number), &[message.as_bytes()]);
            fs::write(&file, image.bytes()).unwrap();
            let written = Instant::now();
            let batch = events.next_batch().await;
            waits.push(written.elapsed());
            let expected = format!("number {number}");
            assert!(batch.text.contains(&expected), "{}", batch.text);
            events.on_acknowledged(batch.seq, u32::MAX);
        }

        assert!(waits[0] <= LOOK_INTERVAL, "{waits:?}");
        assert!(waits[1] <= 2 * PEEK_PAUSE, "{waits:?}");
    }
}
