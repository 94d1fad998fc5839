//! From matches of rules to matches of correlations: groups, values, windows, chains of both.
//! It never looks at rules over single events; the engine tells it which ones matched.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hashbrown::DefaultHashBuilder;

use crate::correlation::group_key::GroupKey;
use crate::correlation::key::Key;
use crate::correlation::window::{Arrival, Group, Reading, Sizing};
use crate::correlation::window_store::{Evictions, Place, WindowStore};
use crate::correlation::{FieldName, Measure, Plan};
use crate::engine::{Bounds, Step};
use crate::event::Scope;
use crate::found::{Match, Window, excerpt, write_bounded, write_key_part};
use crate::limits::Limits;
use crate::rule_set::{Correlation, Feed, Logic, Member, Rule, RuleSet};
use crate::search::view::View;
use crate::values::number::Number;

/// The state of all correlations of a rule set.
#[derive(Debug)]
pub(crate) struct Correlator {
    stores: Vec<WindowStore>,
    /// Per rule whether it is not to be counted.
    suspended: Vec<bool>,
    evictions: Evictions,
    n_groups: usize,
    n_entries: usize,
    n_ungrouped: u64,
    n_without_value: u64,
    /// Matches still to be counted for the event at hand, each once, in the order of the
    /// correlations; its buffer serves the next event too.
    pending: VecDeque<Pending>,
    /// Those of them that are for one correlation.
    batch: Vec<Pending>,
    group: GroupKey,
    value: String,
    hasher: DefaultHashBuilder,
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

/// A match on its way into one window.
#[derive(Clone, Copy)]
struct Fed<'v> {
    pending: Pending,
    member: &'v Member,
    origin: Origin<'v>,
    /// Whether it is the only one of its event for this correlation.
    is_last: bool,
}

/// What happens while matches are counted.
pub(crate) enum Progress<'m> {
    /// The correlation of this number has taken in what the event at hand brings it.
    Counted(usize),
    /// The correlation of this number matches.
    Fired(usize, &'m Rule, Match<'m>),
}

/// Fields and their values.
pub(crate) type Pairs = Vec<(String, String)>;

/// Where group and value fields are read.
#[derive(Clone, Copy)]
pub(crate) enum Origin<'v> {
    /// In the event at hand.
    Event(View<'v>),
    /// In the group of a fired correlation, and in the event that fired it for what that lacks.
    Fired(&'v [(String, String)], View<'v>),
}

impl<'v> Origin<'v> {
    /// The finite number that a field holds, stored as one or written out.
    fn number(self, field: &FieldName) -> Option<Number> {
        let number = match self.grouped(field) {
            Some(text) => Number::parse(text.trim()),
            None => self.view().first(field.slot)?.number(),
        };
        number.filter(|number| number.as_f64().is_finite())
    }

    /// The text of a field.
    pub(crate) fn text(self, field: &FieldName) -> Option<&'v str> {
        let seen = || self.view().first(field.slot).map(|seen| seen.plain);
        self.grouped(field).or_else(seen)
    }

    /// The text of a field that kept the windows of a fired correlation apart.
    fn grouped(self, field: &FieldName) -> Option<&'v str> {
        let Self::Fired(group, _) = self else {
            return None;
        };
        let own = group.iter().find(|(name, _)| *name == field.name);
        own.map(|(_, value)| value.as_str())
    }

    /// The event.
    fn view(self) -> View<'v> {
        match self {
            Self::Event(view) | Self::Fired(_, view) => view,
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
            suspended: vec![false; n_rules],
            evictions: Evictions::default(),
            n_groups: 0,
            n_entries: 0,
            n_ungrouped: 0,
            n_without_value: 0,
            pending: VecDeque::new(),
            batch: Vec::new(),
            group: GroupKey::default(),
            value: String::new(),
            hasher: DefaultHashBuilder::default(),
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
            let pending = Pending {
                correlation,
                member: Reverse(member),
                from,
            };
            if let Err(place) = self.pending.binary_search(&pending) {
                self.pending.insert(place, pending);
            }
        }
    }

    /// Counts what was announced; correlations that fire are announced in turn.
    pub(crate) fn run(
        &mut self,
        rules: &RuleSet,
        Bounds { limits, holds }: Bounds<'_>,
        step: Step,
        view: View<'_>,
        tell: &mut dyn FnMut(Progress<'_>),
    ) {
        let mut groups: Vec<Pairs> = Vec::new();
        self.group.begin_event();
        while let Some(number) = self.take_batch() {
            let is_suspended = self.suspended.get(number).copied().unwrap_or(false)
                || holds.is_held(number, step.who());
            let rule = rules.rules.get(number).filter(|_| !is_suspended);
            let Some((rule, Logic::Correlation(correlation))) =
                rule.map(|rule| (rule, &rule.logic))
            else {
                continue;
            };
            let batch = std::mem::take(&mut self.batch);
            let is_last = batch.len() == 1;
            let mut fired = None;
            for pending in &batch {
                let origin = origin_of(*pending, &groups, view);
                let member = correlation.members.get(pending.member.0);
                fired = member.and_then(|member| {
                    let fed = Fed {
                        pending: *pending,
                        member,
                        origin,
                        is_last,
                    };
                    self.count(fed, correlation, limits, step)
                });
            }
            tell(Progress::Counted(number));
            for pending in &batch {
                let origin = origin_of(*pending, &groups, view);
                let Some(member) = correlation.members.get(pending.member.0) else {
                    continue;
                };
                if !is_last {
                    let is_grouped = self.group.read(&member.group_by, origin, &self.hasher);
                    fired = is_grouped
                        .then(|| self.poll(number, correlation, step.scope))
                        .flatten();
                }
                let Some(reading) = fired else {
                    continue;
                };
                let group = read_group(&correlation.plan.group_by, member, origin);
                let matched = collect_fields(&group, member, origin, limits);
                if !rule.feeds.is_empty() {
                    groups.push(group.clone());
                    self.announce(&rule.feeds, Some(groups.len() - 1));
                }
                let found = Match {
                    rule: &rule.info,
                    matched,
                    partly_read: BTreeSet::new(),
                    group_key: name_group(&group),
                    window: Some(describe(&correlation.plan, reading, group, limits)),
                };
                tell(Progress::Fired(number, rule, found));
            }
            self.batch = batch;
        }
    }

    /// Moves what is announced to the first correlation into the batch and answers its number.
    fn take_batch(&mut self) -> Option<usize> {
        self.batch.clear();
        let first = self.pending.pop_front()?;
        self.batch.push(first);
        while let Some(next) = self.pending.front()
            && next.correlation == first.correlation
        {
            self.batch.extend(self.pending.pop_front());
        }
        Some(first.correlation)
    }

    /// Takes one match into its window; answers what that holds if it fires at once.
    fn count(
        &mut self,
        fed: Fed<'_>,
        correlation: &Correlation,
        limits: &Limits,
        step: Step,
    ) -> Option<Reading> {
        let (plan, number) = (&correlation.plan, fed.pending.correlation);
        let (member, origin) = (fed.member, fed.origin);
        if !self.group.read(&member.group_by, origin, &self.hasher) {
            self.n_ungrouped += 1;
            return None;
        }
        if self.n_groups >= limits.groups_in_all || self.n_entries >= limits.entries_in_all {
            self.make_room(limits);
        }
        let sizing = sizing_of(correlation, limits);
        let has_text = !plan.measure.is_numeric() && write_value(member, origin, &mut self.value);
        let arrival = Arrival {
            member: fed.pending.member.0,
            value: has_text.then(|| Key::new(&self.value, &self.hasher)),
            is_last: fed.is_last,
            ..arrive(plan, member, origin, step)
        };
        let lacks_value = arrival.value.is_none() && arrival.number.is_none();
        self.n_without_value += u64::from(lacks_value && !member.values.is_empty());
        let place = Place {
            scope: step.scope,
            key: self.group.key(),
        };
        let store = self.stores.get_mut(number)?;
        let before = (store.len(), store.n_entries());
        let fired = store.add(place, arrival, &sizing, limits, &mut self.evictions);
        self.n_groups = (self.n_groups + store.len()).saturating_sub(before.0);
        self.n_entries = (self.n_entries + store.n_entries()).saturating_sub(before.1);
        fired
    }

    /// What the window of the match at hand holds, if that fires the correlation.
    fn poll(&mut self, number: usize, correlation: &Correlation, scope: Scope) -> Option<Reading> {
        let place = Place {
            scope,
            key: self.group.key(),
        };
        let store = self.stores.get_mut(number)?;
        store.poll_fired(place, &correlation.plan)
    }

    /// Makes the rule that has most give up a window.
    fn make_room(&mut self, limits: &Limits) {
        let is_crowded = self.n_groups >= limits.groups_in_all;
        let size = |store: &WindowStore| {
            if is_crowded {
                store.len()
            } else {
                store.n_entries()
            }
        };
        let largest = self.stores.iter_mut().max_by_key(|store| size(store));
        if let Some(store) = largest {
            store.evict_any(&mut self.evictions);
        }
        self.recount();
    }

    /// Counts all windows and entries anew.
    fn recount(&mut self) {
        self.n_groups = self.stores.iter().map(WindowStore::len).sum();
        self.n_entries = self.stores.iter().map(WindowStore::n_entries).sum();
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
        let suspended = |number: &Option<usize>| {
            number.is_some_and(|number| self.suspended.get(number).copied().unwrap_or(false))
        };
        self.suspended = kept.iter().map(suspended).collect();
        self.recount();
    }

    /// Says whether a rule is to be counted.
    pub(crate) fn set_suspended(&mut self, number: usize, is_suspended: bool) {
        if let Some(slot) = self.suspended.get_mut(number) {
            *slot = is_suspended;
        }
    }

    /// A key for the windows and values kept here.
    pub(crate) fn key<'k>(&self, text: &'k str) -> Key<'k> {
        Key::new(text, &self.hasher)
    }

    /// A copy of one window.
    pub(crate) fn copy(&self, number: usize, place: Place<'_>) -> Option<Group> {
        self.stores.get(number)?.copy(place)
    }

    /// Forgets the windows of a scope.
    pub(crate) fn forget(&mut self, scope: Scope) {
        self.stores.iter_mut().for_each(|store| store.forget(scope));
        self.recount();
    }

    /// How many windows there are.
    pub(crate) fn n_windows(&self) -> usize {
        self.stores.iter().map(WindowStore::len).sum()
    }

    /// What was lost to bounds.
    pub(crate) fn evictions(&self) -> Evictions {
        self.evictions
    }

    /// How many matches had no value to compute with.
    pub(crate) fn n_without_value(&self) -> u64 {
        self.n_without_value
    }

    /// How many matches had no group.
    pub(crate) fn n_ungrouped(&self) -> u64 {
        self.n_ungrouped
    }
}

/// How much of a correlation is kept.
pub(crate) fn sizing_of<'c>(correlation: &'c Correlation, limits: &Limits) -> Sizing<'c> {
    let plan = &correlation.plan;
    Sizing {
        plan,
        n_members: correlation.members.len(),
        cap: limits.entries_per_group.max(plan.least_entries()),
    }
}

/// A match of the first joined rule on its way into a window, with the number it brings.
pub(crate) fn arrive(
    plan: &Plan,
    member: &Member,
    origin: Origin<'_>,
    step: Step,
) -> Arrival<'static> {
    let is_numeric = plan.measure.is_numeric();
    let number = member.values.first().filter(|_| is_numeric);
    Arrival {
        now_ms: step.now_ms,
        event: step.event,
        member: 0,
        value: None,
        number: number.and_then(|field| origin.number(field)),
        is_last: false,
    }
}

/// Writes the value to count; answers false when there is none or one of its fields is absent.
pub(crate) fn write_value(member: &Member, origin: Origin<'_>, out: &mut String) -> bool {
    out.clear();
    for field in &member.values {
        let Some(value) = origin.text(field) else {
            return false;
        };
        match member.values.len() {
            1 => write_bounded(value, out),
            _ => write_key_part(&field.name, value, out),
        }
    }
    !member.values.is_empty()
}

/// Where the fields of a match are read.
fn origin_of<'v>(pending: Pending, groups: &'v [Pairs], view: View<'v>) -> Origin<'v> {
    match pending.from.and_then(|from| groups.get(from)) {
        Some(group) => Origin::Fired(group, view),
        None => Origin::Event(view),
    }
}

/// The group of a match, under the names the correlation uses.
pub(crate) fn read_group(shown: &[FieldName], member: &Member, origin: Origin<'_>) -> Pairs {
    let fields = shown.iter().zip(&member.group_by);
    let read = |(shown, field): (&FieldName, &FieldName)| {
        (
            shown.name.clone(),
            origin.text(field).unwrap_or_default().to_owned(),
        )
    };
    fields.map(read).collect()
}

/// What tells a group from the others of its correlation.
fn name_group(group: &[(String, String)]) -> String {
    let lengths = group
        .iter()
        .map(|(field, value)| field.len() + value.len() + 4);
    let mut name = String::with_capacity(lengths.sum::<usize>().min(1024));
    for (field, value) in group {
        write_key_part(field, value, &mut name);
    }
    name
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
fn describe(plan: &Plan, reading: Reading, mut group: Pairs, limits: &Limits) -> Window {
    let counts_values = matches!(plan.measure, Measure::ValueCount(_));
    for (_, value) in &mut group {
        if value.len() > limits.excerpt_chars {
            *value = excerpt(value, limits.excerpt_chars);
        }
    }
    let value = reading.number.filter(|_| plan.measure.is_numeric());
    Window {
        count: reading.count,
        value: value.map(Number::as_f64),
        timespan_secs: plan.timespan_ms / 1000,
        group,
        first_ms: reading.first_ms,
        last_ms: reading.last_ms,
        distinct: counts_values.then_some(reading.count),
    }
}
