//! What the rules of rows have counted, read from a listing of the agent's table.
//! Counters outlive the table that is replaced: a change of one rule resets no other.

use std::collections::HashMap;

use serde_json::Value;
use uuid::Uuid;

use super::nft::objects;

/// What one rule has counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Count {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// What all rules have counted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts(HashMap<Uuid, Count>);

impl Count {
    /// Both together.
    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            packets: self.packets.saturating_add(other.packets),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

impl Counts {
    /// What the rules and members of sets of a listed table have counted.
    pub(super) fn read(table: &Value) -> Self {
        let rules = objects(table, "rule");
        let members = objects(table, "set")
            .flat_map(|set| set["elem"].as_array().into_iter().flatten())
            .filter_map(|member| member.get("elem"));
        let found = rules.chain(members).filter_map(|counted| {
            let id = rule_of(counted)?;
            Some((id, count_of(counted)?))
        });
        Self(found.collect())
    }

    /// What a rule has counted; none when it is new.
    pub(super) fn of(&self, id: Uuid) -> Option<Count> {
        self.0.get(&id).copied()
    }
}

/// The row that a rule or the member of a set is for, as its comment says.
pub(super) fn rule_of(counted: &Value) -> Option<Uuid> {
    let comment = counted["comment"].as_str()?;
    comment.strip_prefix("rule ")?.parse().ok()
}

/// The counter of a rule or of the member of a set.
pub(super) fn count_of(counted: &Value) -> Option<Count> {
    let of_rule = counted["expr"]
        .as_array()
        .into_iter()
        .flatten()
        .find_map(|statement| statement.get("counter"));
    let counter = of_rule.or_else(|| counted.get("counter"))?;
    Some(Count {
        packets: counter["packets"].as_u64()?,
        bytes: counter["bytes"].as_u64()?,
    })
}
