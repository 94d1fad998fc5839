//! How often an agent may say how its host is: each word becomes rows that all tenants wait for.
//! It reads no clock; a connection that says more is read later, and a request is refused.

use std::time::Duration;

use tokio::time::Instant;

/// Words at once: a host that reconnects into a burst of drifts says a dozen.
const BURST: u32 = 30;

/// Time after which one more is allowed.
const REFILL: Duration = Duration::from_millis(500);

/// The budget of one connection.
#[derive(Debug)]
pub(super) struct StatusBudget {
    /// When the budget would be full again.
    full_at: Instant,
}

impl StatusBudget {
    /// A full budget.
    pub(super) const fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Takes one; gives until when nothing more is to be read if that was one too many.
    pub(super) fn take(&mut self, now: Instant) -> Option<Instant> {
        self.full_at = self.full_at.max(now) + REFILL;
        let over = self.full_at.checked_sub(REFILL * BURST)?;
        (over > now).then_some(over)
    }

    /// Takes one if there is one; whoever is refused is not charged for it.
    pub(super) fn try_take(&mut self, now: Instant) -> bool {
        let before = self.full_at;
        let is_taken = self.take(now).is_none();
        if !is_taken {
            self.full_at = before;
        }
        is_taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_read_at_once_and_a_flood_at_its_pace() {
        // Far from the origin of the clock, which an instant cannot go before.
        let begun = Instant::now() + Duration::from_secs(3_600);
        let mut budget = StatusBudget::new(begun);
        let mut now = begun;
        let mut read_at_once = 0;

        for _ in 0..100 {
            match budget.take(now) {
                None => read_at_once += u32::from(now == begun),
                Some(until) => now = until,
            }
        }

        assert_eq!(read_at_once, BURST);
        assert_eq!(now - begun, REFILL * 70);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_refused_and_tries_again_is_not_charged_for_that() {
        let begun = Instant::now() + Duration::from_secs(3_600);
        let mut budget = StatusBudget::new(begun);

        let taken = (0..1_000).filter(|_| budget.try_take(begun)).count();

        assert_eq!(taken, BURST as usize);
        assert!(budget.try_take(begun + REFILL));
        assert!(!budget.try_take(begun + REFILL));
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_says_two_words_a_second_is_never_made_to_wait() {
        let begun = Instant::now() + Duration::from_secs(3_600);
        let mut budget = StatusBudget::new(begun);

        let waits = (0..10_000).filter_map(|n| budget.take(begun + REFILL * n));

        assert_eq!(waits.count(), 0);
    }
}
