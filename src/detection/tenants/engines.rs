//! The engines of one worker for what organizations have of their own, one each and made when it is
//! first needed. It never lets the state of one organization grow at the cost of another's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hidps_rules::{Engine, Event, Limits, Match, RuleSet, Scope};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::detection::hysteresis::Rearming;
use crate::detection::tenants::layer::{Layers, OrgLayer};
use crate::model::OrgId;

/// Most entries in the windows of all organizations together on one worker: some 200 MiB at the very
/// worst.
const ENTRIES_IN_ALL: usize = 2_000_000;

/// Bounds that all windows of one organization share on one worker, whatever the number of its rules
/// and agents: some 20 MiB at the very worst. Where there are many organizations it has less.
const LIMITS: Limits = Limits {
    groups_per_scope: 512,
    groups_per_rule: 8_192,
    entries_per_group: 1_024,
    entries_per_rule: 100_000,
    groups_in_all: 16_384,
    entries_in_all: 200_000,
    excerpt_chars: 256,
    excerpts: 16,
};

/// Time over which an organization's cost is looked at.
const COST_WINDOW: Duration = Duration::from_secs(10);

/// Most time within it that one organization's own rules may take of one worker, unless its events
/// are merely many.
const COST_LIMIT: Duration = Duration::from_secs(2);

/// Least mean time of an event from which its rules are at fault: a hundred times what all built-in
/// rules together take.
const COST_PER_EVENT: Duration = Duration::from_micros(100);

/// An organization's rules took too much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::detection) struct CostReport {
    /// The organization.
    pub(in crate::detection) org: OrgId,
    /// Hash of the rules.
    pub(in crate::detection) rule_set: String,
    /// What they took, in a sentence.
    pub(in crate::detection) reason: String,
}

/// The engines of one worker.
#[derive(Debug)]
pub(in crate::detection) struct OrgEngines {
    engines: HashMap<OrgId, OrgEngine>,
    costs: mpsc::Sender<CostReport>,
    limits: Limits,
}

/// The engine of one organization.
#[derive(Debug)]
struct OrgEngine {
    layer: Arc<OrgLayer>,
    engine: Engine,
    rearming: Rearming,
    cost: Cost,
    is_reported: bool,
}

/// What to hand every match to, with the rules it came from.
pub(in crate::detection) type OnOwnMatch<'a> = dyn FnMut(&Match<'_>, &str, &Rearming) + 'a;

impl OrgEngines {
    /// No engine yet; costs are told to this.
    pub(in crate::detection) fn new(costs: mpsc::Sender<CostReport>) -> Self {
        Self {
            engines: HashMap::new(),
            costs,
            limits: LIMITS,
        }
    }

    /// Forgets the engines of organizations that have no rules in force any more: none of their own,
    /// no agent, or suspended ones. The others share what all may hold.
    pub(in crate::detection) fn keep(&mut self, layers: &Layers) {
        self.engines.retain(|org, _| layers.has(*org));
        self.limits = share(layers.n_with_rules());
        for own in self.engines.values_mut() {
            own.engine.set_limits(self.limits);
        }
    }

    /// How many engines there are.
    #[cfg(test)]
    pub(in crate::detection) fn n_engines(&self) -> usize {
        self.engines.len()
    }

    /// Tries an organization's own rules on an event.
    pub(in crate::detection) fn observe(
        &mut self,
        layer: &Arc<OrgLayer>,
        (scope, event, now_ms): (Scope, &Event<'_>, i64),
        on_match: &mut OnOwnMatch<'_>,
    ) {
        let (Some(org), Some(set)) = (layer.org, layer.set()) else {
            return;
        };
        let own = self
            .engines
            .entry(org)
            .or_insert_with(|| OrgEngine::new(layer, set, self.limits));
        own.follow(layer, set);
        let OrgEngine {
            engine, rearming, ..
        } = own;
        let began = Instant::now();
        engine.observe(scope, event, now_ms, &mut |found| {
            on_match(&found, set.hash(), rearming);
        });
        let now = Instant::now();
        let excess = own.cost.add(now, now.saturating_duration_since(began));
        if let Some(reason) = excess
            && !own.is_reported
        {
            let report = CostReport {
                org,
                rule_set: set.hash().to_owned(),
                reason,
            };
            // A full queue is asked again with the next window.
            own.is_reported = self.costs.try_send(report).is_ok();
        }
    }
}

/// What one of so many organizations may hold.
fn share(n_orgs: usize) -> Limits {
    let entries_in_all = (ENTRIES_IN_ALL / n_orgs.max(1)).min(LIMITS.entries_in_all);
    Limits {
        entries_in_all,
        groups_in_all: entries_in_all.min(LIMITS.groups_in_all),
        ..LIMITS
    }
}

impl OrgEngine {
    fn new(layer: &Arc<OrgLayer>, set: &RuleSet, limits: Limits) -> Self {
        Self {
            layer: Arc::clone(layer),
            engine: Engine::new(set.clone(), limits),
            rearming: Rearming::of(set),
            cost: Cost::default(),
            is_reported: false,
        }
    }

    /// Takes over another layer; windows of rules that are the same go on.
    fn follow(&mut self, layer: &Arc<OrgLayer>, set: &RuleSet) {
        if Arc::ptr_eq(&self.layer, layer) {
            return;
        }
        self.layer = Arc::clone(layer);
        if self.engine.rules().hash() == set.hash() {
            return;
        }
        self.engine.replace(set.clone());
        self.rearming = Rearming::of(set);
        self.cost = Cost::default();
        self.is_reported = false;
    }
}

/// What an organization's own rules took lately.
#[derive(Debug, Default)]
struct Cost {
    window_end: Option<Instant>,
    spent: Duration,
    events: u32,
}

impl Cost {
    /// Adds one event; says why it is too much, if it is.
    fn add(&mut self, now: Instant, took: Duration) -> Option<String> {
        if self.window_end.is_none_or(|end| now >= end) {
            *self = Self {
                window_end: Some(now + COST_WINDOW),
                ..Self::default()
            };
        }
        self.spent += took;
        self.events = self.events.saturating_add(1);
        let per_event = self.spent / self.events;
        let is_too_much = self.spent > COST_LIMIT && per_event > COST_PER_EVENT;
        is_too_much.then(|| {
            format!(
                "the organization's rules took {} ms for {} events within {} s; an event may take \
                 {} µs of them on average: make them cheaper",
                self.spent.as_millis(),
                self.events,
                COST_WINDOW.as_secs(),
                COST_PER_EVENT.as_micros(),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of events of this length, one every so often.
    fn said(took: Duration, every: Duration, n: u32) -> Option<String> {
        let (mut cost, begin) = (Cost::default(), Instant::now());
        (0..n).find_map(|i| cost.add(begin + every * i, took))
    }

    #[tokio::test(start_paused = true)]
    async fn rules_that_take_long_are_reported_and_many_cheap_events_are_not() {
        let slow = said(Duration::from_millis(10), Duration::from_millis(20), 1_000);
        let many = said(
            Duration::from_micros(50),
            Duration::from_micros(50),
            1_000_000,
        );
        let rare = said(Duration::from_millis(10), Duration::from_secs(1), 10_000);

        assert!(slow.is_some_and(|reason| reason.contains("201 events")));
        assert_eq!(many, None);
        assert_eq!(rare, None);
    }
}
