//! Reads what organizations want and puts it in force: a hint makes it look again, and so do a timer
//! and every new join of the feed. It never drops or changes anything because a read failed.
//!
//! Everything is under way at once: a slow read delays nobody but its organization, and layers are
//! made one after the other, off the threads that carry events.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use hidps_rules::RuleSet;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinError;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::chance::draw_share;
use crate::detection::rule_check::RulesInForce;
use crate::detection::tenants::draft::{Draft, draft};
use crate::detection::tenants::engines::CostReport;
use crate::detection::tenants::known::Known;
use crate::detection::tenants::layer::Layers;
use crate::detection::tenants::room::{Room, Weight};
use crate::detection::tenants::turns::Turns;
use crate::health::{Fault, Health};
use crate::model::{DetectionIntent, OrgId};
use crate::ports::{DetectionReader, DetectionRecords, StoreError};
use crate::telemetry::{self, Chain};

/// Pause after a list that was not read.
const PAUSE: Duration = Duration::from_secs(2);

/// Least time between two lists: hints of many that save at once are answered together.
const LIST_PAUSE: Duration = Duration::from_millis(200);

/// Most organizations read at once: each waits mostly for the way to Supabase and back.
const READS_AT_ONCE: usize = 8;

/// Longest time for which layers are gathered before workers get them.
const GATHER: Duration = Duration::from_millis(250);

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
    /// Where it is told whether the list can be read.
    pub health: Arc<Health>,
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

/// Something that was under way and has ended.
enum Done {
    Listed(Result<Vec<(OrgId, u64)>, StoreError>),
    Read(OrgId, Result<Option<DetectionIntent>, StoreError>),
    Made(OrgId, Arc<DetectionIntent>, Box<Result<Draft, JoinError>>),
}

/// The task that reads.
pub struct TenantRules<R> {
    reader: Arc<R>,
    settings: TenantSettings,
    layers: watch::Sender<Arc<Layers>>,
    costs: mpsc::Receiver<CostReport>,
    is_compared: watch::Sender<bool>,
    orgs: BTreeMap<OrgId, Known>,
    under_way: FuturesUnordered<BoxFuture<'static, Done>>,
    /// When to list again.
    list_at: Instant,
    is_listing: bool,
    is_listed: bool,
    turns: Turns,
    /// Organizations whose layers are to be made, in order, and whether one is being made.
    to_make: VecDeque<OrgId>,
    is_making: bool,
    /// Since when workers lack a layer that was made.
    gathered_since: Option<Instant>,
}

impl<R> std::fmt::Debug for TenantRules<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TenantRules")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
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
            reader: Arc::new(reader),
            settings,
            layers,
            costs,
            is_compared,
            orgs: BTreeMap::new(),
            under_way: FuturesUnordered::new(),
            list_at: Instant::now(),
            is_listing: false,
            is_listed: false,
            turns: Turns::default(),
            to_make: VecDeque::new(),
            is_making: false,
            gathered_since: None,
        };
        (task, feed)
    }

    /// Reads whenever there is a reason, until it is told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            self.begin(Instant::now());
            let wake_at = self.wake_at();
            let hint = Arc::clone(&self.settings.hint);
            tokio::select! {
                () = stop.cancelled() => return,
                Some(done) = self.under_way.next() => self.on_done(done, Instant::now()),
                () = hint.notified() => self.list_at = self.list_at.min(Instant::now() + LIST_PAUSE),
                () = sleep_until(wake_at) => {}
                Ok(()) = self.settings.rules.changed() => self.make_all(),
                Some(report) = self.costs.recv() => self.suspend(report, Instant::now()),
            }
        }
    }

    /// Begins whatever may begin now.
    fn begin(&mut self, now: Instant) {
        let due = self.orgs.iter_mut();
        let due = due.filter_map(|(org, known)| known.resume_due(now).then_some(*org));
        for org in due.collect::<Vec<_>>() {
            self.make(org);
        }
        if !self.is_listing && now >= self.list_at {
            self.is_listing = true;
            let reader = Arc::clone(&self.reader);
            let list = async move { Done::Listed(reader.list_detection().await) };
            self.under_way.push(list.boxed());
        }
        while self.turns.n_reading() < READS_AT_ONCE
            && let Some(org) = self.turns.take(now)
        {
            let reader = Arc::clone(&self.reader);
            let read = async move { Done::Read(org, reader.read_detection(org).await) };
            self.under_way.push(read.boxed());
        }
        self.begin_making();
        let is_patient = |since: Instant| now < since + GATHER && self.is_making;
        if self.gathered_since.is_some_and(|since| !is_patient(since)) {
            self.hand_out();
        }
        let is_done = self.turns.is_idle() && self.to_make.is_empty() && !self.is_making;
        if self.is_listed && is_done {
            self.is_compared.send_replace(true);
        }
    }

    /// When there is something to begin although nothing happens.
    fn wake_at(&self) -> Instant {
        let list_at = (!self.is_listing).then_some(self.list_at);
        let read_at = (self.turns.n_reading() < READS_AT_ONCE)
            .then(|| self.turns.next_at())
            .flatten();
        let resume_at = self.orgs.values().filter_map(Known::resume_at).min();
        let hand_out_at = self.gathered_since.map(|since| since + GATHER);
        let times = [list_at, read_at, resume_at, hand_out_at];
        let first = times.into_iter().flatten().min();
        first.unwrap_or_else(|| Instant::now() + self.settings.resync_every)
    }

    fn on_done(&mut self, done: Done, now: Instant) {
        match done {
            Done::Listed(answer) => {
                self.is_listing = false;
                let pause = match answer {
                    Ok(index) => {
                        self.on_listed(&index);
                        self.settings.resync_every.mul_f64(0.5 + draw_share() / 2.0)
                    }
                    Err(error) => {
                        self.on_unlisted(&error);
                        PAUSE
                    }
                };
                self.list_at = now + pause;
            }
            Done::Read(org, answer) => self.on_read(org, answer, now),
            Done::Made(org, intent, made) => self.on_made(org, &intent, *made, now),
        }
    }

    /// Asks for whoever changed, and forgets who is gone by a complete answer.
    fn on_listed(&mut self, index: &[(OrgId, u64)]) {
        count_read("ok");
        self.settings.health.set_tenants_read(None);
        self.is_listed = true;
        let listed: BTreeSet<OrgId> = index.iter().map(|(org, _)| *org).collect();
        let n_known = self.orgs.len();
        self.orgs.retain(|org, _| listed.contains(org));
        self.turns.keep(&listed);
        if self.orgs.len() != n_known {
            self.hand_out();
        }
        for (org, generation) in index {
            // A restored backup goes back, so that any other number is news.
            let known = self.orgs.get(org);
            if known.is_none_or(|known| known.intent.generation != *generation) {
                self.turns.ask(*org);
            }
        }
    }

    fn on_unlisted(&self, error: &StoreError) {
        warn(error);
        self.settings.health.set_tenants_read(Some(Fault {
            reason: "ReadFailed",
            message: error.for_everybody(),
        }));
    }

    fn on_read(
        &mut self,
        org: OrgId,
        answer: Result<Option<DetectionIntent>, StoreError>,
        now: Instant,
    ) {
        self.turns.end(org, answer.is_err(), now);
        match answer {
            Ok(Some(intent)) => {
                count_read("ok");
                let intent = Arc::new(intent);
                let known = self.orgs.entry(org).or_insert_with(|| Known::new(&intent));
                known.intent = intent;
                self.make(org);
            }
            Ok(None) => {
                count_read("ok");
                self.orgs.remove(&org);
                self.hand_out();
            }
            Err(error) => {
                warn(&error);
                let generation = self.orgs.get(&org).map(|known| known.intent.generation);
                let verdict = Known::unread(org, generation, error.for_everybody());
                self.settings.records.verdicts(vec![verdict]);
            }
        }
    }

    /// Stops an organization's own rules that cost too much, for a while.
    fn suspend(&mut self, report: CostReport, now: Instant) {
        let Some(known) = self.orgs.get_mut(&report.org) else {
            return;
        };
        let present = known.layer.set().map(RuleSet::hash);
        if present != Some(report.rule_set.as_str()) {
            return;
        }
        tracing::warn!(org = %report.org.0, report.reason, "an organization's own rules are suspended");
        metrics::counter!(telemetry::TENANT_SUSPENSIONS).increment(1);
        known.suspend(&report, now);
        self.make(report.org);
    }

    /// Makes every layer anew, over other built-in rules.
    fn make_all(&mut self) {
        for org in self.orgs.keys().copied().collect::<Vec<_>>() {
            self.make(org);
        }
    }

    /// Has a layer made anew.
    fn make(&mut self, org: OrgId) {
        if !self.to_make.contains(&org) {
            self.to_make.push_back(org);
        }
    }

    /// Makes the next layer, off the threads that carry events: compiling takes milliseconds, and
    /// one at a time leaves the other cores to them.
    fn begin_making(&mut self) {
        while !self.is_making
            && let Some(org) = self.to_make.pop_front()
        {
            let others = self.orgs.iter().filter(|(other, _)| **other != org);
            let others = others.fold(Weight::default(), |sum, (_, one)| sum + one.weight);
            let Some(known) = self.orgs.get(&org) else {
                continue;
            };
            self.is_making = true;
            let (intent, suspended) = (Arc::clone(&known.intent), known.suspended.clone());
            let base = Arc::clone(&self.settings.rules.borrow());
            let made = tokio::task::spawn_blocking({
                let intent = Arc::clone(&intent);
                move || draft(&intent, &base.set, suspended.as_ref(), Room::beside(others))
            });
            let made = async move { Done::Made(org, intent, Box::new(made.await)) };
            self.under_way.push(made.boxed());
        }
    }

    /// Takes over a layer, unless its organization is gone or wants something else by now.
    fn on_made(
        &mut self,
        org: OrgId,
        intent: &Arc<DetectionIntent>,
        made: Result<Draft, JoinError>,
        now: Instant,
    ) {
        self.is_making = false;
        let Some(known) = self.orgs.get_mut(&org) else {
            return;
        };
        match made {
            Ok(draft) => {
                self.settings
                    .records
                    .verdicts(known.take_over(intent, draft));
                self.gathered_since.get_or_insert(now);
            }
            Err(error) => tracing::error!(org = %org.0, %error, "a layer could not be made"),
        }
    }

    /// Hands all layers to the workers.
    fn hand_out(&mut self) {
        self.gathered_since = None;
        let layers = self.orgs.values().map(|known| {
            let agents = known.intent.agents.clone();
            (Arc::clone(&known.layer), agents)
        });
        let n_layers = u32::try_from(self.orgs.len()).unwrap_or(u32::MAX);
        metrics::gauge!(telemetry::TENANT_LAYERS).set(f64::from(n_layers));
        let all = self.orgs.values().map(|known| known.weight);
        let all = all.fold(Weight::default(), std::ops::Add::add);
        #[expect(clippy::cast_precision_loss, reason = "bounded far below 2^52")]
        metrics::gauge!(telemetry::TENANT_WEIGHT).set(all.size as f64);
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
