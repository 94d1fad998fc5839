//! Which signs of life and of load of one connection are worth a row: each costs Realtime work.
//! It reads no clock and writes nothing.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::UsageReport;

/// Time between two records of what has not really changed; a lease is three times as long.
const EVERY: Duration = Duration::from_secs(30);

/// Shortest time between two records of usage, whatever it does.
const AT_MOST_EVERY: Duration = Duration::from_secs(5);

/// A share that moved by so many percent of the whole has really changed.
const MOVED: f32 = 10.0;

/// What was recorded last.
#[derive(Debug)]
pub(super) struct VitalSigns {
    seen_at: Instant,
    usage: Option<(Instant, UsageReport)>,
}

impl VitalSigns {
    /// Of a connection whose beginning was recorded just now.
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            seen_at: now,
            usage: None,
        }
    }

    /// Something was heard; whether that is to be recorded.
    pub(super) fn is_seen(&mut self, now: Instant) -> bool {
        let is_due = now >= self.seen_at + EVERY;
        if is_due {
            self.seen_at = now;
        }
        is_due
    }

    /// Usage was reported; whether that is to be recorded.
    pub(super) fn is_news(&mut self, report: UsageReport, now: Instant) -> bool {
        let is_news = self.usage.as_ref().is_none_or(|(at, last)| {
            now >= *at + EVERY
                || last.firewall_active != report.firewall_active
                || now >= *at + AT_MOST_EVERY && has_moved(last, &report)
        });
        if is_news {
            self.usage = Some((now, report));
        }
        is_news
    }
}

fn has_moved(last: &UsageReport, now: &UsageReport) -> bool {
    let shares = [
        (last.cpu, now.cpu),
        (last.ram, now.ram),
        (last.storage, now.storage),
    ];
    shares
        .iter()
        .any(|(before, after)| (before - after).abs() >= MOVED)
}

#[cfg(test)]
mod tests {
    use hidps_wire::AgentId;
    use uuid::Uuid;

    use super::*;

    fn usage(cpu: f32, firewall_active: Option<bool>) -> UsageReport {
        UsageReport {
            agent_id: AgentId::new(Uuid::nil()),
            cpu,
            ram: 40.0,
            storage: 60.0,
            firewall_active,
        }
    }

    #[test]
    fn what_has_not_really_changed_is_recorded_every_half_minute() {
        let begun = Instant::now();
        let mut signs = VitalSigns::new(begun);
        let mut recorded = 0;

        for second in 0..300 {
            let now = begun + Duration::from_secs(second);
            let wavering = usage(50.0 + f32::from(u8::try_from(second % 9).unwrap()), None);
            recorded += u32::from(signs.is_news(wavering, now));
        }

        assert_eq!(recorded, 10);
    }

    #[test]
    fn a_leap_of_load_is_recorded_within_seconds_and_a_storm_of_leaps_is_bounded() {
        let begun = Instant::now();
        let mut signs = VitalSigns::new(begun);
        let mut recorded = 0;

        for tenth in 0..600_u64 {
            let now = begun + Duration::from_millis(tenth * 100);
            let leaping = usage(if tenth % 2 == 0 { 0.0 } else { 100.0 }, None);
            recorded += u32::from(signs.is_news(leaping, now));
        }

        assert!((10..=13).contains(&recorded), "{recorded} in a minute");
    }

    #[test]
    fn a_firewall_that_changes_is_recorded_at_once() {
        let now = Instant::now();
        let mut signs = VitalSigns::new(now);
        signs.is_news(usage(1.0, Some(true)), now);

        assert!(signs.is_news(usage(1.0, Some(false)), now));
    }

    #[test]
    fn any_frame_is_a_sign_of_life_recorded_every_half_minute() {
        let begun = Instant::now();
        let mut signs = VitalSigns::new(begun);

        let heard = (0..120).map(|second| begun + Duration::from_secs(second));

        assert_eq!(heard.filter(|now| signs.is_seen(*now)).count(), 3);
    }
}
