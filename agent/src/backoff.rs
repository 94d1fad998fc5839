//! How long to wait before the next attempt: full jitter, so that a fleet never comes back at once.
//! It holds no clock, and only [`Chance::of_system`] draws randomness.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::parse_http_date;

/// The first retry comes within this time: a daemon that goes cuts its whole fleet at one moment.
const FIRST: Duration = Duration::from_secs(5);

/// Later retries come within this time doubled once for each failure.
const STEP: Duration = Duration::from_secs(1);

/// No wait is shorter: a daemon that closes is never answered by an instant connect.
const FLOOR: Duration = Duration::from_millis(100);

/// No wait is longer.
const CAP: Duration = Duration::from_secs(120);

/// What is put on top of a pause that was asked for, in case all agents were told the same.
const SPREAD: Duration = Duration::from_secs(1);

/// A connection that lasted this long shows that the peer is well again.
const HEALTHY: Duration = Duration::from_secs(60);

/// The longest pause that is honoured; a daemon that asks for more made a mistake.
const MAX_PAUSE: Duration = Duration::from_secs(3_600);

/// The growing wait of one peer.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait, given a number drawn evenly from all.
    pub fn next_wait(&mut self, random: u32) -> Duration {
        let ceiling = match self.failures {
            0 => FIRST,
            n => STEP.saturating_mul(1 << n).min(CAP),
        };
        self.failures = self.failures.saturating_add(1).min(31);
        share(ceiling, random).max(FLOOR)
    }

    /// Notes how long an attempt held; only a long one makes the waits short again.
    pub fn on_end(&mut self, held: Duration) {
        if held >= HEALTHY {
            self.failures = 0;
        }
    }
}

/// The wait for a pause that was asked for: never shorter, and a little longer by chance.
#[must_use]
pub fn wait_out(asked: Duration, random: u32) -> Duration {
    asked.min(MAX_PAUSE) + share(SPREAD, random).max(FLOOR)
}

fn share(of: Duration, random: u32) -> Duration {
    of.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// Where waits take their randomness from.
#[derive(Clone)]
pub struct Chance(Arc<dyn Fn() -> u32 + Send + Sync>);

impl Chance {
    /// The system's; without any it is the greatest number, which waits in full.
    #[must_use]
    pub fn of_system() -> Self {
        Self::new(|| getrandom::u32().unwrap_or(u32::MAX))
    }

    /// Another one.
    #[must_use]
    pub fn new(draw: impl Fn() -> u32 + Send + Sync + 'static) -> Self {
        Self(Arc::new(draw))
    }

    /// A number drawn evenly from all.
    #[must_use]
    pub fn draw(&self) -> u32 {
        (self.0)()
    }
}

impl fmt::Debug for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chance(…)")
    }
}

/// The wait that a `Retry-After` header asks for, in seconds or as a date, which is measured by the
/// sender's own clock.
#[must_use]
pub fn parse_retry_after(text: &str, senders_time: Option<Timestamp>) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds).min(MAX_PAUSE));
    }
    let seconds = parse_http_date(text)?.as_second() - senders_time?.as_second();
    let seconds = u64::try_from(seconds).unwrap_or(0);
    Some(Duration::from_secs(seconds).min(MAX_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_longest_waits_double_from_the_second_failure_on_up_to_two_minutes() {
        let mut backoff = Backoff::default();

        let longest: Vec<_> = (0..10)
            .map(|_| backoff.next_wait(u32::MAX).as_secs())
            .collect();

        assert_eq!(longest, [5, 2, 4, 8, 16, 32, 64, 120, 120, 120]);
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
        assert_eq!(after_long, FIRST);
    }

    #[test]
    fn a_wait_that_is_asked_for_is_read_and_bounded() {
        let now = parse_http_date("Sat, 21 Nov 2026 01:00:00 GMT");
        let check = |text: &str, seconds: Option<u64>| {
            let read = parse_retry_after(text, now);

            assert_eq!(read.map(|wait| wait.as_secs()), seconds, "{text}");
        };

        check("7", Some(7));
        check("99999999", Some(3_600));
        check("Sat, 21 Nov 2026 01:01:30 GMT", Some(90));
        check("Sat, 21 Nov 2026 00:59:00 GMT", Some(0));
        check("Sat, 21 Nov 2099 00:59:00 GMT", Some(3_600));
        check("soon", None);
        check("-1", None);
        let undated = parse_retry_after("Sat, 21 Nov 2026 01:01:30 GMT", None);
        assert_eq!(undated, None, "nobody knows what time it is there");
    }

    proptest! {
        #[test]
        fn waits_keep_the_law_of_full_jitter(draws in prop::collection::vec(any::<u32>(), 1..80)) {
            let mut backoff = Backoff::default();

            for (n, random) in draws.into_iter().enumerate() {
                let ceiling = if n == 0 { 5.0 } else { 2_f64.powf(n as f64).min(120.0) };
                let expected = (ceiling * f64::from(random) / f64::from(u32::MAX)).max(0.1);

                let wait = backoff.next_wait(random).as_secs_f64();

                prop_assert!((wait - expected).abs() < 1e-6, "{} {} {}", n, wait, expected);
            }
        }

        #[test]
        fn nobody_comes_earlier_than_asked(asked in 0_u64..10_000, random in any::<u32>()) {
            let asked = Duration::from_secs(asked);

            let wait = wait_out(asked, random);

            prop_assert!(wait > asked.min(MAX_PAUSE));
            prop_assert!(wait <= asked.min(MAX_PAUSE) + SPREAD);
        }
    }
}
