//! All windows of one correlation: by scope, then by group, bounded in both.
//! It never lets one scope push out another scope's windows while it has windows of its own.

use hashbrown::HashMap;

use crate::correlation::Plan;
use crate::correlation::key::Key;
use crate::correlation::recent::Recent;
use crate::correlation::window::{Arrival, Group, Reading, Sizing};
use crate::event::Scope;
use crate::limits::Limits;

/// The windows of one scope.
type Groups = Recent<Group>;

/// Where a window is: whose it is, and of which group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'k> {
    /// Whose.
    pub(crate) scope: Scope,
    /// The key of the group.
    pub(crate) key: Key<'k>,
}

/// The windows of one correlation.
#[derive(Debug, Default)]
pub(crate) struct WindowStore {
    scopes: HashMap<Scope, Groups>,
    n_groups: usize,
    n_entries: usize,
}

/// What was lost to a bound.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Evictions {
    /// Windows given up while they still mattered.
    pub groups: u64,
    /// Entries given up inside windows.
    pub entries: u64,
}

impl WindowStore {
    /// Takes a match into its window; if it is the event's last, answers what the window holds
    /// when that fires the rule.
    pub(crate) fn add(
        &mut self,
        place: Place<'_>,
        arrival: Arrival<'_>,
        sizing: &Sizing<'_>,
        limits: &Limits,
        lost: &mut Evictions,
    ) -> Option<Reading> {
        let has_room = self.n_entries < limits.entries_per_rule;
        if has_room && let Some(group) = self.group(place) {
            let before = group.len();
            lost.entries += group.add(arrival, sizing);
            let after = group.len();
            let fired = arrival.is_last.then(|| group.poll_fired(sizing.plan));
            self.n_entries = (self.n_entries + after).saturating_sub(before);
            return fired.flatten();
        }
        let is_known = !has_room && self.group(place).is_some();
        if !is_known {
            self.drop_over(place.scope, arrival.now_ms, sizing.plan.timespan_ms);
        }
        if self.is_full(place.scope, is_known, limits) {
            self.evict(place.scope, lost);
        }
        let groups = self.scopes.entry(place.scope).or_default();
        if groups.peek(place.key).is_none() {
            let make = || Group::new(sizing, arrival.now_ms);
            groups.insert(place.key, make, |group| group.begin(arrival.now_ms));
            self.n_groups += 1;
        }
        let group = groups.touch(place.key)?;
        let before = group.len();
        lost.entries += group.add(arrival, sizing);
        let after = group.len();
        let fired = arrival.is_last.then(|| group.poll_fired(sizing.plan));
        self.n_entries = (self.n_entries + after).saturating_sub(before);
        fired.flatten()
    }

    /// What a window holds, if its condition is true and the event at hand has not fired it before.
    pub(crate) fn poll_fired(&mut self, place: Place<'_>, plan: &Plan) -> Option<Reading> {
        self.group(place)?.poll_fired(plan)
    }

    /// The window at a place, which becomes the one used last.
    fn group(&mut self, place: Place<'_>) -> Option<&mut Group> {
        self.scopes.get_mut(&place.scope)?.touch(place.key)
    }

    /// A copy of the window at a place.
    pub(crate) fn copy(&self, place: Place<'_>) -> Option<Group> {
        self.scopes.get(&place.scope)?.peek(place.key).cloned()
    }

    /// How many entries there are.
    pub(crate) fn n_entries(&self) -> usize {
        self.n_entries
    }

    /// Gives up the longest idle window of the scope that has most.
    pub(crate) fn evict_any(&mut self, lost: &mut Evictions) {
        let largest = self.scopes.iter().max_by_key(|(_, groups)| groups.len());
        if let Some(scope) = largest.map(|(scope, _)| *scope) {
            self.evict(scope, lost);
        }
    }

    /// Forgets everything about a scope.
    pub(crate) fn forget(&mut self, scope: Scope) {
        let Some(mut groups) = self.scopes.remove(&scope) else {
            return;
        };
        while let Some(group) = groups.pop_oldest() {
            self.n_groups -= 1;
            self.n_entries = self.n_entries.saturating_sub(group.len());
        }
    }

    /// How many windows there are.
    pub(crate) fn len(&self) -> usize {
        self.n_groups
    }

    /// Drops the windows of a scope that are over; other scopes may live in another time.
    fn drop_over(&mut self, scope: Scope, now_ms: i64, timespan_ms: i64) {
        let Some(groups) = self.scopes.get_mut(&scope) else {
            return;
        };
        let is_over = |group: &Group| group.is_over(now_ms, timespan_ms);
        while groups.oldest().is_some_and(is_over)
            && let Some(group) = groups.pop_oldest()
        {
            self.n_groups -= 1;
            self.n_entries = self.n_entries.saturating_sub(group.len());
            group.empty();
        }
    }

    /// Whether a window must go before the next match is taken in.
    fn is_full(&self, scope: Scope, is_known: bool, limits: &Limits) -> bool {
        let own = self.scopes.get(&scope).map_or(0, Recent::len);
        let is_crowded = own >= limits.groups_per_scope || self.n_groups >= limits.groups_per_rule;
        (!is_known && is_crowded) || self.n_entries >= limits.entries_per_rule
    }

    /// Gives up the longest idle window of the scope that must pay.
    fn evict(&mut self, scope: Scope, lost: &mut Evictions) {
        let Some(victim) = self.choose_victim(scope) else {
            return;
        };
        let Some(groups) = self.scopes.get_mut(&victim) else {
            return;
        };
        if let Some(group) = groups.pop_oldest() {
            self.n_groups -= 1;
            self.n_entries = self.n_entries.saturating_sub(group.len());
            lost.groups += 1;
            group.empty();
        }
        if groups.is_empty() {
            self.scopes.remove(&victim);
        }
    }

    /// The scope that must give up a window: this one if it has its share, else the largest, so
    /// that who floods pays and only who does not makes this search.
    fn choose_victim(&self, scope: Scope) -> Option<Scope> {
        let own = self.scopes.get(&scope).map_or(0, Recent::len);
        let has_share = own > 0 && own.saturating_mul(self.scopes.len()) >= self.n_groups;
        if has_share {
            return Some(scope);
        }
        self.scopes
            .iter()
            .max_by_key(|(_, groups)| groups.len())
            .map(|(scope, _)| *scope)
    }
}
