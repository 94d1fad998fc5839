//! How often a ufw that does not become as wanted is tried: its own calls change the files by whose
//! changes the agent notices it, so that one failure would call for the next without an end.
//! It holds no clock.

use std::time::Duration;

use tokio::time::Instant;

use super::UfwError;
use crate::error_chain::chain;
use crate::firewall::FirewallGoal;

/// As often in a row it is tried as soon as anything asks for it.
const FREE: u32 = 3;

/// The first pause; each further one is twice as long.
const FIRST: Duration = Duration::from_secs(2);

/// No pause is longer, and none longer than that of the audit.
const LONGEST: Duration = Duration::from_secs(60);

/// What came of trying to make ufw so.
#[derive(Debug, Default)]
pub(super) struct Patience {
    goal: Option<FirewallGoal>,
    n_failed: u32,
    until: Option<Instant>,
    said: String,
    reason: &'static str,
}

impl Patience {
    /// Whether it may be tried now; another goal always may.
    pub(super) fn check(&self, goal: &FirewallGoal, now: Instant) -> Result<(), UfwError> {
        let is_same = self.goal.as_ref() == Some(goal);
        match self.until.filter(|until| is_same && now < *until) {
            // In the words of the failure: a pause that counted down would be news every time.
            Some(_) => Err(UfwError::Paused {
                said: self.said.clone(),
                reason: self.reason,
            }),
            None => Ok(()),
        }
    }

    /// Takes in that it was tried in vain.
    pub(super) fn on_failed(&mut self, goal: &FirewallGoal, error: &UfwError, now: Instant) {
        if self.goal.as_ref() != Some(goal) {
            *self = Self {
                goal: Some(goal.clone()),
                ..Self::default()
            };
        }
        self.n_failed = self.n_failed.saturating_add(1);
        self.said = chain(error);
        self.reason = error.reason();
        let n_over = self.n_failed.saturating_sub(FREE);
        let pause = FIRST.saturating_mul(1 << n_over.saturating_sub(1).min(10));
        self.until = (n_over > 0).then(|| now + pause.min(LONGEST));
    }

    /// Takes in that ufw is as wanted.
    pub(super) fn on_made(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(said: &str) -> UfwError {
        UfwError::ReadBack(said.to_owned())
    }

    #[test]
    fn what_never_becomes_so_is_tried_ever_more_rarely_and_at_least_every_minute() {
        let goal = FirewallGoal::On(std::sync::Arc::default());
        let (mut patience, start) = (Patience::default(), Instant::now());
        let mut now = start;
        let mut pauses = Vec::new();
        for _ in 0..10 {
            patience.on_failed(&goal, &refused("no"), now);
            let before = now;
            while patience.check(&goal, now).is_err() {
                now += Duration::from_secs(1);
            }
            pauses.push((now - before).as_secs());
        }

        assert_eq!(pauses, [0, 0, 0, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn a_pause_is_told_in_the_words_of_the_failure_for_as_long_as_it_lasts() {
        let goal = FirewallGoal::On(std::sync::Arc::default());
        let (mut patience, now) = (Patience::default(), Instant::now());
        let failure = refused("it refused");
        for _ in 0..5 {
            patience.on_failed(&goal, &failure, now);
        }

        for seconds in 0..4 {
            let later = now + Duration::from_secs(seconds);
            let paused = patience.check(&goal, later).unwrap_err();
            assert_eq!(chain(&paused), chain(&failure));
            assert_eq!(paused.reason(), failure.reason());
        }
    }

    #[test]
    fn another_goal_waits_for_nothing_and_success_forgets_all() {
        let goal = FirewallGoal::On(std::sync::Arc::default());
        let (mut patience, now) = (Patience::default(), Instant::now());
        for _ in 0..5 {
            patience.on_failed(&goal, &refused("it refused"), now);
        }

        assert!(patience.check(&goal, now).is_err());
        assert!(patience.check(&FirewallGoal::Off, now).is_ok());
        patience.on_made();
        assert!(patience.check(&goal, now).is_ok());
    }
}
