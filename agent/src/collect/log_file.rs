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
use tokio::time::sleep;

use super::follower::Follower;
use super::lines::Line;
use crate::config::LogFileSource;
use crate::event_queue::EventQueue;
use crate::normalize::{LineSource, normalize};
use crate::shutdown::Shutdown;

/// A look without being told: inotify does not see what happens behind a symbolic link.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The least time between two looks; a thousand lines a second are then fifty looks.
const PAUSE: Duration = Duration::from_millis(20);

/// A directory event is at most 272 bytes.
const READ_BUFFER_BYTES: usize = 4_096;

/// The followed files.
pub struct LogFiles {
    files: Vec<FollowedFile>,
    events: Arc<EventQueue>,
    zone: TimeZone,
    /// None where inotify is not to be had; the timer is slower but enough.
    wakes: Option<EventStream<Vec<u8>>>,
}

struct FollowedFile {
    follower: Follower,
    program: String,
    was_readable: bool,
}

impl LogFiles {
    /// Prepares to follow files from their present ends.
    #[must_use]
    pub fn start(sources: &[LogFileSource], events: Arc<EventQueue>) -> Self {
        let files = sources.iter().map(FollowedFile::start).collect();
        let directories: BTreeSet<_> = sources.iter().filter_map(|s| s.path.parent()).collect();
        let wakes = watch_directories(&directories);
        if let Err(error) = &wakes {
            tracing::warn!(%error, "inotify is not to be had; log files are looked at by a timer");
        }
        Self {
            files,
            events,
            zone: TimeZone::system(),
            wakes: wakes.ok(),
        }
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
        let mut more = false;
        for file in &mut self.files {
            more |= file.read_new(events, zone);
        }
        more
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

    fn read_new(&mut self, events: &EventQueue, zone: &TimeZone) -> bool {
        let source = LineSource {
            program: &self.program,
            seen: Timestamp::now(),
            zone: zone.clone(),
        };
        let read = self
            .follower
            .read_new(|line| push_line(line, &source, events));
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

fn push_line(line: Line<'_>, source: &LineSource<'_>, events: &EventQueue) {
    let text = String::from_utf8_lossy(line.bytes);
    if text.trim().is_empty() {
        return;
    }
    let read = normalize(&text, source);
    let mut event = read.event;
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
        let files = LogFiles::start(&[source], Arc::clone(&queue));
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
}
