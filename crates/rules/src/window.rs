//! What a correlation remembers of one group: a summary that cannot grow past its cap.
//! It never reads a clock; every input carries its time.

use std::collections::VecDeque;

use lru::LruCache;

use crate::correlation::{Bounds, Measure};
use crate::number::Number;

/// The memory of one group of one correlation.
#[derive(Debug)]
pub(crate) struct Group {
    summary: Summary,
    /// Time of the newest match; time never goes back behind it.
    newest_ms: i64,
    /// The last event taken in, so that one that matches two rules counts once.
    last_event: u64,
    /// The last event this fired for.
    fired_event: u64,
}

/// What is kept, by what is computed.
#[derive(Debug)]
enum Summary {
    /// Times of matches, oldest first.
    Times(VecDeque<i64>),
    /// Distinct values with the last time of each, oldest first.
    Values(LruCache<Box<str>, i64>),
    /// Per joined rule the time of its last match.
    Seen(Vec<Option<i64>>),
    /// Per joined rule the latest beginning of a sequence that has come as far as it.
    Chain(Vec<Option<i64>>),
}

/// A match on its way into a window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    /// Its time.
    pub(crate) now_ms: i64,
    /// The running number of the event, from one.
    pub(crate) event: u64,
    /// Which of the joined rules matched.
    pub(crate) member: usize,
    /// The value to count, when values are counted and the event has one.
    pub(crate) value: Option<&'a str>,
}

/// What a correlation computes and how much of it may be kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizing<'a> {
    /// What is computed.
    pub(crate) measure: &'a Measure,
    /// What the number must satisfy.
    pub(crate) bounds: &'a Bounds,
    /// How far back it looks.
    pub(crate) timespan_ms: i64,
    /// How many rules it joins.
    pub(crate) n_members: usize,
    /// Most entries kept.
    pub(crate) cap: usize,
}

/// What a window held when its condition came true.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reading {
    /// The computed number.
    pub(crate) count: usize,
    /// Time of the oldest entry.
    pub(crate) first_ms: i64,
    /// Time of the newest entry.
    pub(crate) last_ms: i64,
}

impl Group {
    /// An empty window.
    pub(crate) fn new(sizing: &Sizing<'_>, now_ms: i64) -> Self {
        Self {
            summary: Summary::new(sizing),
            newest_ms: now_ms,
            last_event: 0,
            fired_event: 0,
        }
    }

    /// How many entries it holds.
    pub(crate) fn len(&self) -> usize {
        match &self.summary {
            Summary::Times(times) => times.len(),
            Summary::Values(values) => values.len(),
            Summary::Seen(times) | Summary::Chain(times) => times.len(),
        }
    }

    /// Whether nothing in it can matter any more at `now_ms`.
    pub(crate) fn is_over(&self, now_ms: i64, timespan_ms: i64) -> bool {
        self.newest_ms < now_ms.saturating_sub(timespan_ms)
    }

    /// Takes a match in; answers how many live entries had to be dropped for it.
    pub(crate) fn add(&mut self, arrival: Arrival<'_>, sizing: &Sizing<'_>) -> u64 {
        if self.newest_ms.saturating_sub(arrival.now_ms) > sizing.timespan_ms {
            *self = Self::new(sizing, arrival.now_ms);
        }
        let is_new = self.last_event != arrival.event;
        self.last_event = arrival.event;
        self.newest_ms = self.newest_ms.max(arrival.now_ms);
        let oldest_ms = self.newest_ms.saturating_sub(sizing.timespan_ms);
        self.summary.forget_before(oldest_ms);
        self.summary
            .add(&arrival, self.newest_ms, is_new, sizing.cap)
    }

    /// What the window holds, if its condition is true and this event has not fired it before.
    pub(crate) fn poll_fired(&mut self, sizing: &Sizing<'_>) -> Option<Reading> {
        if self.fired_event == self.last_event {
            return None;
        }
        let (count, first_ms) = self.summary.read(self.newest_ms);
        let number = Number::Int(i64::try_from(count).unwrap_or(i64::MAX));
        if !sizing
            .bounds
            .iter()
            .all(|(relation, bound)| relation.holds(number, *bound))
        {
            return None;
        }
        self.fired_event = self.last_event;
        Some(Reading {
            count,
            first_ms,
            last_ms: self.newest_ms,
        })
    }
}

impl Summary {
    /// An empty summary of the right kind.
    fn new(sizing: &Sizing<'_>) -> Self {
        match sizing.measure {
            Measure::EventCount => Self::Times(VecDeque::new()),
            Measure::ValueCount(_) => Self::Values(LruCache::unbounded()),
            Measure::Temporal => Self::Seen(vec![None; sizing.n_members]),
            Measure::TemporalOrdered => Self::Chain(vec![None; sizing.n_members]),
        }
    }

    /// Forgets what lies before the window.
    fn forget_before(&mut self, oldest_ms: i64) {
        match self {
            Self::Times(times) => {
                while times.front().is_some_and(|time| *time < oldest_ms) {
                    times.pop_front();
                }
            }
            Self::Values(values) => {
                while values.peek_lru().is_some_and(|(_, time)| *time < oldest_ms) {
                    values.pop_lru();
                }
            }
            Self::Seen(times) | Self::Chain(times) => {
                for time in times {
                    *time = time.filter(|time| *time >= oldest_ms);
                }
            }
        }
    }

    /// Takes a match in; answers how many live entries had to be dropped for it.
    fn add(&mut self, arrival: &Arrival<'_>, now_ms: i64, is_new: bool, cap: usize) -> u64 {
        match self {
            Self::Times(times) => {
                if is_new {
                    times.push_back(now_ms);
                }
                let is_over = times.len() > cap;
                if is_over {
                    times.pop_front();
                }
                u64::from(is_over)
            }
            Self::Values(values) => {
                let Some(value) = arrival.value else { return 0 };
                match values.get_mut(value) {
                    Some(time) => *time = now_ms,
                    None => drop(values.push(value.into(), now_ms)),
                }
                let is_over = values.len() > cap;
                if is_over {
                    values.pop_lru();
                }
                u64::from(is_over)
            }
            Self::Seen(times) => {
                if let Some(time) = times.get_mut(arrival.member) {
                    *time = Some(now_ms);
                }
                0
            }
            Self::Chain(begins) => {
                let begin = match arrival.member.checked_sub(1) {
                    Some(before) => begins.get(before).copied().flatten(),
                    None => Some(now_ms),
                };
                if let (Some(slot), Some(begin)) = (begins.get_mut(arrival.member), begin) {
                    *slot = Some(begin);
                }
                0
            }
        }
    }

    /// The computed number and the time of the oldest entry.
    fn read(&self, now_ms: i64) -> (usize, i64) {
        match self {
            Self::Times(times) => (times.len(), times.front().copied().unwrap_or(now_ms)),
            Self::Values(values) => (
                values.len(),
                values.peek_lru().map_or(now_ms, |(_, time)| *time),
            ),
            Self::Seen(times) => {
                let seen = times.iter().flatten();
                (seen.clone().count(), seen.min().copied().unwrap_or(now_ms))
            }
            Self::Chain(begins) => {
                let reached = begins.iter().rposition(Option::is_some);
                let begin = reached.and_then(|last| begins.get(last).copied().flatten());
                (reached.map_or(0, |last| last + 1), begin.unwrap_or(now_ms))
            }
        }
    }
}
