//! Conditions: what is true of a facet of a host, and why, in the manner of Kubernetes.
//! A status is never derived here; the observer that read the state back decides it.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::limits::MAX_CONDITION_SUBJECTS;

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
    /// The host looks at itself as often as desired; told once somebody has desired it.
    CollectionSynced,
    /// What is desired is written down on the host; told once that has failed.
    DocumentStored,
    /// Every source of events is read that the host's configuration asks for.
    SourcesRead,
    /// The key that was to be given up is not the agent's any more; told while one is named.
    KeyRotated,
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
    /// What the facet is about and is not as desired, one by one, at most
    /// [`MAX_CONDITION_SUBJECTS`]; what is as desired is left out.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "parse_subjects"
    )]
    pub subjects: Vec<SubjectCondition>,
}

/// One thing of a facet that is not as desired, such as a path that is not watched.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectCondition {
    /// What it is, such as a path.
    pub subject: String,
    /// Whether it is as desired.
    pub status: ConditionStatus,
    /// One CamelCase word for machines.
    pub reason: String,
    /// One sentence for people.
    pub message: String,
}

/// Reads a bounded list; a longer one is no condition of ours.
fn parse_subjects<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<SubjectCondition>, D::Error> {
    let subjects = Vec::deserialize(deserializer)?;
    if subjects.len() > MAX_CONDITION_SUBJECTS {
        return Err(D::Error::custom(format!(
            "a condition names at most {MAX_CONDITION_SUBJECTS} subjects"
        )));
    }
    Ok(subjects)
}
