//! What rules cost the workers, and which were suspended for it, for metrics and `system_health`.
//! It never decides what costs too much; the engine does, and never keeps more than one count a rule.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hidps_rules::{Breadth, Budget, Counters, Engine, Suspension};
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

    /// Takes in what a worker's engine has counted; gives what it has suspended since the last time.
    pub(super) fn report(&self, worker: usize, engine: &mut Engine) -> Vec<Suspension> {
        let suspensions = engine.take_suspensions();
        for suspension in &suspensions {
            let breadth = breadth_name(suspension.breadth);
            metrics::counter!(telemetry::RULE_SUSPENSIONS, "for" => breadth).increment(1);
            tracing::error!(
                rule = %suspension.id, breadth, reason = %suspension.reason,
                pause_secs = suspension.pause_nanos / 1_000_000_000,
                "a rule costs too much and is not tried for a while; make it cheaper"
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
        suspensions
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
    /// The rules that some worker does not try for somebody, with the reason of the widest.
    fn list_suspended(&mut self, title_of: &dyn Fn(&str) -> Option<String>) -> Vec<SuspendedRule> {
        let mut found: BTreeMap<&str, BTreeMap<Breadth, (&str, usize)>> = BTreeMap::new();
        for counters in self.workers.values() {
            for hold in &counters.holds {
                let rule = found.entry(&hold.id).or_default();
                rule.entry(hold.breadth).or_insert((&hold.reason, 0)).1 += 1;
            }
        }
        self.since.retain(|id, _| found.contains_key(id.as_str()));
        let since = &mut self.since;
        let suspended = found.into_iter().map(|(id, breadths)| {
            let count = |is: fn(&Breadth) -> bool| breadths.keys().filter(|one| is(one)).count();
            // The widest is ordered last.
            let widest = breadths.last_key_value();
            SuspendedRule {
                id: id.to_owned(),
                title: title_of(id).unwrap_or_default(),
                reason: widest.map_or_else(String::new, |(_, (reason, _))| (*reason).to_owned()),
                since: *since.entry(id.to_owned()).or_insert_with(Timestamp::now),
                workers: breadths.get(&Breadth::All).map_or(0, |(_, n)| *n),
                organizations: count(|one| matches!(one, Breadth::Account(_))),
                agents: count(|one| matches!(one, Breadth::Scope(_))),
            }
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

/// For whom a rule is suspended, in a word.
pub(super) const fn breadth_name(breadth: Breadth) -> &'static str {
    match breadth {
        Breadth::Scope(_) => "agent",
        Breadth::Account(_) => "organization",
        Breadth::All => "all",
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
            try_nanos: 0,
            samples: 1,
            ..Budget::default()
        };
        dear.measure(nanos, budget);
        // A try may be shorter than the clock can tell.
        while dear.counters().holds.len() < 2 {
            observe(&mut dear, 1);
        }

        assert_eq!(costs.report(0, &mut dear).len(), 2);
        costs.report(1, &mut cheap);
        let told = health.suspended();
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(
            (told[0].id.as_str(), told[0].title.as_str()),
            ("r0", "Rule 0")
        );
        assert_eq!((told[0].workers, told[0].agents), (0, 1));
        assert!(!told[0].reason.is_empty());

        dear.resume_all();
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
