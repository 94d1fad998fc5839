//! Reads what organizations want and puts it in force: a hint makes it look again, and so do a timer
//! and every new join of the feed. It never drops or changes anything because a read failed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use hidps_rules::RuleSet;
use hidps_wire::AgentId;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::chance::draw_share;
use crate::detection::rule_check::RulesInForce;
use crate::detection::tenants::draft::{Draft, Suspension, draft};
use crate::detection::tenants::engines::CostReport;
use crate::detection::tenants::layer::{Layers, OrgLayer};
use crate::model::{DetectionIntent, OrgId};
use crate::ports::{DetectionReader, DetectionRecords, StoreError};
use crate::telemetry::{self, Chain};

/// Pause after a failed read.
const PAUSE: Duration = Duration::from_secs(2);

/// Most organizations read at once: each waits mostly for the way to Supabase and back.
const READS_AT_ONCE: usize = 8;

/// Reports of cost that may wait; one more comes again with its worker's next window.
const COSTS: usize = 64;

/// What the task needs.
pub struct TenantSettings {
    /// The built-in rules in force.
    pub rules: RulesInForce,
    /// Notified when an organization may want something else.
    pub hint: Arc<Notify>,
    /// About how often everything is compared.
    pub resync_every: Duration,
    /// Where it is told what became of rows.
    pub records: Arc<dyn DetectionRecords>,
}

impl std::fmt::Debug for TenantSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TenantSettings")
            .field("resync_every", &self.resync_every)
            .finish_non_exhaustive()
    }
}

/// Where workers find what organizations want, and tell what it costs.
#[derive(Debug, Clone)]
pub struct TenantFeed {
    pub(in crate::detection) layers: watch::Receiver<Arc<Layers>>,
    pub(in crate::detection) costs: mpsc::Sender<CostReport>,
    is_compared: watch::Receiver<bool>,
}

impl TenantFeed {
    /// A feed of nothing, for whoever has no database.
    #[must_use]
    pub fn none() -> Self {
        Self {
            layers: watch::channel(Arc::default()).1,
            costs: mpsc::channel(1).0,
            is_compared: watch::channel(true).1,
        }
    }

    /// Waits until everything was read once.
    pub async fn compared(&mut self) {
        // Whoever would say so may be gone; there is nothing to wait for then.
        let _is_gone = self
            .is_compared
            .wait_for(|compared| *compared)
            .await
            .is_err();
    }
}

/// The task that reads.
#[derive(Debug)]
pub struct TenantRules<R> {
    reader: R,
    settings: TenantSettings,
    layers: watch::Sender<Arc<Layers>>,
    costs: mpsc::Receiver<CostReport>,
    is_compared: watch::Sender<bool>,
    orgs: BTreeMap<OrgId, Known>,
}

/// One organization, as it was last read.
#[derive(Debug)]
struct Known {
    intent: Arc<DetectionIntent>,
    layer: Arc<OrgLayer>,
    suspended: Option<Suspension>,
}

impl<R: DetectionReader> TenantRules<R> {
    /// A task that has read nothing yet, and where workers find what it reads.
    pub fn new(reader: R, settings: TenantSettings) -> (Self, TenantFeed) {
        let (layers, layers_rx) = watch::channel(Arc::default());
        let (costs_tx, costs) = mpsc::channel(COSTS);
        let (is_compared, is_compared_rx) = watch::channel(false);
        let feed = TenantFeed {
            layers: layers_rx,
            costs: costs_tx,
            is_compared: is_compared_rx,
        };
        let task = Self {
            reader,
            settings,
            layers,
            costs,
            is_compared,
            orgs: BTreeMap::new(),
        };
        (task, feed)
    }

    /// Reads whenever there is a reason, until it is told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut compare_at = Instant::now();
        loop {
            let hint = Arc::clone(&self.settings.hint);
            let is_hinted = tokio::select! {
                () = stop.cancelled() => return,
                () = hint.notified() => true,
                () = sleep_until(compare_at) => true,
                Ok(()) = self.settings.rules.changed() => {
                    let all = self.orgs.keys().copied().collect();
                    self.put_in_force(all).await;
                    false
                }
                Some(report) = self.costs.recv() => {
                    self.suspend(report).await;
                    false
                }
            };
            if is_hinted {
                tokio::select! {
                    () = stop.cancelled() => return,
                    pause = self.compare() => compare_at = Instant::now() + pause,
                }
            }
        }
    }

    /// Compares everything and puts in force what changed; gives the pause until the next time.
    async fn compare(&mut self) -> Duration {
        let index = match self.reader.list_detection().await {
            Ok(index) => index,
            Err(error) => {
                warn(&error);
                return PAUSE;
            }
        };
        let listed: BTreeSet<OrgId> = index.iter().map(|(org, _)| *org).collect();
        let mut changed: BTreeSet<OrgId> = self.orgs.keys().copied().collect();
        changed.retain(|org| !listed.contains(org));
        // A restored backup goes back, so that any other number is news.
        let differs = |(org, generation): &(OrgId, u64)| {
            let known = self.orgs.get(org);
            known.is_none_or(|known| known.intent.generation != *generation)
        };
        let wanted: Vec<OrgId> = index
            .iter()
            .filter(|one| differs(one))
            .map(|(org, _)| *org)
            .collect();
        let reader = &self.reader;
        let answers = stream::iter(wanted)
            .map(|org| async move { (org, reader.read_detection(org).await) })
            .buffer_unordered(READS_AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        let mut has_failed = false;
        let mut read = Vec::new();
        for (org, answer) in answers {
            match answer {
                Ok(found) => {
                    changed.insert(org);
                    read.push((org, found));
                }
                Err(error) => {
                    warn(&error);
                    has_failed = true;
                }
            }
        }
        if !changed.is_empty() {
            self.take_over(&listed, read);
            self.put_in_force(changed).await;
        }
        count_read(if has_failed { "partly" } else { "ok" });
        if has_failed {
            return PAUSE;
        }
        self.is_compared.send_replace(true);
        self.settings.resync_every.mul_f64(0.5 + draw_share() / 2.0)
    }

    /// Keeps what was read, and forgets who is gone by a complete answer.
    fn take_over(&mut self, listed: &BTreeSet<OrgId>, read: Vec<(OrgId, Option<DetectionIntent>)>) {
        self.orgs.retain(|org, _| listed.contains(org));
        for (org, found) in read {
            let Some(intent) = found else {
                self.orgs.remove(&org);
                continue;
            };
            let intent = Arc::new(intent);
            let known = self.orgs.entry(org).or_insert_with(|| Known {
                intent: Arc::clone(&intent),
                layer: Arc::default(),
                suspended: None,
            });
            known.intent = intent;
        }
    }

    /// Stops an organization's own rules that cost too much, until they are others.
    async fn suspend(&mut self, report: CostReport) {
        let CostReport {
            org,
            rule_set,
            reason,
        } = report;
        let Some(known) = self.orgs.get_mut(&org) else {
            return;
        };
        let present = known.layer.set().map(RuleSet::hash);
        if present != Some(rule_set.as_str()) {
            return;
        }
        tracing::warn!(org = %org.0, reason, "an organization's own rules are suspended");
        metrics::counter!(telemetry::TENANT_SUSPENSIONS).increment(1);
        known.suspended = Some(Suspension { rule_set, reason });
        self.put_in_force(BTreeSet::from([org])).await;
    }

    /// Makes the layers of these organizations anew, and hands all of them to the workers.
    async fn put_in_force(&mut self, orgs: BTreeSet<OrgId>) {
        let rules = Arc::clone(&self.settings.rules.borrow());
        for org in orgs {
            let Some(known) = self.orgs.get_mut(&org) else {
                continue;
            };
            let (intent, base) = (Arc::clone(&known.intent), Arc::clone(&rules));
            let suspended = known.suspended.clone();
            // Off the threads that carry events: compiling takes milliseconds.
            let made =
                tokio::task::spawn_blocking(move || draft(&intent, &base.set, suspended.as_ref()));
            match made.await {
                Ok(Draft { layer, verdicts }) => {
                    known.layer = Arc::new(layer);
                    self.settings.records.verdicts(verdicts);
                }
                Err(error) => tracing::error!(org = %org.0, %error, "a layer could not be made"),
            }
        }
        let layers = self.orgs.values().map(|known| {
            let agents: Vec<AgentId> = known.intent.agents.clone();
            (Arc::clone(&known.layer), agents)
        });
        let n_layers = u32::try_from(self.orgs.len()).unwrap_or(u32::MAX);
        metrics::gauge!(telemetry::TENANT_LAYERS).set(f64::from(n_layers));
        self.layers.send_replace(Arc::new(Layers::new(layers)));
    }
}

fn warn(error: &StoreError) {
    count_read("failed");
    tracing::warn!(error = %Chain(error), "what organizations want of detection was not read; what is in force stays");
}

fn count_read(result: &'static str) {
    metrics::counter!(telemetry::TENANT_READS, "result" => result).increment(1);
}

#[cfg(test)]
mod tests;
