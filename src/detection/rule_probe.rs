//! Whether the regular expressions of a set stay cheap on hostile text, tried before it comes into force.
//! It never measures waiting: the clock is the processor time of the thread that asks.

use hidps_rules::{MAX_NANOS_PER_BYTE, RuleError, RuleSet};
use rustix::time::{ClockId, clock_gettime};

/// How much slower an expression may run in a build without optimization.
const SLOWNESS: u64 = if cfg!(debug_assertions) { 8 } else { 1 };

/// Lists every regular expression that would cost too much, each with its place.
pub(super) fn list_dear(set: &RuleSet) -> Vec<RuleError> {
    set.probe(MAX_NANOS_PER_BYTE * SLOWNESS, &mut processor_nanos)
}

/// Nanoseconds for which this thread has run.
fn processor_nanos() -> u64 {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = spent.tv_sec.saturating_mul(1_000_000_000) + spent.tv_nsec;
    u64::try_from(nanos).unwrap_or(0)
}
