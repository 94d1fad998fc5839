//! When what is known of watched files is written down, and where.
//! It never writes of a change that the daemon may not have heard of: whoever starts after an agent
//! that was killed finds such a change once more.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::memory::Memory;
use crate::error_chain::chain;
use crate::event_queue::EventQueue;
use crate::state_dir::StateDir;

/// The memory's file.
const FILE: &str = "files.json";

/// How soon what is new is written: an agent that is killed tells again what changed within this
/// time.
const KEEP_INTERVAL: Duration = Duration::from_secs(5);

/// How soon what was only read is written: nothing of it is lost but the reading.
const READ_INTERVAL: Duration = Duration::from_mins(1);

/// How many bytes are written in a second, taken over a longer time: the memory of a large host is
/// written every few minutes.
const BYTES_PER_SECOND: usize = 64 * 1024;

/// How soon it is tried again while something is being looked at or waited for.
const RETRY: Duration = Duration::from_millis(250);

/// How long what was known is held for the daemon to hear of it; where it does not, a later state is
/// kept.
const HOLD: Duration = Duration::from_secs(10);

/// What is known of watched files, on the disk.
#[derive(Debug)]
pub struct FileMemory {
    state: StateDir,
    events: Arc<EventQueue>,
    /// What was known when the watcher ended and shortly before, the latest last.
    last: Mutex<Vec<Snapshot>>,
}

/// What is known was not written down, which was said.
#[derive(Debug)]
struct NotKept;

impl NotKept {
    fn tell(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::warn!(error = %chain(error), "what is known of watched files was not kept");
        Self
    }
}

/// What was known at a moment.
#[derive(Debug)]
struct Snapshot {
    known: Memory,
    /// How many events had been pushed by then: it may be written once the daemon has heard of them.
    pushed: u64,
}

impl FileMemory {
    /// The memory in a state directory; the queue says which changes the daemon has heard of.
    #[must_use]
    pub fn new(state: StateDir, events: Arc<EventQueue>) -> Self {
        Self {
            state,
            events,
            last: Mutex::default(),
        }
    }

    /// What an earlier run of the agent knew, and how many bytes that is on the disk.
    pub(super) fn load(&self) -> (Memory, usize) {
        let problem = match self.state.read(FILE) {
            Ok(None) => return (Memory::default(), 0),
            Ok(Some(text)) => match Memory::parse(&text) {
                Ok(memory) => return (memory, text.len()),
                Err(error) => chain(&error),
            },
            Err(error) => chain(&error),
        };
        tracing::warn!(
            problem,
            "what was known of watched files cannot be read; what changed while the agent was away \
             is not told"
        );
        (Memory::default(), 0)
    }

    /// Writes what was known when the watcher ended, or shortly before, as far as the daemon has heard
    /// of it.
    pub fn save_last(&self) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let settled = self.events.settled();
        let mut latest = last.iter().rev();
        if let Some(heard) = latest.find(|snapshot| snapshot.pushed <= settled) {
            // What could not be written is said; there is no later time to try.
            self.write(&heard.known).ok();
        }
    }

    /// Gives how many bytes were written.
    fn write(&self, memory: &Memory) -> Result<usize, NotKept> {
        let text = memory.text().map_err(|error| NotKept::tell(&error))?;
        let written = self.state.write(FILE, &text);
        written.map_err(|error| NotKept::tell(&error))?;
        Ok(text.len())
    }
}

/// Has it written when there is something new.
#[derive(Debug)]
pub(super) struct Keeping {
    memory: Arc<FileMemory>,
    /// When it is taken next; none while nothing is new.
    due: Option<Instant>,
    /// How many events had been pushed when there was something new: whether the daemon hears at all.
    told: u64,
    /// How soon after something new it is taken.
    pace: Duration,
    held: Option<Held>,
    /// At most one: the disk may take its time, and the agent has but one thread.
    writes: JoinSet<Result<usize, NotKept>>,
    /// When it is seen what became of one.
    written_at: Option<Instant>,
    n_left_out: usize,
}

/// What was known, until the daemon has heard of it.
#[derive(Debug)]
struct Held {
    snapshot: Snapshot,
    until: Instant,
    /// When it is seen again whether the daemon has.
    again: Instant,
}

impl Keeping {
    pub(super) fn new(memory: Arc<FileMemory>) -> Self {
        Self {
            memory,
            due: None,
            told: 0,
            pace: KEEP_INTERVAL,
            held: None,
            writes: JoinSet::new(),
            written_at: None,
            n_left_out: 0,
        }
    }

    /// What an earlier run of the agent knew.
    pub(super) fn load(&mut self) -> Memory {
        let (memory, n_bytes) = self.memory.load();
        self.pace = plan_pace(n_bytes);
        memory
    }

    /// Files that there is no room to remember.
    pub(super) const fn n_left_out(&self) -> usize {
        self.n_left_out
    }

    /// Takes note that something is known that was not, and maybe told.
    pub(super) fn on_news(&mut self, now: Instant) {
        self.take_by(now + self.pace);
    }

    /// Takes note that a content is known that nobody changed.
    pub(super) fn on_read(&mut self, now: Instant) {
        self.take_by(now + self.pace.max(READ_INTERVAL));
    }

    fn take_by(&mut self, at: Instant) {
        if self.due.is_none() {
            self.told = self.memory.events.pushed();
        }
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// When there may be something to do.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let held = self.held.as_ref().map(|held| held.again);
        let work = held.or(self.due);
        work.into_iter().chain(self.written_at).min()
    }

    /// Takes what is known, if it is time, and writes it once the daemon has heard of it. `known`
    /// gives none while something is being looked at.
    pub(super) fn work(&mut self, now: Instant, known: impl FnOnce() -> Option<Memory>) {
        while let Some(written) = self.writes.try_join_next() {
            match written {
                Ok(Ok(n_bytes)) => self.pace = plan_pace(n_bytes),
                // It is as new as before.
                Ok(Err(NotKept)) | Err(_) => self.take_by(now + self.pace),
            }
        }
        let is_writing = !self.writes.is_empty();
        self.written_at = is_writing.then_some(now + KEEP_INTERVAL);
        if self.held.is_none() && self.due.is_some_and(|due| due <= now) {
            self.take(now, known);
        }
        self.write_heard(now);
    }

    fn take(&mut self, now: Instant, known: impl FnOnce() -> Option<Memory>) {
        // What the daemon is not there to hear would be held for nothing.
        let is_heard = self.memory.events.settled() >= self.told;
        if !is_heard || !self.writes.is_empty() {
            self.due = Some(now + KEEP_INTERVAL);
            return;
        }
        let Some(known) = known() else {
            self.due = Some(now + RETRY);
            return;
        };
        self.due = None;
        self.tell_left_out(known.n_left_out);
        let pushed = self.memory.events.pushed();
        self.held = Some(Held {
            snapshot: Snapshot { known, pushed },
            until: now + HOLD,
            again: now,
        });
    }

    fn write_heard(&mut self, now: Instant) {
        let Some(mut held) = self.held.take_if(|held| held.again <= now) else {
            return;
        };
        if self.memory.events.settled() >= held.snapshot.pushed {
            let memory = Arc::clone(&self.memory);
            let write = move || memory.write(&held.snapshot.known);
            self.writes.spawn_blocking(write);
            self.written_at = Some(now + KEEP_INTERVAL);
        } else if held.until <= now {
            self.take_by(now + self.pace);
        } else {
            held.again = now + RETRY;
            self.held = Some(held);
        }
    }

    /// Takes over what was known at the end, to be written when the daemon has answered. Nothing is
    /// being written afterwards.
    pub(super) async fn end(&mut self, known: Option<Memory>) {
        while self.writes.join_next().await.is_some() {}
        let pushed = self.memory.events.pushed();
        let held = self.held.take().map(|held| held.snapshot);
        let known = known.map(|known| Snapshot { known, pushed });
        let last = self.memory.last.lock();
        *last.unwrap_or_else(PoisonError::into_inner) = held.into_iter().chain(known).collect();
    }

    fn tell_left_out(&mut self, n_left_out: usize) {
        if n_left_out > self.n_left_out {
            tracing::warn!(
                n_left_out,
                "there is no room to remember all watched files; what happens to the others while \
                 the agent is away is not told"
            );
        }
        self.n_left_out = n_left_out;
    }
}

/// How soon something new is written where so much is written each time.
fn plan_pace(n_bytes: usize) -> Duration {
    let seconds = u64::try_from(n_bytes / BYTES_PER_SECOND).unwrap_or(u64::MAX);
    Duration::from_secs(seconds).max(KEEP_INTERVAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hidps_wire::{EventKind, Fields, LogEvent};
    use std::path::Path;

    fn push(events: &EventQueue) {
        events.push(LogEvent {
            timestamp: "2026-11-21T01:02:03Z".into(),
            kind: EventKind::FileMonitoring,
            service: "inotify".into(),
            message: "a change".into(),
            fields: Fields::default(),
        });
    }

    fn known(path: &str) -> Memory {
        let mut memory = Memory::default();
        memory.add_watched(Path::new(path), None);
        memory
    }

    struct World {
        directory: tempfile::TempDir,
        events: Arc<EventQueue>,
        memory: Arc<FileMemory>,
        keeping: Keeping,
    }

    impl World {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let state = StateDir::open(&directory.path().join("state")).unwrap();
            let events = Arc::new(EventQueue::default());
            let memory = Arc::new(FileMemory::new(state, Arc::clone(&events)));
            Self {
                directory,
                events,
                keeping: Keeping::new(Arc::clone(&memory)),
                memory,
            }
        }

        /// Writes when it is due, and says what is on the disk then.
        async fn work(&mut self, path: &str) -> Memory {
            let due = self.keeping.next_due().unwrap_or_else(Instant::now);
            self.keeping.work(due, || Some(known(path)));
            self.on_disk().await
        }

        /// What is on the disk once nothing is being written.
        async fn on_disk(&mut self) -> Memory {
            while self.keeping.writes.join_next().await.is_some() {}
            self.memory.load().0
        }

        async fn acknowledge(&self) {
            self.events.on_connected(8);
            let batch = self.events.next_batch().await;
            self.events.on_acknowledged(batch.seq, 8);
        }
    }

    #[tokio::test]
    async fn a_change_is_written_down_when_the_daemon_has_heard_of_it() {
        let mut world = World::new();
        push(&world.events);
        world.keeping.on_news(Instant::now());

        let unheard = world.work("/a").await;
        world.acknowledge().await;
        let heard = world.work("/a").await;
        let nothing_new = world.work("/b").await;

        assert_eq!(unheard, Memory::default());
        assert_eq!((heard, nothing_new), (known("/a"), known("/a")));
    }

    #[tokio::test]
    async fn what_could_not_be_written_is_written_again_without_anything_new() {
        let mut world = World::new();
        // Nothing can be written where a directory is in the way.
        let in_the_way = world.directory.path().join("state").join(FILE);
        std::fs::create_dir(&in_the_way).unwrap();
        world.keeping.on_news(Instant::now());
        let due = world.keeping.next_due().unwrap();
        world.keeping.work(due, || Some(known("/a")));
        assert!(world.keeping.next_due().is_some(), "its end is looked at");
        let written = async |keeping: &mut Keeping| {
            let end = std::time::Instant::now() + Duration::from_secs(30);
            let known = || Some(known("/a"));
            while keeping.written_at.is_some() {
                assert!(std::time::Instant::now() < end);
                tokio::time::sleep(Duration::from_millis(5)).await;
                keeping.work(keeping.next_due().unwrap(), known);
            }
        };

        written(&mut world.keeping).await;
        std::fs::remove_dir(&in_the_way).unwrap();
        let again = world.keeping.next_due();
        world.keeping.work(again.unwrap(), || Some(known("/a")));
        written(&mut world.keeping).await;

        assert_eq!(world.memory.load().0, known("/a"));
        assert_eq!(world.keeping.next_due(), None);
    }

    #[tokio::test]
    async fn what_was_known_at_the_end_is_written_only_if_the_daemon_heard_of_it() {
        let mut world = World::new();
        push(&world.events);
        world.keeping.end(Some(known("/a"))).await;

        world.memory.save_last();
        let unheard = world.memory.load().0;
        world.acknowledge().await;
        world.memory.save_last();

        assert_eq!(unheard, Memory::default());
        assert_eq!(world.memory.load().0, known("/a"));
    }

    #[tokio::test]
    async fn on_a_host_that_is_never_quiet_what_the_daemon_heard_of_is_written() {
        let mut world = World::new();
        world.events.on_connected(8);
        world.keeping.on_news(Instant::now());
        let due = world.keeping.next_due().unwrap();
        push(&world.events);
        let batch = world.events.next_batch().await;

        world.keeping.work(due, || Some(known("/a")));
        let unheard = world.on_disk().await;
        push(&world.events);
        world.keeping.on_news(due);
        world.events.on_acknowledged(batch.seq, 8);
        let due = world.keeping.next_due().unwrap();
        world.keeping.work(due, || panic!("what is held is enough"));

        assert_eq!(unheard, Memory::default());
        assert_eq!(world.on_disk().await, known("/a"));
        assert!(world.keeping.next_due().is_some(), "the rest is to come");
    }

    #[tokio::test]
    async fn what_the_daemon_does_not_hear_of_is_not_held_for_long() {
        let mut world = World::new();
        world.keeping.on_news(Instant::now());
        let due = world.keeping.next_due().unwrap();
        push(&world.events);

        world.keeping.work(due, || Some(known("/a")));
        world.keeping.work(due + HOLD, || None);
        let again = world.keeping.next_due().unwrap();
        world.keeping.work(again, || panic!("the daemon is away"));

        assert!(world.keeping.held.is_none());
        assert_eq!(world.on_disk().await, Memory::default());
    }

    #[tokio::test]
    async fn at_the_end_the_latest_state_that_the_daemon_heard_of_is_written() {
        let mut world = World::new();
        world.keeping.on_news(Instant::now());
        let due = world.keeping.next_due().unwrap();
        push(&world.events);
        world.keeping.work(due, || Some(known("/a")));
        world.events.on_connected(8);
        let batch = world.events.next_batch().await;
        push(&world.events);

        world.keeping.end(Some(known("/b"))).await;
        world.events.on_acknowledged(batch.seq, 8);
        world.memory.save_last();

        assert_eq!(world.memory.load().0, known("/a"));
    }

    #[tokio::test]
    async fn nothing_is_being_written_once_the_watcher_has_ended() {
        let mut world = World::new();
        let (let_go, waits) = std::sync::mpsc::channel::<()>();
        let written = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let is_written = Arc::clone(&written);
        world.keeping.writes.spawn_blocking(move || {
            waits.recv().ok();
            is_written.store(true, std::sync::atomic::Ordering::SeqCst);
            Ok(0)
        });

        let ended = world.keeping.end(None);
        tokio::pin!(ended);
        tokio::select! {
            biased;
            () = &mut ended => panic!("something is being written"),
            () = tokio::task::yield_now() => {}
        }
        drop(let_go);
        ended.await;

        assert!(written.load(std::sync::atomic::Ordering::SeqCst));
    }

    #[test]
    fn what_is_large_is_written_seldom_and_what_was_only_read_is_not_urgent() {
        let (mut world, now) = (World::new(), Instant::now());
        let mut memory = Memory::default();
        for n in 0..1_000 {
            let path = format!("/{n}/{}", "x".repeat(1_000));
            memory.add_watched(Path::new(&path), None);
        }
        let n_bytes = world.memory.write(&memory).unwrap();
        world.keeping.load();

        world.keeping.on_news(now);
        let large = world.keeping.next_due().unwrap();
        let mut small = Keeping::new(Arc::clone(&world.memory));
        small.on_read(now);
        let read = small.next_due().unwrap();
        small.on_news(now);

        let seconds = u64::try_from(n_bytes / BYTES_PER_SECOND).unwrap();
        assert!(seconds > 10 && large >= now + Duration::from_secs(seconds));
        assert_eq!(read, now + READ_INTERVAL);
        assert_eq!(small.next_due(), Some(now + KEEP_INTERVAL));
    }

    #[tokio::test]
    async fn while_something_is_being_looked_at_nothing_is_written() {
        let mut world = World::new();
        world.keeping.on_news(Instant::now());

        let due = world.keeping.next_due().unwrap();
        world.keeping.work(due, || None);

        assert!(world.keeping.writes.is_empty());
        assert!(world.keeping.next_due().is_some_and(|again| again > due));
    }

    #[test]
    fn a_damaged_text_is_no_memory() {
        let world = World::new();
        world.memory.state.write(FILE, b"{\"version\":1").unwrap();

        assert_eq!(world.memory.load().0, Memory::default());
    }
}
