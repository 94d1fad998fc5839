//! The alert lane: in order, on disk before they are sent, gone from disk once they are rows.
//! It never gives up on an alert unless Supabase refuses the alert itself.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Shared, count_write, pause};
use crate::model::Alert;
use crate::persistence::spool::Spool;
use crate::ports::{RecordWriter, Retry};
use crate::telemetry::{self, Chain};

/// Most alerts in memory; the rest wait where they are counted when lost.
const MAX_WAITING: usize = 50_000;

pub(super) struct Lane<'a, W> {
    pub(super) shared: &'a Shared,
    pub(super) writer: &'a W,
    pub(super) spool: Spool,
    pub(super) waiting: VecDeque<Alert>,
    pub(super) after_alert: Arc<Notify>,
}

impl<W: RecordWriter> Lane<'_, W> {
    pub(super) async fn run(mut self, stop: &CancellationToken) {
        let (mut attempts, mut retry_at) = (0, Instant::now());
        loop {
            self.spool_new();
            if self.waiting.is_empty() {
                self.clear_spool();
            }
            let has_work = !self.waiting.is_empty();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = sleep_until(retry_at), if has_work => {}
                // New alerts are put on disk during an outage, too; they do not shorten the pause.
                () = self.shared.alerts_wake.notified() => continue,
            }
            let written = tokio::select! {
                // What is under way may be written twice; the occurrence id makes that one.
                () = stop.cancelled() => break,
                written = self.write_front(attempts) => written,
            };
            match written {
                Some(pause) => {
                    attempts += 1;
                    retry_at = Instant::now() + pause;
                }
                None => {
                    attempts = 0;
                    self.waiting.pop_front();
                }
            }
        }
        self.spool_new();
    }

    /// Puts what is new on disk, as far as there is room to remember it.
    fn spool_new(&mut self) {
        let room = MAX_WAITING.saturating_sub(self.waiting.len());
        let new: Vec<Alert> = self.shared.with(|pending| {
            let count = pending.alerts.len().min(room);
            pending.alerts.drain(..count).collect()
        });
        if !new.is_empty()
            && let Err(error) = self.spool.append(&new)
        {
            tracing::error!(error = %Chain(&error), alerts = new.len(), "alerts are in memory only");
        }
        self.waiting.extend(new);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a gauge; the queue is far below 2^52"
        )]
        metrics::gauge!(telemetry::ALERTS_WAITING).set(self.waiting.len() as f64);
    }

    /// Writes the oldest alert; gives the pause before the next attempt, or none when it is done.
    async fn write_front(&self, attempts: u32) -> Option<Duration> {
        let alert = self.waiting.front()?.clone();
        let occurrence_id = alert.occurrence_id;
        match self.writer.write_alert(alert).await {
            Ok(()) => {
                count_write("alert", "ok");
                self.after_alert.notify_one();
                None
            }
            Err(error) if error.retry() == Retry::Never => {
                count_write("alert", "refused");
                tracing::error!(error = %Chain(&error), %occurrence_id, "an alert was refused");
                None
            }
            Err(error) => {
                count_write("alert", "retry");
                let wait = pause(error.retry(), attempts);
                let waiting = self.waiting.len();
                tracing::warn!(error = %Chain(&error), ?wait, waiting, "alerts wait");
                Some(wait)
            }
        }
    }

    fn clear_spool(&mut self) {
        if self.spool.bytes() == 0 {
            return;
        }
        if let Err(error) = self.spool.rewrite(self.waiting.iter()) {
            tracing::error!(error = %Chain(&error), "written alerts stay in the spool");
        }
    }
}
