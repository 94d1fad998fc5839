//! Time that no correction of the machine's clock moves: what it was when this was first asked, and what
//! has passed since. It never says what time it is now; it is for what lies between two moments.

use std::sync::LazyLock;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

/// When it was first asked, by both clocks.
static BEGUN: LazyLock<(Timestamp, Instant)> = LazyLock::new(|| (Timestamp::now(), Instant::now()));

/// The present moment.
#[must_use]
pub fn steady_now() -> Timestamp {
    let (begun, at) = *BEGUN;
    moment(
        begun,
        Instant::now().saturating_duration_since(at).as_nanos(),
    )
}

/// So many nanoseconds after that.
fn moment(begun: Timestamp, nanoseconds: u128) -> Timestamp {
    let passed = i64::try_from(nanoseconds).unwrap_or(i64::MAX);
    let passed = SignedDuration::from_nanos(passed);
    begun.checked_add(passed).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_from_where_it_began_and_never_back() {
        let begun = Timestamp::UNIX_EPOCH;
        let hour = SignedDuration::from_hours(1);

        assert_eq!(moment(begun, 0), begun);
        assert_eq!(moment(begun, hour.as_nanos().unsigned_abs()), begun + hour);
        assert!(moment(begun, u128::MAX) > begun);
        let before = steady_now();
        assert!(steady_now() >= before);
    }
}
