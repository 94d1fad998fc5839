//! Where each source of lines has got to, kept over a restart of the agent.
//! It never holds a line, and a position is kept only once the daemon has what lies before it.
//!
//! A source says how far it has read; that becomes its position when every event pushed until
//! then was acknowledged, or lost and counted. So an agent that is killed reads a few lines
//! again, and one that is told to end reads none twice; neither leaves one out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::journal::Cursor;
use super::kernel_log::KernelPosition;
pub use super::reader::FilePosition;
use crate::error_chain::chain;
use crate::event_queue::EventQueue;
use crate::shutdown::Shutdown;
use crate::state_dir::StateDir;

/// The positions' file.
const FILE: &str = "positions.json";

/// How often changed positions are written: what a killed agent reads again is what came within
/// this time, and a write waits for the disk.
const KEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Most readings of one source that wait for their events; beyond it the newest replaces the one
/// before, which only makes the position coarser.
const MAX_WAITING: usize = 64;

/// Where a source has got to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// In a log file; none while there is no such file.
    File(Option<FilePosition>),
    /// In the journal.
    Journal(Cursor),
    /// In the kernel's log.
    Kernel(KernelPosition),
}

/// The positions of all sources.
#[derive(Debug)]
pub struct Positions {
    state: StateDir,
    events: Arc<EventQueue>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    settled: BTreeMap<String, Position>,
    waiting: BTreeMap<String, VecDeque<Reading>>,
    is_changed: bool,
}

/// How far a source had read when the queue had taken in so many events.
#[derive(Debug)]
struct Reading {
    pushed: u64,
    position: Position,
}

impl Positions {
    /// Reads what an earlier run kept.
    #[must_use]
    pub fn load(state: StateDir, events: Arc<EventQueue>) -> Self {
        let settled = read_file(&state).unwrap_or_else(|problem| {
            tracing::warn!(
                problem,
                "the positions of the log sources are not known; reading begins at their ends"
            );
            BTreeMap::new()
        });
        Self {
            state,
            events,
            kept: Mutex::new(Kept {
                settled,
                ..Kept::default()
            }),
        }
    }

    /// The queue whose acknowledgements decide what is kept.
    #[must_use]
    pub fn events(&self) -> &Arc<EventQueue> {
        &self.events
    }

    /// Where a source was when the agent last ran.
    #[must_use]
    pub fn last(&self, source: &str) -> Option<Position> {
        self.lock().settled.get(source).cloned()
    }

    /// Takes note of where a source begins that was never read before.
    pub fn begin(&self, source: &str, position: Position) {
        let mut kept = self.lock();
        if !kept.settled.contains_key(source) {
            kept.settled.insert(source.to_owned(), position);
            kept.is_changed = true;
        }
    }

    /// Takes note of how far a source has read, all its events until there being pushed.
    pub fn reached(&self, source: &str, position: Position) {
        let pushed = self.events.pushed();
        let reading = Reading { pushed, position };
        let mut kept = self.lock();
        if kept.waiting.get(source).is_some_and(is_full) {
            kept.settle(self.events.settled());
        }
        if let Some(waiting) = kept.waiting.get_mut(source) {
            if is_full(waiting) {
                waiting.pop_back();
            }
            waiting.push_back(reading);
        } else {
            let waiting = VecDeque::from([reading]);
            kept.waiting.insert(source.to_owned(), waiting);
        }
    }

    /// Forgets sources that are not followed any more.
    pub fn retain(&self, is_followed: impl Fn(&str) -> bool) {
        let mut kept = self.lock();
        let before = kept.settled.len();
        kept.settled.retain(|source, _| is_followed(source));
        kept.is_changed |= kept.settled.len() != before;
    }

    /// Writes what is new every few seconds until the agent ends; the last word is
    /// [`save`](Self::save)'s, when the daemon has answered.
    pub async fn keep(self: Arc<Self>, mut shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(KEEP_INTERVAL) => {}
                () = shutdown.requested() => return,
            }
            let positions = Arc::clone(&self);
            // The disk may take its time; the agent has but one thread.
            tokio::task::spawn_blocking(move || positions.save())
                .await
                .ok();
        }
    }

    /// Writes the positions whose events are settled, where they are others than before.
    pub fn save(&self) {
        let Some(text) = self.take_changes() else {
            return;
        };
        if let Err(error) = self.state.write(FILE, text.as_bytes()) {
            self.lock().is_changed = true;
            tracing::warn!(error = %chain(&error), "the positions of the log sources were not kept");
        }
    }

    fn take_changes(&self) -> Option<String> {
        let settled = self.events.settled();
        let mut kept = self.lock();
        kept.settle(settled);
        if !std::mem::take(&mut kept.is_changed) {
            return None;
        }
        serde_json::to_string(&kept.settled).ok()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Takes over every reading whose events are before a place.
    fn settle(&mut self, place: u64) {
        for (source, waiting) in &mut self.waiting {
            let mut newest = None;
            while let Some(reading) = waiting.pop_front_if(|reading| reading.pushed <= place) {
                newest = Some(reading.position);
            }
            let Some(position) = newest else { continue };
            if self.settled.get(source) != Some(&position) {
                self.settled.insert(source.clone(), position);
                self.is_changed = true;
            }
        }
    }
}

fn is_full(waiting: &VecDeque<Reading>) -> bool {
    waiting.len() >= MAX_WAITING
}

fn read_file(state: &StateDir) -> Result<BTreeMap<String, Position>, String> {
    let content = state.read(FILE).map_err(|error| chain(&error))?;
    let Some(content) = content else {
        return Ok(BTreeMap::new());
    };
    serde_json::from_slice(&content).map_err(|error| format!("{FILE} is damaged: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hidps_wire::{EventKind, Fields, LogEvent};

    fn push(events: &EventQueue) {
        events.push(LogEvent {
            timestamp: "2026-11-21T01:02:03Z".into(),
            kind: EventKind::Login,
            service: "sshd".into(),
            message: "a line".into(),
            fields: Fields::default(),
        });
    }

    fn at(offset: u64) -> Position {
        Position::File(Some(FilePosition::at(offset)))
    }

    struct World {
        _directory: tempfile::TempDir,
        state: StateDir,
        events: Arc<EventQueue>,
    }

    impl World {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let state = StateDir::open(&directory.path().join("state")).unwrap();
            let events = Arc::new(EventQueue::default());
            Self {
                _directory: directory,
                state,
                events,
            }
        }

        fn positions(&self) -> Positions {
            Positions::load(self.state.clone(), Arc::clone(&self.events))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_position_is_kept_when_the_daemon_has_what_lies_before_it() {
        let world = World::new();
        let positions = world.positions();
        world.events.on_connected(8);
        push(&world.events);
        positions.reached("file", at(10));
        push(&world.events);
        positions.reached("file", at(20));

        positions.save();
        let before = world.positions().last("file");
        let batch = world.events.next_batch().await;
        positions.save();
        let sent = world.positions().last("file");
        world.events.on_acknowledged(batch.seq, 8);
        positions.save();
        let acknowledged = world.positions().last("file");

        assert_eq!((before, sent), (None, None));
        assert_eq!(acknowledged, Some(at(20)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_daemon_does_not_take_moves_no_position_and_takes_no_room() {
        let world = World::new();
        let positions = world.positions();
        positions.reached("file", at(0));
        for offset in 1..1_000 {
            push(&world.events);
            positions.reached("file", at(offset));
        }

        positions.save();

        assert_eq!(world.positions().last("file"), Some(at(0)));
        let n_waiting = positions.lock().waiting["file"].len();
        assert!(n_waiting <= MAX_WAITING, "{n_waiting}");
    }

    #[test]
    fn sources_that_nobody_follows_are_forgotten() {
        let world = World::new();
        let positions = world.positions();
        positions.reached("old", at(1));
        positions.reached("new", at(1));
        positions.save();

        let again = world.positions();
        again.retain(|source| source == "new");
        again.save();

        assert_eq!(world.positions().last("old"), None);
        assert_eq!(world.positions().last("new"), Some(at(1)));
    }

    #[test]
    fn a_damaged_file_is_no_position() {
        let world = World::new();
        world.state.write(FILE, b"{\"file\":").unwrap();

        assert_eq!(world.positions().last("file"), None);
    }
}
