//! The condition of how often the host looks at itself and how much of its logs it sends.
//! It never says that something holds which the host has refused.

use hidps_wire::{AgentCondition, Collection, ConditionStatus, FacetCondition, RefusedSetting};

use super::condition;

/// The condition, from what of the accepted document can be done and what cannot.
#[must_use]
pub fn collection_condition(wanted: Collection, refused: &[RefusedSetting]) -> AgentCondition {
    let facet = FacetCondition::CollectionSynced;
    if !refused.is_empty() {
        let told: Vec<_> = refused.iter().map(ToString::to_string).collect();
        let message = format!(
            "{}; the host keeps to its own configuration",
            told.join("; ")
        );
        let reason = if refused.iter().any(RefusedSetting::is_interval) {
            "IntervalRefused"
        } else {
            "SamplingRefused"
        };
        return condition(facet, ConditionStatus::False, reason, &message);
    }
    let told = [told_intervals(wanted), told_sampling(wanted)];
    let told: Vec<_> = told.into_iter().flatten().collect();
    let (reason, message) = if told.is_empty() {
        let text = "the host looks at itself as often as its own configuration says";
        ("Configured", text.to_owned())
    } else {
        ("Applied", format!("the host {}", told.join("; it ")))
    };
    condition(facet, ConditionStatus::True, reason, &message)
}

fn told_sampling(wanted: Collection) -> Option<String> {
    let one_of = wanted.sampling?;
    let what = "lines of each program that state nothing to rules and no guard of the host wrote";
    Some(format!("sends one of {one_of} {what}"))
}

fn told_intervals(wanted: Collection) -> Option<String> {
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
    (!told.is_empty()).then(|| format!("looks at {}", told.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hidps_wire::CollectionEntry;

    fn told(
        usage_interval: Option<u32>,
        sampling: Option<u32>,
    ) -> (ConditionStatus, String, String) {
        let entry = CollectionEntry {
            usage_interval,
            sampling,
            ..CollectionEntry::default()
        };
        let (wanted, refused) = Collection::from_entry(Some(&entry));
        let condition = collection_condition(wanted, &refused);
        (condition.status, condition.reason, condition.message)
    }

    #[test]
    fn a_refused_interval_is_told_with_what_can_be_done() {
        let (status, reason, message) = told(Some(0), Some(0));

        assert_eq!(
            (status, &*reason),
            (ConditionStatus::False, "IntervalRefused")
        );
        assert!(message.starts_with("usage_interval is 0 s; it must be from 1 to 3600 s;"));
    }

    #[test]
    fn what_is_done_is_told() {
        let sends = "sends one of 10 lines of each program that state nothing to rules and no guard \
                     of the host wrote";
        for (interval, sampling, message) in [
            (
                Some(5),
                None,
                "the host looks at usage every 5 s".to_owned(),
            ),
            (None, Some(10), format!("the host {sends}")),
            (
                Some(5),
                Some(10),
                format!("the host looks at usage every 5 s; it {sends}"),
            ),
        ] {
            let said = told(interval, sampling);
            assert_eq!((&*said.1, said.2), ("Applied", message));
        }
        assert_eq!(told(None, None).1, "Configured");
        assert_eq!(told(None, Some(1)).1, "Configured");
    }

    #[test]
    fn refused_sampling_is_told_as_such_where_every_interval_holds() {
        let (status, reason, message) = told(Some(5), Some(1_001));

        assert_eq!(
            (status, &*reason),
            (ConditionStatus::False, "SamplingRefused")
        );
        assert!(message.starts_with("sampling is 1001; it must be from 1 to 1000;"));
    }
}
