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
const TOP_PROCESSES_SECS: RangeInclusive<i64> = 10..=3600;

/// A page of processes is looked at by people.
const DEFAULT_TOP_PROCESSES_SECS: u64 = 60;

/// What a host is changes with its addresses and with updates.
const FACTS_SECS: RangeInclusive<i64> = 10..=86_400;

/// A host's addresses are wanted within minutes.
const DEFAULT_FACTS_SECS: u64 = 300;

/// Below a second looks would cost more than they show; above a few minutes they show nothing.
const NETWORK_SECS: RangeInclusive<i64> = 1..=300;

/// How often sockets are looked at: often enough for a session of a person, rare enough to cost
/// nothing on a host with thousands of connections.
const DEFAULT_NETWORK_SECS: u64 = 10;

/// The ways looks at processes may be spaced, for the same reasons as those at sockets.
const PROCESS_POLL_SECS: RangeInclusive<i64> = 1..=300;

/// How often processes are looked at where the kernel does not tell of them: a look costs about a
/// millisecond per hundred processes.
const DEFAULT_PROCESS_POLL_SECS: u64 = 5;

/// Reads the settings.
pub(super) fn read(settings: &mut SettingsTable<'_>) -> Cadence {
    let mut every = |key, range, default| {
        let secs = settings.integer(key, range);
        Duration::from_secs(secs.unwrap_or(default))
    };
    Cadence {
        usage: every("usage_interval_secs", USAGE_SECS, DEFAULT_USAGE_SECS),
        top_processes: every(
            "top_processes_interval_secs",
            TOP_PROCESSES_SECS,
            DEFAULT_TOP_PROCESSES_SECS,
        ),
        facts: every("facts_interval_secs", FACTS_SECS, DEFAULT_FACTS_SECS),
        network: every("network_interval_secs", NETWORK_SECS, DEFAULT_NETWORK_SECS),
        process_poll: every(
            "process_poll_secs",
            PROCESS_POLL_SECS,
            DEFAULT_PROCESS_POLL_SECS,
        ),
    }
}
