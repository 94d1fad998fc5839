//! Which lines of logs go out where only one of so many is wanted, and how many were left out.
//! It never leaves out a line that states something, nor one of a program that guards the host.

use std::collections::BTreeMap;

use hidps_wire::EventKind;
use serde::{Deserialize, Serialize};

use crate::normalize::NormalLine;

/// Most programs that are counted one by one; names in logs may be anybody's.
const MAX_PROGRAMS: usize = 64;

/// Programs that decide who is who or look for intruders: rules look at any of their lines. Those
/// whose every line is about logins are known by that.
const GUARDS: [&str; 36] = [
    "aide",
    "anacron",
    "apparmor",
    "audisp",
    "audispd",
    "auditd",
    "chkrootkit",
    "clamd",
    "clamdscan",
    "clamonacc",
    "clamscan",
    "cron",
    "crontab",
    "doas",
    "fail2ban",
    "fail2ban-server",
    "fail2ban.actions",
    "fail2ban.filter",
    "falco",
    "firewalld",
    "freshclam",
    "guacd",
    "kernel",
    "newusers",
    "pkexec",
    "polkit-agent-helper-1",
    "polkitd",
    "rkhunter",
    "runuser",
    "setroubleshoot",
    "snort",
    "suricata",
    "systemd-logind",
    "ufw",
    "usbguard-daemon",
    "vsftpd",
];

/// The choice: of each program the first of every so many lines, so that a program that speaks
/// seldom is heard whatever the others write.
#[derive(Debug)]
pub(super) struct LineSampler {
    one_of: u32,
    /// The place of each program's next line among so many.
    places: BTreeMap<String, u32>,
    /// That of all programs beyond the first ones together.
    others: u32,
}

impl Default for LineSampler {
    /// Every line goes out.
    fn default() -> Self {
        Self {
            one_of: 1,
            places: BTreeMap::new(),
            others: 0,
        }
    }
}

impl LineSampler {
    /// Takes note of how many lines one is wanted of; another number begins anew.
    pub(super) fn decide(&mut self, one_of: u32) {
        if self.one_of != one_of {
            *self = Self {
                one_of,
                ..Self::default()
            };
        }
    }

    /// How many of the events that a line stands for go out.
    pub(super) fn admit(&mut self, read: &NormalLine<'_>) -> u32 {
        if self.one_of <= 1 || !is_ordinary(read) {
            return read.count;
        }
        let one_of = self.one_of;
        let place = self.place_of(&read.event.service);
        // Those on the place 0 go out: of the first of so many, and of each as many later.
        let passed = place.saturating_add(read.count);
        let admitted = passed.div_ceil(one_of) - place.div_ceil(one_of);
        *place = passed % one_of;
        admitted
    }

    fn place_of(&mut self, program: &str) -> &mut u32 {
        let is_known = self.places.contains_key(program);
        if !is_known && self.places.len() >= MAX_PROGRAMS {
            return &mut self.others;
        }
        if !is_known {
            self.places.insert(program.to_owned(), 0);
        }
        self.places.entry(program.to_owned()).or_default()
    }
}

/// Whether a line says nothing that rules could know, and was not written by a guard or by a program
/// that speaks in another one's name.
fn is_ordinary(read: &NormalLine<'_>) -> bool {
    let event = &read.event;
    !read.is_read
        && event.kind == EventKind::Process
        && event.fields.get("claimed").is_none()
        && !GUARDS.contains(&event.service.as_str())
}

/// How many lines of each source were left out because fewer are wanted, since the agent started.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SampledLines {
    sources: BTreeMap<String, u64>,
}

impl SampledLines {
    /// Counts lines of a source.
    pub fn count(&mut self, source: &'static str, left_out: u32) {
        let count = self.sources.entry(source.to_owned()).or_default();
        *count = count.saturating_add(u64::from(left_out));
    }

    /// Those of one source.
    #[must_use]
    pub fn of(&self, source: &str) -> u64 {
        self.sources.get(source).copied().unwrap_or_default()
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        let counts = self.sources.values();
        counts.fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The sources with their counts: `journal 12, log files 3`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let sources = self.sources.iter();
        let words: Vec<_> = sources
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        words.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalize::{JournalEntry, LineSource, normalize, normalize_entry};
    use jiff::Timestamp;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    fn sampler(one_of: u32) -> LineSampler {
        let mut sampler = LineSampler::default();
        sampler.decide(one_of);
        sampler
    }

    /// How many events of a line go out.
    fn admit(sampler: &mut LineSampler, program: &str, text: &str) -> u32 {
        let source = LineSource {
            program,
            seen: Timestamp::UNIX_EPOCH,
            zone: TimeZone::UTC,
        };
        sampler.admit(&normalize(text, &source))
    }

    proptest! {
        #[test]
        fn of_each_program_the_first_of_every_so_many_goes_out_however_lines_are_joined(
            one_of in 1_u32..12,
            lines in prop::collection::vec((0_usize..3, 1_u32..30), 0..60),
        ) {
            let mut sampler = sampler(one_of);
            let mut seen = [(0_u32, 0_u32); 3];

            for (program, count) in lines {
                let text = format!("message repeated {count} times: [ something]");
                let (n_seen, n_admitted) = &mut seen[program];
                *n_seen += count;
                *n_admitted += admit(&mut sampler, ["app", "named", "nginx"][program], &text);
                prop_assert_eq!(*n_admitted, n_seen.div_ceil(one_of));
            }
        }
    }

    #[test]
    fn what_states_something_or_comes_from_a_guard_goes_out_whole() {
        let mut sampler = sampler(1_000);

        for (program, text) in [
            (
                "sshd",
                "Failed password for root from 192.0.2.7 port 22 ssh2",
            ),
            ("sshd", "a line that nobody knows"),
            ("sudo", "a line that nobody knows"),
            (
                "app",
                "pam_unix(app:auth): authentication failure; user=alice",
            ),
            ("useradd", "a line that nobody knows"),
            ("cron", "(root) CMD (true)"),
            ("cron", "a line that nobody knows"),
            ("systemd", "app.service: Failed with result 'exit-code'."),
            ("kernel", "a line that nobody knows"),
            ("polkitd", "a line that nobody knows"),
        ] {
            for _ in 0..3 {
                assert_eq!(admit(&mut sampler, program, text), 1, "{program}: {text}");
            }
        }
    }

    #[test]
    fn a_line_in_another_programs_name_goes_out_whole() {
        let mut sampler = sampler(1_000);
        let forged = JournalEntry {
            message: "Failed password for root from 192.0.2.7 port 22 ssh2",
            identifier: Some("sshd"),
            uid: Some(1_000),
            exe: Some("/usr/bin/logger"),
            ..JournalEntry::default()
        };
        let own = JournalEntry {
            identifier: Some("logger"),
            ..forged.clone()
        };
        let mut admit = |entry: &JournalEntry<'_>| sampler.admit(&normalize_entry(entry));

        assert_eq!([&forged, &forged, &forged].map(&mut admit), [1, 1, 1]);
        assert_eq!([&own, &own, &own].map(&mut admit), [1, 0, 0]);
    }

    #[test]
    fn guards_are_listed_in_order_and_by_the_names_that_lines_get() {
        assert!(GUARDS.is_sorted());
        for program in GUARDS {
            let mut sampler = sampler(9);
            let n_admitted: u32 = (0..9).map(|_| admit(&mut sampler, program, "x")).sum();
            assert_eq!(n_admitted, 9, "{program}");
        }
    }

    #[test]
    fn names_without_end_share_one_place() {
        let mut sampler = sampler(10);

        let names = (0..1_000).map(|number| format!("program-{number}"));
        let n_admitted: u32 = names.map(|name| admit(&mut sampler, &name, "x")).sum();

        assert_eq!(sampler.places.len(), MAX_PROGRAMS);
        assert_eq!(n_admitted, 64 + 936_u32.div_ceil(10));
    }

    #[test]
    fn another_number_begins_anew_and_the_same_one_does_not() {
        let mut sampler = sampler(3);
        let mut next = |one_of| {
            sampler.decide(one_of);
            admit(&mut sampler, "app", "x")
        };

        assert_eq!([3, 3, 4, 4, 1, 1].map(&mut next), [1, 0, 1, 0, 1, 1]);
    }

    #[test]
    fn what_was_left_out_is_counted_by_source() {
        let mut sampled = SampledLines::default();
        sampled.count("log files", 3);
        sampled.count("journal", 12);
        sampled.count("journal", 0);

        assert_eq!((sampled.of("journal"), sampled.of("audit")), (12, 0));
        assert_eq!(sampled.total(), 15);
        assert_eq!(sampled.sentence(), "journal 12, log files 3");
    }
}
