//! The queue's bookkeeping: what waits, what is in flight, what was lost.
//! It has no clock, lock or socket; the present time is an argument.

mod lane;

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::Duration;

use hidps_wire::{EventBatch, MAX_AGENT_FRAME_BYTES, MAX_EVENTS_PER_BATCH};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

pub use lane::{Lane, Priority};

/// Room of a frame for everything but its events.
const ENVELOPE_BYTES: usize = 256;

/// The least time between two notes of losses: a flood must not be made longer by its own notes.
const NOTE_INTERVAL: Duration = Duration::from_secs(10);

/// How many events were lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Losses {
    /// Of [`Priority::Telemetry`].
    pub telemetry: u64,
    /// Of [`Priority::Activity`].
    pub activity: u64,
    /// Of [`Priority::Security`].
    pub security: u64,
    /// Of those, what was about watched files.
    #[serde(default)]
    pub files: u64,
    /// What was about the packet filter.
    #[serde(default)]
    pub firewall: u64,
    /// Logins from elsewhere.
    #[serde(default)]
    pub remote_logins: u64,
    /// The other logins.
    #[serde(default)]
    pub logins: u64,
}

impl Losses {
    /// Of all.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.telemetry + self.activity + self.security
    }

    /// What those of security were about, in parentheses; nothing where there were none.
    #[must_use]
    pub fn of_security(self) -> String {
        let parts = [
            (self.files, "watched files"),
            (self.firewall, "firewall"),
            (self.remote_logins, "logins from elsewhere"),
            (self.logins, "logins on the host"),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<_> = parts
            .map(|(count, what)| format!("{what} {count}"))
            .collect();
        if parts.is_empty() {
            return String::new();
        }
        format!(" ({})", parts.join(", "))
    }

    const fn since(self, earlier: Self) -> Self {
        Self {
            telemetry: self.telemetry - earlier.telemetry,
            activity: self.activity - earlier.activity,
            security: self.security - earlier.security,
            files: self.files - earlier.files,
            firewall: self.firewall - earlier.firewall,
            remote_logins: self.remote_logins - earlier.remote_logins,
            logins: self.logins - earlier.logins,
        }
    }

    const fn none() -> Self {
        Self {
            telemetry: 0,
            activity: 0,
            security: 0,
            files: 0,
            firewall: 0,
            remote_logins: 0,
            logins: 0,
        }
    }

    const fn count(&mut self, lane: Lane) {
        match lane.priority() {
            Priority::Telemetry => self.telemetry += 1,
            Priority::Activity => self.activity += 1,
            Priority::Security => self.security += 1,
        }
        match lane {
            Lane::Files => self.files += 1,
            Lane::Firewall => self.firewall += 1,
            Lane::RemoteLogins => self.remote_logins += 1,
            Lane::Logins => self.logins += 1,
            Lane::Lines
            | Lane::Exits
            | Lane::Usage
            | Lane::Programs
            | Lane::Network
            | Lane::Audit
            | Lane::Notes => {}
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

/// Encoded events, sent in the order they came and lost in the order of their priority; within one,
/// what there is most of is lost first.
#[derive(Debug)]
pub struct EventRing {
    limits: RingLimits,
    linger: Duration,
    /// What waits, by lane.
    waiting: [Waiting; Lane::ALL.len()],
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

/// What waits in one lane, in order.
#[derive(Debug)]
struct Waiting {
    events: VecDeque<Queued>,
    bytes: usize,
}

#[derive(Debug)]
struct Queued {
    /// Its place among all events of the agent.
    place: u64,
    lane: Lane,
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
            waiting: [const { Waiting::empty() }; Lane::ALL.len()],
            in_flight: VecDeque::new(),
            n_in_flight: 0,
            bytes: 0,
            n_pushed: 0,
            dropped: Losses::none(),
            told: Losses::none(),
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
        let waiting = self.waiting.iter().filter_map(Waiting::oldest);
        let places = waiting.chain(in_flight);
        let oldest = places.map(|event| event.place).min();
        oldest.unwrap_or(self.n_pushed)
    }

    /// Adds an event and drops waiting ones beyond the limits: of the least priority, and of a dearer
    /// one only when none of a lesser is left; within it the oldest of the lane that has most.
    pub fn push(&mut self, lane: Lane, text: Box<str>) {
        self.bytes += text.len();
        let queued = Queued {
            place: self.n_pushed,
            lane,
            text,
        };
        self.n_pushed += 1;
        if let Some(waiting) = self.waiting.get_mut(lane.index()) {
            waiting.push_back(queued);
        }
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
                if let Some(waiting) = self.waiting.get_mut(event.lane.index()) {
                    waiting.push_front(event);
                }
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
        self.last_seq += 1;
        let events = self.take_frame(note.as_deref().map_or(0, |note| note.len() + 1));
        // What did not fit came with the rest and does not wait for more.
        self.last_sent = (self.n_waiting() == 0).then_some(now);
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
            let fits = |event: &mut Queued| event.text.len() < room;
            let Some(event) = self.oldest().and_then(|waiting| waiting.pop_front_if(fits)) else {
                break;
            };
            room -= event.text.len() + 1;
            events.push(event);
        }
        events
    }

    /// The lane whose turn it is: that of the oldest waiting event.
    fn oldest(&mut self) -> Option<&mut Waiting> {
        let waiting = self.waiting.iter_mut();
        let waiting = waiting.filter(|waiting| !waiting.events.is_empty());
        waiting.min_by_key(|waiting| waiting.oldest().map(|event| event.place))
    }

    fn n_waiting(&self) -> usize {
        self.waiting
            .iter()
            .map(|waiting| waiting.events.len())
            .sum()
    }

    fn drop_excess(&mut self) {
        loop {
            let is_too_long = self.bytes > self.limits.bytes;
            if !is_too_long && self.n_waiting() + self.n_in_flight <= self.limits.events {
                return;
            }
            let Some(lost) = self.fullest(is_too_long).and_then(Waiting::pop_front) else {
                return;
            };
            self.bytes -= lost.text.len();
            self.dropped.count(lost.lane);
        }
    }

    /// The lane that has to give: of the least priority of which anything waits, the one that takes
    /// most of what there is too little of.
    fn fullest(&mut self, is_too_long: bool) -> Option<&mut Waiting> {
        let waiting = Lane::ALL.iter().zip(&mut self.waiting);
        let waiting = waiting.filter(|(_, waiting)| !waiting.events.is_empty());
        let fullest = waiting.min_by_key(|(lane, waiting)| {
            let share = if is_too_long {
                waiting.bytes
            } else {
                waiting.events.len()
            };
            (lane.priority(), Reverse(share))
        });
        fullest.map(|(_, waiting)| waiting)
    }

    /// An outage may have grown the ring to its limit; an agent at rest should be small again.
    fn give_memory_back(&mut self) {
        for Waiting { events, .. } in &mut self.waiting {
            if events.capacity() > 1_024 && events.len() < events.capacity() / 4 {
                events.shrink_to(events.len() * 2);
            }
        }
    }
}

impl Waiting {
    const fn empty() -> Self {
        Self {
            events: VecDeque::new(),
            bytes: 0,
        }
    }

    fn oldest(&self) -> Option<&Queued> {
        self.events.front()
    }

    fn push_back(&mut self, event: Queued) {
        self.bytes += event.text.len();
        self.events.push_back(event);
    }

    fn push_front(&mut self, event: Queued) {
        self.bytes += event.text.len();
        self.events.push_front(event);
    }

    fn pop_front(&mut self) -> Option<Queued> {
        self.pop_front_if(|_| true)
    }

    fn pop_front_if(&mut self, is_wanted: impl FnOnce(&mut Queued) -> bool) -> Option<Queued> {
        let event = self.events.pop_front_if(is_wanted)?;
        self.bytes -= event.text.len();
        Some(event)
    }
}

#[cfg(test)]
mod tests;
