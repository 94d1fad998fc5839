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
    /// Between two looks at every process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes_interval: Option<u32>,
    /// Between two looks at what the host is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts_interval: Option<u32>,
}

/// What is wanted and can be done, in seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Collection {
    /// Between two reports of usage.
    pub usage: Option<u32>,
    /// Between two looks at every process.
    pub processes: Option<u32>,
    /// Between two looks at what the host is.
    pub facts: Option<u32>,
}

/// Below a second the agent measures itself, above an hour nothing.
pub const USAGE_INTERVAL_SECS: RangeInclusive<u32> = 1..=3600;

/// A look at every process costs milliseconds, and ten seconds are less than anybody waits.
pub const PROCESSES_INTERVAL_SECS: RangeInclusive<u32> = 10..=3600;

/// What a host is changes with its addresses and with updates.
pub const FACTS_INTERVAL_SECS: RangeInclusive<u32> = 10..=86_400;

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
            processes: within(
                "processes_interval",
                entry.processes_interval,
                PROCESSES_INTERVAL_SECS,
            ),
            facts: within("facts_interval", entry.facts_interval, FACTS_INTERVAL_SECS),
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
            processes_interval: Some(10),
            facts_interval: None,
        };

        let (collection, refused) = Collection::from_entry(Some(&entry));

        assert_eq!((collection.usage, collection.processes), (None, Some(10)));
        let told: Vec<_> = refused.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["usage_interval is 0 s; it must be from 1 to 3600 s"]);
    }

    #[test]
    fn nothing_wanted_is_nothing_refused() {
        assert_eq!(Collection::from_entry(None), Default::default());
    }
}
