//! How long to wait before the next attempt: full jitter, so that a fleet never comes back at once.
//! It holds no clock and draws no randomness itself.

use std::time::Duration;

/// The first retry comes within this time.
const FIRST: Duration = Duration::from_secs(1);

/// No wait is shorter: a daemon that closes is never answered by an instant connect.
const FLOOR: Duration = Duration::from_millis(100);

/// No wait is longer.
const CAP: Duration = Duration::from_secs(60);

/// A connection that lasted this long shows that the peer is well again.
const HEALTHY: Duration = Duration::from_secs(60);

/// The growing wait of one peer.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait, given a number drawn evenly from all.
    pub fn next_wait(&mut self, random: u32) -> Duration {
        let ceiling = FIRST
            .saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX))
            .min(CAP);
        self.failures = self.failures.saturating_add(1).min(31);
        let wait = ceiling.mul_f64(f64::from(random) / f64::from(u32::MAX));
        wait.max(FLOOR)
    }

    /// Notes how long an attempt held; only a long one makes the waits short again.
    pub fn on_end(&mut self, held: Duration) {
        if held >= HEALTHY {
            self.failures = 0;
        }
    }
}

/// The wait that a `Retry-After` header asks for; a daemon that asks for more than an hour made a
/// mistake.
#[must_use]
pub fn parse_retry_after(text: &str) -> Option<Duration> {
    let seconds: u64 = text.parse().ok()?;
    Some(Duration::from_secs(seconds.min(3_600)))
}

/// A random number for [`Backoff::next_wait`]; a system without randomness waits in full.
#[must_use]
pub fn draw() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_retry_is_within_a_second_and_the_last_within_a_minute() {
        let mut backoff = Backoff::default();

        let longest: Vec<_> = (0..10)
            .map(|_| backoff.next_wait(u32::MAX).as_secs())
            .collect();

        assert_eq!(longest, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
    }

    #[test]
    fn only_a_healthy_connection_makes_waits_short_again() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.next_wait(0);
        }

        backoff.on_end(Duration::from_secs(59));
        let after_short = backoff.clone().next_wait(u32::MAX);
        backoff.on_end(Duration::from_secs(60));
        let after_long = backoff.next_wait(u32::MAX);

        assert_eq!(after_short, Duration::from_secs(32));
        assert_eq!(after_long, Duration::from_secs(1));
    }

    #[test]
    fn a_wait_that_is_asked_for_is_read_and_bounded() {
        assert_eq!(parse_retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(
            parse_retry_after("99999999"),
            Some(Duration::from_secs(3_600))
        );
        assert_eq!(parse_retry_after("Sat, 21 Nov 2026 01:00:00 GMT"), None);
    }

    proptest! {
        #[test]
        fn a_wait_is_between_floor_and_cap(draws in prop::collection::vec(any::<u32>(), 1..80)) {
            let mut backoff = Backoff::default();

            for random in draws {
                prop_assert!((FLOOR..=CAP).contains(&backoff.next_wait(random)));
            }
        }
    }
}
