//! How often a host is to look at itself, as its admins want it: the entry as it travels, and the value.
//! What is not wanted otherwise is left to the host.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// What people wrote, in seconds.
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
}

/// What is wanted and can be done, in seconds.
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

impl Collection {
    /// Reads an entry; what is out of its bounds is set apart, and left to the host.
    #[must_use]
    pub fn from_entry(entry: Option<&CollectionEntry>) -> (Self, Vec<RefusedInterval>) {
        let entry = entry.copied().unwrap_or_default();
        let mut refused = Vec::new();
        let mut within = |setting, seconds: Option<u32>, bounds: RangeInclusive<u32>| {
            let seconds = seconds?;
            if bounds.contains(&seconds) {
                return Some(seconds);
            }
            refused.push(RefusedInterval {
                setting,
                seconds,
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
        };
        (collection, refused)
    }
}

/// An interval that is not done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{setting} is {seconds} s; it must be from {} to {} s",
    .bounds.start(), .bounds.end()
)]
pub struct RefusedInterval {
    /// Which one.
    pub setting: &'static str,
    /// What was wanted.
    pub seconds: u32,
    /// What can be done.
    pub bounds: RangeInclusive<u32>,
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
            ..CollectionEntry::default()
        };

        let (collection, refused) = Collection::from_entry(Some(&entry));

        assert_eq!(
            (collection.usage, collection.top_processes),
            (None, Some(10))
        );
        let told: Vec<_> = refused.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "usage_interval is 0 s; it must be from 1 to 3600 s",
                "network_interval is 301 s; it must be from 1 to 300 s"
            ]
        );
    }

    #[test]
    fn nothing_wanted_is_nothing_refused() {
        assert_eq!(Collection::from_entry(None), Default::default());
    }
}
