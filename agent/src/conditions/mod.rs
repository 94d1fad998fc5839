//! Turns what was read back from the host into conditions for people and machines.
//! It is pure: it looks at nothing and never guesses what it was not given.

mod collection;
mod files;
mod firewall;
mod retirement;
mod sources;
mod storage;

use hidps_wire::{AgentCondition, ConditionStatus, FacetCondition};

use crate::text::{cut, printable};

pub use collection::collection_condition;
pub use files::{files_condition, lost_condition, vanished_condition, with_unremembered, with_who};
pub use firewall::{
    drifted_condition, firewall_condition, on_trial_condition, rolled_back_condition,
    untried_condition, who,
};
pub use retirement::retirement_condition;
pub use sources::{SourcesAsked, sources_condition};
pub use storage::storage_condition;

/// Longest message: conditions become rows.
const MAX_MESSAGE_BYTES: usize = 1_000;

/// The conditions of a host without a desired document, which is left as it is.
#[must_use]
pub fn no_document_conditions(why: &str) -> Vec<AgentCondition> {
    let unknown = |facet, what| {
        let message = printable(&format!("{what}: {why}"), MAX_MESSAGE_BYTES);
        condition(facet, ConditionStatus::Unknown, "NoDocument", &message)
    };
    vec![
        unknown(
            FacetCondition::FirewallSynced,
            "the firewall is left as it was found",
        ),
        unknown(FacetCondition::FilesWatched, "no path is watched"),
    ]
}

fn condition(
    facet: FacetCondition,
    status: ConditionStatus,
    reason: &str,
    message: &str,
) -> AgentCondition {
    AgentCondition {
        facet,
        status,
        reason: reason.to_owned(),
        message: cut(message, MAX_MESSAGE_BYTES).to_owned(),
        subjects: Vec::new(),
    }
}
