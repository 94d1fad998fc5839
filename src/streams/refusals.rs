//! Enrollments and connects that were refused, on their way to the audit log.
//! It never holds up an answer, and never tries again: what is not told is counted.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::model::AgentRefusal;
use crate::ports::Directory;
use crate::telemetry::{self, Chain};

/// Refusals that may wait to be told.
const WAITING: usize = 256;

/// Where a refusal is handed in.
#[derive(Clone, Debug)]
pub struct RefusalLog {
    refused_tx: mpsc::Sender<AgentRefusal>,
}

impl RefusalLog {
    /// Has it told, unless too many wait.
    pub(super) fn tell(&self, refusal: AgentRefusal) {
        if self.refused_tx.try_send(refusal).is_err() {
            count_untold("room");
        }
    }
}

/// The task that tells of them, one after the other.
pub struct RefusalReports {
    refused: mpsc::Receiver<AgentRefusal>,
    directory: Arc<dyn Directory>,
}

impl std::fmt::Debug for RefusalReports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RefusalReports").finish_non_exhaustive()
    }
}

impl RefusalReports {
    /// Reports to this directory, and where to hand them in.
    #[must_use]
    pub fn new(directory: Arc<dyn Directory>) -> (Self, RefusalLog) {
        let (refused_tx, refused) = mpsc::channel(WAITING);
        (Self { refused, directory }, RefusalLog { refused_tx })
    }

    /// Tells until it is told to stop, or nobody is left who could hand one in.
    pub async fn run(mut self, stop: CancellationToken) {
        let telling = async {
            while let Some(refusal) = self.refused.recv().await {
                if let Err(error) = self.directory.record_refusal(refusal).await {
                    count_untold("database");
                    tracing::warn!(error = %Chain(&error), "a refused agent was not told of");
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = telling => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Counts a refusal that the audit log is not told of.
pub(super) fn count_untold(why: &'static str) {
    metrics::counter!(telemetry::REFUSALS_UNTOLD, "why" => why).increment(1);
}
