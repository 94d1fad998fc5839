//! Hosts whose clock is wrong, each told once in a while.
//! It never looks at the times of log lines: programs write those, in whichever zone.

use std::collections::HashMap;
use std::time::Duration;

use hidps_wire::{AgentId, EventKind, LogEvent};
use jiff::Timestamp;
use tokio::time::Instant;

/// Seconds a host's clock may be ahead; the way takes less, and an event cannot come early.
const TOLERANCE_SECS: i64 = 60;

/// How often one host's clock is told.
const TELL_EVERY: Duration = Duration::from_secs(600);

/// Most hosts remembered; when there are more wrong clocks than that, all are told anew.
const MAX_HOSTS: usize = 10_000;

/// When the clock of which host was last told.
#[derive(Debug, Default)]
pub(super) struct ClockWatch {
    told: HashMap<AgentId, Instant>,
}

impl ClockWatch {
    /// Whether a skew is news; telling it is assumed.
    pub(super) fn is_news(&mut self, agent: AgentId, now: Instant) -> bool {
        let told = self.told.get(&agent);
        if told.is_some_and(|told| now.duration_since(*told) < TELL_EVERY) {
            return false;
        }
        if self.told.len() >= MAX_HOSTS {
            self.told.clear();
        }
        self.told.insert(agent, now);
        true
    }
}

/// By how many seconds the host's clock is ahead, where it is. An event from the past says
/// nothing: it may have waited for the daemon.
pub(super) fn seconds_ahead(events: &[LogEvent<'_>], now: Timestamp) -> Option<i64> {
    let is_agents_time = |event: &&LogEvent<'_>| {
        matches!(event.kind, EventKind::AgentInfo | EventKind::FileMonitoring)
    };
    let newest = events.iter().rfind(is_agents_time)?;
    let time: Timestamp = newest.timestamp.as_str().parse().ok()?;
    let ahead = time.as_second().saturating_sub(now.as_second());
    (ahead > TOLERANCE_SECS).then_some(ahead)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hidps_wire::Fields;
    use uuid::Uuid;

    fn event(kind: EventKind, timestamp: &str) -> LogEvent<'_> {
        LogEvent {
            timestamp: timestamp.into(),
            kind,
            service: "x".into(),
            message: "m".into(),
            fields: Fields::default(),
        }
    }

    #[test]
    fn only_the_agents_own_times_and_only_the_future_say_something() {
        let now: Timestamp = "2026-11-21T01:00:00Z".parse().expect("a time");
        let check = |kind, time, expected| {
            assert_eq!(seconds_ahead(&[event(kind, time)], now), expected, "{time}");
        };

        let own = EventKind::AgentInfo;
        check(own, "2026-11-21T01:02:00Z", Some(120));
        check(EventKind::FileMonitoring, "2026-11-21T01:01:01Z", Some(61));
        check(own, "2026-11-21T01:01:00Z", None);
        check(own, "2026-11-20T01:00:00Z", None);
        check(own, "tomorrow", None);
        check(EventKind::Login, "2026-11-21T03:00:00Z", None);
        assert_eq!(seconds_ahead(&[], now), None);
    }

    #[test]
    fn one_host_is_told_once_in_ten_minutes() {
        let (mut watch, now) = (ClockWatch::default(), Instant::now());
        let [one, other] = [1, 2].map(|number| AgentId::new(Uuid::from_u128(number)));

        assert!(watch.is_news(one, now));
        assert!(!watch.is_news(one, now + TELL_EVERY - Duration::from_millis(1)));
        assert!(watch.is_news(other, now));
        assert!(watch.is_news(one, now + TELL_EVERY));
    }
}
