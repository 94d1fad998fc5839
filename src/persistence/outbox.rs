//! Keeps what must reach Supabase until it is a row: alerts in order and on disk, the rest newest
//! only. It never lets one kind of write hold up another, and never writes a desired column.

mod alerts;
mod newest;
mod records;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hidps_wire::{AgentId, Generation};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::model::{
    Alert, ChangeReport, ConditionKind, ConditionReport, DetectionVerdict, FactsReport, IntentKind,
    OrgId, PresenceReport, ProcessesReport, RiskReport, ShadowReport, SuppressedReport,
    UsageReport,
};
use crate::persistence::outbox::newest::Newest;
use crate::persistence::spool::Spool;
use crate::ports::{AlertQueue, DetectionRecords, RecordWriter, Records, Retry};
use crate::telemetry;

/// Most alerts in memory before they are on disk; a full spool makes them wait here.
const MAX_UNSPOOLED: usize = 10_000;

/// Most times of changes in memory: a fleet of ten thousand changed a few times during an outage.
const MAX_CHANGES: usize = 50_000;

/// Most counts of one kind in memory; a fleet with a rule on trial that matches everywhere fits.
const MAX_COUNTS: usize = 50_000;

/// Most snapshots of processes in memory, each of 20 to 200 KiB; the next one comes in minutes.
const MAX_SNAPSHOTS: usize = 400;

/// Most hosts whose facts wait: a fleet of ten thousand that connects anew, a few KiB each.
const MAX_FACTS: usize = 10_000;

/// First pause after a failed write.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Longest pause during an outage: its end is noticed within seconds, for one small request each.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// Pause when somebody has to act first: a refused key, a limit, an unexpected schema.
const SLOW_PAUSE: Duration = Duration::from_secs(30);

/// Where the other parts put what must be written.
#[derive(Debug, Clone)]
pub struct OutboxHandle {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    pending: Mutex<Pending>,
    alerts_wake: Notify,
    records_wake: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    alerts: VecDeque<Alert>,
    records: RecordsPending,
}

/// The newest of each kind, by agent.
#[derive(Debug, Default)]
struct RecordsPending {
    conditions: BTreeMap<(AgentId, ConditionKind), ConditionReport>,
    presence: BTreeMap<AgentId, PresenceReport>,
    changes: BTreeMap<(AgentId, Generation), ChangeReport>,
    usage: BTreeMap<AgentId, UsageReport>,
    processes: BTreeMap<AgentId, ProcessesReport>,
    facts: BTreeMap<AgentId, FactsReport>,
    verdicts: BTreeMap<(IntentKind, Uuid), DetectionVerdict>,
    shadow: BTreeMap<(AgentId, String), ShadowReport>,
    suppressed: BTreeMap<(Uuid, AgentId), SuppressedReport>,
    risk: BTreeMap<AgentId, RiskReport>,
}

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&mut Pending) -> T) -> T {
        act(&mut self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AlertQueue for OutboxHandle {
    fn raise(&self, alert: Alert) {
        let kept = self.shared.with(|pending| {
            let fits = pending.alerts.len() < MAX_UNSPOOLED;
            if fits {
                pending.alerts.push_back(alert);
            }
            fits
        });
        if kept {
            self.shared.alerts_wake.notify_one();
        } else {
            count_write("alert", "dropped");
            tracing::error!(
                limit = MAX_UNSPOOLED,
                "an alert was lost: the queue is full"
            );
        }
    }
}

impl OutboxHandle {
    fn add<K: Ord, V: Newest>(
        &self,
        part: impl FnOnce(&mut RecordsPending) -> &mut BTreeMap<K, V>,
        reports: impl IntoIterator<Item = (K, V)>,
    ) {
        self.shared.with(|pending| {
            let part = part(&mut pending.records);
            for (key, report) in reports {
                let report = match part.remove(&key) {
                    Some(older) => report.over(older),
                    None => report,
                };
                part.insert(key, report);
            }
        });
        self.shared.records_wake.notify_one();
    }
}

impl Records for OutboxHandle {
    fn conditions(&self, reports: Vec<ConditionReport>) {
        let keyed = reports
            .into_iter()
            .map(|report| ((report.agent_id, report.kind), report));
        self.add(|pending| &mut pending.conditions, keyed);
    }

    fn presence(&self, report: PresenceReport) {
        self.add(|pending| &mut pending.presence, [(report.agent_id, report)]);
    }

    fn change(&self, report: ChangeReport) {
        let key = (report.agent_id, report.generation);
        self.add_bounded(
            ("change", MAX_CHANGES),
            |pending| &mut pending.changes,
            key,
            report,
        );
    }

    fn usage(&self, report: UsageReport) {
        self.add(|pending| &mut pending.usage, [(report.agent_id, report)]);
    }

    fn processes(&self, report: ProcessesReport) {
        let is_one_lost = self.shared.with(|pending| {
            let snapshots = &mut pending.records.processes;
            let is_newer = snapshots.contains_key(&report.agent_id);
            let is_full = snapshots.len() >= MAX_SNAPSHOTS;
            if is_newer || make_room(snapshots, report.org) {
                snapshots.insert(report.agent_id, report);
            }
            is_full && !is_newer
        });
        if is_one_lost {
            count_write("processes", "dropped");
        }
        self.shared.records_wake.notify_one();
    }

    fn facts(&self, report: FactsReport) {
        self.add_bounded(
            ("facts", MAX_FACTS),
            |pending| &mut pending.facts,
            report.agent_id,
            report,
        );
    }
}

impl OutboxHandle {
    /// Adds one report if there is room for it or it takes the place of an older one.
    fn add_bounded<K: Ord + Copy, V: Newest>(
        &self,
        (kind, most): (&'static str, usize),
        part: impl Fn(&mut RecordsPending) -> &mut BTreeMap<K, V>,
        key: K,
        report: V,
    ) {
        let has_room = self.shared.with(|pending| {
            let part = part(&mut pending.records);
            part.len() < most || part.contains_key(&key)
        });
        if has_room {
            self.add(part, [(key, report)]);
        } else {
            count_write(kind, "dropped");
        }
    }

    /// Adds to counts as long as there is room; the rest is counted as dropped.
    fn add_counts<K: Ord, V: Newest>(
        &self,
        kind: &'static str,
        part: impl Fn(&mut RecordsPending) -> &mut BTreeMap<K, V>,
        reports: Vec<(K, V)>,
    ) {
        let room = self
            .shared
            .with(|pending| MAX_COUNTS.saturating_sub(part(&mut pending.records).len()));
        for _ in room..reports.len() {
            count_write(kind, "dropped");
        }
        self.add(part, reports.into_iter().take(room));
    }
}

/// Makes room for another snapshot of an organization; without any, whoever has most gives one up,
/// so that a large organization cannot keep out the others. False when that is the one that asks.
fn make_room(snapshots: &mut BTreeMap<AgentId, ProcessesReport>, org: OrgId) -> bool {
    if snapshots.len() < MAX_SNAPSHOTS {
        return true;
    }
    let mut shares = BTreeMap::<OrgId, usize>::new();
    for report in snapshots.values() {
        *shares.entry(report.org).or_default() += 1;
    }
    let own = shares.get(&org).copied().unwrap_or_default();
    let Some((largest, n_most)) = shares.into_iter().max_by_key(|(_, n)| *n) else {
        return false;
    };
    if n_most <= own + 1 {
        return false;
    }
    let oldest = snapshots
        .iter()
        .filter(|(_, report)| report.org == largest)
        .min_by_key(|(_, report)| report.at)
        .map(|(agent, _)| *agent);
    oldest.is_some_and(|agent| snapshots.remove(&agent).is_some())
}

impl DetectionRecords for OutboxHandle {
    fn verdicts(&self, verdicts: Vec<DetectionVerdict>) {
        let keyed = verdicts
            .into_iter()
            .map(|verdict| ((verdict.kind, verdict.row.id), verdict));
        self.add(|pending| &mut pending.verdicts, keyed);
    }

    fn shadow_matches(&self, reports: Vec<ShadowReport>) {
        let key = |report: &ShadowReport| (report.agent_id, report.rule_id.clone());
        let keyed = reports.into_iter().map(|report| (key(&report), report));
        self.add_counts("shadow", |pending| &mut pending.shadow, keyed.collect());
    }

    fn suppressed(&self, reports: Vec<SuppressedReport>) {
        let key = |report: &SuppressedReport| (report.suppression, report.agent_id);
        let keyed = reports.into_iter().map(|report| (key(&report), report));
        self.add_counts(
            "suppressed",
            |pending| &mut pending.suppressed,
            keyed.collect(),
        );
    }

    fn risk(&self, reports: Vec<RiskReport>) {
        let keyed = reports.into_iter().map(|report| (report.agent_id, report));
        self.add(|pending| &mut pending.risk, keyed);
    }
}

/// The task that writes.
#[derive(Debug)]
pub struct Outbox<W> {
    shared: Arc<Shared>,
    writer: W,
    spool: Spool,
    waiting: VecDeque<Alert>,
    after_alert: Arc<Notify>,
}

impl<W: RecordWriter> Outbox<W> {
    /// An outbox over an opened spool; `after_alert` is notified whenever alerts became rows.
    pub fn new(
        writer: W,
        (spool, waiting): (Spool, Vec<Alert>),
        after_alert: Arc<Notify>,
    ) -> (Self, OutboxHandle) {
        let shared = Arc::new(Shared::default());
        let handle = OutboxHandle {
            shared: Arc::clone(&shared),
        };
        (
            Self {
                shared,
                writer,
                spool,
                waiting: waiting.into(),
                after_alert,
            },
            handle,
        )
    }

    /// Writes until it is told to stop, then once more what is left.
    pub async fn run(self, stop: CancellationToken) {
        let Self {
            shared,
            writer,
            spool,
            waiting,
            after_alert,
        } = self;
        let alerts = alerts::Lane {
            shared: &shared,
            writer: &writer,
            spool,
            waiting,
            after_alert,
        };
        let records = records::Lane {
            shared: &shared,
            writer: &writer,
        };
        tokio::join!(alerts.run(&stop), records.run(&stop));
    }
}

/// The pause before the next attempt, doubled each time; the longest when a person must act.
fn pause(retry: Retry, attempts: u32) -> Duration {
    match retry {
        Retry::Soon => FIRST_PAUSE
            .saturating_mul(1 << attempts.min(10))
            .min(LONGEST_PAUSE),
        Retry::Slowly | Retry::Never => SLOW_PAUSE,
    }
}

fn count_write(kind: &'static str, result: &'static str) {
    metrics::counter!(telemetry::WRITES, "kind" => kind, "result" => result).increment(1);
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::sample_alert;
