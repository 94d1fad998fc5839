//! Enrollments and connects that were refused, on their way to the audit log.
//! It never holds up an answer, and never tries again: what is not told is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::model::AgentRefusal;
use crate::ports::Directory;
use crate::telemetry::{self, Chain};

/// Refusals that may wait to be told.
const WAITING: usize = 256;

/// Longest time for which those that wait are told of when the daemon stops.
const STOP_WITHIN: Duration = Duration::from_secs(3);

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

    /// Tells until it is told to stop, and then for a moment longer of those that wait.
    pub async fn run(mut self, stop: CancellationToken) {
        let is_telling = AtomicBool::new(false);
        let telling = tell_all(&mut self, &stop, &is_telling);
        let patience = async {
            stop.cancelled().await;
            sleep(STOP_WITHIN).await;
        };
        tokio::select! { () = telling => {} () = patience => {} }
        let mut left = u64::from(is_telling.into_inner());
        while self.refused.try_recv().is_ok() {
            left += 1;
        }
        if left > 0 {
            metrics::counter!(telemetry::REFUSALS_UNTOLD, "why" => "stopping").increment(left);
            tracing::warn!(left, "refused agents were not told of before the end");
        }
    }
}

/// Tells one after the other, until nothing waits and no more is to come.
async fn tell_all(reports: &mut RefusalReports, stop: &CancellationToken, is_telling: &AtomicBool) {
    loop {
        let next = tokio::select! {
            biased;
            next = reports.refused.recv() => next,
            () = stop.cancelled() => return,
        };
        let Some(refusal) = next else {
            return stop.cancelled().await;
        };
        is_telling.store(true, Ordering::Relaxed);
        if let Err(error) = reports.directory.record_refusal(refusal).await {
            count_untold("database");
            tracing::warn!(error = %Chain(&error), "a refused agent was not told of");
        }
        is_telling.store(false, Ordering::Relaxed);
    }
}

/// Counts a refusal that the audit log is not told of.
pub(super) fn count_untold(why: &'static str) {
    metrics::counter!(telemetry::REFUSALS_UNTOLD, "why" => why).increment(1);
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::model::KeyStatus;
    use crate::streams::fakes::{AGENT, FakeDirectory};

    fn refusal() -> AgentRefusal {
        AgentRefusal {
            agent: AGENT,
            from: None,
            token_prefix: None,
            reason: "a reason".to_owned(),
        }
    }

    #[tokio::test]
    async fn what_waits_when_the_daemon_stops_is_told_of_first() {
        let directory = Arc::new(FakeDirectory::with_status(KeyStatus::Admitted));
        let (reports, log) = RefusalReports::new(Arc::clone(&directory) as _);
        let stop = CancellationToken::new();
        for _ in 0..3 {
            log.tell(refusal());
        }
        stop.cancel();

        reports.run(stop).await;

        assert_eq!(directory.refusals.lock().expect("unpoisoned").len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_told_of_before_the_end_is_counted() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let counts = recorder.handle();
        let _guard = metrics::set_default_local_recorder(&recorder);
        let directory = Arc::new(FakeDirectory::that_hangs());
        let (reports, log) = RefusalReports::new(directory);
        let stop = CancellationToken::new();
        for _ in 0..3 {
            log.tell(refusal());
        }
        stop.cancel();

        reports.run(stop).await;

        let counted = counts.render();
        let line = r#"hidps_refusals_untold_total{why="stopping"} 3"#;
        assert!(counted.contains(line), "{counted}");
    }
}
