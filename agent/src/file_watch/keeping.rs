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

/// How often what is new is written at most: an agent that is killed tells again what changed
/// within this time.
const KEEP_INTERVAL: Duration = Duration::from_secs(5);

/// What is known of watched files, on the disk.
#[derive(Debug)]
pub struct FileMemory {
    state: StateDir,
    events: Arc<EventQueue>,
    /// What was known when the watcher ended, and how many events had been pushed by then.
    last: Mutex<Option<(Memory, u64)>>,
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

    /// What an earlier run of the agent knew.
    pub(super) fn load(&self) -> Memory {
        let problem = match self.state.read(FILE) {
            Ok(None) => return Memory::default(),
            Ok(Some(text)) => match Memory::parse(&text) {
                Ok(memory) => return memory,
                Err(error) => chain(&error),
            },
            Err(error) => chain(&error),
        };
        tracing::warn!(
            problem,
            "what was known of watched files cannot be read; what changed while the agent was away \
             is not told"
        );
        Memory::default()
    }

    /// Writes what was known when the watcher ended, if the daemon has heard of all of it.
    pub fn save_last(&self) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((memory, pushed)) = &*last
            && self.events.settled() >= *pushed
        {
            self.write(memory);
        }
    }

    fn write(&self, memory: &Memory) {
        let text = match memory.text() {
            Ok(text) => text,
            Err(error) => {
                return tracing::warn!(error = %chain(&error), "watched files were not kept");
            }
        };
        if let Err(error) = self.state.write(FILE, &text) {
            tracing::warn!(error = %chain(&error), "what is known of watched files was not kept");
        }
    }
}

/// Has it written when there is something new.
#[derive(Debug)]
pub(super) struct Keeping {
    memory: Arc<FileMemory>,
    /// When it is written next; none while nothing is new.
    due: Option<Instant>,
    /// How many events had been pushed when something was told last.
    told: u64,
    /// At most one: the disk may take its time, and the agent has but one thread.
    writes: JoinSet<()>,
    n_left_out: usize,
}

impl Keeping {
    pub(super) fn new(memory: Arc<FileMemory>) -> Self {
        Self {
            memory,
            due: None,
            told: 0,
            writes: JoinSet::new(),
            n_left_out: 0,
        }
    }

    /// What an earlier run of the agent knew.
    pub(super) fn load(&self) -> Memory {
        self.memory.load()
    }

    /// Takes note that something is known that was not, and maybe told.
    pub(super) fn on_news(&mut self, now: Instant) {
        self.told = self.memory.events.pushed();
        self.due.get_or_insert(now + KEEP_INTERVAL);
    }

    /// When there may be something to write.
    pub(super) const fn next_due(&self) -> Option<Instant> {
        self.due
    }

    /// Writes what is known, if it is time and the daemon has heard of it. `known` gives none while
    /// something is being looked at.
    pub(super) fn work(&mut self, now: Instant, known: impl FnOnce() -> Option<Memory>) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        while self.writes.try_join_next().is_some() {}
        self.due = Some(now + KEEP_INTERVAL);
        let is_heard = self.memory.events.settled() >= self.told;
        if !is_heard || !self.writes.is_empty() {
            return;
        }
        let Some(known) = known() else { return };
        self.due = None;
        self.tell_left_out(known.n_left_out);
        let memory = Arc::clone(&self.memory);
        self.writes.spawn_blocking(move || memory.write(&known));
    }

    /// Takes over what was known at the end, to be written when the daemon has answered.
    pub(super) fn end(&mut self, known: Option<Memory>) {
        let pushed = self.memory.events.pushed();
        let mut last = self
            .memory
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *last = known.map(|known| (known, pushed));
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
        _directory: tempfile::TempDir,
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
                _directory: directory,
                events,
                keeping: Keeping::new(Arc::clone(&memory)),
                memory,
            }
        }

        /// Writes when it is due, and says what is on the disk then.
        async fn work(&mut self, path: &str) -> Memory {
            let due = self.keeping.next_due().unwrap_or_else(Instant::now);
            self.keeping.work(due, || Some(known(path)));
            while self.keeping.writes.join_next().await.is_some() {}
            self.memory.load()
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
    async fn what_was_known_at_the_end_is_written_only_if_the_daemon_heard_of_it() {
        let mut world = World::new();
        push(&world.events);
        world.keeping.end(Some(known("/a")));

        world.memory.save_last();
        let unheard = world.memory.load();
        world.acknowledge().await;
        world.memory.save_last();

        assert_eq!(unheard, Memory::default());
        assert_eq!(world.memory.load(), known("/a"));
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

        assert_eq!(world.memory.load(), Memory::default());
    }
}
