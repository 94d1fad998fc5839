//! Runs the rules over every event and raises alerts.
//! It never stores an event, never touches a socket and never waits for Supabase.
//!
//! Batches arrive unparsed and are parsed here, once; the parsed events go to whoever watches
//! and through the rules. Agents are spread over workers by their id, so that the windows of one
//! agent need no lock.

mod alerting;
mod clock_watch;
mod costs;
mod event;
mod excerpt;
mod hysteresis;
mod log_source;
mod observation;
mod pipeline;
mod raising;
mod reload;
mod repeats;
mod risk;
mod rule_check;
mod rule_files;
mod rule_probe;
mod rule_watch;
mod sample;
mod suspended;
mod tally;
mod tenants;
mod worker;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use hidps_wire::AgentId;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::model::Observation;
use crate::ports::{EventIntake, Observations, RawBatch};
use crate::telemetry;
use worker::Worker;

pub use costs::RuleCosts;
pub use hidps_rules::tests::TestFile;
pub use pipeline::{Outlets, Pipeline};
pub use reload::RuleReload;
pub use rule_check::{
    LoadedRules, RuleFilesError, RulePaths, RuleTexts, RulesInForce, compile_rules, load_rules,
    read_tests,
};
pub use rule_files::{ReadFault, SourceFile};
pub use sample::with_rule_event;
pub use tenants::{Layers, TenantFeed, TenantRules, TenantSettings};

/// Batches that may wait per worker: some milliseconds of work, and 64 MiB at the very worst.
const WAITING_PER_WORKER: usize = 256;

/// Observations that may wait per worker: what is told late is told again, or counted.
const WAITING_OBSERVATIONS: usize = 1_024;

/// Most workers; past the memory bandwidth of a small host, more only adds switching.
const MAX_WORKERS: usize = 8;

/// Where batches go in.
#[derive(Debug)]
pub struct DetectionHandle {
    workers: Vec<WorkerInput>,
    hasher: RandomState,
}

/// What one worker takes.
#[derive(Debug)]
struct WorkerInput {
    batches: mpsc::Sender<RawBatch>,
    observations: mpsc::Sender<(AgentId, Observation)>,
}

/// The workers, to be run as tasks.
#[derive(Debug)]
pub struct Detection {
    workers: Vec<Worker>,
}

impl Detection {
    /// Workers for every core over the rules in force, built in and of organizations, present and to
    /// come.
    pub fn new(
        rules: &RulesInForce,
        tenants: &TenantFeed,
        outlets: &Outlets,
        costs: &Arc<RuleCosts>,
    ) -> (Self, DetectionHandle) {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (senders, workers) = (0..cores.min(MAX_WORKERS))
            .map(|number| {
                let (batches_tx, batches) = mpsc::channel(WAITING_PER_WORKER);
                let (observations_tx, observations) = mpsc::channel(WAITING_OBSERVATIONS);
                let mut rules = rules.clone();
                let present = Arc::clone(&rules.borrow_and_update());
                let mut tenants = tenants.clone();
                tenants.layers.mark_unchanged();
                let pipeline = Pipeline::new(&present, &tenants, outlets.clone());
                let worker = Worker {
                    pipeline,
                    batches,
                    observations,
                    rules,
                    costs: Arc::clone(costs),
                    number,
                    tenants,
                };
                let input = WorkerInput {
                    batches: batches_tx,
                    observations: observations_tx,
                };
                (input, worker)
            })
            .unzip();
        (
            Self { workers },
            DetectionHandle {
                workers: senders,
                hasher: RandomState::new(),
            },
        )
    }

    /// Runs all workers until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut set = JoinSet::new();
        for worker in self.workers {
            // A task each, so that workers run on several cores.
            set.spawn(worker.run(stop.clone()));
        }
        // A worker that panics takes the daemon with it: rules must not fall silent.
        set.join_all().await;
    }
}

impl DetectionHandle {
    /// The worker of an agent, always the same one.
    fn worker(&self, agent: AgentId) -> Option<&WorkerInput> {
        let shard = self.hasher.hash_one(agent) % self.workers.len() as u64;
        usize::try_from(shard)
            .ok()
            .and_then(|shard| self.workers.get(shard))
    }
}

impl EventIntake for DetectionHandle {
    fn submit(&self, batch: RawBatch) -> Result<(), RawBatch> {
        let Some(worker) = self.worker(batch.agent_id) else {
            return Err(batch);
        };
        worker.batches.try_send(batch).map_err(|error| match error {
            TrySendError::Full(batch) | TrySendError::Closed(batch) => batch,
        })
    }
}

impl Observations for DetectionHandle {
    fn observe(&self, agent: AgentId, observation: Observation) -> bool {
        let worker = self.worker(agent);
        let is_taken =
            worker.is_some_and(|worker| worker.observations.try_send((agent, observation)).is_ok());
        // Silence is told again by whoever keeps it.
        if !is_taken && !matches!(observation, Observation::Silent { .. }) {
            metrics::counter!(telemetry::OBSERVATIONS_LOST).increment(1);
        }
        is_taken
    }
}

#[cfg(test)]
mod ordinary_day;
#[cfg(test)]
mod tests;
