//! The queue's bookkeeping: what waits, what is in flight, what was lost.
//! It has no clock, lock or socket; the present time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use hidps_wire::{EventBatch, MAX_AGENT_FRAME_BYTES, MAX_EVENTS_PER_BATCH};
use tokio::time::Instant;

/// Room of a frame for everything but its events.
const ENVELOPE_BYTES: usize = 256;

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

/// Encoded events in order, oldest first.
#[derive(Debug)]
pub struct EventRing {
    limits: RingLimits,
    linger: Duration,
    waiting: VecDeque<Box<str>>,
    in_flight: VecDeque<Flight>,
    n_in_flight: usize,
    bytes: usize,
    dropped: u64,
    told_losses: u64,
    last_seq: u64,
    last_granted: u64,
    last_sent: Option<Instant>,
}

#[derive(Debug)]
struct Flight {
    seq: u64,
    events: Vec<Box<str>>,
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
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            n_in_flight: 0,
            bytes: 0,
            dropped: 0,
            told_losses: 0,
            last_seq: 0,
            last_granted: 0,
            last_sent: None,
        }
    }

    /// Events lost so far.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Events lost since the last call.
    pub const fn take_untold_losses(&mut self) -> u64 {
        let untold = self.dropped - self.told_losses;
        self.told_losses = self.dropped;
        untold
    }

    /// Adds an event and drops the oldest waiting ones beyond the limits.
    pub fn push(&mut self, event: Box<str>) {
        self.bytes += event.len();
        self.waiting.push_back(event);
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
            let events = self.in_flight.pop_front().map_or(Vec::new(), |f| f.events);
            self.n_in_flight -= events.len();
            self.bytes -= events.iter().map(|event| event.len()).sum::<usize>();
        }
        // A late acknowledgement never takes credit back.
        self.last_granted = self.last_granted.max(seq.saturating_add(u64::from(credit)));
        true
    }

    /// Puts what is in flight back to the front and withdraws the credit.
    pub fn on_disconnected(&mut self) {
        while let Some(flight) = self.in_flight.pop_back() {
            for event in flight.events.into_iter().rev() {
                self.waiting.push_front(event);
            }
        }
        self.n_in_flight = 0;
        self.last_granted = 0;
        self.last_seq = 0;
        self.give_memory_back();
    }

    /// Takes the next batch, if it is time and there is credit.
    pub fn poll_batch(&mut self, now: Instant) -> Poll {
        if self.waiting.is_empty() || self.last_seq >= self.last_granted {
            return Poll::Idle;
        }
        let is_full = self.waiting.len() >= MAX_EVENTS_PER_BATCH;
        let due = self.last_sent.map(|sent| sent + self.linger);
        if let Some(due) = due.filter(|due| !is_full && *due > now) {
            return Poll::At(due);
        }
        self.last_sent = Some(now);
        self.last_seq += 1;
        let events = self.take_frame();
        let parts = events.iter().map(|event| &**event);
        let text = EventBatch::encode_parts(self.last_seq, self.dropped, parts);
        self.n_in_flight += events.len();
        self.in_flight.push_back(Flight {
            seq: self.last_seq,
            events,
        });
        self.give_memory_back();
        Poll::Ready(Batch {
            seq: self.last_seq,
            text,
        })
    }

    fn take_frame(&mut self) -> Vec<Box<str>> {
        let mut room = MAX_AGENT_FRAME_BYTES - ENVELOPE_BYTES;
        let mut events = Vec::new();
        while events.len() < MAX_EVENTS_PER_BATCH {
            // One byte more for the comma.
            let Some(event) = self.waiting.pop_front_if(|event| event.len() < room) else {
                break;
            };
            room -= event.len() + 1;
            events.push(event);
        }
        events
    }

    fn drop_excess(&mut self) {
        let exceeds = |ring: &Self| {
            ring.waiting.len() + ring.n_in_flight > ring.limits.events
                || ring.bytes > ring.limits.bytes
        };
        while exceeds(self) {
            let Some(oldest) = self.waiting.pop_front() else {
                break;
            };
            self.bytes -= oldest.len();
            self.dropped += 1;
        }
    }

    /// An outage may have grown the ring to its limit; an agent at rest should be small again.
    fn give_memory_back(&mut self) {
        if self.waiting.capacity() > 1_024 && self.waiting.len() < self.waiting.capacity() / 4 {
            self.waiting.shrink_to(self.waiting.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests;
