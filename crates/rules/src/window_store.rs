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
            self.make_room(scope, arrival.now_ms, sizing.timespan_ms, limits, lost);
            let groups = self.scopes.entry(scope).or_insert_with(LruCache::unbounded);
            groups.push(key.into(), Group::new(sizing, arrival.now_ms));
            self.n_groups += 1;
        }
        let group = self.scopes.get_mut(&scope)?.get_mut(key)?;
        lost.entries += group.add(arrival, sizing);
        group.poll_fired(sizing)
    }

    /// Forgets everything about a scope.
    pub(crate) fn forget(&mut self, scope: Scope) {
        if let Some(groups) = self.scopes.remove(&scope) {
            self.n_groups -= groups.len();
        }
    }

    /// How many windows there are.
    pub(crate) fn len(&self) -> usize {
        self.n_groups
    }

    /// Gives up the longest idle window where a bound is reached, after dropping those of this
    /// scope that are over; other scopes may live in another time.
    fn make_room(
        &mut self,
        scope: Scope,
        now_ms: i64,
        timespan_ms: i64,
        limits: &Limits,
        lost: &mut Evictions,
    ) {
        let own = match self.scopes.get_mut(&scope) {
            Some(groups) => {
                let before = groups.len();
                drop_over(groups, now_ms, timespan_ms);
                self.n_groups -= before - groups.len();
                groups.len()
            }
            None => 0,
        };
        if own < limits.groups_per_scope && self.n_groups < limits.groups_per_rule {
            return;
        }
        let Some(victim) = self.choose_victim(scope, own) else {
            return;
        };
        let Some(groups) = self.scopes.get_mut(&victim) else {
            return;
        };
        if groups.pop_lru().is_some() {
            self.n_groups -= 1;
            lost.groups += 1;
        }
        if groups.is_empty() {
            self.scopes.remove(&victim);
        }
    }

    /// The scope that must give up a window: this one if it has its share, else the largest, so
    /// that who floods pays and only who does not makes this search.
    fn choose_victim(&self, scope: Scope, own: usize) -> Option<Scope> {
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

/// Drops windows that are over, the longest idle first.
fn drop_over(groups: &mut Groups, now_ms: i64, timespan_ms: i64) {
    while groups
        .peek_lru()
        .is_some_and(|(_, group)| group.is_over(now_ms, timespan_ms))
    {
        groups.pop_lru();
    }
}
