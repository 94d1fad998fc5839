//! From matches of rules to matches of correlations: groups, values, windows, chains of both.
//! It never looks at rules over single events; the engine tells it which ones matched.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::correlation::{FieldName, Measure};
use crate::engine::Step;
use crate::event::Scope;
use crate::found::{Match, Window, excerpt, write_bounded, write_key_part};
use crate::limits::Limits;
use crate::rule_set::{Correlation, Feed, Logic, Member, Rule, RuleSet};
use crate::view::View;
use crate::window::{Arrival, Reading, Sizing};
use crate::window_store::{Evictions, WindowStore};

/// The state of all correlations of a rule set.
#[derive(Debug)]
pub(crate) struct Correlator {
    stores: Vec<WindowStore>,
    evictions: Evictions,
    n_ungrouped: u64,
    /// Matches still to be counted for the event at hand, in the order of the correlations.
    pending: BTreeSet<Pending>,
    key: String,
    value: String,
}

/// A match on its way into a correlation. Within one event later members come first, so that
/// an event that matches two steps of a sequence takes only one of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Pending {
    correlation: usize,
    member: Reverse<usize>,
    /// The fired correlation it comes from, if it is not from the event itself.
    from: Option<usize>,
}

/// Fields and their values.
type Pairs = Vec<(String, String)>;

/// Where group and value fields are read.
#[derive(Clone, Copy)]
enum Origin<'v> {
    Event(View<'v>),
    Group(&'v [(String, String)]),
}

impl<'v> Origin<'v> {
    /// The text of a field.
    fn text(self, field: &FieldName) -> Option<&'v str> {
        match self {
            Self::Event(view) => view.first(field.slot).map(|seen| seen.plain),
            Self::Group(group) => {
                let own = group.iter().find(|(name, _)| *name == field.name);
                own.map(|(_, value)| value.as_str())
            }
        }
    }
}

impl Correlator {
    /// State for this many rules.
    pub(crate) fn new(n_rules: usize) -> Self {
        let mut stores = Vec::new();
        stores.resize_with(n_rules, WindowStore::default);
        Self {
            stores,
            evictions: Evictions::default(),
            n_ungrouped: 0,
            pending: BTreeSet::new(),
            key: String::new(),
            value: String::new(),
        }
    }

    /// Announces a match of the event at hand.
    pub(crate) fn feed(&mut self, feeds: &[Feed]) {
        self.announce(feeds, None);
    }

    /// Announces a match to the correlations that count it.
    fn announce(&mut self, feeds: &[Feed], from: Option<usize>) {
        for Feed {
            correlation,
            member,
        } in feeds.iter().copied()
        {
            self.pending.insert(Pending {
                correlation,
                member: Reverse(member),
                from,
            });
        }
    }

    /// Counts what was announced; correlations that fire are announced in turn.
    pub(crate) fn run(
        &mut self,
        rules: &RuleSet,
        limits: &Limits,
        step: Step,
        view: View<'_>,
        on_fired: &mut dyn FnMut(usize, &Rule, Match<'_>),
    ) {
        let mut groups: Vec<Pairs> = Vec::new();
        while let Some(pending) = self.pending.pop_first() {
            let Some(rule) = rules.rules.get(pending.correlation) else {
                continue;
            };
            let Logic::Correlation(correlation) = &rule.logic else {
                continue;
            };
            let Some(member) = correlation.members.get(pending.member.0) else {
                continue;
            };
            let origin = match pending.from.and_then(|from| groups.get(from)) {
                Some(group) => Origin::Group(group),
                None => Origin::Event(view),
            };
            let Some(reading) = self.count(pending, correlation, member, origin, limits, step)
            else {
                continue;
            };
            let group = read_group(&correlation.plan.group_by, member, origin);
            let matched = collect_fields(&group, member, origin, limits);
            let window = describe(&correlation.plan, reading, &group, limits);
            let found = Match {
                rule: &rule.info,
                matched,
                window: Some(window),
                group_key: self.key.clone(),
            };
            on_fired(pending.correlation, rule, found);
            groups.push(group);
            self.announce(&rule.feeds, Some(groups.len() - 1));
        }
    }

    /// Takes one match into its window.
    fn count(
        &mut self,
        pending: Pending,
        correlation: &Correlation,
        member: &Member,
        origin: Origin<'_>,
        limits: &Limits,
        step: Step,
    ) -> Option<Reading> {
        if !self.write_key(correlation, member, origin) {
            self.n_ungrouped += 1;
            return None;
        }
        let has_value = self.write_value(member, origin);
        let plan = &correlation.plan;
        let sizing = Sizing {
            measure: &plan.measure,
            bounds: &plan.bounds,
            timespan_ms: plan.timespan_ms,
            n_members: correlation.members.len(),
            cap: limits.entries_per_group.max(plan.least_entries()),
        };
        let arrival = Arrival {
            now_ms: step.now_ms,
            event: step.event,
            member: pending.member.0,
            value: has_value.then_some(self.value.as_str()),
        };
        let store = self.stores.get_mut(pending.correlation)?;
        store.observe(
            step.scope,
            &self.key,
            arrival,
            &sizing,
            limits,
            &mut self.evictions,
        )
    }

    /// Writes the key of the group; answers false when one of its fields is absent.
    fn write_key(
        &mut self,
        correlation: &Correlation,
        member: &Member,
        origin: Origin<'_>,
    ) -> bool {
        self.key.clear();
        for (shown, field) in correlation.plan.group_by.iter().zip(&member.group_by) {
            let Some(value) = origin.text(field) else {
                return false;
            };
            write_key_part(&shown.name, value, &mut self.key);
        }
        true
    }

    /// Writes the value to count; answers false when there is none or one of its fields is absent.
    fn write_value(&mut self, member: &Member, origin: Origin<'_>) -> bool {
        self.value.clear();
        for field in &member.values {
            let Some(value) = origin.text(field) else {
                return false;
            };
            match member.values.len() {
                1 => write_bounded(value, &mut self.value),
                _ => write_key_part(&field.name, value, &mut self.value),
            }
        }
        !member.values.is_empty()
    }

    /// Moves windows to the new numbers of their rules; `kept` has the old number of each new rule.
    pub(crate) fn keep(&mut self, kept: &[Option<usize>]) {
        let mut old: Vec<Option<WindowStore>> = self.stores.drain(..).map(Some).collect();
        let take = |number: &Option<usize>| {
            number
                .and_then(|number| old.get_mut(number)?.take())
                .unwrap_or_default()
        };
        self.stores = kept.iter().map(take).collect();
    }

    /// Forgets the windows of a scope.
    pub(crate) fn forget(&mut self, scope: Scope) {
        self.stores.iter_mut().for_each(|store| store.forget(scope));
    }

    /// How many windows there are.
    pub(crate) fn n_windows(&self) -> usize {
        self.stores.iter().map(WindowStore::len).sum()
    }

    /// What was lost to bounds.
    pub(crate) fn evictions(&self) -> Evictions {
        self.evictions
    }

    /// How many matches had no group.
    pub(crate) fn n_ungrouped(&self) -> u64 {
        self.n_ungrouped
    }
}

/// The group of a match, under the names the correlation uses.
fn read_group(shown: &[FieldName], member: &Member, origin: Origin<'_>) -> Pairs {
    let fields = shown.iter().zip(&member.group_by);
    let read = |(shown, field): (&FieldName, &FieldName)| {
        (
            shown.name.clone(),
            origin.text(field).unwrap_or_default().to_owned(),
        )
    };
    fields.map(read).collect()
}

/// The fields a fired correlation shows: its group and the value counted last.
fn collect_fields(
    group: &[(String, String)],
    member: &Member,
    origin: Origin<'_>,
    limits: &Limits,
) -> BTreeMap<String, String> {
    let values = member
        .values
        .iter()
        .filter_map(|field| Some((&field.name, origin.text(field)?)));
    let group = group.iter().map(|(name, value)| (name, value.as_str()));
    group
        .chain(values)
        .take(limits.excerpts)
        .map(|(name, value)| (name.clone(), excerpt(value, limits.excerpt_chars)))
        .collect()
}

/// What the window held, for people.
fn describe(
    plan: &crate::correlation::Plan,
    reading: Reading,
    group: &[(String, String)],
    limits: &Limits,
) -> Window {
    let counts_values = matches!(plan.measure, Measure::ValueCount(_));
    let shorten =
        |(name, value): &(String, String)| (name.clone(), excerpt(value, limits.excerpt_chars));
    Window {
        count: reading.count,
        timespan_secs: plan.timespan_ms / 1000,
        group: group.iter().map(shorten).collect(),
        first_ms: reading.first_ms,
        last_ms: reading.last_ms,
        distinct: counts_values.then_some(reading.count),
    }
}
