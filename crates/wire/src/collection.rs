//! How often a host is to look at itself and how much of its logs it is to send, as its admins want
//! it: the entry as it travels, and the value. What is not wanted otherwise is left to the host.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// What people wrote; intervals are in seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectionEntry {
    /// Between two reports of usage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_interval: Option<u32>,
    /// Between two snapshots of the processes that take most of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_processes_interval: Option<u32>,
    /// Between two looks at what the host is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts_interval: Option<u32>,
    /// Between two looks at ports and connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_interval: Option<u32>,
    /// Between two looks for processes that began or ended, where the kernel does not tell of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_poll_interval: Option<u32>,
    /// Of how many ordinary lines of logs one is sent; left out where all are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<u32>,
}

/// What is wanted and can be done; intervals are in seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Collection {
    /// Between two reports of usage.
    pub usage: Option<u32>,
    /// Between two snapshots of the processes that take most of the host.
    pub top_processes: Option<u32>,
    /// Between two looks at what the host is.
    pub facts: Option<u32>,
    /// Between two looks at ports and connections.
    pub network: Option<u32>,
    /// Between two looks for processes that began or ended.
    pub process_poll: Option<u32>,
    /// Of how many ordinary lines of logs one is sent; none where all are.
    pub sampling: Option<u32>,
}

/// Below a second the agent measures itself, above an hour nothing.
pub const USAGE_INTERVAL_SECS: RangeInclusive<u32> = 1..=3600;

/// A look at every process costs milliseconds, and ten seconds are less than anybody waits.
pub const TOP_PROCESSES_INTERVAL_SECS: RangeInclusive<u32> = 10..=3600;

/// What a host is changes with its addresses and with updates.
pub const FACTS_INTERVAL_SECS: RangeInclusive<u32> = 10..=86_400;

/// Below a second looks at sockets cost more than they show; above a few minutes they show nothing.
pub const NETWORK_INTERVAL_SECS: RangeInclusive<u32> = 1..=300;

/// The same holds for looks at processes.
pub const PROCESS_POLL_INTERVAL_SECS: RangeInclusive<u32> = 1..=300;

/// One of one is every line; of more than a thousand one tells nothing of the others.
pub const SAMPLING: RangeInclusive<u32> = 1..=1000;

/// The name of the setting that is no interval.
const SAMPLING_NAME: &str = "sampling";

impl Collection {
    /// Reads an entry; what is out of its bounds is set apart, and left to the host.
    #[must_use]
    pub fn from_entry(entry: Option<&CollectionEntry>) -> (Self, Vec<RefusedSetting>) {
        let entry = entry.copied().unwrap_or_default();
        let mut refused = Vec::new();
        let mut within = |setting, wanted: Option<u32>, bounds: RangeInclusive<u32>| {
            let wanted = wanted?;
            if bounds.contains(&wanted) {
                return Some(wanted);
            }
            refused.push(RefusedSetting {
                setting,
                wanted,
                bounds,
            });
            None
        };
        let collection = Self {
            usage: within("usage_interval", entry.usage_interval, USAGE_INTERVAL_SECS),
            top_processes: within(
                "top_processes_interval",
                entry.top_processes_interval,
                TOP_PROCESSES_INTERVAL_SECS,
            ),
            facts: within("facts_interval", entry.facts_interval, FACTS_INTERVAL_SECS),
            network: within(
                "network_interval",
                entry.network_interval,
                NETWORK_INTERVAL_SECS,
            ),
            process_poll: within(
                "process_poll_interval",
                entry.process_poll_interval,
                PROCESS_POLL_INTERVAL_SECS,
            ),
            sampling: within(SAMPLING_NAME, entry.sampling, SAMPLING).filter(|one_of| *one_of > 1),
        };
        (collection, refused)
    }
}

/// A setting that is not done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{setting} is {wanted}{unit}; it must be from {} to {}{unit}",
    .bounds.start(), .bounds.end(), unit = self.unit()
)]
pub struct RefusedSetting {
    /// Which one.
    pub setting: &'static str,
    /// What was wanted.
    pub wanted: u32,
    /// What can be done.
    pub bounds: RangeInclusive<u32>,
}

impl RefusedSetting {
    /// Whether it is how often the host looks, and not how much it sends.
    #[must_use]
    pub fn is_interval(&self) -> bool {
        self.setting != SAMPLING_NAME
    }

    fn unit(&self) -> &'static str {
        if self.is_interval() { " s" } else { "" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_bounds_is_refused_by_name_and_the_rest_is_done() {
        let entry = CollectionEntry {
            usage_interval: Some(0),
            top_processes_interval: Some(10),
            network_interval: Some(301),
            sampling: Some(1001),
            ..CollectionEntry::default()
        };

        let (collection, refused) = Collection::from_entry(Some(&entry));

        assert_eq!(
            (
                collection.usage,
                collection.top_processes,
                collection.sampling
            ),
            (None, Some(10), None)
        );
        let told: Vec<_> = refused.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "usage_interval is 0 s; it must be from 1 to 3600 s",
                "network_interval is 301 s; it must be from 1 to 300 s",
                "sampling is 1001; it must be from 1 to 1000"
            ]
        );
    }

    #[test]
    fn one_of_so_many_lines_is_wanted_from_two_on() {
        let wanted = |sampling| {
            let entry = CollectionEntry {
                sampling,
                ..CollectionEntry::default()
            };
            let (collection, refused) = Collection::from_entry(Some(&entry));
            (collection.sampling, refused.len())
        };

        assert_eq!(wanted(None), (None, 0));
        assert_eq!(wanted(Some(0)), (None, 1));
        assert_eq!(wanted(Some(1)), (None, 0));
        assert_eq!(wanted(Some(2)), (Some(2), 0));
        assert_eq!(wanted(Some(1000)), (Some(1000), 0));
    }

    #[test]
    fn nothing_wanted_is_nothing_refused() {
        assert_eq!(Collection::from_entry(None), Default::default());
    }
}
