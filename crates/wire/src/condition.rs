//! Conditions: what is true of a facet of a host, and why, in the manner of Kubernetes.
//! A status is never derived here; the observer that read the state back decides it.

use serde::{Deserialize, Serialize};

/// Whether a condition holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It could not be found out.
    Unknown,
}

/// The facets of a host that an agent reports conditions for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum FacetCondition {
    /// The firewall is as desired.
    FirewallSynced,
    /// Every watched path is watched.
    FilesWatched,
}

/// One condition as an agent reports it; its generation is that of the status frame around it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentCondition {
    /// Which facet.
    #[serde(rename = "type")]
    pub facet: FacetCondition,
    /// Whether it is as desired.
    pub status: ConditionStatus,
    /// One CamelCase word for machines.
    pub reason: String,
    /// One sentence for people: what happened, to what, and what to do.
    pub message: String,
}
