//! The record lane: presence, conditions and verdicts at once, usage at most once a second, counts,
//! risk, facts and snapshots every few seconds, newest only.
//! It never keeps an older report when a newer one is waiting.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::newest::Newest;
use super::{RecordsPending, Shared, count_write, pause};
use crate::model::DetectionReports;
use crate::ports::{RecordWriter, Retry, StoreError, StoreResult};
use crate::telemetry::Chain;

/// Most rows in one request: one transaction of more would hold up Realtime's poller.
const MAX_ROWS: usize = 100;

/// Most snapshots of processes in one request: each is of 20 to 200 KiB.
const MAX_SNAPSHOT_ROWS: usize = 10;

/// Most requests under way at once. Each waits mostly for the way to Supabase and back: the rows of
/// 5,000 agents that come back are 300 requests.
const REQUESTS: usize = 4;

/// Least time between two usage writes: usage must never compete with the rest.
const USAGE_EVERY: Duration = Duration::from_secs(1);

/// Least time between two writes of counts, risk, facts and snapshots: nobody acts on them within
/// seconds, and many are changes of published rows.
const COUNTS_EVERY: Duration = Duration::from_secs(5);

/// When the kinds that are held back may be written again.
struct NotBefore {
    usage: Instant,
    counts: Instant,
}

pub(super) struct Lane<'a, W> {
    pub(super) shared: &'a Shared,
    pub(super) writer: &'a W,
}

impl<W: RecordWriter> Lane<'_, W> {
    pub(super) async fn run(self, stop: &CancellationToken) {
        let mut not_before = NotBefore {
            usage: Instant::now(),
            counts: Instant::now(),
        };
        let mut attempts = 0;
        loop {
            // During an outage, one request is enough to notice its end.
            let at_once = if attempts == 0 { REQUESTS } else { 1 };
            match self
                .write_all(&mut not_before, at_once, stop.is_cancelled())
                .await
            {
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
            let (has_usage, has_counts) = self.shared.with(|pending| {
                let records = &pending.records;
                let has_counts = !records.shadow.is_empty()
                    || !records.suppressed.is_empty()
                    || !records.risk.is_empty()
                    || !records.facts.is_empty()
                    || !records.processes.is_empty();
                (!records.usage.is_empty(), has_counts)
            });
            tokio::select! {
                () = self.shared.records_wake.notified() => {}
                () = sleep_until(not_before.usage), if has_usage => {}
                () = sleep_until(not_before.counts), if has_counts => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn write_all(
        &self,
        not_before: &mut NotBefore,
        at_once: usize,
        is_last: bool,
    ) -> Result<(), StoreError> {
        self.drain(
            "presence",
            at_once,
            |p| &mut p.presence,
            |rows| self.writer.write_presence(rows),
        )
        .await?;
        self.drain(
            "condition",
            at_once,
            |p| &mut p.conditions,
            |rows| self.writer.write_conditions(rows),
        )
        .await?;
        self.drain(
            "change",
            at_once,
            |p| &mut p.changes,
            |rows| self.writer.write_changes(rows),
        )
        .await?;
        self.drain(
            "verdict",
            at_once,
            |p| &mut p.verdicts,
            |rows| self.detected(DetectionReports::Verdicts(rows)),
        )
        .await?;
        if is_last || Instant::now() >= not_before.counts {
            not_before.counts = Instant::now() + COUNTS_EVERY;
            self.write_counts(at_once).await?;
        }
        if Instant::now() >= not_before.usage {
            not_before.usage = Instant::now() + USAGE_EVERY;
            self.drain(
                "usage",
                at_once,
                |p| &mut p.usage,
                |rows| self.writer.write_usage(rows),
            )
            .await?;
        }
        Ok(())
    }

    async fn write_counts(&self, at_once: usize) -> Result<(), StoreError> {
        self.drain(
            "shadow",
            at_once,
            |p| &mut p.shadow,
            |rows| self.detected(DetectionReports::Shadow(rows)),
        )
        .await?;
        self.drain(
            "suppressed",
            at_once,
            |p| &mut p.suppressed,
            |rows| self.detected(DetectionReports::Suppressed(rows)),
        )
        .await?;
        self.drain(
            "risk",
            at_once,
            |p| &mut p.risk,
            |rows| self.detected(DetectionReports::Risk(rows)),
        )
        .await?;
        self.drain(
            "facts",
            at_once,
            |p| &mut p.facts,
            |rows| self.writer.write_facts(rows),
        )
        .await?;
        self.drain(
            SNAPSHOTS,
            at_once,
            |p| &mut p.processes,
            |rows| self.writer.write_processes(rows),
        )
        .await
    }

    fn detected(&self, reports: DetectionReports) -> StoreResult<'_, ()> {
        self.writer.write_detection(reports)
    }

    /// Writes all of one kind, some chunks at once. They are taken together, so that no two speak of
    /// the same thing and an older report cannot overtake a newer one.
    async fn drain<K: Ord + Clone, V: Newest + Clone, F>(
        &self,
        kind: &'static str,
        at_once: usize,
        part: impl Fn(&mut RecordsPending) -> &mut BTreeMap<K, V>,
        write: impl Fn(Vec<V>) -> F,
    ) -> Result<(), StoreError>
    where
        F: Future<Output = Result<(), StoreError>>,
    {
        loop {
            let chunks = self
                .shared
                .with(|pending| take_chunks(part(&mut pending.records), at_once, most_rows(kind)));
            if chunks.is_empty() {
                return Ok(());
            }
            let writes = chunks
                .into_iter()
                .map(|chunk| write_chunk(kind, chunk, &write));
            let mut failure = None;
            for written in join_all(writes).await {
                if let Err(waiting) = written {
                    self.shared
                        .with(|pending| put_back(part(&mut pending.records), waiting.rows));
                    failure = Some(waiting.error);
                }
            }
            if let Some(error) = failure {
                return Err(error);
            }
        }
    }
}

/// Rows that were not written, and why they may be later.
struct Waiting<K, V> {
    rows: Vec<(K, V)>,
    error: StoreError,
}

/// Writes one chunk. A refused one is halved until only the bad row is dropped, because others'
/// rows share it; what may pass later is given back.
async fn write_chunk<K, V: Clone, F>(
    kind: &'static str,
    chunk: Vec<(K, V)>,
    write: &impl Fn(Vec<V>) -> F,
) -> Result<(), Waiting<K, V>>
where
    F: Future<Output = Result<(), StoreError>>,
{
    let mut chunks = vec![chunk];
    while let Some(mut chunk) = chunks.pop() {
        match write(chunk.iter().map(|(_, row)| row.clone()).collect()).await {
            Ok(()) => count_write(kind, "ok"),
            Err(error) if error.retry() != Retry::Never => {
                count_write(kind, "retry");
                let rows = chunks.into_iter().flatten().chain(chunk).collect();
                return Err(Waiting { rows, error });
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
    }
    Ok(())
}

fn put_back<K: Ord, V: Newest>(part: &mut BTreeMap<K, V>, rows: Vec<(K, V)>) {
    for (key, older) in rows {
        let row = match part.remove(&key) {
            Some(newer) => newer.over(older),
            None => older,
        };
        part.insert(key, row);
    }
}

/// The kind of what is large.
const SNAPSHOTS: &str = "processes";

fn most_rows(kind: &'static str) -> usize {
    if kind == SNAPSHOTS {
        MAX_SNAPSHOT_ROWS
    } else {
        MAX_ROWS
    }
}

fn take_chunks<K: Ord, V>(
    part: &mut BTreeMap<K, V>,
    most: usize,
    most_rows: usize,
) -> Vec<Vec<(K, V)>> {
    let take = || {
        let rows = std::iter::from_fn(|| part.pop_first());
        Some(rows.take(most_rows).collect::<Vec<_>>())
    };
    std::iter::from_fn(take)
        .take(most)
        .take_while(|chunk| !chunk.is_empty())
        .collect()
}
