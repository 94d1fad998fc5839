//! How long an agent of the swarm waits before it connects again: the agent program's own policy.
//! It holds no clock and draws no randomness itself.
//!
//! The numbers are those of `agent/src/backoff.rs`; a storm with other ones would show another fleet.

use std::time::Duration;

/// The first retry comes within this time.
const FIRST: Duration = Duration::from_secs(1);

/// No wait is shorter.
const FLOOR: Duration = Duration::from_millis(100);

/// No wait is longer.
const CAP: Duration = Duration::from_secs(60);

/// A connection that lasted this long makes the waits short again.
const HEALTHY: Duration = Duration::from_secs(60);

/// The longest pause the daemon may ask for.
const MAX_ADVISED: Duration = Duration::from_secs(600);

/// The growing wait of one agent.
#[derive(Clone, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait, given a number drawn evenly from all.
    pub(super) fn next_wait(&mut self, random: u32) -> Duration {
        let ceiling = FIRST
            .saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX))
            .min(CAP);
        self.failures = self.failures.saturating_add(1).min(31);
        let wait = ceiling.mul_f64(f64::from(random) / f64::from(u32::MAX));
        wait.max(FLOOR)
    }

    /// The wait after a pause that the daemon asked for, with the jitter that agents put on top.
    pub(super) fn advised_wait(asked: Duration, random: u32) -> Duration {
        asked.min(MAX_ADVISED) + Self::default().next_wait(random)
    }

    /// Notes how long a connection held.
    pub(super) fn on_end(&mut self, held: Duration) {
        if held >= HEALTHY {
            self.failures = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_until_a_connection_held() {
        let mut backoff = Backoff::default();

        let longest: Vec<u64> = (0..8)
            .map(|_| backoff.next_wait(u32::MAX).as_secs())
            .collect();
        backoff.on_end(Duration::from_secs(59));
        let after_short = backoff.next_wait(u32::MAX);
        backoff.on_end(Duration::from_secs(60));
        let after_long = backoff.next_wait(u32::MAX);

        assert_eq!(longest, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(after_short, Duration::from_secs(60));
        assert_eq!(after_long, Duration::from_secs(1));
    }

    #[test]
    fn the_daemons_pause_is_kept_and_bounded() {
        let pause = Duration::from_secs(3);

        assert_eq!(
            Backoff::advised_wait(pause, 0),
            pause + Duration::from_millis(100)
        );
        assert_eq!(
            Backoff::advised_wait(Duration::MAX, u32::MAX),
            Duration::from_secs(601)
        );
    }
}
