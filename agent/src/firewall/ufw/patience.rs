//! How often a ufw that does not become as wanted is tried: its own calls change the files by whose
//! changes the agent notices it, so that one failure would call for the next without an end.
//! It holds no clock.

use std::time::Duration;

use tokio::time::Instant;

use super::UfwError;
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
}

impl Patience {
    /// Whether it may be tried now; another goal always may.
    pub(super) fn check(&self, goal: &FirewallGoal, now: Instant) -> Result<(), UfwError> {
        let is_same = self.goal.as_ref() == Some(goal);
        match self.until.filter(|until| is_same && now < *until) {
            Some(until) => Err(UfwError::Paused {
                said: self.said.clone(),
                seconds: (until - now).as_secs() + 1,
            }),
            None => Ok(()),
        }
    }

    /// Takes in that it was tried in vain.
    pub(super) fn on_failed(&mut self, goal: &FirewallGoal, said: String, now: Instant) {
        if self.goal.as_ref() != Some(goal) {
            *self = Self {
                goal: Some(goal.clone()),
                ..Self::default()
            };
        }
        self.n_failed = self.n_failed.saturating_add(1);
        self.said = said;
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

    #[test]
    fn what_never_becomes_so_is_tried_ever_more_rarely_and_at_least_every_minute() {
        let goal = FirewallGoal::On(std::sync::Arc::default());
        let (mut patience, start) = (Patience::default(), Instant::now());
        let mut now = start;
        let mut pauses = Vec::new();
        for _ in 0..10 {
            patience.on_failed(&goal, "no".to_owned(), now);
            let before = now;
            while patience.check(&goal, now).is_err() {
                now += Duration::from_secs(1);
            }
            pauses.push((now - before).as_secs());
        }

        assert_eq!(pauses, [0, 0, 0, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn another_goal_waits_for_nothing_and_success_forgets_all() {
        let goal = FirewallGoal::On(std::sync::Arc::default());
        let (mut patience, now) = (Patience::default(), Instant::now());
        for _ in 0..5 {
            patience.on_failed(&goal, "it refused".to_owned(), now);
        }

        let said = patience.check(&goal, now).unwrap_err().to_string();
        assert!(
            said.contains("it refused") && said.contains("5 s"),
            "{said}"
        );
        assert!(patience.check(&FirewallGoal::Off, now).is_ok());
        patience.on_made();
        assert!(patience.check(&goal, now).is_ok());
    }
}
