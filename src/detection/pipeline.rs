//! What happens to a batch: parsed once, shown to viewers, tried by the rules, alerts raised.
//! It never waits and never keeps an event.

use std::collections::HashMap;
use std::sync::Arc;

use hidps_rules::{Account, Engine, Event, Limits, Match, Scope};
use hidps_wire::{
    AgentId, DecodeError, EventBatch, LogEvent, MAX_AGENT_FRAME_BYTES, MAX_EVENTS_PER_BATCH, decode,
};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::detection::clock_watch::{ClockWatch, seconds_ahead};
use crate::detection::costs::{self, RuleCosts};
use crate::detection::event::RuleView;
use crate::detection::hysteresis::Rearming;
use crate::detection::observation::ObservedEvent;
use crate::detection::raising::{Context, Raising};
use crate::detection::rule_check::LoadedRules;
use crate::detection::suspended::suspension_alert;
use crate::detection::tenants::{Layers, OrgEngines, OrgLayer, TenantFeed};
use crate::model::Observation;
use crate::ports::{AlertQueue, BatchProgress, DetectionRecords, LiveLog, RawBatch};
use crate::telemetry;

/// The name of all rules of tenants in metrics: theirs are not known beforehand and without number.
const OWN_RULE: &str = "tenant";

/// The pipeline of one worker.
pub struct Pipeline {
    engine: Engine,
    rule_set: String,
    rearming: Rearming,
    layers: Arc<Layers>,
    own: OrgEngines,
    raising: Raising,
    lost: HashMap<AgentId, u64>,
    clocks: ClockWatch,
    live: Arc<dyn LiveLog>,
}

/// Where a pipeline hands what it makes of events.
#[derive(Clone)]
pub struct Outlets {
    /// Whoever watches.
    pub live: Arc<dyn LiveLog>,
    /// Alerts.
    pub alerts: Arc<dyn AlertQueue>,
    /// Counts and risk.
    pub records: Arc<dyn DetectionRecords>,
}

impl std::fmt::Debug for Outlets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outlets").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline")
            .field("rule_set", &self.rule_set)
            .finish_non_exhaustive()
    }
}

impl Pipeline {
    /// A pipeline over these rules that has seen nothing yet.
    pub fn new(rules: &LoadedRules, tenants: &TenantFeed, outlets: Outlets) -> Self {
        let mut engine = Engine::new(rules.set.clone(), Limits::default());
        costs::measure(&mut engine);
        Self {
            engine,
            rule_set: rules.set.hash().to_owned(),
            rearming: Rearming::of(&rules.set),
            layers: Arc::clone(&tenants.layers.borrow()),
            own: OrgEngines::new(tenants.costs.clone()),
            raising: Raising::new(outlets.alerts, outlets.records),
            lost: HashMap::new(),
            clocks: ClockWatch::default(),
            live: outlets.live,
        }
    }

    /// How many engines of organizations there are.
    #[cfg(test)]
    pub(super) fn n_own_engines(&self) -> usize {
        self.own.n_engines()
    }

    /// Measures rules by another clock and budget.
    #[cfg(test)]
    pub(super) fn measure_by(&mut self, clock: hidps_rules::Clock, budget: hidps_rules::Budget) {
        self.engine.measure(clock, budget);
    }

    /// Puts other rules in place of the present ones; what correlations have counted for rules
    /// that are the same goes on.
    pub fn use_rules(&mut self, rules: &LoadedRules) {
        self.engine.replace(rules.set.clone());
        self.engine.resume_all();
        self.rearming = Rearming::of(&rules.set);
        rules.set.hash().clone_into(&mut self.rule_set);
    }

    /// Tells what the rules have cost this worker, and in an alert what it cost whom.
    pub(super) fn report_costs(&mut self, costs: &RuleCosts, worker: usize) {
        for suspension in costs.report(worker, &mut self.engine) {
            if let Some(rule) = self.engine.rules().rule(&suspension.id) {
                self.raising.raise(suspension_alert(rule, &suspension));
            }
        }
    }

    /// Puts in force what organizations want now; windows of their rules that are the same go on.
    pub fn use_layers(&mut self, layers: Arc<Layers>) {
        self.own.keep(&layers);
        self.layers = layers;
    }

    /// Takes a batch in, or refuses it with a reason, and tells its connection which.
    pub fn on_batch(&mut self, batch: &RawBatch) {
        match parse_batch(&batch.text) {
            Ok(parsed) => {
                metrics::counter!(telemetry::EVENTS_RECEIVED).increment(parsed.events.len() as u64);
                self.count_lost(batch.agent_id, parsed.dropped);
                self.live.publish(batch.agent_id, &parsed.events);
                if let Some(seconds) = seconds_ahead(&parsed.events, Timestamp::now()) {
                    self.on_observation(batch.agent_id, Observation::ClockSkew { seconds });
                }
                self.engine.bill(Account(batch.org.0.as_u128()));
                let layer = self.layers.of(batch.agent_id).cloned();
                for event in &parsed.events {
                    let view = RuleView::of(event);
                    let heard = Some(batch.progress.as_ref());
                    self.try_rules(batch.agent_id, &view.event(), layer.as_ref(), heard);
                }
                batch.progress.taken(parsed.seq);
            }
            Err(reason) => {
                metrics::counter!(telemetry::FRAMES_REFUSED, "peer" => "agent").increment(1);
                batch.progress.refused(reason);
            }
        }
    }

    /// Adds what an agent says it lost since its last batch; it counts from its own start.
    fn count_lost(&mut self, agent: AgentId, total: u64) {
        let known = self
            .lost
            .insert(agent, total)
            .filter(|known| *known <= total);
        let news = total - known.unwrap_or(0);
        if news > 0 {
            metrics::counter!(telemetry::EVENTS_LOST).increment(news);
            tracing::warn!(%agent, events = news, "an agent lost events before it could send them");
        }
    }

    /// Takes in what the daemon itself observed.
    pub fn on_observation(&mut self, agent: AgentId, observation: Observation) {
        if let Observation::ClockSkew { seconds } = observation {
            if !self.clocks.is_news(agent, Instant::now()) {
                return;
            }
            tracing::warn!(%agent, seconds, "a host's clock is wrong");
        }
        let observed = ObservedEvent::of(observation);
        // Few and short: nobody has to pay for them.
        self.engine.bill(Account::default());
        let layer = self.layers.of(agent).cloned();
        self.try_rules(agent, &observed.event(), layer.as_ref(), None);
    }

    fn try_rules(
        &mut self,
        agent: AgentId,
        event: &Event<'_>,
        layer: Option<&Arc<OrgLayer>>,
        heard: Option<&dyn BatchProgress>,
    ) {
        let now_ms = Timestamp::now().as_millisecond();
        let scope = Scope(agent.uuid().as_u128());
        let Self {
            engine,
            own,
            raising,
            ..
        } = self;
        let context = Context {
            agent,
            message: event.message,
            fields: event.fields,
            now_ms,
            layer: layer.map(Arc::as_ref),
            rule_set: &self.rule_set,
            rearming: &[&self.rearming],
            label: None,
        };
        engine.observe(scope, event, now_ms, &mut |found| {
            if !layer.is_some_and(|layer| layer.replaces(&found.rule.id)) {
                let risk = raising.on_match(context, &found);
                tell(heard, &found, risk);
            }
        });
        let Some(layer) = layer else {
            return;
        };
        own.observe(
            layer,
            (scope, event, now_ms),
            &mut |found, rule_set, rearming| {
                let context = Context {
                    rule_set,
                    rearming: &[context.rearming, &[rearming]].concat(),
                    label: (!layer.replaces(&found.rule.id)).then_some(OWN_RULE),
                    ..context
                };
                let risk = raising.on_match(context, found);
                tell(heard, found, risk);
            },
        );
    }

    /// Raises the repeats whose time has come, or all of them, and tells what was counted.
    pub fn raise_due(&mut self, all: bool) {
        self.raising.raise_due(all);
    }
}

/// Tells whoever sent the batch of a match.
fn tell(heard: Option<&dyn BatchProgress>, found: &Match<'_>, risk: Option<u8>) {
    if let (Some(heard), Some(risk)) = (heard, risk) {
        heard.matched(&found.rule.id, &found.rule.title, risk);
    }
}

fn parse_batch(text: &str) -> Result<EventBatch<'_>, String> {
    let batch: EventBatch<'_> =
        decode(text, MAX_AGENT_FRAME_BYTES).map_err(|error: DecodeError| error.to_string())?;
    if batch.events.len() > MAX_EVENTS_PER_BATCH {
        return Err(format!(
            "a batch has more than {MAX_EVENTS_PER_BATCH} events"
        ));
    }
    if !batch.events.iter().all(LogEvent::is_within_limits) {
        return Err("an event has a text that is too long".to_owned());
    }
    Ok(batch)
}
