//! Delivers notification rows: claims them, sends them, says what became of them.
//! It never decides who is told; the database made the rows.

mod mailer;
mod message;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::model::{DeliveryOutcome, Notification};
use crate::ports::{Mailer, NotificationQueue, StoreError};
use crate::telemetry::{self, Chain};

pub use mailer::{MailerError, SmtpMailer};

/// Rows taken at once.
const BATCH: u32 = 20;

/// Messages under way at once: mail servers dislike more from one client.
const AT_ONCE: usize = 4;

/// Seconds a claimed row belongs to this daemon; if it dies, the row is free again after that.
const LEASE_SECS: u32 = 120;

/// Longest time a row waits when every hint about it was lost.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The task that delivers.
#[derive(Debug)]
pub struct Notifier<Q, M> {
    /// The rows.
    pub queue: Q,
    /// The way out.
    pub mailer: M,
    /// Notified when rows may be waiting.
    pub hint: Arc<Notify>,
}

impl<Q: NotificationQueue, M: Mailer> Notifier<Q, M> {
    /// Delivers until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            match self.deliver_waiting(&stop).await {
                Ok(()) => {}
                Err(error) => tracing::warn!(error = %Chain(&error), "notifications wait"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.hint.notified() => {}
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn deliver_waiting(&self, stop: &CancellationToken) -> Result<(), StoreError> {
        while !stop.is_cancelled() {
            let claimed = self.queue.claim(BATCH, LEASE_SECS).await?;
            if claimed.is_empty() {
                return Ok(());
            }
            let deliveries = claimed
                .into_iter()
                .map(|notification| self.deliver(notification));
            let mut deliveries = futures_util::stream::iter(deliveries).buffer_unordered(AT_ONCE);
            // What is under way is brought to its end: a dropped delivery may have been accepted.
            let mut outcome = Ok(());
            while let Some(finished) = deliveries.next().await {
                outcome = outcome.and(finished);
            }
            outcome?;
        }
        Ok(())
    }

    async fn deliver(&self, notification: Notification) -> Result<(), StoreError> {
        let id = notification.id;
        let outcome = self.mailer.deliver(notification).await;
        let result = match &outcome {
            DeliveryOutcome::Sent => "sent",
            DeliveryOutcome::Retry { error, after_secs } => {
                tracing::warn!(%id, after_secs, "a mail will be tried again");
                tracing::debug!(%id, error, "the mail server's answer");
                "retry"
            }
            DeliveryOutcome::Failed { error } => {
                tracing::error!(%id, "a mail could not be delivered; its row says why");
                tracing::debug!(%id, error, "the mail server's answer");
                "failed"
            }
        };
        metrics::counter!(telemetry::EMAILS, "result" => result).increment(1);
        self.queue.finish(id, outcome).await
    }
}

#[cfg(test)]
mod tests;
