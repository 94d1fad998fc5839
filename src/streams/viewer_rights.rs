//! What one viewer was let see, how long that may be believed, and when to ask again.
//! It decides nothing about rights: it remembers for seconds what Postgres said.

use std::collections::BTreeMap;
use std::time::Duration;

use hidps_wire::AgentId;
use tokio::time::Instant;

use crate::chance::draw_share;

/// Longest time for which an answer of Postgres is believed without asking again.
const BELIEVED_FOR: Duration = Duration::from_secs(10);

/// Most answers remembered; a viewer may watch 64 agents and ask about others.
const MAX_REMEMBERED: usize = 256;

/// Intervals without any answer after which streams end.
const BLIND_INTERVALS: u32 = 6;

/// Longest delay after a change, so that a change for everybody is not one burst of questions.
const SPREAD: Duration = Duration::from_millis(300);

/// Counts what may have changed somebody's rights; an answer belongs to the epoch it was asked in.
pub(super) type Epoch = u64;

/// What is remembered.
#[derive(Debug)]
pub(super) struct Rights {
    granted: BTreeMap<AgentId, Instant>,
    epoch: Epoch,
    every: Duration,
    recheck_at: Instant,
    checked_at: Instant,
    expires_at: Option<Instant>,
    cause: Cause,
}

/// Why a check is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Its time has come.
    Interval,
    /// A row changed that rights depend on.
    Change,
    /// The person showed a new token.
    Token,
}

impl Cause {
    /// One word, for a metric.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Interval => "interval",
            Self::Change => "change",
            Self::Token => "token",
        }
    }
}

impl Rights {
    /// Nobody's rights; the first check is due after `first`, later ones at intervals.
    pub(super) fn new(first: Duration, every: Duration) -> Self {
        let now = Instant::now();
        Self {
            granted: BTreeMap::new(),
            epoch: 0,
            every,
            recheck_at: now + first,
            checked_at: now,
            expires_at: None,
            cause: Cause::Interval,
        }
    }

    pub(super) const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// When something has to be done without a frame.
    pub(super) fn wake_at(&self) -> Instant {
        self.expires_at
            .map_or(self.recheck_at, |expiry| expiry.min(self.recheck_at))
    }

    /// A token was accepted that is valid for so long. Whoever it was before may have seen other
    /// agents.
    pub(super) fn on_token(&mut self, valid_for: Duration) {
        let now = Instant::now();
        self.checked_at = now;
        self.expires_at = Some(now + valid_for);
        self.begin_epoch(now, Cause::Token);
    }

    /// Something changed that rights depend on.
    pub(super) fn on_change(&mut self) {
        let at = Instant::now() + SPREAD.mul_f64(draw_share());
        self.begin_epoch(at, Cause::Change);
    }

    /// The token is worth nothing any more; there is `grace` to send another.
    pub(super) fn on_end(&mut self, grace: Duration) {
        let at = Instant::now() + grace;
        self.begin_epoch(at, Cause::Interval);
        self.expires_at = None;
    }

    /// A check is made now; gives why.
    pub(super) fn begin_check(&mut self) -> Cause {
        self.recheck_at = Instant::now() + self.every;
        std::mem::replace(&mut self.cause, Cause::Interval)
    }

    /// Postgres said that these may be read; worth nothing if something changed since it was asked.
    pub(super) fn on_answer(&mut self, epoch: Epoch, readable: &[AgentId]) {
        self.checked_at = Instant::now();
        if epoch != self.epoch {
            return;
        }
        if self.granted.len() + readable.len() > MAX_REMEMBERED {
            self.granted.clear();
        }
        let until = self.checked_at + BELIEVED_FOR;
        self.granted
            .extend(readable.iter().map(|agent| (*agent, until)));
    }

    /// Whether Postgres said just now that this agent may be read.
    pub(super) fn is_granted(&self, agent: AgentId) -> bool {
        let until = self.granted.get(&agent);
        until.is_some_and(|until| *until > Instant::now())
    }

    /// Whether the token has expired.
    pub(super) fn is_expired(&self) -> bool {
        self.expires_at
            .is_some_and(|expiry| expiry <= Instant::now())
    }

    /// Whether no check has succeeded for too long.
    pub(super) fn is_blind(&self) -> bool {
        self.checked_at.elapsed() > self.every * BLIND_INTERVALS
    }

    fn begin_epoch(&mut self, recheck_at: Instant, cause: Cause) {
        self.granted.clear();
        self.epoch += 1;
        self.recheck_at = recheck_at;
        self.cause = cause;
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const AGENT: AgentId = AgentId::new(Uuid::from_u128(1));
    const EVERY: Duration = Duration::from_secs(30);

    fn granted() -> Rights {
        let mut rights = Rights::new(EVERY, EVERY);
        rights.on_token(Duration::from_secs(600));
        rights.begin_check();
        rights.on_answer(rights.epoch(), &[AGENT]);
        assert!(rights.is_granted(AGENT));
        rights
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_believed_for_seconds() {
        let rights = granted();

        tokio::time::advance(BELIEVED_FOR).await;

        assert!(!rights.is_granted(AGENT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_drops_what_was_known_and_what_was_asked_before_it() {
        let mut rights = granted();
        let asked_in = rights.epoch();

        rights.on_change();

        assert!(!rights.is_granted(AGENT));
        rights.on_answer(asked_in, &[AGENT]);
        assert!(
            !rights.is_granted(AGENT),
            "the answer is older than the change"
        );
        assert!(rights.wake_at() <= Instant::now() + SPREAD);
        assert_eq!(rights.begin_check(), Cause::Change);
        assert_eq!(rights.begin_check(), Cause::Interval);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_wakes_the_link_when_it_expires() {
        let mut rights = Rights::new(EVERY, EVERY);
        rights.on_token(Duration::from_secs(7));
        rights.begin_check();

        assert_eq!(rights.wake_at(), Instant::now() + Duration::from_secs(7));
        tokio::time::advance(Duration::from_secs(7)).await;
        assert!(rights.is_expired());
        rights.on_end(EVERY);
        assert!(!rights.is_expired() && rights.wake_at() == Instant::now() + EVERY);
    }

    #[tokio::test(start_paused = true)]
    async fn streams_without_any_answer_end_after_six_intervals() {
        let mut rights = granted();

        tokio::time::advance(EVERY * BLIND_INTERVALS).await;
        assert!(!rights.is_blind());
        tokio::time::advance(Duration::from_millis(1)).await;

        assert!(rights.is_blind());
        rights.on_answer(rights.epoch(), &[]);
        assert!(!rights.is_blind());
    }
}
