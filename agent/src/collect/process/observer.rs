//! What becomes of news of processes: looked up at once, remembered, told, or counted.
//! It waits for nothing and reads no socket.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};

use super::event::{Ending, Execution, Exit};
use super::message::{Gaps, News, Notice};
use super::pace::Pace;
use super::proc_entry::ProcEntry;
use super::table::{KnownProcess, ProcessTable};
use crate::agent_note::AgentNote;
use crate::clock;
use crate::collect::source_board::SourceBoard;
use crate::config::ProcessExits;
use crate::event_queue::EventQueue;

/// The name of this source.
pub(super) const SOURCE: &str = "processes";

/// Losses are told at most this often, in nanoseconds.
const TELL_LOSS: u64 = 10_000_000_000;

/// After this long without a loss, in nanoseconds, what was missed is looked for.
const CALM: u64 = 1_000_000_000;

/// Ticks of `/proc`, the same on every architecture, in nanoseconds.
const TICK: u64 = 10_000_000;

/// What came and what is told of it.
pub(super) struct Observer {
    table: Arc<ProcessTable>,
    events: Arc<EventQueue>,
    board: Arc<SourceBoard>,
    exits: ProcessExits,
    pace: Pace,
    gaps: Gaps,
    loss: Loss,
    /// Programs that had gone before they could be looked at.
    unseen: u64,
}

/// Messages that never came.
#[derive(Debug, Default)]
struct Loss {
    untold: u64,
    told_at: Option<u64>,
    /// When the last message came before the first that did not.
    since: Option<u64>,
    last_good: u64,
    last_bad: u64,
}

/// The present time of the monotonic clock, in nanoseconds.
#[must_use]
pub fn now() -> u64 {
    nanos(ClockId::Monotonic)
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default()
}

/// The time of day of a moment of the monotonic clock.
fn timestamp(at: u64, now: u64) -> String {
    let ago = i64::try_from(now.saturating_sub(at)).unwrap_or_default();
    let time = Timestamp::now().checked_sub(SignedDuration::from_nanos(ago));
    clock::rfc3339(time.unwrap_or(Timestamp::UNIX_EPOCH))
}

impl Observer {
    pub(super) fn new(
        table: Arc<ProcessTable>,
        events: Arc<EventQueue>,
        board: Arc<SourceBoard>,
        exits: ProcessExits,
    ) -> Self {
        let now = now();
        let loss = Loss {
            last_good: now,
            ..Loss::default()
        };
        Self {
            table,
            events,
            board,
            exits,
            pace: Pace::new(now),
            gaps: Gaps::default(),
            loss,
            unseen: 0,
        }
    }

    /// Takes in a message of the kernel.
    pub(super) fn on_notice(&mut self, notice: &Notice) {
        let missing = self.gaps.count(notice);
        if missing > 0 {
            self.on_missing(u64::from(missing), notice.at);
        }
        self.loss.last_good = notice.at;
        match notice.news {
            News::Forked { parent, child } => self.table.on_forked(parent, child, now()),
            News::Executed { pid } => self.on_executed(pid, notice.at),
            News::Exited { pid, status } => self.on_exited(pid, Some(status), notice.at),
            News::Answer(_) | News::Other => {}
        }
    }

    /// Takes note that the kernel had more to tell than there was room for.
    pub(super) fn on_overrun(&mut self) {
        // How many is seen by the numbers of the messages that still come.
        self.on_missing(0, now());
    }

    fn on_missing(&mut self, missing: u64, at: u64) {
        self.loss.untold += missing;
        if missing > 0 {
            self.board.count_lost(SOURCE, Some(missing));
        }
        self.loss.since.get_or_insert(self.loss.last_good);
        self.loss.last_bad = at;
        // A process may have ended unseen, and its number be another's.
        self.table.forget_all();
    }

    fn on_executed(&mut self, pid: u32, at: u64) {
        let entry = self.table.proc().and_then(|proc| proc.read(pid));
        // Who made it is known better from then than from now: an orphan has another parent.
        let before = self.table.recall(pid);
        let now = now();
        if let Some(entry) = &entry {
            let entry = before.as_ref().map_or_else(
                || entry.clone(),
                |before| ProcEntry {
                    parent: before.parent,
                    ..entry.clone()
                },
            );
            self.table.learn(&entry, true, now);
        } else {
            self.unseen += 1;
        }
        let maker = before.map(|before| before.parent);
        let execution = Found {
            pid,
            at,
            maker,
            entry: entry.as_ref(),
            is_late: false,
        };
        self.tell_execution(&execution, now);
    }

    pub(super) fn tell_execution(&mut self, found: &Found<'_>, now: u64) {
        let parent_pid = found
            .maker
            .or_else(|| found.entry.map(|entry| entry.parent));
        let parent = parent_pid.and_then(|parent| self.table.resolve(parent, now));
        let image = found.entry.and_then(|entry| entry.image.as_deref());
        let parent_image = parent.as_ref().and_then(|parent| parent.image.as_deref());
        let what = found.entry.map(|entry| (&entry.command, entry.users));
        let is_admitted =
            self.pace
                .admit_execution(now, image.unwrap_or("unknown"), (image, what, parent_image));
        if is_admitted {
            let execution = Execution {
                pid: found.pid,
                entry: found.entry,
                parent_pid,
                parent: parent.as_deref(),
                is_late: found.is_late,
            };
            let time = timestamp(found.at, now);
            self.events
                .push(execution.into_event(time, &self.table, now));
        }
    }

    pub(super) fn on_exited(&mut self, pid: u32, status: Option<u32>, at: u64) {
        let process = self.table.recall(pid);
        self.table.on_exited(pid);
        let Some(process) = process.filter(|process| self.wants_exit(process, status)) else {
            return;
        };
        let now = now();
        if self.pace.admit_exit(now) {
            let exit = Exit {
                pid,
                process: &process,
                status,
            };
            self.events.push(exit.into_event(timestamp(at, now)));
        }
    }

    fn wants_exit(&self, process: &KnownProcess, status: Option<u32>) -> bool {
        let was_killed =
            status.is_some_and(|status| matches!(Ending::of(status), Ending::Signal(_)));
        match self.exits {
            ProcessExits::All => process.has_executed || was_killed,
            ProcessExits::Killed => was_killed,
            ProcessExits::Off => false,
        }
    }

    /// Tells what is due and looks for what was missed; called when nothing is waiting.
    pub(super) fn on_idle(&mut self) {
        let now = now();
        if let Some(held) = self.pace.take_held(now) {
            self.events.push(AgentNote::EventsHeld(held).into_event());
        }
        if self.loss_due().is_some_and(|due| due <= now) {
            self.loss.told_at = Some(now);
            let lost = std::mem::take(&mut self.loss.untold);
            let note = AgentNote::LinesLost {
                source: SOURCE,
                lost: Some(lost),
                why: "the kernel told of more processes than could be read".to_owned(),
            };
            self.events.push(note.into_event());
        }
        if self.catch_up_due().is_some_and(|due| due <= now)
            && let Some(since) = self.loss.since.take()
        {
            self.catch_up(since, now);
        }
    }

    /// How long until something is due, in nanoseconds; none while nothing is.
    pub(super) fn due_in(&self) -> Option<u64> {
        let dues = [
            self.pace.untold_until(),
            self.loss_due(),
            self.catch_up_due(),
        ];
        let due = dues.into_iter().flatten().min()?;
        Some(due.saturating_sub(now()))
    }

    fn loss_due(&self) -> Option<u64> {
        let due = self.loss.told_at.map_or(0, |told| told + TELL_LOSS);
        (self.loss.untold > 0).then_some(due)
    }

    fn catch_up_due(&self) -> Option<u64> {
        self.loss.since.map(|_| self.loss.last_bad + CALM)
    }

    /// Tells of processes that began while messages were lost and still run.
    fn catch_up(&mut self, since: u64, now: u64) {
        let ahead = nanos(ClockId::Boottime).saturating_sub(now);
        let first_tick = (since + ahead) / TICK;
        let table = Arc::clone(&self.table);
        let Some(proc) = table.proc() else { return };
        for pid in proc.list().unwrap_or_default() {
            if table.recall(pid).is_some_and(|known| known.has_executed) {
                continue;
            }
            let Some(entry) = proc.read(pid).filter(|entry| entry.started >= first_tick) else {
                continue;
            };
            table.learn(&entry, true, now);
            let found = Found {
                pid,
                at: now,
                maker: None,
                entry: Some(&entry),
                is_late: true,
            };
            self.tell_execution(&found, now);
        }
    }
}

/// A program that was seen to have begun.
pub(super) struct Found<'e> {
    pub(super) pid: u32,
    pub(super) at: u64,
    /// The process that made it, where that was seen.
    pub(super) maker: Option<u32>,
    pub(super) entry: Option<&'e ProcEntry>,
    /// Whether it was found by a look afterwards.
    pub(super) is_late: bool,
}
