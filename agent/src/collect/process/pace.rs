//! How many events of processes go out one by one when a host runs more than the link should bear.
//! What it holds back it counts by kind; what is new in a flood still goes out.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hasher as _};

/// Events a second that go out one by one for as long as it takes.
const RATE: u64 = 200;

/// Events at once: the start of a large application, or a small build.
const BURST: u64 = 4_000;

/// Ends go out only while this much of the burst is left: beginnings matter more.
const ENDS_ABOVE: u64 = BURST / 2;

/// How long the same command is only counted in a flood, in nanoseconds.
const WINDOW: u64 = 10_000_000_000;

/// Different commands that go out within a window of a flood.
const MAX_NEW: usize = 500;

/// Programs counted one by one.
const MAX_PROGRAMS: usize = 64;

/// What was held back, by kind.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Held {
    /// Programs that began.
    pub executions: u64,
    /// Processes that ended.
    pub exits: u64,
    /// The program that began most often, and how often.
    pub most: Option<(String, u64)>,
}

/// The pace of one source.
#[derive(Debug)]
pub(super) struct Pace {
    tokens: u64,
    refilled: u64,
    window: u64,
    seen: HashSet<u64>,
    executions: u64,
    exits: u64,
    programs: BTreeMap<String, u64>,
    told: u64,
}

impl Pace {
    /// A full pace.
    pub(super) fn new(now: u64) -> Self {
        Self {
            tokens: BURST,
            refilled: now,
            window: now,
            seen: HashSet::new(),
            executions: 0,
            exits: 0,
            programs: BTreeMap::new(),
            told: now,
        }
    }

    /// Whether a program that began goes out; `what` tells it from others.
    pub(super) fn admit_execution(
        &mut self,
        now: u64,
        image: &str,
        what: impl std::hash::Hash,
    ) -> bool {
        if self.take_token(now) {
            return true;
        }
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        let is_new = self.seen.len() < MAX_NEW && self.seen.insert(hasher.finish());
        if !is_new {
            self.executions += 1;
            if let Some(count) = self.programs.get_mut(image) {
                *count += 1;
            } else if self.programs.len() < MAX_PROGRAMS {
                self.programs.insert(image.to_owned(), 1);
            }
        }
        is_new
    }

    /// Whether the end of a process goes out.
    pub(super) fn admit_exit(&mut self, now: u64) -> bool {
        self.refill(now);
        let admitted = self.tokens > ENDS_ABOVE;
        if admitted {
            self.tokens -= 1;
        } else {
            self.exits += 1;
        }
        admitted
    }

    /// What was held back since it was last told, at most once in a window.
    pub(super) fn take_held(&mut self, now: u64) -> Option<Held> {
        if self.untold_until().is_none_or(|until| until > now) {
            return None;
        }
        self.told = now;
        let most = std::mem::take(&mut self.programs);
        Some(Held {
            executions: std::mem::take(&mut self.executions),
            exits: std::mem::take(&mut self.exits),
            most: most.into_iter().max_by_key(|(_, count)| *count),
        })
    }

    /// When what was held back is to be told; none where nothing was.
    pub(super) fn untold_until(&self) -> Option<u64> {
        (self.executions + self.exits > 0).then_some(self.told + WINDOW)
    }

    fn take_token(&mut self, now: u64) -> bool {
        self.refill(now);
        let has_one = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        has_one
    }

    fn refill(&mut self, now: u64) {
        let new = now.saturating_sub(self.refilled).saturating_mul(RATE) / 1_000_000_000;
        if new > 0 {
            self.tokens = self.tokens.saturating_add(new).min(BURST);
            self.refilled = now;
        }
        if now.saturating_sub(self.window) > WINDOW {
            self.window = now;
            self.seen.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn ordinary_life_goes_out_one_by_one() {
        let mut pace = Pace::new(0);

        for second in 0..1_000 {
            for number in 0..RATE / 2 {
                assert!(pace.admit_execution(second * SECOND, "/bin/x", number % 3));
                assert!(pace.admit_exit(second * SECOND));
            }
        }

        assert_eq!(pace.take_held(2_000 * SECOND), None);
    }

    #[test]
    fn a_flood_is_counted_by_kind_and_what_is_new_in_it_goes_out() {
        let mut pace = Pace::new(0);
        let mut admitted = 0;

        for _ in 0..100_000 {
            admitted += u64::from(pace.admit_execution(0, "/bin/true", "true"));
            pace.admit_exit(0);
        }
        let new = pace.admit_execution(0, "/bin/nc", "nc -e sh");
        let again = pace.admit_execution(0, "/bin/nc", "nc -e sh");
        let early = pace.take_held(WINDOW - 1);
        let held = pace.take_held(WINDOW).unwrap();

        assert_eq!((new, again, early), (true, false, None));
        let exits = 100_000 - held.exits;
        assert_eq!(held.executions, 100_000 - admitted + 1);
        assert!(exits <= ENDS_ABOVE, "{exits}");
        assert_eq!(held.most.unwrap().0, "/bin/true");
        assert_eq!(pace.take_held(3 * WINDOW), None, "told once");
    }

    #[test]
    fn a_flood_of_different_commands_is_bounded_too() {
        let mut pace = Pace::new(0);

        let admitted = (0..100_000)
            .filter(|n| pace.admit_execution(0, "/bin/x", n))
            .count();

        assert_eq!(admitted as u64, BURST + MAX_NEW as u64);
        assert!(
            pace.admit_execution(WINDOW + 1, "/bin/x", 5),
            "tokens come back"
        );
    }
}
