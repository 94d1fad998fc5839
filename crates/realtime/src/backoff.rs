//! How long to wait before the next attempt: exponential, with full jitter.
//! Never sleeps and keeps no clock.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use crate::error::Remedy;

/// Limits of the pauses between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Upper bound of the first pause; doubles with each failure.
    pub base: Duration,
    /// Upper bound of every ordinary pause.
    pub cap: Duration,
    /// Pause after the server asked to slow down, or while a rejected token has not been replaced.
    pub slow: Duration,
    /// Pause after an error that repetition alone will not cure.
    pub hopeless: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            // A reconciler resyncs every 30–60 s anyway: a longer silence would make the feed worthless.
            cap: Duration::from_secs(30),
            // Supabase averages its rate limits over 60 s.
            slow: Duration::from_secs(60),
            // Somebody has to change the configuration first; the log should not fill meanwhile.
            hopeless: Duration::from_secs(300),
        }
    }
}

impl Backoff {
    /// Computes the pause for a remedy after `failures` failed attempts in a row; `chance` is in `0.0..1.0`.
    pub(crate) fn pause(&self, remedy: Remedy, failures: u32, chance: f64) -> Duration {
        match remedy {
            // Full jitter: many clients that lost one server spread over the whole interval.
            Remedy::Retry => self.ceiling(failures).mul_f64(chance),
            Remedy::NewToken | Remedy::SlowDown => half_jitter(self.slow, chance),
            Remedy::GiveUp => half_jitter(self.hopeless, chance),
        }
    }

    fn ceiling(&self, failures: u32) -> Duration {
        // 2^16 seconds is past any sensible cap, so the shift can stop there.
        self.base
            .saturating_mul(1 << failures.min(16))
            .min(self.cap)
    }
}

/// Spreads a pause over its upper half, so that it stays a real pause.
fn half_jitter(pause: Duration, chance: f64) -> Duration {
    pause.mul_f64(0.5 + chance / 2.0)
}

/// Draws a number in `0.0..1.0` from the standard library's hash seed: unpredictable enough to spread load.
pub(crate) fn draw_chance() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 32;
    bits as f64 / f64::from(u32::MAX).next_up()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_pauses_double_up_to_the_cap() {
        let backoff = Backoff::default();

        let ceilings = [0, 1, 2, 4, 5, 40].map(|failures| {
            backoff
                .pause(Remedy::Retry, failures, 0.999_999)
                .as_secs_f64()
                .round()
        });

        assert_eq!(ceilings, [1.0, 2.0, 4.0, 16.0, 30.0, 30.0]);
    }

    #[test]
    fn ordinary_pauses_use_the_whole_interval() {
        let backoff = Backoff::default();

        assert_eq!(backoff.pause(Remedy::Retry, 3, 0.0), Duration::ZERO);
        assert_eq!(backoff.pause(Remedy::Retry, 3, 0.5), Duration::from_secs(4));
    }

    #[test]
    fn a_request_to_slow_down_is_never_answered_with_a_short_pause() {
        let backoff = Backoff::default();

        assert_eq!(
            backoff.pause(Remedy::SlowDown, 0, 0.0),
            Duration::from_secs(30)
        );
        assert_eq!(
            backoff.pause(Remedy::GiveUp, 0, 0.0),
            Duration::from_secs(150)
        );
    }

    #[test]
    fn chances_lie_in_the_unit_interval_and_differ() {
        let draws: Vec<f64> = (0..50).map(|_| draw_chance()).collect();

        assert!(draws.iter().all(|chance| (0.0..1.0).contains(chance)));
        assert!(
            draws
                .iter()
                .any(|chance| chance.to_bits() != draws[0].to_bits())
        );
    }
}
