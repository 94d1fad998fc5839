//! The engine: one event in, the matches of all rules out.
//! It never reads a clock, never does I/O and never mixes the windows of two scopes.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

use crate::breaker::holds::Holds;
use crate::breaker::{self, Account, Budget, Clock, Excess, Meter, Spending, Suspension, Who};
use crate::correlation::correlate::{Correlator, Progress};
use crate::counters::{Counters, RuleCounters, RuleHold};
use crate::event::{Event, LogSource, Scope};
use crate::found::{Match, collect_match, list_partly_read};
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
    /// Which rules the meter keeps from being tried, and for whom.
    holds: Holds,
    /// Who pays for the events at hand, beside their scope.
    account: Account,
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
            holds: Holds::default(),
            account: Account::default(),
            suspensions: Vec::new(),
        }
    }

    /// Makes rules report that a correlation keeps silent, so that their tests can see them.
    pub(crate) fn report_joined_rules(&mut self) {
        self.reports_joined_rules = true;
    }

    /// Measures from now on what rules cost, and suspends those that cost more than the budget, for
    /// whoever makes them cost it. A suspension ends by itself; a rule that is too dear again is
    /// suspended for twice as long.
    ///
    /// The engine reads the clock for one event in [`Budget::every_events`] only.
    pub fn measure(&mut self, clock: Clock, budget: Budget) {
        self.meter = Some(Meter::new(clock, budget));
    }

    /// Says who pays for the events that follow; nobody in particular at first.
    pub fn bill(&mut self, account: Account) {
        self.account = account;
    }

    /// The suspensions by [`Self::measure`] since the last call; [`Self::resume`] ends one at once.
    pub fn take_suspensions(&mut self) -> Vec<Suspension> {
        if let Some(now) = self.meter.as_ref().map(Meter::now) {
            self.end_holds(now);
        }
        std::mem::take(&mut self.suspensions)
    }

    /// Ends the suspensions whose time is over.
    fn end_holds(&mut self, now: u64) {
        for held in self.holds.end_due(now) {
            if let Some(meter) = &mut self.meter {
                meter.forget(&held);
            }
            if let Some(tally) = self.tallies.get_mut(held.0) {
                tally.spending.begin_anew();
            }
        }
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
        match self.match_event(scope, event.logsource, load) {
            Ok(()) => self.report(scope, now_ms, on_match),
            Err(never) => match never {},
        }
    }

    /// Tries all rules on an event that is a JSON object, read straight into place.
    ///
    /// It is [`Self::observe`] of an event whose fields are those of the object: the names of
    /// nested objects are joined by dots, an array is several values of one name, null is no
    /// value, and keywords search every text. Only `exists` tells a field that is null from one
    /// that is not there.
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
        self.match_event(scope, logsource, |scratch, fields, whole| {
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
            account: self.account,
            now_ms,
            event: self.n_events,
        };
        let bounds = Bounds {
            limits: &self.limits,
            holds: &self.holds,
        };
        let view = View::new(&self.scratch, &rules.fields);
        let mut meter = self.meter.as_mut().and_then(Meter::go_on);
        let mut dear = Vec::new();
        self.correlator
            .run(rules, bounds, step, view, &mut |progress| match progress {
                Progress::Counted(number) => {
                    let charged = meter.as_mut().zip(tallies.get_mut(number));
                    let excess = charged.and_then(|(meter, tally)| {
                        meter.charge(number, &mut tally.spending, step.who(), &self.holds)
                    });
                    dear.extend(excess.map(|excess| (number, excess)));
                }
                Progress::Fired(number, rule, mut found) => {
                    for hit in self.hits.iter().filter_map(|hit| rules.rules.get(*hit)) {
                        let partly_read = list_partly_read(hit, view, &self.limits);
                        found.partly_read.extend(partly_read);
                    }
                    count_hit(tallies, number);
                    if rule.is_reported || self.reports_joined_rules {
                        *n_matches += 1;
                        on_match(found);
                    }
                    if let Some(meter) = &mut meter {
                        meter.go_on();
                    }
                }
            });
        for (number, excess) in dear {
            if let Some(rule) = rules.rules.get(number) {
                let suspension = hold(&mut self.holds, (number, rule), scope, excess);
                self.suspensions.push(suspension);
            }
        }
    }

    /// Finds the rules over single events that match what `load` lays out.
    fn match_event<E>(
        &mut self,
        scope: Scope,
        logsource: LogSource<'_>,
        load: impl FnOnce(&mut Scratch, &FieldTable, bool) -> Result<(), E>,
    ) -> Result<(), E> {
        self.hits.clear();
        if let Some(now) = self.meter.as_ref().map(Meter::last)
            && self.holds.is_due(now)
        {
            self.end_holds(now);
        }
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
        let who = Who {
            scope,
            account: self.account,
        };
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
            let is_tried = tally.suspended.is_none() && !self.holds.is_held(*number, who);
            let Some(detection) = rule.detection().filter(|_| is_tried) else {
                continue;
            };
            tally.tries += 1;
            if detection.condition.holds(&detection.selections, view) {
                self.hits.push(*number);
            }
            let excess = meter
                .as_mut()
                .and_then(|meter| meter.charge(*number, &mut tally.spending, who, &self.holds));
            if let Some(excess) = excess {
                let suspension = hold(&mut self.holds, (*number, rule), scope, excess);
                self.suspensions.push(suspension);
            }
        }
        Ok(())
    }

    /// Puts other rules in place of the present ones; windows, hits and suspensions of rules that
    /// match what they matched before go on, whatever else is written in them.
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
        self.holds.keep(&kept);
        if let Some(meter) = &mut self.meter {
            meter.forget_all();
        }
        // It remembers fields by the numbers of the rules before.
        self.scratch = Scratch::default();
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
            account: self.account,
            now_ms,
            event: self.n_events + 1,
        }
    }

    /// Keeps other bounds from now on; what is over them goes as new things come.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The bounds it keeps.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Why the rule of this number is not tried, if it is suspended.
    pub(crate) fn suspension(&self, number: usize) -> Option<&str> {
        let by_hand = self.tallies.get(number)?.suspended.as_deref();
        by_hand.or_else(|| self.holds.reason_for_all(number))
    }

    /// Stops trying a rule, for a reason that the counters show; answers whether there is one.
    pub fn suspend(&mut self, id: &str, reason: &str) -> bool {
        self.set_suspended(id, Some(reason.to_owned()))
    }

    /// Tries a suspended rule again, for everybody; answers whether there is one.
    pub fn resume(&mut self, id: &str) -> bool {
        self.set_suspended(id, None)
    }

    /// Tries every rule again, as if none had ever cost too much.
    pub fn resume_all(&mut self) {
        for (number, tally) in self.tallies.iter_mut().enumerate() {
            tally.suspended = None;
            tally.spending.begin_anew();
            self.correlator.set_suspended(number, false);
        }
        self.holds = Holds::default();
        if let Some(meter) = &mut self.meter {
            meter.forget_all();
        }
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
            self.holds.forget(number);
        }
        is_known
    }

    /// Forgets the windows of a scope, for an agent that is gone for good.
    pub fn forget(&mut self, scope: Scope) {
        self.correlator.forget(scope);
    }

    /// The suspensions in force that end by themselves.
    fn list_holds(&self) -> Vec<RuleHold> {
        let holds = self.holds.list().filter_map(|((number, breadth), hold)| {
            Some(RuleHold {
                id: self.rules.rules.get(*number)?.info.id.clone(),
                breadth: *breadth,
                reason: hold.reason.clone(),
                pause_nanos: hold.pause_nanos,
            })
        });
        holds.collect()
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
            holds: self.list_holds(),
        };
        for (number, (rule, tally)) in rules.enumerate() {
            let counted = RuleCounters {
                hits: tally.hits,
                tries: tally.tries,
                spent_nanos: tally.spending.nanos,
                suspended: self.suspension(number).map(str::to_owned),
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
    /// Who pays for it.
    pub(crate) account: Account,
    /// The time of the event.
    pub(crate) now_ms: i64,
    /// The running number of the event, from one.
    pub(crate) event: u64,
}

impl Step {
    /// Whose event it is.
    pub(crate) const fn who(self) -> Who {
        Who {
            scope: self.scope,
            account: self.account,
        }
    }
}

/// What correlations may not do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds<'e> {
    /// How much they may keep.
    pub(crate) limits: &'e Limits,
    /// Which of them are not tried for whom.
    pub(crate) holds: &'e Holds,
}

/// Holds a rule that cost somebody too much.
fn hold(
    holds: &mut Holds,
    (number, rule): (usize, &Rule),
    scope: Scope,
    excess: Excess,
) -> Suspension {
    let reason = breaker::reason(excess.spent_nanos, excess.window_nanos);
    let held = (number, excess.breadth);
    let pause_nanos = holds.hold(held, reason.clone(), excess.now);
    Suspension {
        id: rule.info.id.clone(),
        breadth: excess.breadth,
        scope,
        reason,
        spent_nanos: excess.spent_nanos,
        window_nanos: excess.window_nanos,
        pause_nanos,
    }
}

/// Counts a match of a rule, reported or not.
fn count_hit(tallies: &mut [Tally], number: usize) {
    if let Some(tally) = tallies.get_mut(number) {
        tally.hits += 1;
    }
}
