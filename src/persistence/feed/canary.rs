//! Proves that the feed still carries what is written: a numbered beat must come back by both of
//! its ways. It does no I/O and reads no clock; it says what to write and when to join again.

use std::time::{Duration, Instant};

use crate::health::{Fault, RoundTrip};

/// How long a written beat may take: Realtime polls twice a second when idle, and ten times that
/// is an outage.
const PATIENCE: Duration = Duration::from_secs(5);

/// First and longest pause between two new joins because of silence; a way that stays silent must
/// not cost the other one its connection all the time.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The two ways of the feed, either of which is enough.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// Messages that the database's triggers send to the topic.
    Broadcast,
    /// Changes of published tables.
    Changes,
}

/// What to do now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Act {
    /// Write this beat; what became of it is to be given back.
    Write(u64),
    /// Join again: nothing comes through any more.
    Rejoin(&'static str),
    /// Compare: the feed is proven again, but what it carried meanwhile may be lost.
    Compare,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    beat: u64,
    begun: Instant,
    /// None while it is being written.
    deadline: Option<Instant>,
    trip: RoundTrip,
}

/// The state of the canary.
#[derive(Debug)]
pub(super) struct Canary {
    every: Duration,
    beat: u64,
    is_joined: bool,
    next_at: Instant,
    flight: Option<Flight>,
    trip: RoundTrip,
    fault: Option<Fault>,
    misses: u32,
    rejoin_at: Instant,
    /// A beat was not written or did not come back since the feed was joined.
    is_doubted: bool,
    must_compare: bool,
}

impl Canary {
    /// A canary that beats this often once the feed is joined.
    #[must_use]
    pub(super) const fn new(every: Duration, now: Instant) -> Self {
        Self {
            every,
            beat: 0,
            is_joined: false,
            next_at: now,
            flight: None,
            trip: RoundTrip {
                broadcast: None,
                changes: None,
            },
            fault: None,
            misses: 0,
            rejoin_at: now,
            is_doubted: false,
            must_compare: false,
        }
    }

    /// The feed is joined, or joined anew: what was on its way may be lost.
    pub(super) const fn on_ready(&mut self, now: Instant) {
        self.is_joined = true;
        self.flight = None;
        self.next_at = now;
        // Everything is compared anyway.
        self.is_doubted = false;
        self.must_compare = false;
    }

    /// The feed is lost; nothing can be proven until it is joined.
    pub(super) const fn on_lost(&mut self) {
        self.is_joined = false;
        self.flight = None;
    }

    /// What became of writing a beat.
    pub(super) fn on_written(&mut self, beat: u64, written: Result<(), String>, now: Instant) {
        let Some(flight) = self.flight.as_mut().filter(|flight| flight.beat == beat) else {
            return;
        };
        match written {
            Ok(()) => flight.deadline = Some(now + PATIENCE),
            Err(message) => {
                self.flight = None;
                self.is_doubted = true;
                self.fault = Some(Fault {
                    reason: "CanaryNotWritten",
                    message,
                });
            }
        }
        self.settle();
    }

    /// A beat of ours came back.
    pub(super) fn on_heard(&mut self, way: Way, beat: u64, now: Instant) {
        let Some(flight) = self.flight.as_mut().filter(|flight| flight.beat == beat) else {
            return;
        };
        let took = Some(now.saturating_duration_since(flight.begun));
        let heard = match way {
            Way::Broadcast => &mut flight.trip.broadcast,
            Way::Changes => &mut flight.trip.changes,
        };
        *heard = heard.or(took);
        self.settle();
    }

    /// What to do now, if anything.
    pub(super) fn act(&mut self, now: Instant) -> Option<Act> {
        if !self.is_joined {
            return None;
        }
        if std::mem::take(&mut self.must_compare) {
            return Some(Act::Compare);
        }
        let is_overdue = |flight: &Flight| flight.deadline.is_some_and(|end| now >= end);
        if let Some(flight) = self.flight.take_if(|flight| is_overdue(flight)) {
            return self.on_silence(flight, now);
        }
        if self.flight.is_some() || now < self.next_at {
            return None;
        }
        self.beat += 1;
        self.next_at = now + self.every;
        self.flight = Some(Flight {
            beat: self.beat,
            begun: now,
            deadline: None,
            trip: RoundTrip::default(),
        });
        Some(Act::Write(self.beat))
    }

    /// When `act` may have something to say; none while it waits for an answer or the feed.
    #[must_use]
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.flight {
            _ if !self.is_joined => None,
            Some(flight) => flight.deadline,
            None => Some(self.next_at),
        }
    }

    /// How long the last beats took, and what is wrong.
    #[must_use]
    pub(super) fn report(&self) -> (RoundTrip, Option<Fault>) {
        (self.trip, self.fault.clone())
    }

    /// A beat that came back by both ways proves the feed.
    fn settle(&mut self) {
        let came_back = |flight: &mut Flight| {
            let trip = flight.trip;
            flight.deadline.is_some() && trip.broadcast.is_some() && trip.changes.is_some()
        };
        if let Some(flight) = self.flight.take_if(came_back) {
            self.trip = flight.trip;
            self.fault = None;
            self.must_compare |= std::mem::take(&mut self.is_doubted);
            self.misses = 0;
        }
    }

    fn on_silence(&mut self, flight: Flight, now: Instant) -> Option<Act> {
        self.trip = flight.trip;
        self.is_doubted = true;
        let (reason, what) = match (flight.trip.broadcast, flight.trip.changes) {
            (None, None) => ("CanarySilent", "neither Broadcast nor postgres_changes"),
            (None, Some(_)) => ("BroadcastSilent", "postgres_changes, but not Broadcast"),
            (Some(_), _) => ("ChangesSilent", "Broadcast, but not postgres_changes"),
        };
        let message = format!(
            "{what} carried the last canary within {} s",
            PATIENCE.as_secs()
        );
        self.fault = Some(Fault { reason, message });
        if now < self.rejoin_at {
            return None;
        }
        let pause = FIRST_PAUSE
            .saturating_mul(1 << self.misses.min(8))
            .min(LONGEST_PAUSE);
        self.misses += 1;
        self.rejoin_at = now + pause;
        Some(Act::Rejoin(reason))
    }
}

#[cfg(test)]
mod tests;
