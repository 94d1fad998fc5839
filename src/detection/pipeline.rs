//! What happens to a batch: parsed once, shown to viewers, tried by the rules, alerts raised.
//! It never waits and never keeps an event.

use std::collections::HashMap;
use std::sync::Arc;

use hidps_rules::{Engine, Event, Limits, Scope};
use hidps_wire::{
    AgentId, DecodeError, EventBatch, LogEvent, MAX_AGENT_FRAME_BYTES, MAX_EVENTS_PER_BATCH, decode,
};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::detection::alerting::Finding;
use crate::detection::clock_watch::{ClockWatch, seconds_ahead};
use crate::detection::costs::{self, RuleCosts};
use crate::detection::event::RuleView;
use crate::detection::observation::ObservedEvent;
use crate::detection::repeats::Repeats;
use crate::detection::rule_check::LoadedRules;
use crate::model::Observation;
use crate::ports::{AlertQueue, LiveLog, RawBatch};
use crate::telemetry;

/// The pipeline of one worker.
pub struct Pipeline {
    engine: Engine,
    rule_set: String,
    repeats: Repeats,
    lost: HashMap<AgentId, u64>,
    clocks: ClockWatch,
    live: Arc<dyn LiveLog>,
    alerts: Arc<dyn AlertQueue>,
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
    pub fn new(rules: &LoadedRules, live: Arc<dyn LiveLog>, alerts: Arc<dyn AlertQueue>) -> Self {
        let mut engine = Engine::new(rules.set.clone(), Limits::default());
        costs::measure(&mut engine);
        let rule_set = rules.set.hash().to_owned();
        Self {
            engine,
            rule_set,
            repeats: Repeats::default(),
            lost: HashMap::new(),
            clocks: ClockWatch::default(),
            live,
            alerts,
        }
    }

    /// Puts other rules in place of the present ones; what correlations have counted for rules
    /// that are the same goes on.
    pub fn use_rules(&mut self, rules: &LoadedRules) {
        self.engine.replace(rules.set.clone());
        costs::resume_all(&mut self.engine);
        rules.set.hash().clone_into(&mut self.rule_set);
    }

    /// Tells what the rules have cost this worker.
    pub(super) fn report_costs(&mut self, costs: &RuleCosts, worker: usize) {
        costs.report(worker, &mut self.engine);
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
                for event in &parsed.events {
                    let view = RuleView::of(event);
                    self.try_rules(batch.agent_id, &view.event());
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
        self.try_rules(agent, &observed.event());
    }

    fn try_rules(&mut self, agent: AgentId, event: &Event<'_>) {
        let (now_ms, now) = (Timestamp::now().as_millisecond(), Instant::now());
        let (repeats, rule_set, alerts) = (&mut self.repeats, &self.rule_set, &self.alerts);
        let scope = Scope(agent.uuid().as_u128());
        self.engine.observe(scope, event, now_ms, &mut |found| {
            metrics::counter!(telemetry::DETECTIONS, "rule" => found.rule.id.clone()).increment(1);
            let finding = Finding::new(agent, &found, event.message, rule_set);
            if let Some(alert) = finding.and_then(|finding| repeats.on_finding(finding, now)) {
                alerts.raise(alert);
            }
        });
    }

    /// Raises the repeats whose time has come, or all of them.
    pub fn raise_due(&mut self, all: bool) {
        for alert in self.repeats.poll_due(Instant::now(), all) {
            self.alerts.raise(alert);
        }
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
