//! How often the host is looked at, from the file: each setting with its range and the reason.
//! What an admin wants of one agent goes before it, and is read elsewhere.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::table::SettingsTable;
use crate::collect::cadence::Cadence;

/// Below a second the agent measures itself, above an hour nothing.
const USAGE_SECS: RangeInclusive<i64> = 1..=3600;

/// Fresh enough for a page, rare enough for the database.
const DEFAULT_USAGE_SECS: u64 = 30;

/// A look at every process costs milliseconds, and ten seconds are less than anybody waits.
const PROCESSES_SECS: RangeInclusive<i64> = 10..=3600;

/// A page of processes is looked at by people.
const DEFAULT_PROCESSES_SECS: u64 = 60;

/// What a host is changes with its addresses and with updates.
const FACTS_SECS: RangeInclusive<i64> = 10..=86_400;

/// A host's addresses are wanted within minutes.
const DEFAULT_FACTS_SECS: u64 = 300;

/// Reads the settings.
pub(super) fn read(settings: &mut SettingsTable<'_>) -> Cadence {
    let mut every = |key, range, default| {
        let secs = settings.integer(key, range);
        Duration::from_secs(secs.unwrap_or(default))
    };
    Cadence {
        usage: every("usage_interval_secs", USAGE_SECS, DEFAULT_USAGE_SECS),
        processes: every(
            "processes_interval_secs",
            PROCESSES_SECS,
            DEFAULT_PROCESSES_SECS,
        ),
        facts: every("facts_interval_secs", FACTS_SECS, DEFAULT_FACTS_SECS),
    }
}
