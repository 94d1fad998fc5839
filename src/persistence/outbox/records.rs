//! The record lane: presence and conditions at once, usage at most once a second, newest only.
//! It never keeps an older report when a newer one is waiting.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{RecordsPending, Shared, count_write, pause};
use crate::ports::{RecordWriter, Retry, StoreError};
use crate::telemetry::Chain;

/// Most rows in one request: one transaction of more would hold up Realtime's poller.
const MAX_ROWS: usize = 100;

/// Least time between two usage writes: usage must never compete with the rest.
const USAGE_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Lane<'a, W> {
    pub(super) shared: &'a Shared,
    pub(super) writer: &'a W,
}

impl<W: RecordWriter> Lane<'_, W> {
    pub(super) async fn run(self, stop: &CancellationToken) {
        let mut usage_at = Instant::now();
        let mut attempts = 0;
        loop {
            match self.write_all(&mut usage_at).await {
                Ok(()) => attempts = 0,
                Err(error) if !stop.is_cancelled() => {
                    let wait = pause(error.retry(), attempts);
                    attempts += 1;
                    tracing::warn!(error = %Chain(&error), ?wait, "records wait");
                    tokio::select! { () = sleep(wait) => continue, () = stop.cancelled() => continue }
                }
                Err(_) => return,
            }
            if stop.is_cancelled() {
                return;
            }
            let has_usage = self
                .shared
                .with(|pending| !pending.records.usage.is_empty());
            tokio::select! {
                () = self.shared.records_wake.notified() => {}
                () = sleep_until(usage_at), if has_usage => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn write_all(&self, usage_at: &mut Instant) -> Result<(), StoreError> {
        self.drain(
            "presence",
            |p| &mut p.presence,
            |rows| self.writer.write_presence(rows),
        )
        .await?;
        self.drain(
            "condition",
            |p| &mut p.conditions,
            |rows| self.writer.write_conditions(rows),
        )
        .await?;
        if Instant::now() >= *usage_at {
            *usage_at = Instant::now() + USAGE_EVERY;
            self.drain(
                "usage",
                |p| &mut p.usage,
                |rows| self.writer.write_usage(rows),
            )
            .await?;
        }
        Ok(())
    }

    /// Writes one kind in chunks. A refused chunk is halved until only the bad row is dropped,
    /// because others' rows share it; one that may pass later goes back unless newer came.
    async fn drain<K: Ord + Clone, V: Clone, F>(
        &self,
        kind: &'static str,
        part: impl Fn(&mut RecordsPending) -> &mut BTreeMap<K, V>,
        write: impl Fn(Vec<V>) -> F,
    ) -> Result<(), StoreError>
    where
        F: Future<Output = Result<(), StoreError>>,
    {
        let take = || {
            self.shared
                .with(|pending| take_chunk(part(&mut pending.records)))
        };
        let mut chunks = vec![take()];
        while let Some(mut chunk) = chunks.pop() {
            if chunk.is_empty() {
                continue;
            }
            match write(chunk.iter().map(|(_, row)| row.clone()).collect()).await {
                Ok(()) => count_write(kind, "ok"),
                Err(error) if error.retry() != Retry::Never => {
                    count_write(kind, "retry");
                    let back = chunks.into_iter().flatten().chain(chunk);
                    self.shared
                        .with(|pending| put_back(part(&mut pending.records), back));
                    return Err(error);
                }
                Err(error) if chunk.len() == 1 => {
                    count_write(kind, "refused");
                    tracing::error!(error = %Chain(&error), kind, "a record was refused");
                }
                Err(_) => {
                    let second = chunk.split_off(chunk.len() / 2);
                    chunks.extend([second, chunk]);
                }
            }
            if chunks.is_empty() {
                chunks.push(take());
            }
        }
        Ok(())
    }
}

fn put_back<K: Ord, V>(part: &mut BTreeMap<K, V>, rows: impl Iterator<Item = (K, V)>) {
    for (key, row) in rows {
        part.entry(key).or_insert(row);
    }
}

fn take_chunk<K: Ord, V>(part: &mut BTreeMap<K, V>) -> Vec<(K, V)> {
    std::iter::from_fn(|| part.pop_first())
        .take(MAX_ROWS)
        .collect()
}
