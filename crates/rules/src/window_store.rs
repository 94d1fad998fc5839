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
    swept_ms: i64,
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
        self.sweep(arrival.now_ms, sizing.timespan_ms);
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

    /// Once per timespan, drops every window that is over.
    fn sweep(&mut self, now_ms: i64, timespan_ms: i64) {
        if now_ms.saturating_sub(self.swept_ms).saturating_abs() < timespan_ms {
            return;
        }
        self.swept_ms = now_ms;
        let mut n_groups = 0;
        self.scopes.retain(|_, groups| {
            drop_over(groups, now_ms, timespan_ms);
            n_groups += groups.len();
            !groups.is_empty()
        });
        self.n_groups = n_groups;
    }

    /// Gives up the longest idle window where a bound is reached.
    fn make_room(
        &mut self,
        scope: Scope,
        now_ms: i64,
        timespan_ms: i64,
        limits: &Limits,
        lost: &mut Evictions,
    ) {
        let own = self.scopes.get(&scope).map_or(0, LruCache::len);
        if own < limits.groups_per_scope && self.n_groups < limits.groups_per_rule {
            return;
        }
        let victim = if own > 0 {
            Some(scope)
        } else {
            self.scopes
                .iter()
                .max_by_key(|(_, groups)| groups.len())
                .map(|(scope, _)| *scope)
        };
        let Some(groups) = victim.and_then(|victim| self.scopes.get_mut(&victim)) else {
            return;
        };
        if let Some((_, group)) = groups.pop_lru() {
            self.n_groups -= 1;
            lost.groups += u64::from(!group.is_over(now_ms, timespan_ms));
        }
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
