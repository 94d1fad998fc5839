//! Simulated time and chance: an ordered queue of what happens, and the one source of randomness.
//! It never looks at a real clock; the same seed gives the same run.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// Milliseconds since the beginning of a run.
pub type Millis = u64;

/// What happens, in the order of its time and then of its planning.
#[derive(Debug)]
pub(crate) struct Agenda<E> {
    origin: Instant,
    now: Millis,
    planned: BinaryHeap<Reverse<(Millis, u64)>>,
    events: Vec<Option<E>>,
}

impl<E> Agenda<E> {
    /// An empty agenda at time zero.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self {
            origin: Instant::now(),
            now: 0,
            planned: BinaryHeap::new(),
            events: Vec::new(),
        }
    }

    /// The time, as the state machines take it.
    #[must_use]
    pub(crate) fn instant(&self) -> Instant {
        self.origin + Duration::from_millis(self.now)
    }

    /// The time since the beginning.
    #[must_use]
    pub(crate) const fn now(&self) -> Millis {
        self.now
    }

    /// Plans something after a delay.
    pub(crate) fn after(&mut self, delay: Millis, event: E) {
        let number = self.events.len() as u64;
        self.events.push(Some(event));
        self.planned.push(Reverse((self.now + delay, number)));
    }

    /// Plans something for an instant, or for now if that is past.
    pub(crate) fn at(&mut self, at: Instant, event: E) {
        let wait = at.saturating_duration_since(self.instant());
        // Rounded up, so that a deadline is reached when its event happens.
        let delay = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX / 2);
        self.after(delay, event);
    }

    /// Goes on to the next event; none when nothing is planned.
    pub(crate) fn next(&mut self) -> Option<E> {
        let Reverse((at, number)) = self.planned.pop()?;
        self.now = at;
        let index = usize::try_from(number).ok()?;
        self.events.get_mut(index)?.take()
    }
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Self::new()
    }
}
