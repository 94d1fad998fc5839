//! All windows of one correlation: by scope, then by group, bounded in both.
//! It never lets one scope push out another scope's windows while it has windows of its own.

use std::collections::HashMap;

use lru::LruCache;

use crate::event::Scope;
use crate::limits::Limits;
use crate::window::{Arrival, Group, Reading, Sizing};

/// The windows of one scope, least recently used first.
type Groups = LruCache<Box<str>, Group>;

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
    /// Takes a match into its window and answers what the window holds if that fires the rule.
    pub(crate) fn observe(
        &mut self,
        scope: Scope,
        key: &str,
        arrival: Arrival<'_>,
        sizing: &Sizing<'_>,
        limits: &Limits,
        lost: &mut Evictions,
    ) -> Option<Reading> {
        let is_known = self
            .scopes
            .get(&scope)
            .is_some_and(|groups| groups.contains(key));
        if !is_known {
            self.drop_over(scope, arrival.now_ms, sizing.timespan_ms);
        }
        if self.is_full(scope, is_known, limits) {
            self.evict(scope, lost);
        }
        let groups = self.scopes.entry(scope).or_insert_with(LruCache::unbounded);
        if !groups.contains(key) {
            groups.push(key.into(), Group::new(sizing, arrival.now_ms));
            self.n_groups += 1;
        }
        let group = groups.get_mut(key)?;
        let before = group.len();
        lost.entries += group.add(arrival, sizing);
        self.n_entries = (self.n_entries + group.len()).saturating_sub(before);
        group.poll_fired(sizing)
    }

    /// Forgets everything about a scope.
    pub(crate) fn forget(&mut self, scope: Scope) {
        for (_, group) in self.scopes.remove(&scope).into_iter().flatten() {
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
        while groups
            .peek_lru()
            .is_some_and(|(_, group)| group.is_over(now_ms, timespan_ms))
        {
            if let Some((_, group)) = groups.pop_lru() {
                self.n_groups -= 1;
                self.n_entries = self.n_entries.saturating_sub(group.len());
            }
        }
    }

    /// Whether a window must go before the next match is taken in.
    fn is_full(&self, scope: Scope, is_known: bool, limits: &Limits) -> bool {
        let own = self.scopes.get(&scope).map_or(0, LruCache::len);
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
        if let Some((_, group)) = groups.pop_lru() {
            self.n_groups -= 1;
            self.n_entries = self.n_entries.saturating_sub(group.len());
            lost.groups += 1;
        }
        if groups.is_empty() {
            self.scopes.remove(&victim);
        }
    }

    /// The scope that must give up a window: this one if it has its share, else the largest, so
    /// that who floods pays and only who does not makes this search.
    fn choose_victim(&self, scope: Scope) -> Option<Scope> {
        let own = self.scopes.get(&scope).map_or(0, LruCache::len);
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
