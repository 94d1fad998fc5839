//! One worker: takes batches one after the other through its own pipeline.
//! It never shares state with another worker; an agent always meets the same one.

use std::sync::Arc;
use std::time::Duration;

use hidps_wire::AgentId;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::detection::costs::{REPORT_EVERY, RuleCosts};
use crate::detection::pipeline::Pipeline;
use crate::detection::rule_check::RulesInForce;
use crate::detection::tenants::TenantFeed;
use crate::model::Observation;
use crate::ports::RawBatch;

/// How often counted repeats are looked at.
const TICK: Duration = Duration::from_secs(1);

/// One worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) pipeline: Pipeline,
    pub(super) batches: mpsc::Receiver<RawBatch>,
    pub(super) observations: mpsc::Receiver<(AgentId, Observation)>,
    pub(super) rules: RulesInForce,
    pub(super) costs: Arc<RuleCosts>,
    pub(super) number: usize,
    pub(super) tenants: TenantFeed,
}

impl Worker {
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut report = interval(REPORT_EVERY);
        report.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                batch = self.batches.recv() => match batch {
                    Some(batch) => self.pipeline.on_batch(&batch),
                    None => break,
                },
                Some((agent, observation)) = self.observations.recv() => {
                    self.pipeline.on_observation(agent, observation);
                }
                // Whoever sends new rules may be gone; those at hand then stay.
                Ok(()) = self.rules.changed() => {
                    let rules = Arc::clone(&self.rules.borrow_and_update());
                    self.pipeline.use_rules(&rules);
                }
                Ok(()) = self.tenants.layers.changed() => {
                    let layers = Arc::clone(&self.tenants.layers.borrow_and_update());
                    self.pipeline.use_layers(layers);
                }
                _ = tick.tick() => self.pipeline.raise_due(false),
                _ = report.tick() => self.pipeline.report_costs(&self.costs, self.number),
                () = stop.cancelled() => break,
            }
        }
        self.pipeline.raise_due(true);
    }
}
