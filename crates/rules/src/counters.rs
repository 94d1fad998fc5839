//! Numbers an engine has counted, as plain data for metrics and reports.
//! It never counts by itself.

use std::collections::BTreeMap;

use crate::breaker::Breadth;
use crate::correlation::window_store::Evictions;

/// What an engine has counted since it was made.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Events looked at.
    pub events: u64,
    /// Matches handed out.
    pub matches: u64,
    /// Windows held now.
    pub windows: usize,
    /// What was lost to bounds.
    pub evictions: Evictions,
    /// Matches no correlation could count because a `group-by` field was absent.
    pub ungrouped: u64,
    /// Matches of which a correlation could not use the value: it was absent, or no number.
    pub without_value: u64,
    /// Values so long that regular expressions read only their beginning, their end and what is
    /// around needed literals.
    pub long_values: u64,
    /// Per rule id what it did.
    pub rules: BTreeMap<String, RuleCounters>,
    /// The suspensions in force that end by themselves.
    pub holds: Vec<RuleHold>,
}

/// A rule that is not tried for somebody, for a while.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleHold {
    /// The id of the rule.
    pub id: String,
    /// For whom.
    pub breadth: Breadth,
    /// Why.
    pub reason: String,
    /// For how long in all.
    pub pause_nanos: u64,
}

impl Counters {
    /// The rules that are suspended for everybody, with the reason of each.
    pub fn suspended(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rules
            .iter()
            .filter_map(|(id, rule)| Some((id.as_str(), rule.suspended.as_deref()?)))
    }
}

/// What one rule did.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RuleCounters {
    /// Its matches, those kept silent included.
    pub hits: u64,
    /// Events it was tried on: those that had a clue that it might match.
    pub tries: u64,
    /// What trying it took, by samples; zero without a clock.
    pub spent_nanos: u64,
    /// Why it is not tried for anybody.
    pub suspended: Option<String>,
}
