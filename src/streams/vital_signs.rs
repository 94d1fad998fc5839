//! Which signs of life, of load and of the host of one connection are worth a row: each has a cost.
//! It reads no clock and writes nothing.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use hidps_wire::{Facts, Processes, encode};
use tokio::time::Instant;

use crate::model::UsageReport;

/// Time between two records of what has not really changed; a lease is three times as long.
const EVERY: Duration = Duration::from_secs(30);

/// Shortest time between two records of usage, whatever it does.
const AT_MOST_EVERY: Duration = Duration::from_secs(5);

/// A share that moved by so many percent of the whole has really changed.
const MOVED: f32 = 10.0;

/// Time between two records of much the same processes.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(300);

/// Shortest time between two records of processes, whatever they do.
const SNAPSHOT_AT_MOST_EVERY: Duration = Duration::from_secs(55);

/// Processor time that makes a process busy, in percent of one core.
const BUSY: f32 = 25.0;

/// What was recorded last; small, for there is one of each connection.
#[derive(Debug)]
pub(super) struct VitalSigns {
    seen_at: Instant,
    usage: Option<(Instant, Vital)>,
    /// When processes were recorded, and a hash of who was busy.
    processes: Option<(Instant, u64)>,
    /// A hash of the facts.
    facts: Option<u64>,
}

/// What of a usage report says whether the next one is news.
#[derive(Clone, Copy, Debug)]
struct Vital {
    shares: [f32; 3],
    firewall_active: Option<bool>,
}

impl Vital {
    const fn of(report: &UsageReport) -> Self {
        Self {
            shares: [report.cpu, report.ram, report.storage],
            firewall_active: report.firewall_active,
        }
    }
}

impl VitalSigns {
    /// Of a connection whose beginning was recorded just now.
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            seen_at: now,
            usage: None,
            processes: None,
            facts: None,
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
    pub(super) fn is_news(&mut self, report: &UsageReport, now: Instant) -> bool {
        let vital = Vital::of(report);
        let is_news = self.usage.is_none_or(|(at, last)| {
            now >= at + EVERY
                || last.firewall_active != vital.firewall_active
                || now >= at + AT_MOST_EVERY && has_moved(last, vital)
        });
        if is_news {
            self.usage = Some((now, vital));
        }
        is_news
    }

    /// Processes were reported; whether they are to be recorded.
    pub(super) fn are_processes_news(&mut self, processes: &Processes, now: Instant) -> bool {
        let busy = hash_busy(processes);
        let is_news = self.processes.is_none_or(|(at, last)| {
            now >= at + SNAPSHOT_EVERY || now >= at + SNAPSHOT_AT_MOST_EVERY && busy != last
        });
        if is_news {
            self.processes = Some((now, busy));
        }
        is_news
    }

    /// Facts were reported; whether they are to be recorded.
    pub(super) fn are_facts_news(&mut self, facts: &Facts) -> bool {
        let mut hasher = DefaultHasher::new();
        encode(facts).hash(&mut hasher);
        self.facts.replace(hasher.finish()) != Some(hasher.finish())
    }
}

/// Who is busy, in the order of ids: that one is a little busier than the other is no news.
fn hash_busy(processes: &Processes) -> u64 {
    let busy = processes.top.iter().filter(|process| process.cpu >= BUSY);
    let mut busy: Vec<_> = busy.map(|process| (process.pid, &process.name)).collect();
    busy.sort_unstable();
    let mut hasher = DefaultHasher::new();
    busy.hash(&mut hasher);
    hasher.finish()
}

fn has_moved(last: Vital, now: Vital) -> bool {
    last.shares
        .iter()
        .zip(now.shares)
        .any(|(before, after)| (before - after).abs() >= MOVED)
}

#[cfg(test)]
mod tests {
    use hidps_wire::{AgentId, ProcessEntry};
    use uuid::Uuid;

    use super::*;

    fn usage(cpu: f32, firewall_active: Option<bool>) -> UsageReport {
        UsageReport {
            agent_id: AgentId::new(Uuid::nil()),
            cpu,
            ram: 40.0,
            storage: 60.0,
            firewall_active,
            load: None,
            disks: Vec::new(),
            sensors: Vec::new(),
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
            recorded += u32::from(signs.is_news(&wavering, now));
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
            recorded += u32::from(signs.is_news(&leaping, now));
        }

        assert!((10..=13).contains(&recorded), "{recorded} in a minute");
    }

    #[test]
    fn a_firewall_that_changes_is_recorded_at_once() {
        let now = Instant::now();
        let mut signs = VitalSigns::new(now);
        signs.is_news(&usage(1.0, Some(true)), now);

        assert!(signs.is_news(&usage(1.0, Some(false)), now));
    }

    #[test]
    fn any_frame_is_a_sign_of_life_recorded_every_half_minute() {
        let begun = Instant::now();
        let mut signs = VitalSigns::new(begun);

        let heard = (0..120).map(|second| begun + Duration::from_secs(second));

        assert_eq!(heard.filter(|now| signs.is_seen(*now)).count(), 3);
    }

    fn snapshot(busy: &[u32]) -> Processes {
        let entry = |pid: &u32| ProcessEntry {
            pid: *pid,
            name: "p".into(),
            command: None,
            user: None,
            cpu: 90.0,
            memory_kib: 1,
        };
        Processes {
            total: 100,
            top: busy.iter().map(entry).collect(),
        }
    }

    #[test]
    fn processes_are_recorded_every_five_minutes_and_sooner_when_others_are_busy() {
        let begun = Instant::now();
        let mut signs = VitalSigns::new(begun);
        let mut is_news_at = |second, busy: &[u32]| {
            signs.are_processes_news(&snapshot(busy), begun + Duration::from_secs(second))
        };

        assert!(is_news_at(0, &[1, 2]));
        assert!(!is_news_at(10, &[7]));
        assert!(!is_news_at(60, &[2, 1]));
        assert!(is_news_at(120, &[7]));
        assert!(!is_news_at(419, &[7]));
        assert!(is_news_at(420, &[7]));
    }

    #[test]
    fn facts_are_recorded_when_they_are_others() {
        let mut signs = VitalSigns::new(Instant::now());
        let (mut facts, known) = (Facts::default(), Facts::default());
        facts.kernel = "6.1".into();

        assert!(signs.are_facts_news(&known));
        assert!(!signs.are_facts_news(&known));
        assert!(signs.are_facts_news(&facts));
        assert!(signs.are_facts_news(&known));
    }
}
