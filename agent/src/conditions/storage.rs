//! The condition of what is desired being written down on the host.
//! It never says so of a document that a restart would not find again.

use hidps_wire::{AgentCondition, ConditionStatus, FacetCondition};

use super::condition;

/// The condition, from how the last attempt to write failed, if it did.
#[must_use]
pub fn storage_condition(failure: Option<&str>) -> AgentCondition {
    let facet = FacetCondition::DocumentStored;
    let Some(failure) = failure else {
        let message = "what is in force is written down on the host";
        return condition(facet, ConditionStatus::True, "Stored", message);
    };
    let message = format!(
        "{failure}; what was accepted before goes on; look at the space on the disk of the state \
         directory and at its permissions"
    );
    condition(facet, ConditionStatus::False, "NotWritten", &message)
}
