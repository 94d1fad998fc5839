//! From matches to alerts: what is on trial or kept quiet about is counted, what waits is left out,
//! and the rest is weighed, counted up and raised.
//! It never looks at an event beyond its fields, and never waits.

use std::sync::Arc;

use hidps_rules::{Match, Value};
use hidps_wire::AgentId;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::detection::alerting::{Finding, Weight};
use crate::detection::hysteresis::{Hysteresis, Rearming};
use crate::detection::repeats::Repeats;
use crate::detection::risk::{RiskBook, Seen};
use crate::detection::tally::Tally;
use crate::detection::tenants::{OrgLayer, Settings};
use crate::model::Alert;
use crate::ports::{AlertQueue, DetectionRecords};
use crate::telemetry;

/// Where one worker's matches go.
pub(super) struct Raising {
    repeats: Repeats,
    hysteresis: Hysteresis,
    risk: RiskBook,
    tally: Tally,
    alerts: Arc<dyn AlertQueue>,
    records: Arc<dyn DetectionRecords>,
}

/// What belongs to the event that matched.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    /// Where it happened.
    pub(super) agent: AgentId,
    /// The original text.
    pub(super) message: &'a str,
    /// Its fields.
    pub(super) fields: &'a [(&'a str, Value<'a>)],
    /// When it was taken in.
    pub(super) now_ms: i64,
    /// What the agent's organization wants.
    pub(super) layer: Option<&'a OrgLayer>,
    /// Hash of the rules that were tried.
    pub(super) rule_set: &'a str,
    /// Which rules arm which again.
    pub(super) rearming: &'a [&'a Rearming],
    /// The rule's name in metrics; what tenants write is no label.
    pub(super) label: Option<&'static str>,
}

impl Raising {
    /// Raises to these, and has seen nothing yet.
    pub(super) fn new(alerts: Arc<dyn AlertQueue>, records: Arc<dyn DetectionRecords>) -> Self {
        Self {
            repeats: Repeats::default(),
            hysteresis: Hysteresis::default(),
            risk: RiskBook::default(),
            tally: Tally::default(),
            alerts,
            records,
        }
    }

    /// Takes a match in; gives the risk of one that somebody is to hear of.
    pub(super) fn on_match(&mut self, context: Context<'_>, found: &Match<'_>) -> Option<u8> {
        let (rule, agent) = (found.rule, context.agent);
        let label = || match context.label {
            Some(label) => label.to_owned(),
            None => rule.id.clone(),
        };
        metrics::counter!(telemetry::DETECTIONS, "rule" => label()).increment(1);
        let group = &found.group_key;
        self.hysteresis.rearm(agent, rule, group, context.rearming);
        let settings = context
            .layer
            .map_or_else(Settings::default, |layer| layer.settings_of(rule));
        if settings.enabled == Some(false) {
            return None;
        }
        if settings.shadow.unwrap_or(rule.shadow) {
            metrics::counter!(telemetry::SHADOW_MATCHES, "rule" => label()).increment(1);
            self.tally.count_shadow(agent, rule);
            return None;
        }
        let silence = context
            .layer
            .and_then(|layer| layer.silence_of(agent, &rule.id, context.fields));
        if let Some(silence) = silence {
            metrics::counter!(telemetry::SUPPRESSED).increment(1);
            self.tally.count_suppressed(silence, agent);
            return None;
        }
        if !self.hysteresis.may_raise(agent, rule, group) {
            return None;
        }
        let weight = Weight::of(rule, settings.level);
        let seen = Seen {
            rule_id: &rule.id,
            group,
            title: &rule.title,
            risk: weight.risk,
        };
        self.risk.add(agent, &seen, context.now_ms);
        let finding = Finding::new(agent, found, context.message, context.rule_set, weight);
        let alert = finding.and_then(|finding| self.repeats.on_finding(finding, Instant::now()));
        if let Some(alert) = alert {
            self.alerts.raise(alert);
        }
        Some(weight.risk)
    }

    /// Raises what needs no count: it is rare by itself.
    pub(super) fn raise(&self, alert: Alert) {
        self.alerts.raise(alert);
    }

    /// Raises the repeats whose time has come, or all of them, and hands on what was counted.
    pub(super) fn raise_due(&mut self, all: bool) {
        for alert in self.repeats.poll_due(Instant::now(), all) {
            self.alerts.raise(alert);
        }
        let (shadow, suppressed) = self.tally.take();
        if !shadow.is_empty() {
            self.records.shadow_matches(shadow);
        }
        if !suppressed.is_empty() {
            self.records.suppressed(suppressed);
        }
        let risk = self.risk.poll_changed(Timestamp::now().as_millisecond());
        if !risk.is_empty() {
            self.records.risk(risk);
        }
        self.hysteresis.tidy();
    }
}
