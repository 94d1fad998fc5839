//! The engine: one event in, the matches of all rules out.
//! It never reads a clock, never does I/O and never mixes the windows of two scopes.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

use crate::breaker::{self, Budget, Clock, Meter, Spending, Suspension};
use crate::correlation::correlate::{Correlator, Progress};
use crate::counters::{Counters, RuleCounters};
use crate::event::{Event, LogSource, Scope};
use crate::found::{Match, collect_match};
use crate::limits::Limits;
use crate::rule_set::{Rule, RuleSet};
use crate::search::json::{EventError, load_json};
use crate::search::prefilter::Candidates;
use crate::search::view::{FieldTable, Scratch, View};

/// Tries rules on events and remembers what correlations need.
#[derive(Debug)]
pub struct Engine {
    pub(crate) rules: RuleSet,
    limits: Limits,
    tallies: Vec<Tally>,
    pub(crate) correlator: Correlator,
    scratch: Scratch,
    candidates: Candidates,
    /// Rules over single events that matched the event at hand.
    hits: Vec<usize>,
    n_events: u64,
    n_matches: u64,
    n_long_values: u64,
    reports_joined_rules: bool,
    /// Measures rules, once somebody has brought a clock.
    meter: Option<Meter>,
    /// Suspensions by the meter that nobody has taken yet.
    suspensions: Vec<Suspension>,
}

/// What is counted for one rule.
#[derive(Clone, Default, Debug)]
struct Tally {
    hits: u64,
    tries: u64,
    spending: Spending,
    suspended: Option<String>,
}

impl Tally {
    /// Ends a measured try of its rule; answers the suspension if that was one too dear.
    fn charge(&mut self, meter: &mut Meter, rule: &Rule) -> Option<Suspension> {
        let (spent_nanos, window_nanos) = meter.charge(&mut self.spending)?;
        let reason = breaker::reason(spent_nanos, window_nanos);
        self.suspended = Some(reason.clone());
        Some(Suspension {
            id: rule.info.id.clone(),
            reason,
            spent_nanos,
            window_nanos,
        })
    }
}

impl Engine {
    /// An engine that has seen nothing yet.
    #[must_use]
    pub fn new(rules: RuleSet, limits: Limits) -> Self {
        let n_rules = rules.rules.len();
        Self {
            rules,
            limits,
            tallies: vec![Tally::default(); n_rules],
            correlator: Correlator::new(n_rules),
            scratch: Scratch::default(),
            candidates: Candidates::default(),
            hits: Vec::new(),
            n_events: 0,
            n_matches: 0,
            n_long_values: 0,
            reports_joined_rules: false,
            meter: None,
            suspensions: Vec::new(),
        }
    }

    /// Makes rules report that a correlation keeps silent, so that their tests can see them.
    pub(crate) fn report_joined_rules(&mut self) {
        self.reports_joined_rules = true;
    }

    /// Measures from now on what rules cost, and suspends those that cost more than the budget.
    ///
    /// The engine reads the clock for one event in [`Budget::every_events`] only.
    pub fn measure(&mut self, clock: Clock, budget: Budget) {
        self.meter = Some(Meter::new(clock, budget));
    }

    /// The suspensions by [`Self::measure`] since the last call; [`Self::resume`] ends one.
    pub fn take_suspensions(&mut self) -> Vec<Suspension> {
        std::mem::take(&mut self.suspensions)
    }

    /// Tries all rules on an event and hands every match to `on_match`.
    ///
    /// `now_ms` is the time of the event. Within a window time never goes back: an event from the
    /// past counts as now, and one from before the window starts the window anew.
    pub fn observe(
        &mut self,
        scope: Scope,
        event: &Event<'_>,
        now_ms: i64,
        on_match: &mut dyn FnMut(Match<'_>),
    ) {
        let load = |scratch: &mut Scratch, fields: &FieldTable, whole| {
            scratch.load(event, fields, whole);
            Ok::<(), Infallible>(())
        };
        match self.match_event(event.logsource, load) {
            Ok(()) => self.report(scope, now_ms, on_match),
            Err(never) => match never {},
        }
    }

    /// Tries all rules on an event that is a JSON object, read straight into place.
    ///
    /// It is [`Self::observe`] of an event whose fields are those of the object: the names of
    /// nested objects are joined by dots, an array is several values of one name, null is an
    /// absent value, and keywords search every text.
    ///
    /// # Errors
    /// When the text is not one JSON object; nothing is matched or counted then. The text of an
    /// event to which no rule applies is not read.
    pub fn observe_json(
        &mut self,
        scope: Scope,
        logsource: LogSource<'_>,
        json: &str,
        now_ms: i64,
        on_match: &mut dyn FnMut(Match<'_>),
    ) -> Result<(), EventError> {
        self.match_event(logsource, |scratch, fields, whole| {
            load_json(scratch, json, fields, whole)
        })?;
        self.report(scope, now_ms, on_match);
        Ok(())
    }

    /// Hands out the matches of the event at hand and feeds them to correlations.
    fn report(&mut self, scope: Scope, now_ms: i64, on_match: &mut dyn FnMut(Match<'_>)) {
        if self.hits.is_empty() {
            return;
        }
        let Self {
            rules,
            tallies,
            correlator,
            n_matches,
            ..
        } = self;
        let view = View::new(&self.scratch, &rules.fields);
        for number in &self.hits {
            let Some(rule) = rules.rules.get(*number) else {
                continue;
            };
            count_hit(tallies, *number);
            if rule.is_reported || self.reports_joined_rules {
                *n_matches += 1;
                on_match(collect_match(rule, &rules.fields, view, &self.limits));
            }
            correlator.feed(&rule.feeds);
        }
        self.report_correlations(scope, now_ms, on_match);
    }

    /// Counts what correlations were fed, and hands out their matches.
    fn report_correlations(
        &mut self,
        scope: Scope,
        now_ms: i64,
        on_match: &mut dyn FnMut(Match<'_>),
    ) {
        let Self {
            rules,
            tallies,
            n_matches,
            ..
        } = self;
        let step = Step {
            scope,
            now_ms,
            event: self.n_events,
        };
        let view = View::new(&self.scratch, &rules.fields);
        let mut meter = self.meter.as_mut().and_then(Meter::go_on);
        let mut dear = Vec::new();
        self.correlator.run(
            rules,
            &self.limits,
            step,
            view,
            &mut |progress| match progress {
                Progress::Counted(number) => {
                    let charged = meter
                        .as_mut()
                        .zip(tallies.get_mut(number).zip(rules.rules.get(number)));
                    let suspension =
                        charged.and_then(|(meter, (tally, rule))| tally.charge(meter, rule));
                    dear.extend(suspension.map(|suspension| (number, suspension)));
                }
                Progress::Fired(number, rule, found) => {
                    count_hit(tallies, number);
                    if rule.is_reported || self.reports_joined_rules {
                        *n_matches += 1;
                        on_match(found);
                    }
                    if let Some(meter) = &mut meter {
                        meter.go_on();
                    }
                }
            },
        );
        for (number, suspension) in dear {
            self.correlator.set_suspended(number, true);
            self.suspensions.push(suspension);
        }
    }

    /// Finds the rules over single events that match what `load` lays out.
    fn match_event<E>(
        &mut self,
        logsource: LogSource<'_>,
        load: impl FnOnce(&mut Scratch, &FieldTable, bool) -> Result<(), E>,
    ) -> Result<(), E> {
        self.hits.clear();
        let RuleSet {
            rules,
            fields,
            router,
            ..
        } = &mut self.rules;
        let bucket = router.route(logsource, rules);
        if bucket.rules.is_empty() {
            self.n_events += 1;
            return Ok(());
        }
        load(&mut self.scratch, fields, bucket.has_keywords)?;
        self.n_events += 1;
        self.n_long_values += self.scratch.n_long_values();
        let mut meter = self.meter.as_mut().and_then(Meter::begin);
        let view = View::new(&self.scratch, fields);
        bucket.prefilter.find(view, &mut self.candidates);
        for number in self
            .candidates
            .iter()
            .filter_map(|index| bucket.rules.get(index))
        {
            let (Some(rule), Some(tally)) = (rules.get(*number), self.tallies.get_mut(*number))
            else {
                continue;
            };
            let Some(detection) = rule.detection().filter(|_| tally.suspended.is_none()) else {
                continue;
            };
            tally.tries += 1;
            if detection.condition.holds(&detection.selections, view) {
                self.hits.push(*number);
            }
            let suspension = meter.as_mut().and_then(|meter| tally.charge(meter, rule));
            if let Some(suspension) = suspension {
                self.correlator.set_suspended(*number, true);
                self.suspensions.push(suspension);
            }
        }
        Ok(())
    }

    /// Puts other rules in place of the present ones; windows, hits and suspensions of rules whose
    /// content is unchanged go on.
    pub fn replace(&mut self, rules: RuleSet) {
        let numbers: HashMap<&str, usize> = self
            .rules
            .rules
            .iter()
            .enumerate()
            .map(|(number, rule)| (rule.fingerprint.as_str(), number))
            .collect();
        let kept: Vec<Option<usize>> = rules
            .rules
            .iter()
            .map(|rule| numbers.get(rule.fingerprint.as_str()).copied())
            .collect();
        self.tallies = kept
            .iter()
            .map(|old| {
                let tally = old.and_then(|old| self.tallies.get(old));
                tally.cloned().unwrap_or_default()
            })
            .collect();
        self.correlator.keep(&kept);
        self.rules = rules;
    }

    /// The present rules.
    #[must_use]
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// What the next event would belong to.
    pub(crate) fn next_step(&self, scope: Scope, now_ms: i64) -> Step {
        Step {
            scope,
            now_ms,
            event: self.n_events + 1,
        }
    }

    /// The bounds it keeps.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Why the rule of this number is not tried, if it is suspended.
    pub(crate) fn suspension(&self, number: usize) -> Option<&str> {
        self.tallies.get(number)?.suspended.as_deref()
    }

    /// Stops trying a rule, for a reason that the counters show; answers whether there is one.
    pub fn suspend(&mut self, id: &str, reason: &str) -> bool {
        self.set_suspended(id, Some(reason.to_owned()))
    }

    /// Tries a suspended rule again; answers whether there is one.
    pub fn resume(&mut self, id: &str) -> bool {
        self.set_suspended(id, None)
    }

    /// Sets or clears a suspension.
    fn set_suspended(&mut self, id: &str, reason: Option<String>) -> bool {
        let number = self.rules.rules.iter().position(|rule| rule.info.id == id);
        let tally = number.and_then(|number| self.tallies.get_mut(number));
        let is_known = tally.is_some();
        if let (Some(tally), Some(number)) = (tally, number) {
            self.correlator.set_suspended(number, reason.is_some());
            tally.suspended = reason;
            tally.spending.begin_anew();
        }
        is_known
    }

    /// Forgets the windows of a scope, for an agent that is gone for good.
    pub fn forget(&mut self, scope: Scope) {
        self.correlator.forget(scope);
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let rules = self.rules.rules.iter().zip(&self.tallies);
        let mut counters = Counters {
            events: self.n_events,
            matches: self.n_matches,
            windows: self.correlator.n_windows(),
            evictions: self.correlator.evictions(),
            ungrouped: self.correlator.n_ungrouped(),
            without_value: self.correlator.n_without_value(),
            long_values: self.n_long_values,
            rules: BTreeMap::new(),
        };
        for (rule, tally) in rules {
            let counted = RuleCounters {
                hits: tally.hits,
                tries: tally.tries,
                spent_nanos: tally.spending.nanos,
                suspended: tally.suspended.clone(),
            };
            counters.rules.insert(rule.info.id.clone(), counted);
        }
        counters
    }
}

/// What belongs to one call of `observe`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// Whose windows.
    pub(crate) scope: Scope,
    /// The time of the event.
    pub(crate) now_ms: i64,
    /// The running number of the event, from one.
    pub(crate) event: u64,
}

/// Counts a match of a rule, reported or not.
fn count_hit(tallies: &mut [Tally], number: usize) {
    if let Some(tally) = tallies.get_mut(number) {
        tally.hits += 1;
    }
}
