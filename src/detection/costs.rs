//! What rules cost the workers, and which were suspended for it, for metrics and `system_health`.
//! It never decides what costs too much; the engine does, and never keeps more than one count a rule.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hidps_rules::{Budget, Counters, Engine};
use jiff::Timestamp;

use crate::health::{Health, SuspendedRule};
use crate::telemetry;

/// Rules whose cost is told: the dearest ones, so that series stay few however many rules there are.
const TOLD: usize = 10;

/// Time between two reports of one worker.
pub(super) const REPORT_EVERY: Duration = Duration::from_secs(2);

/// When this process began to count.
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds since this process began to count.
fn nanos() -> u64 {
    u64::try_from(BEGUN.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Lets an engine measure its rules and suspend those that cost too much.
pub(super) fn measure(engine: &mut Engine) {
    engine.measure(nanos, Budget::default());
}

/// Tries all rules again that were suspended; whoever changed the rules has seen why.
pub(super) fn resume_all(engine: &mut Engine) {
    let counters = engine.counters();
    let suspended: Vec<String> = counters.suspended().map(|(id, _)| id.to_owned()).collect();
    for id in suspended {
        engine.resume(&id);
    }
}

/// The counts of all workers.
#[derive(Debug)]
pub struct RuleCosts {
    health: Arc<Health>,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    workers: BTreeMap<usize, Counters>,
    /// When each suspended rule was first seen to be.
    since: BTreeMap<String, Timestamp>,
}

impl RuleCosts {
    /// Nothing was counted yet.
    #[must_use]
    pub fn new(health: Arc<Health>) -> Self {
        Self {
            health,
            counts: Mutex::default(),
        }
    }

    /// Takes in what a worker's engine has counted.
    pub(super) fn report(&self, worker: usize, engine: &mut Engine) {
        for suspension in engine.take_suspensions() {
            let title = engine.rules().rule(&suspension.id).map(|rule| &rule.title);
            tracing::error!(
                rule = %suspension.id, title, reason = %suspension.reason,
                "a rule costs too much and is not tried any more; make it cheaper, or load the \
                 rules again to try it again"
            );
        }
        let counters = engine.counters();
        let title_of = |id: &str| engine.rules().rule(id).map(|rule| rule.title.clone());
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.workers.insert(worker, counters);
        let suspended = counts.list_suspended(&title_of);
        counts.measure(suspended.len());
        drop(counts);
        self.health.set_suspended(suspended);
    }

    /// What the dearest rules have cost, in Prometheus' text form. It is written here and not
    /// recorded, so that rules that were dear once do not stay as series.
    #[must_use]
    pub fn render(&self) -> String {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let name = telemetry::RULE_SECONDS;
        let mut text = format!("# TYPE {name} counter\n");
        for (id, seconds) in counts.dearest() {
            // What a label may not hold as it is.
            let id = id.replace('\\', "\\\\").replace('"', "\\\"");
            let id = id.replace('\n', "\\n");
            writeln!(text, "{name}{{rule=\"{id}\"}} {seconds}").expect("a string takes everything");
        }
        text
    }
}

impl Counts {
    /// The rules that some worker does not try, with the reason of the first.
    fn list_suspended(&mut self, title_of: &dyn Fn(&str) -> Option<String>) -> Vec<SuspendedRule> {
        let mut found: BTreeMap<String, (String, usize)> = BTreeMap::new();
        for counters in self.workers.values() {
            for (id, reason) in counters.suspended() {
                let entry = found.entry(id.to_owned()).or_insert((reason.to_owned(), 0));
                entry.1 += 1;
            }
        }
        let ids: BTreeSet<&String> = found.keys().collect();
        self.since.retain(|id, _| ids.contains(id));
        let n_workers = self.workers.len();
        let since = &mut self.since;
        let suspended = found.into_iter().map(|(id, (reason, n))| SuspendedRule {
            title: title_of(&id).unwrap_or_default(),
            since: *since.entry(id.clone()).or_insert_with(Timestamp::now),
            everywhere: n == n_workers,
            reason,
            id,
        });
        suspended.collect()
    }

    /// The rules that cost most, in seconds, the dearest first.
    fn dearest(&self) -> Vec<(&str, f64)> {
        let mut spent: BTreeMap<&str, u64> = BTreeMap::new();
        for counters in self.workers.values() {
            for (id, rule) in &counters.rules {
                *spent.entry(id).or_default() += rule.spent_nanos;
            }
        }
        let mut spent: Vec<_> = spent.into_iter().filter(|(_, nanos)| *nanos > 0).collect();
        spent.sort_by_key(|(id, nanos)| (std::cmp::Reverse(*nanos), *id));
        let told = spent.into_iter().take(TOLD);
        told.map(|(id, nanos)| (id, Duration::from_nanos(nanos).as_secs_f64()))
            .collect()
    }

    fn measure(&self, n_suspended: usize) {
        let sum = |count: fn(&Counters) -> u64| self.workers.values().map(count).sum::<u64>();
        let n_windows: usize = self.workers.values().map(|one| one.windows).sum();
        #[expect(clippy::cast_precision_loss, reason = "bounded far below 2^52")]
        metrics::gauge!(telemetry::RULES_SUSPENDED).set(n_suspended as f64);
        #[expect(clippy::cast_precision_loss, reason = "bounded far below 2^52")]
        metrics::gauge!(telemetry::WINDOWS).set(n_windows as f64);
        for (what, total) in [
            ("windows", sum(|one| one.evictions.groups)),
            ("entries", sum(|one| one.evictions.entries)),
        ] {
            metrics::counter!(telemetry::EVICTIONS, "what" => what).absolute(total);
        }
        for (why, total) in [
            ("no_group", sum(|one| one.ungrouped)),
            ("no_value", sum(|one| one.without_value)),
        ] {
            metrics::counter!(telemetry::UNCOUNTED, "why" => why).absolute(total);
        }
        metrics::counter!(telemetry::LONG_VALUES).absolute(sum(|one| one.long_values));
    }
}

#[cfg(test)]
mod tests {
    use hidps_rules::{Event, Limits, LogSource, RuleFile, RuleSet, Scope, Value};

    use super::*;

    /// An engine over this many rules about a user, each with its number as id.
    fn engine(n_rules: usize) -> Engine {
        let texts: Vec<String> = (0..n_rules)
            .map(|n| {
                format!(
                    "title: Rule {n}\nid: r{n}\nlogsource: {{product: linux}}\n\
                     detection: {{s: {{user: u}}, condition: s}}\n"
                )
            })
            .collect();
        let names: Vec<String> = (0..n_rules).map(|n| format!("{n}.yml")).collect();
        let files: Vec<RuleFile<'_>> = names
            .iter()
            .zip(&texts)
            .map(|(name, text)| RuleFile { name, text })
            .collect();
        let set = RuleSet::compile(&files).expect("they compile");
        Engine::new(set, Limits::default())
    }

    fn observe(engine: &mut Engine, times: usize) {
        let event = Event {
            logsource: LogSource {
                product: Some("linux"),
                ..LogSource::default()
            },
            message: "",
            fields: &[("user", Value::Str("u"))],
        };
        for _ in 0..times {
            engine.observe(Scope(1), &event, 0, &mut |_| {});
        }
    }

    #[test]
    fn a_rule_that_costs_too_much_is_told_until_it_is_tried_again() {
        let health = Arc::new(Health::default());
        let costs = RuleCosts::new(Arc::clone(&health));
        let (mut dear, mut cheap) = (engine(2), engine(2));
        let budget = Budget {
            every_events: 1,
            rule_nanos: 0,
            samples: 1,
            ..Budget::default()
        };
        dear.measure(nanos, budget);
        // A try may be shorter than the clock can tell.
        while dear.counters().suspended().count() < 2 {
            observe(&mut dear, 1);
        }

        costs.report(0, &mut dear);
        costs.report(1, &mut cheap);
        let told = health.suspended();
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(
            (told[0].id.as_str(), told[0].title.as_str()),
            ("r0", "Rule 0")
        );
        assert!(!told[0].everywhere, "the other worker tries it");
        assert!(!told[0].reason.is_empty());

        resume_all(&mut dear);
        costs.report(0, &mut dear);
        assert!(health.suspended().is_empty());
    }

    #[test]
    fn only_the_dearest_rules_are_told_with_what_they_cost() {
        let costs = RuleCosts::new(Arc::new(Health::default()));
        let mut engine = engine(30);
        engine.measure(
            nanos,
            Budget {
                every_events: 1,
                ..Budget::default()
            },
        );
        observe(&mut engine, 1_000);

        costs.report(0, &mut engine);

        let text = costs.render();
        let told = text
            .lines()
            .filter(|line| line.starts_with("hidps_rule_seconds_total{"));
        assert_eq!(told.count(), TOLD, "{text}");
    }
}
