//! The queue's bookkeeping: what waits, what is in flight, what was lost.
//! It has no clock, lock or socket; the present time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use hidps_wire::{EventBatch, EventKind, LogEvent, MAX_AGENT_FRAME_BYTES, MAX_EVENTS_PER_BATCH};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// Room of a frame for everything but its events.
const ENVELOPE_BYTES: usize = 256;

/// The least time between two notes of losses: a flood must not be made longer by its own notes.
const NOTE_INTERVAL: Duration = Duration::from_secs(10);

/// How dear an event is when there is no room for all; the least is lost first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Priority {
    /// Lines without a meaning of their own, ends of processes, usage.
    Telemetry,
    /// Programs that begin, connections, ports, audit records, and what the agent says of itself.
    Activity,
    /// Logins, sudo, accounts, the firewall and watched files.
    Security,
}

impl Priority {
    /// All of them, in the order in which they are lost.
    pub const ALL: [Self; 3] = [Self::Telemetry, Self::Activity, Self::Security];

    /// The priority of an event.
    #[must_use]
    pub fn of(event: &LogEvent<'_>) -> Self {
        let has = |name| event.fields.get(name).is_some();
        match event.kind {
            EventKind::Login | EventKind::Firewall | EventKind::FileMonitoring => Self::Security,
            EventKind::AgentInfo => Self::Activity,
            EventKind::SystemUsage => Self::Telemetry,
            // An end says less than the beginning that was told before.
            EventKind::Process if has("ExitCode") || has("Signal") => Self::Telemetry,
            EventKind::Process => {
                let is_activity = ["Image", "CommandLine", "DestinationIp", "port"]
                    .into_iter()
                    .any(has);
                if is_activity || &*event.service == "auditd" {
                    Self::Activity
                } else {
                    Self::Telemetry
                }
            }
        }
    }
}

/// How many events were lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Losses {
    /// Of [`Priority::Telemetry`].
    pub telemetry: u64,
    /// Of [`Priority::Activity`].
    pub activity: u64,
    /// Of [`Priority::Security`].
    pub security: u64,
}

impl Losses {
    /// Of all.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.telemetry + self.activity + self.security
    }

    const fn since(self, earlier: Self) -> Self {
        Self {
            telemetry: self.telemetry - earlier.telemetry,
            activity: self.activity - earlier.activity,
            security: self.security - earlier.security,
        }
    }

    const fn count(&mut self, priority: Priority) {
        match priority {
            Priority::Telemetry => self.telemetry += 1,
            Priority::Activity => self.activity += 1,
            Priority::Security => self.security += 1,
        }
    }
}

/// How much the queue holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Held {
    /// Events, waiting and in flight.
    pub events: usize,
    /// Bytes of their texts.
    pub bytes: usize,
}

/// How much the queue may hold.
#[derive(Clone, Copy, Debug)]
pub struct RingLimits {
    /// Most events, waiting and in flight.
    pub events: usize,
    /// Most bytes of their texts.
    pub bytes: usize,
}

impl Default for RingLimits {
    /// Minutes of a busy host, a small part of its memory.
    fn default() -> Self {
        Self {
            events: 10_000,
            bytes: 4 * 1024 * 1024,
        }
    }
}

/// Encoded events, sent in the order they came and lost in the order of their priority.
#[derive(Debug)]
pub struct EventRing {
    limits: RingLimits,
    linger: Duration,
    /// What waits, by priority.
    waiting: [VecDeque<Queued>; Priority::ALL.len()],
    in_flight: VecDeque<Flight>,
    n_in_flight: usize,
    bytes: usize,
    n_pushed: u64,
    dropped: Losses,
    /// The losses told by batches that were acknowledged.
    told: Losses,
    last_told: Option<Instant>,
    last_seq: u64,
    last_granted: u64,
    last_sent: Option<Instant>,
}

#[derive(Debug)]
struct Queued {
    /// Its place among all events of the agent.
    place: u64,
    priority: Priority,
    text: Box<str>,
}

#[derive(Debug)]
struct Flight {
    seq: u64,
    events: Vec<Queued>,
    /// The losses so far, if the batch tells them.
    told: Option<Losses>,
}

/// A batch that was taken to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// Its number.
    pub seq: u64,
    /// The frame.
    pub text: String,
}

/// Whether a batch may be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Poll {
    /// This one, now.
    Ready(Batch),
    /// Look again at this time.
    At(Instant),
    /// Not before something changes.
    Idle,
}

impl EventRing {
    /// An empty ring of a connection that may not send yet.
    #[must_use]
    pub const fn new(limits: RingLimits, linger: Duration) -> Self {
        Self {
            limits,
            linger,
            waiting: [const { VecDeque::new() }; Priority::ALL.len()],
            in_flight: VecDeque::new(),
            n_in_flight: 0,
            bytes: 0,
            n_pushed: 0,
            dropped: Losses {
                telemetry: 0,
                activity: 0,
                security: 0,
            },
            told: Losses {
                telemetry: 0,
                activity: 0,
                security: 0,
            },
            last_told: None,
            last_seq: 0,
            last_granted: 0,
            last_sent: None,
        }
    }

    /// Events lost so far.
    #[must_use]
    pub const fn dropped(&self) -> Losses {
        self.dropped
    }

    /// How much is waiting or in flight.
    #[must_use]
    pub fn held(&self) -> Held {
        Held {
            events: self.n_waiting() + self.n_in_flight,
            bytes: self.bytes,
        }
    }

    /// How many events were ever pushed: the place of the next one.
    #[must_use]
    pub const fn pushed(&self) -> u64 {
        self.n_pushed
    }

    /// The place before which no event is waiting or in flight.
    #[must_use]
    pub fn settled(&self) -> u64 {
        let in_flight = self
            .in_flight
            .iter()
            .find_map(|flight| flight.events.first());
        let waiting = self.waiting.iter().filter_map(VecDeque::front);
        let places = waiting.chain(in_flight);
        let oldest = places.map(|event| event.place).min();
        oldest.unwrap_or(self.n_pushed)
    }

    /// Adds an event and drops waiting ones beyond the limits: the oldest of the least priority, and
    /// of a dearer one only when none of a lesser is left.
    pub fn push(&mut self, priority: Priority, text: Box<str>) {
        self.bytes += text.len();
        let queued = Queued {
            place: self.n_pushed,
            priority,
            text,
        };
        self.n_pushed += 1;
        self.waiting(priority).push_back(queued);
        self.drop_excess();
    }

    /// Starts the numbering of a new connection.
    pub fn on_connected(&mut self, credit: u32) {
        self.on_disconnected();
        self.last_seq = 0;
        self.last_granted = u64::from(credit);
        self.last_sent = None;
    }

    /// Takes note that batches up to `seq` were taken in; false when they were never sent.
    pub fn on_acknowledged(&mut self, seq: u64, credit: u32) -> bool {
        if seq > self.last_seq {
            return false;
        }
        while self
            .in_flight
            .front()
            .is_some_and(|flight| flight.seq <= seq)
        {
            let Some(flight) = self.in_flight.pop_front() else {
                break;
            };
            self.n_in_flight -= flight.events.len();
            self.bytes -= flight.events.iter().map(|e| e.text.len()).sum::<usize>();
            self.told = flight.told.unwrap_or(self.told);
        }
        // A late acknowledgement never takes credit back.
        self.last_granted = self.last_granted.max(seq.saturating_add(u64::from(credit)));
        true
    }

    /// Puts what is in flight back to the front and withdraws the credit. A note of losses is not
    /// put back but told anew, for there may be more by then.
    pub fn on_disconnected(&mut self) {
        while let Some(flight) = self.in_flight.pop_back() {
            for event in flight.events.into_iter().rev() {
                self.waiting(event.priority).push_front(event);
            }
        }
        self.n_in_flight = 0;
        self.last_granted = 0;
        self.last_seq = 0;
        self.give_memory_back();
    }

    /// Takes the next batch, if it is time and there is credit; `note` makes the event that tells
    /// how many were lost since the last one.
    pub fn poll_batch(&mut self, now: Instant, note: impl FnOnce(Losses) -> String) -> Poll {
        if self.last_seq >= self.last_granted {
            return Poll::Idle;
        }
        let losses = self.untold_losses();
        let note_due =
            (losses.total() > 0).then(|| self.last_told.map_or(now, |told| told + NOTE_INTERVAL));
        let Some(due) = [self.events_due(now), note_due].into_iter().flatten().min() else {
            return Poll::Idle;
        };
        if due > now {
            return Poll::At(due);
        }
        let note = note_due.filter(|due| *due <= now).map(|_| note(losses));
        Poll::Ready(self.take_batch(now, note))
    }

    fn take_batch(&mut self, now: Instant, note: Option<String>) -> Batch {
        self.last_sent = Some(now);
        self.last_seq += 1;
        let events = self.take_frame(note.as_deref().map_or(0, |note| note.len() + 1));
        let parts = note.as_deref().into_iter();
        let parts = parts.chain(events.iter().map(|event| &*event.text));
        let text = EventBatch::encode_parts(self.last_seq, self.dropped.total(), parts);
        if note.is_some() {
            self.last_told = Some(now);
        }
        self.n_in_flight += events.len();
        self.in_flight.push_back(Flight {
            seq: self.last_seq,
            events,
            told: note.map(|_| self.dropped),
        });
        self.give_memory_back();
        Batch {
            seq: self.last_seq,
            text,
        }
    }

    /// When the waiting events may be sent; none when there are none.
    fn events_due(&self, now: Instant) -> Option<Instant> {
        let n_waiting = self.n_waiting();
        if n_waiting >= MAX_EVENTS_PER_BATCH {
            return Some(now);
        }
        (n_waiting > 0).then(|| self.last_sent.map_or(now, |sent| sent + self.linger))
    }

    fn untold_losses(&self) -> Losses {
        let told = self.in_flight.iter().rev().find_map(|flight| flight.told);
        self.dropped.since(told.unwrap_or(self.told))
    }

    fn take_frame(&mut self, taken: usize) -> Vec<Queued> {
        let mut room = MAX_AGENT_FRAME_BYTES - ENVELOPE_BYTES - taken;
        let max_events = MAX_EVENTS_PER_BATCH - usize::from(taken > 0);
        let mut events = Vec::new();
        while events.len() < max_events {
            // One byte more for the comma.
            let Some(oldest) = self.oldest() else {
                break;
            };
            let next = self.waiting(oldest);
            let Some(event) = next.pop_front_if(|event| event.text.len() < room) else {
                break;
            };
            room -= event.text.len() + 1;
            events.push(event);
        }
        events
    }

    fn waiting(&mut self, priority: Priority) -> &mut VecDeque<Queued> {
        let [telemetry, activity, security] = &mut self.waiting;
        match priority {
            Priority::Telemetry => telemetry,
            Priority::Activity => activity,
            Priority::Security => security,
        }
    }

    /// The priority whose turn it is: that of the oldest waiting event.
    fn oldest(&self) -> Option<Priority> {
        let fronts = self.waiting.iter().filter_map(VecDeque::front);
        let oldest = fronts.min_by_key(|event| event.place);
        oldest.map(|event| event.priority)
    }

    fn n_waiting(&self) -> usize {
        self.waiting.iter().map(VecDeque::len).sum()
    }

    fn drop_excess(&mut self) {
        while self.n_waiting() + self.n_in_flight > self.limits.events
            || self.bytes > self.limits.bytes
        {
            let Some(lost) = self.waiting.iter_mut().find_map(VecDeque::pop_front) else {
                break;
            };
            self.bytes -= lost.text.len();
            self.dropped.count(lost.priority);
        }
    }

    /// An outage may have grown the ring to its limit; an agent at rest should be small again.
    fn give_memory_back(&mut self) {
        for waiting in &mut self.waiting {
            if waiting.capacity() > 1_024 && waiting.len() < waiting.capacity() / 4 {
                waiting.shrink_to(waiting.len() * 2);
            }
        }
    }
}

#[cfg(test)]
mod tests;
