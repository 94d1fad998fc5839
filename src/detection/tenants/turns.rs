//! Which organization is read next: the one that has waited longest, and none again too soon.
//! It never reads a clock, and never lets one that changes all the time be read before another.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::OrgId;

/// Least time between two reads of one organization: whoever saves row after row is read once for
/// all that came meanwhile.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// Pause after the first failed read; it doubles up to [`LONGEST_PAUSE`].
const FAILURE_PAUSE: Duration = Duration::from_secs(2);

/// Longest pause after failed reads.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Organizations that wait for a read, and when each may be read.
#[derive(Debug, Default)]
pub(super) struct Turns {
    waiting: VecDeque<OrgId>,
    reading: BTreeSet<OrgId>,
    pauses: BTreeMap<OrgId, Pause>,
}

/// Until when an organization is not read again.
#[derive(Debug, Clone, Copy)]
struct Pause {
    until: Instant,
    /// How long after the last failed read; zero after a good one.
    after_failure: Duration,
}

impl Turns {
    /// Puts an organization at the end, unless it waits already.
    pub(super) fn ask(&mut self, org: OrgId) {
        if !self.waiting.contains(&org) {
            self.waiting.push_back(org);
        }
    }

    /// The next one that may be read; it is being read from then on.
    pub(super) fn take(&mut self, now: Instant) -> Option<OrgId> {
        let is_ready = |org: &OrgId| {
            let pause = self.pauses.get(org);
            !self.reading.contains(org) && pause.is_none_or(|pause| now >= pause.until)
        };
        let place = self.waiting.iter().position(is_ready)?;
        let org = self.waiting.remove(place)?;
        self.reading.insert(org);
        Some(org)
    }

    /// Its read has ended; one that failed is asked again, later and later.
    pub(super) fn end(&mut self, org: OrgId, has_failed: bool, now: Instant) {
        self.reading.remove(&org);
        let before = self.pauses.get(&org);
        let after_failure = match has_failed {
            false => Duration::ZERO,
            true => before.map_or(FAILURE_PAUSE, |pause| {
                (pause.after_failure * 2).clamp(FAILURE_PAUSE, LONGEST_PAUSE)
            }),
        };
        let pause = Pause {
            until: now + after_failure.max(PAUSE),
            after_failure,
        };
        self.pauses.insert(org, pause);
        if has_failed {
            self.ask(org);
        }
    }

    /// When the next one that waits may be read; none if nobody waits for time alone.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let waiting = self.waiting.iter();
        let idle = waiting.filter(|org| !self.reading.contains(org));
        let until = idle.filter_map(|org| self.pauses.get(org));
        until.map(|pause| pause.until).min()
    }

    /// How many are being read.
    pub(super) fn n_reading(&self) -> usize {
        self.reading.len()
    }

    /// Whether nobody waits and nobody is being read.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.reading.is_empty()
    }

    /// Forgets whoever is not listed any more.
    pub(super) fn keep(&mut self, listed: &BTreeSet<OrgId>) {
        self.waiting.retain(|org| listed.contains(org));
        self.pauses.retain(|org, _| listed.contains(org));
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn org(n: u128) -> OrgId {
        OrgId(Uuid::from_u128(n))
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_all_the_time_waits_for_the_others() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        turns.ask(org(1));
        assert_eq!(turns.take(now), Some(org(1)));
        turns.ask(org(1));
        turns.ask(org(2));
        assert_eq!(
            turns.take(now),
            Some(org(2)),
            "the first is still being read"
        );

        turns.end(org(1), false, now);
        turns.ask(org(3));
        assert_eq!(turns.take(now), Some(org(3)), "the first has its pause");
        assert_eq!(turns.take(now), None);
        assert_eq!(turns.next_at(), Some(now + PAUSE));
        assert_eq!(turns.take(now + PAUSE), Some(org(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_fails_is_repeated_later_and_later() {
        let (mut turns, mut now) = (Turns::default(), Instant::now());
        turns.ask(org(1));
        let mut pauses = Vec::new();
        for _ in 0..7 {
            assert_eq!(turns.take(now), Some(org(1)));
            turns.end(org(1), true, now);
            let next = turns.next_at().expect("it waits");
            pauses.push((next - now).as_secs());
            now = next;
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60]);

        assert_eq!(turns.take(now), Some(org(1)));
        turns.end(org(1), false, now);
        assert!(turns.is_idle());
    }
}
