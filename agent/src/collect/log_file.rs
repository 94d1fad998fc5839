//! Log files into events: woken by inotify, by a timer where inotify cannot tell.
//! It keeps no line longer than it takes to read it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use hidps_wire::FieldValue;
use inotify::{EventStream, Inotify, WatchMask};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::follower::Follower;
use super::lines::Line;
use super::unread::UnreadLines;
use crate::agent_note::AgentNote;
use crate::config::LogFileSource;
use crate::event_queue::EventQueue;
use crate::normalize::{LineSource, normalize};
use crate::redact::redact_logged_command;
use crate::shutdown::Shutdown;

/// A look without being told: inotify does not see what happens behind a symbolic link.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The least time between two looks; a thousand lines a second are then fifty looks.
const PAUSE: Duration = Duration::from_millis(20);

/// How often counts of lines that were not understood are shown on the host.
const SHOW_UNREAD_INTERVAL: Duration = Duration::from_secs(30);

/// How often they are told to the daemon, where there are new ones.
const TELL_UNREAD_INTERVAL: Duration = Duration::from_secs(3_600);

/// A directory event is at most 272 bytes.
const READ_BUFFER_BYTES: usize = 4_096;

/// The followed files.
pub struct LogFiles {
    files: Vec<FollowedFile>,
    events: Arc<EventQueue>,
    zone: TimeZone,
    /// None where inotify is not to be had; the timer is slower but enough.
    wakes: Option<EventStream<Vec<u8>>>,
    unread: UnreadLog,
}

/// Lines that were not understood, and when that was last said.
struct UnreadLog {
    lines: UnreadLines,
    shown: watch::Sender<UnreadLines>,
    show_at: Instant,
    tell_at: Instant,
    told: u64,
}

struct FollowedFile {
    follower: Follower,
    program: String,
    was_readable: bool,
}

impl LogFiles {
    /// Prepares to follow files from their present ends; the receiver hears how many lines were
    /// not understood.
    #[must_use]
    pub fn start(
        sources: &[LogFileSource],
        events: Arc<EventQueue>,
    ) -> (Self, watch::Receiver<UnreadLines>) {
        let files = sources.iter().map(FollowedFile::start).collect();
        let directories: BTreeSet<_> = sources.iter().filter_map(|s| s.path.parent()).collect();
        let wakes = watch_directories(&directories);
        if let Err(error) = &wakes {
            tracing::warn!(%error, "inotify is not to be had; log files are looked at by a timer");
        }
        let unread = UnreadLog::new(Instant::now());
        let shown = unread.shown.subscribe();
        let log_files = Self {
            files,
            events,
            zone: TimeZone::system(),
            wakes: wakes.ok(),
            unread,
        };
        (log_files, shown)
    }

    /// Follows them until the agent ends.
    pub async fn run(mut self, mut shutdown: Shutdown) {
        loop {
            let more = self.read_all();
            let wake = async {
                if more {
                    tokio::task::yield_now().await;
                } else {
                    self.wait().await;
                    sleep(PAUSE).await;
                }
            };
            tokio::select! {
                () = wake => {}
                () = shutdown.requested() => return,
            }
        }
    }

    async fn wait(&mut self) {
        if self.files.is_empty() {
            return std::future::pending().await;
        }
        let Some(stream) = &mut self.wakes else {
            return sleep(LOOK_INTERVAL).await;
        };
        let woken = tokio::time::timeout(LOOK_INTERVAL, stream.next()).await;
        // What else has happened is seen by the same look.
        while let Some(Some(Ok(_))) = stream.next().now_or_never() {}
        if let Ok(None | Some(Err(_))) = woken {
            tracing::warn!("inotify failed; log files are looked at by a timer");
            self.wakes = None;
        }
    }

    fn read_all(&mut self) -> bool {
        let (events, zone) = (&self.events, &self.zone);
        let unread = &mut self.unread.lines;
        let mut more = false;
        for file in &mut self.files {
            more |= file.read_new(events, zone, unread);
        }
        self.unread.tell(Instant::now(), events);
        more
    }
}

impl UnreadLog {
    fn new(now: Instant) -> Self {
        Self {
            lines: UnreadLines::default(),
            shown: watch::Sender::default(),
            show_at: now,
            tell_at: now + TELL_UNREAD_INTERVAL,
            told: 0,
        }
    }

    /// Shows and tells what is new, each at its own pace.
    fn tell(&mut self, now: Instant, events: &EventQueue) {
        if now >= self.show_at {
            self.show_at = now + SHOW_UNREAD_INTERVAL;
            let lines = &self.lines;
            self.shown.send_if_modified(|shown| {
                let is_new = shown != lines;
                if is_new {
                    shown.clone_from(lines);
                }
                is_new
            });
        }
        if now >= self.tell_at {
            self.tell_at = now + TELL_UNREAD_INTERVAL;
            let total = self.lines.total();
            if total > self.told {
                let new = total - self.told;
                let sentence = self.lines.sentence();
                self.told = total;
                events.push(AgentNote::LinesUnread { new, sentence }.into_event());
            }
        }
    }
}

impl FollowedFile {
    fn start(source: &LogFileSource) -> Self {
        let stem = source.path.file_stem().unwrap_or_default();
        Self {
            follower: Follower::start(&source.path),
            program: source
                .program
                .clone()
                .unwrap_or_else(|| stem.to_string_lossy().into_owned()),
            was_readable: true,
        }
    }

    fn read_new(&mut self, events: &EventQueue, zone: &TimeZone, unread: &mut UnreadLines) -> bool {
        let source = LineSource {
            program: &self.program,
            seen: Timestamp::now(),
            zone: zone.clone(),
        };
        let read = self
            .follower
            .read_new(|line| push_line(line, &source, events, unread));
        let is_readable = read.is_ok();
        if self.was_readable != is_readable {
            self.was_readable = is_readable;
            tell_readable(self.follower.path(), read.as_ref().err());
        }
        read.unwrap_or(false)
    }
}

fn tell_readable(path: &Path, error: Option<&io::Error>) {
    let path = path.display();
    match error {
        Some(error) => tracing::warn!(%path, %error, "a log file cannot be read; still trying"),
        None => tracing::info!(%path, "a log file can be read again"),
    }
}

fn push_line(
    line: Line<'_>,
    source: &LineSource<'_>,
    events: &EventQueue,
    unread: &mut UnreadLines,
) {
    let text = String::from_utf8_lossy(line.bytes);
    if text.trim().is_empty() {
        return;
    }
    let read = normalize(&text, source);
    if !read.is_read {
        unread.count(&read.event.service);
    }
    let mut event = redact_logged_command(read.event);
    if line.is_cut {
        event.fields.push("truncated", FieldValue::Bool(true));
    }
    for _ in 0..read.count {
        events.push(event.clone());
    }
}

fn watch_directories(directories: &BTreeSet<&Path>) -> io::Result<EventStream<Vec<u8>>> {
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
mod tests {
    use super::*;
    use crate::shutdown::shutdown;
    use hidps_wire::{EventBatch, EventKind, LogEvent, MAX_AGENT_FRAME_BYTES, decode};
    use std::fs::File;
    use std::io::Write as _;

    const DEADLINE: Duration = Duration::from_secs(10);

    async fn events_of(queue: &EventQueue, n_wanted: usize) -> Vec<LogEvent<'static>> {
        let mut events = Vec::new();
        while events.len() < n_wanted {
            let batch = tokio::time::timeout(DEADLINE, queue.next_batch()).await;
            let text = batch.expect("the events come").text;
            let batch: EventBatch<'_> = decode(&text, MAX_AGENT_FRAME_BYTES).unwrap();
            events.extend(batch.events.into_iter().map(LogEvent::into_owned));
        }
        events
    }

    #[tokio::test]
    async fn lines_become_events_and_the_file_may_come_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sshd.log");
        let queue = Arc::new(EventQueue::default());
        queue.on_connected(u32::MAX);
        let source = LogFileSource {
            path: path.clone(),
            program: Some("sshd".to_owned()),
        };
        let (files, _unread) = LogFiles::start(&[source], Arc::clone(&queue));
        let (switch, shutdown) = shutdown();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(files.run(shutdown));

        let mut file = File::create(&path).unwrap();
        file.write_all(b"\nFailed password for root from 10.0.0.1 port 5 ssh2\r\n")
            .unwrap();
        file.write_all(
            b"message repeated 2 times: [ Failed password for bob from 10.0.0.1 port 5 ssh2]\n",
        )
        .unwrap();
        file.write_all(&[b"x".repeat(40_000), b"\n".to_vec()].concat())
            .unwrap();
        let events = events_of(&queue, 4).await;
        switch.request();

        assert_eq!(events.len(), 4, "the empty line is none");
        let user = |number: usize| events[number].fields.get("user").cloned();
        assert_eq!(user(0), Some(FieldValue::from("root")));
        assert_eq!(user(1), Some(FieldValue::from("bob")));
        assert_eq!(events[1], events[2]);
        assert!(events.iter().all(|event| event.kind == EventKind::Login));
        assert_eq!(
            events[3].fields.get("truncated"),
            Some(&FieldValue::Bool(true))
        );
        tokio::time::timeout(DEADLINE, tasks.join_next())
            .await
            .expect("it ends");
    }

    #[tokio::test(start_paused = true)]
    async fn lines_that_were_not_understood_are_shown_soon_and_told_by_the_hour() {
        let queue = EventQueue::default();
        queue.on_connected(u32::MAX);
        let mut log = UnreadLog::new(Instant::now());
        let shown = log.shown.subscribe();
        let source = LineSource {
            program: "named",
            seen: Timestamp::UNIX_EPOCH,
            zone: TimeZone::UTC,
        };
        let push = |log: &mut UnreadLog, bytes: &[u8]| {
            let is_cut = false;
            push_line(Line { bytes, is_cut }, &source, &queue, &mut log.lines);
        };

        push(&mut log, b"sshd[1]: no header, so a line of named");
        push(&mut log, b"another");
        log.tell(Instant::now(), &queue);
        let n_shown = shown.borrow().total();
        tokio::time::advance(TELL_UNREAD_INTERVAL).await;
        log.tell(Instant::now(), &queue);
        tokio::time::advance(TELL_UNREAD_INTERVAL).await;
        log.tell(Instant::now(), &queue);
        let events = events_of(&queue, 3).await;

        assert_eq!(n_shown, 2);
        let told: Vec<_> = events
            .iter()
            .filter(|event| event.fields.get("event").is_some())
            .collect();
        assert_eq!(told.len(), 1, "nothing new in the second hour");
        assert_eq!(told[0].fields.get("unread"), Some(&FieldValue::Integer(2)));
        assert!(told[0].message.contains("named 2"), "{}", told[0].message);
    }
}
