//! The alert lane: in order, on disk before they are sent, gone from disk once they are rows.
//! It never gives up on an alert unless Supabase refuses the alert itself.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Shared, count_write, pause};
use crate::model::Alert;
use crate::persistence::spool::Spool;
use crate::ports::{RecordWriter, Retry};
use crate::telemetry::{self, Chain};

pub(super) struct Lane<'a, W> {
    pub(super) shared: &'a Shared,
    pub(super) writer: &'a W,
    pub(super) spool: Spool,
    pub(super) waiting: VecDeque<Alert>,
    pub(super) after_alert: Arc<Notify>,
}

impl<W: RecordWriter> Lane<'_, W> {
    pub(super) async fn run(mut self, stop: &CancellationToken) {
        let mut attempts = 0;
        loop {
            self.spool_new();
            let wait = self.write_front(&mut attempts).await;
            if stop.is_cancelled() {
                self.spool_new();
                return;
            }
            let woken = self.shared.alerts_wake.notified();
            match wait {
                Next::Again => {}
                Next::Idle => tokio::select! { () = woken => {} () = stop.cancelled() => {} },
                // New alerts are put on disk during an outage, too.
                Next::After(pause) => {
                    tokio::select! { () = sleep(pause) => {} () = woken => {} () = stop.cancelled() => {} }
                }
            }
        }
    }

    /// Puts what is new on disk; a disk that refuses costs only the survival of a restart.
    fn spool_new(&mut self) {
        let new = self
            .shared
            .with(|pending| std::mem::take(&mut pending.alerts));
        for alert in new {
            if let Err(error) = self.spool.append(&alert) {
                tracing::error!(error = %Chain(&error), "an alert is kept in memory only");
            }
            self.waiting.push_back(alert);
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "a gauge; the queue is far below 2^52"
        )]
        metrics::gauge!(telemetry::ALERTS_WAITING).set(self.waiting.len() as f64);
    }

    async fn write_front(&mut self, attempts: &mut u32) -> Next {
        let Some(alert) = self.waiting.front().cloned() else {
            self.clear_spool();
            return Next::Idle;
        };
        let occurrence_id = alert.occurrence_id;
        match self.writer.write_alert(alert).await {
            Ok(()) => {
                count_write("alert", "ok");
                self.after_alert.notify_one();
            }
            Err(error) if error.retry() == Retry::Never => {
                count_write("alert", "refused");
                tracing::error!(error = %Chain(&error), %occurrence_id, "an alert was refused");
            }
            Err(error) => {
                count_write("alert", "retry");
                let wait = pause(error.retry(), *attempts);
                *attempts += 1;
                tracing::warn!(error = %Chain(&error), ?wait, waiting = self.waiting.len(), "alerts wait");
                return Next::After(wait);
            }
        }
        *attempts = 0;
        self.waiting.pop_front();
        Next::Again
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

enum Next {
    Again,
    Idle,
    After(std::time::Duration),
}
