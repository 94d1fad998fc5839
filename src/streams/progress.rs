//! What detection says about a connection's batches: which are taken in, and whether one was bad.
//! It never queues; only the newest number matters.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::ports::BatchProgress;

/// The progress of one connection.
#[derive(Debug, Default)]
pub(super) struct Progress {
    taken: AtomicU64,
    batches: AtomicU64,
    refused: OnceLock<String>,
    wake: Notify,
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

    /// Waits for news: the highest batch taken in, or why the connection must end.
    pub(super) async fn news(&self) -> Result<u64, String> {
        self.wake.notified().await;
        match self.refused.get() {
            Some(reason) => Err(reason.clone()),
            None => Ok(self.taken.load(Ordering::Acquire)),
        }
    }
}
