//! The time of day: for events in RFC 3339, for signatures corrected by what the daemon's says.
//! It never sets the host's clock.

use jiff::Timestamp;
use jiff::fmt::rfc2822;

/// The present time for an event.
#[must_use]
pub fn now() -> String {
    rfc3339(Timestamp::now())
}

/// A time for an event: UTC with microseconds, as finer digits only cost bytes.
#[must_use]
pub fn rfc3339(time: Timestamp) -> String {
    format!("{time:.6}")
}

/// The time of an HTTP `Date` header.
#[must_use]
pub fn parse_http_date(text: &str) -> Option<Timestamp> {
    rfc2822::parse(text).ok().map(|zoned| zoned.timestamp())
}

/// How far the daemon's clock is ahead of the host's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClockOffset {
    seconds: i64,
}

impl ClockOffset {
    /// The offset between the daemon's time and the host's.
    #[must_use]
    pub fn between(daemon: Timestamp, host: Timestamp) -> Self {
        Self {
            seconds: daemon.as_second().saturating_sub(host.as_second()),
        }
    }

    /// Seconds since the Unix epoch by the daemon's clock.
    #[must_use]
    pub fn daemon_seconds(self, host: Timestamp) -> u64 {
        let seconds = host.as_second().saturating_add(self.seconds);
        u64::try_from(seconds).unwrap_or(0)
    }

    /// The offset in seconds.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// Whether another offset would make a real difference; a `Date` has whole seconds and
    /// travels a while.
    #[must_use]
    pub const fn differs_from(self, other: Self) -> bool {
        self.seconds.abs_diff(other.seconds) > 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_with_microseconds() {
        let time: Timestamp = "2026-11-21T03:04:05.1234567+02:00".parse().unwrap();

        assert_eq!(rfc3339(time), "2026-11-21T01:04:05.123456Z");
    }

    #[test]
    fn a_wrong_clock_is_corrected_by_a_date_header() {
        let daemon = parse_http_date("Sat, 21 Nov 2026 01:00:00 GMT").unwrap();
        let host: Timestamp = "2026-11-20T23:00:00Z".parse().unwrap();

        let offset = ClockOffset::between(daemon, host);

        assert_eq!(offset.seconds(), 7_200);
        assert_eq!(offset.daemon_seconds(host), daemon.as_second() as u64);
        assert!(offset.differs_from(ClockOffset::default()));
    }

    #[test]
    fn what_is_not_a_date_is_nothing() {
        for text in ["", "yesterday", "Sat, 41 Nov 2026 01:00:00 GMT"] {
            assert_eq!(parse_http_date(text), None, "{text:?}");
        }
    }
}
