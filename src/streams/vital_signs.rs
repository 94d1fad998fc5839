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

/// Shortest time between two records of facts: a host whose ports come and go tells of each.
const FACTS_AT_MOST_EVERY: Duration = Duration::from_secs(30);

/// Processor time that makes a process busy, in percent of one core.
const BUSY: f32 = 25.0;

/// What was recorded last; small, for there is one of each connection.
#[derive(Debug)]
pub(super) struct VitalSigns {
    seen_at: Instant,
    usage: Option<(Instant, Vital)>,
    /// When processes were recorded, and a hash of who was busy.
    processes: Option<(Instant, u64)>,
    /// When facts were recorded, and a hash of them.
    facts: Option<(Instant, u64)>,
    /// Facts that came too soon after others.
    waiting: Option<Box<Facts>>,
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
            waiting: None,
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

    /// Facts were reported. Those that come too soon wait, and only the newest of them.
    pub(super) fn on_facts(&mut self, facts: Box<Facts>) {
        self.waiting = Some(facts);
    }

    /// When facts that wait may be recorded; none while none do.
    pub(super) fn facts_due(&self) -> Option<Instant> {
        self.waiting.as_ref()?;
        let last = self.facts.map(|(at, _)| at);
        Some(last.map_or(self.seen_at, |at| at + FACTS_AT_MOST_EVERY))
    }

    /// The facts that are to be recorded now: those that are due and others than the last ones.
    pub(super) fn take_facts(&mut self, now: Instant) -> Option<Facts> {
        let is_due = self.facts_due().is_some_and(|due| due <= now);
        if is_due {
            self.take_last_facts(now)
        } else {
            None
        }
    }

    /// The same at the end, when there is no later time.
    pub(super) fn take_last_facts(&mut self, now: Instant) -> Option<Facts> {
        let facts = self.waiting.take()?;
        let mut hasher = DefaultHasher::new();
        encode(&*facts).hash(&mut hasher);
        let hash = hasher.finish();
        if self.facts.is_some_and(|(_, last)| last == hash) {
            return None;
        }
        self.facts = Some((now, hash));
        Some(*facts)
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

    fn facts(kernel: u64) -> Box<Facts> {
        let kernel = kernel.to_string();
        Box::new(Facts {
            kernel: kernel.as_str().into(),
            ..Facts::default()
        })
    }

    #[test]
    fn facts_are_recorded_when_they_are_others() {
        let begun = Instant::now();
        let mut signs = VitalSigns::new(begun);
        let mut told_at = |second, kernel| {
            signs.on_facts(facts(kernel));
            signs
                .take_facts(begun + Duration::from_secs(second))
                .is_some()
        };

        assert!(told_at(0, 1), "the first at once");
        assert!(!told_at(40, 1));
        assert!(told_at(80, 2));
        assert!(told_at(120, 1));
    }

    #[test]
    fn facts_that_change_all_the_time_are_recorded_rarely_and_the_last_ones_are_not_lost() {
        let begun = Instant::now();
        let mut signs = VitalSigns::new(begun);
        let mut recorded = Vec::new();

        for second in 0..300 {
            signs.on_facts(facts(second));
            recorded.extend(signs.take_facts(begun + Duration::from_secs(second)));
        }
        let end = begun + Duration::from_secs(300);

        assert_eq!(recorded.len(), 10);
        assert_eq!(signs.facts_due(), Some(end));
        assert_eq!(signs.take_last_facts(end).as_ref(), Some(&*facts(299)));
        assert_eq!(signs.facts_due(), None);
    }
}
