//! The project's signing keys as they were last read: rotation, outage and the pace of reading.
//! It never drops a key because the list could not be read again.

use std::sync::Arc;
use std::time::Duration;

use hidps_tokens::KeySet;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::chance::draw_share;
use crate::health::{Fault, Health};
use crate::ports::{SigningKeys, StoreError, StoreErrorKind};
use crate::telemetry::{self, Chain};

/// Time between two reads while nobody asks, after which a revoked key is gone; varied by a tenth.
const REFRESH_EVERY: Duration = Duration::from_secs(300);

/// Pause after a read that failed.
const RETRY_AFTER: Duration = Duration::from_secs(15);

/// Least time between the beginnings of two reads, however many unknown keys are named.
const MIN_PAUSE: Duration = Duration::from_secs(5);

/// Longest wait for a read that was asked for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is known of the keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// The keys of the last read that succeeded.
    pub(super) keys: Arc<KeySet>,
    /// Whether the last read succeeded, so that an unknown key is really none of the project's.
    pub(super) is_current: bool,
    n_reads: u64,
}

/// The keys, for whoever verifies a token.
#[derive(Debug, Clone)]
pub struct Keyring {
    known: watch::Receiver<Known>,
    asked: Arc<Notify>,
}

/// The task that reads them.
pub struct KeyReads {
    source: Arc<dyn SigningKeys>,
    known: watch::Sender<Known>,
    asked: Arc<Notify>,
    health: Arc<Health>,
}

impl std::fmt::Debug for KeyReads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyReads")
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}

impl Keyring {
    /// A keyring that knows nothing yet, and the task that fills it.
    #[must_use]
    pub fn new(source: Arc<dyn SigningKeys>, health: Arc<Health>) -> (Self, KeyReads) {
        let (sender, known) = watch::channel(Known::default());
        let asked = Arc::new(Notify::new());
        let reads = KeyReads {
            source,
            known: sender,
            asked: Arc::clone(&asked),
            health,
        };
        (Self { known, asked }, reads)
    }

    /// What is known now.
    pub(super) fn known(&self) -> Known {
        self.known.borrow().clone()
    }

    /// What is known after one more read than `before`, or without it when that takes too long.
    pub(super) async fn read_again(&self, before: &Known) -> Known {
        let mut known = self.known.clone();
        self.asked.notify_one();
        let is_newer = |known: &Known| known.n_reads > before.n_reads;
        match timeout(PATIENCE, known.wait_for(is_newer)).await {
            Ok(Ok(newer)) => newer.clone(),
            // Without a reader or an answer in time nobody can say whose key it is.
            Ok(Err(_)) | Err(_) => Known {
                is_current: false,
                ..before.clone()
            },
        }
    }
}

impl KeyReads {
    /// Reads now, at intervals and when asked, until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let begun = Instant::now();
            let read = tokio::select! {
                () = stop.cancelled() => return,
                read = self.read() => read,
            };
            let pause = match &read {
                Ok(_) => REFRESH_EVERY.mul_f64(0.9 + draw_share() / 5.0),
                Err(_) => RETRY_AFTER,
            };
            self.publish(read);
            let asked = async {
                sleep_until(begun + MIN_PAUSE).await;
                self.asked.notified().await;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
                () = asked => {}
            }
        }
    }

    async fn read(&self) -> Result<KeySet, StoreError> {
        let bytes = self.source.read_keys().await?;
        KeySet::parse(&bytes).map_err(|fault| StoreError {
            operation: "read signing keys",
            kind: StoreErrorKind::Malformed,
            source: Box::new(fault),
        })
    }

    fn publish(&self, read: Result<KeySet, StoreError>) {
        let result = if read.is_ok() { "ok" } else { "failed" };
        metrics::counter!(telemetry::KEY_READS, "result" => result).increment(1);
        self.health.set_keys_read(read.as_ref().err().map(fault_of));
        self.known.send_modify(|known| {
            known.n_reads += 1;
            known.is_current = read.is_ok();
            match read {
                Ok(keys) => {
                    if !keys.key_ids().eq(known.keys.key_ids()) {
                        tracing::info!(keys = ?keys, "the project's signing keys are read");
                    }
                    known.keys = Arc::new(keys);
                }
                Err(error) => tracing::warn!(
                    error = %Chain(&error),
                    "the project's signing keys were not read; those known stay"
                ),
            }
        });
    }
}

fn fault_of(error: &StoreError) -> Fault {
    Fault {
        reason: match error.kind {
            StoreErrorKind::Malformed => "KeysMalformed",
            StoreErrorKind::Unavailable
            | StoreErrorKind::RateLimited
            | StoreErrorKind::Unauthorized
            | StoreErrorKind::Rejected
            | StoreErrorKind::NotFound => "KeysUnread",
        },
        message: error.for_everybody(),
    }
}

#[cfg(test)]
mod tests;
