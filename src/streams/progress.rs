//! What detection says about a connection's batches: which are taken in, and whether one was bad.
//! It never queues; only the newest number matters.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::ports::BatchProgress;

/// An agent is told of this many batches at once: a quarter of its credit, so that it never waits.
const TOLD_TOGETHER: u64 = 8;

/// Longest time for which a batch that was taken in is not acknowledged. An agent that sends a
/// hundred batches a second is woken by a tenth as many acknowledgements.
pub(super) const TOLD_WITHIN: Duration = Duration::from_millis(100);

/// The progress of one connection.
#[derive(Debug, Default)]
pub(super) struct Progress {
    taken: AtomicU64,
    batches: AtomicU64,
    refused: OnceLock<String>,
    wake: Notify,
    told: Mutex<Told>,
}

/// What the agent knows.
#[derive(Debug, Default)]
struct Told {
    seq: u64,
    /// When it has to know more.
    due: Option<Instant>,
}

impl BatchProgress for Progress {
    fn taken(&self, seq: u64) {
        self.taken.fetch_max(seq, Ordering::Release);
        self.batches.fetch_add(1, Ordering::Release);
        self.wake.notify_one();
    }

    fn refused(&self, reason: String) {
        // Only the first reason matters: the connection ends with it.
        self.refused.get_or_init(|| reason);
        self.wake.notify_one();
    }
}

impl Progress {
    /// How many batches were taken in, all told.
    pub(super) fn batches(&self) -> u64 {
        self.batches.load(Ordering::Acquire)
    }

    /// Waits for what is worth a frame: the highest batch taken in, or why the connection must end.
    /// A wait that is abandoned forgets nothing.
    pub(super) async fn news(&self) -> Result<u64, String> {
        loop {
            if let Some(reason) = self.refused.get() {
                return Err(reason.clone());
            }
            match self.due(Instant::now()) {
                Due::Never => self.wake.notified().await,
                // Either may end the wait; both lead to another look.
                Due::At(time) => timeout_at(time, self.wake.notified()).await.unwrap_or(()),
                Due::Now(seq) => return Ok(seq),
            }
        }
    }

    /// The highest batch taken in, if the agent was not told of it yet.
    pub(super) fn untold(&self) -> Option<u64> {
        let seq = self.taken.load(Ordering::Acquire);
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        (seq > told.seq).then_some(seq)
    }

    fn due(&self, now: Instant) -> Due {
        let seq = self.taken.load(Ordering::Acquire);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if seq <= told.seq {
            return Due::Never;
        }
        let time = *told.due.get_or_insert(now + TOLD_WITHIN);
        if now < time && seq - told.seq < TOLD_TOGETHER {
            return Due::At(time);
        }
        *told = Told { seq, due: None };
        Due::Now(seq)
    }
}

/// When the agent is to be told.
enum Due {
    Never,
    At(Instant),
    Now(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn batches_are_acknowledged_together_and_none_waits_longer_than_a_tenth_of_a_second() {
        let progress = Progress::default();
        let began = Instant::now();

        progress.taken(1);
        assert_eq!(progress.untold(), Some(1));
        assert_eq!(progress.news().await, Ok(1));
        assert_eq!(began.elapsed(), TOLD_WITHIN);
        assert_eq!(progress.untold(), None);

        for seq in 2..=9 {
            progress.taken(seq);
        }
        assert_eq!(progress.news().await, Ok(9));
        assert_eq!(began.elapsed(), TOLD_WITHIN, "enough for a frame at once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_abandoned_again_and_again_puts_nothing_off() {
        let progress = Progress::default();
        let began = Instant::now();
        progress.taken(1);

        let mut told = None;
        while told.is_none() {
            let short = TOLD_WITHIN / 7;
            told = tokio::time::timeout(short, progress.news()).await.ok();
        }

        assert_eq!(told, Some(Ok(1)));
        assert!(began.elapsed() <= TOLD_WITHIN + Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reason_to_end_waits_for_nothing() {
        let progress = Progress::default();
        progress.taken(1);
        progress.refused("no batch".to_owned());

        assert_eq!(progress.news().await, Err("no batch".to_owned()));
    }
}
