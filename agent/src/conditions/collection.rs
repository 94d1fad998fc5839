//! The condition of how often the host looks at itself.
//! It never says that an interval holds which the host has refused.

use hidps_wire::{AgentCondition, Collection, ConditionStatus, FacetCondition, RefusedInterval};

use super::condition;

/// The condition, from what of the accepted document can be done and what cannot.
#[must_use]
pub fn collection_condition(wanted: Collection, refused: &[RefusedInterval]) -> AgentCondition {
    let facet = FacetCondition::CollectionSynced;
    if !refused.is_empty() {
        let told: Vec<_> = refused.iter().map(ToString::to_string).collect();
        let message = format!(
            "{}; the host keeps to its own configuration",
            told.join("; ")
        );
        return condition(facet, ConditionStatus::False, "IntervalRefused", &message);
    }
    let intervals = [
        ("usage", wanted.usage),
        ("the processes that take most", wanted.top_processes),
        ("facts", wanted.facts),
        (
            "ports and connections, where it watches them,",
            wanted.network,
        ),
        (
            "processes, where the kernel does not tell of them,",
            wanted.process_poll,
        ),
    ];
    let told: Vec<_> = intervals
        .iter()
        .filter_map(|(what, seconds)| seconds.map(|seconds| format!("{what} every {seconds} s")))
        .collect();
    let (reason, message) = if told.is_empty() {
        let text = "the host looks at itself as often as its own configuration says";
        ("Configured", text.to_owned())
    } else {
        ("Applied", format!("the host looks at {}", told.join(", ")))
    };
    condition(facet, ConditionStatus::True, reason, &message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hidps_wire::CollectionEntry;

    fn told(usage_interval: Option<u32>) -> (ConditionStatus, String, String) {
        let entry = CollectionEntry {
            usage_interval,
            ..CollectionEntry::default()
        };
        let (wanted, refused) = Collection::from_entry(Some(&entry));
        let condition = collection_condition(wanted, &refused);
        (condition.status, condition.reason, condition.message)
    }

    #[test]
    fn a_refused_interval_is_told_with_what_can_be_done() {
        let (status, reason, message) = told(Some(0));

        assert_eq!(
            (status, &*reason),
            (ConditionStatus::False, "IntervalRefused")
        );
        assert!(message.starts_with("usage_interval is 0 s; it must be from 1 to 3600 s;"));
    }

    #[test]
    fn what_is_done_is_told() {
        assert_eq!(told(Some(5)).2, "the host looks at usage every 5 s");
        assert_eq!(told(None).1, "Configured");
    }
}
