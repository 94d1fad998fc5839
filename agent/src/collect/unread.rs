//! Lines that were passed on but not understood, counted by program.
//! It keeps no line and never grows past a fixed number of names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Most programs counted one by one; a host has a few dozen, and names in files may be anybody's.
const MAX_PROGRAMS: usize = 64;

/// Programs that a sentence names.
const MAX_NAMED: usize = 5;

/// How many lines of each program were not understood since the agent started.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct UnreadLines {
    programs: BTreeMap<String, u64>,
    /// Those of programs beyond the first ones.
    others: u64,
}

impl UnreadLines {
    /// Counts a line.
    pub fn count(&mut self, program: &str) {
        if let Some(count) = self.programs.get_mut(program) {
            *count = count.saturating_add(1);
        } else if self.programs.len() < MAX_PROGRAMS {
            self.programs.insert(program.to_owned(), 1);
        } else {
            self.others = self.others.saturating_add(1);
        }
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.programs
            .values()
            .fold(self.others, |sum, count| sum.saturating_add(*count))
    }

    /// The most frequent programs with their counts: `nginx 12, named 3 and 7 of others`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut programs: Vec<_> = self.programs.iter().collect();
        programs.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
        let named: Vec<String> = programs
            .iter()
            .take(MAX_NAMED)
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        let named_lines = programs
            .iter()
            .take(MAX_NAMED)
            .fold(0_u64, |sum, (_, count)| sum.saturating_add(**count));
        match self.total().saturating_sub(named_lines) {
            0 => named.join(", "),
            others => format!("{} and {others} of others", named.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_programs_are_named_first() {
        let mut unread = UnreadLines::default();
        for program in ["named", "nginx", "nginx", "a", "b", "c", "d"] {
            unread.count(program);
        }

        assert_eq!(unread.total(), 7);
        assert_eq!(
            unread.sentence(),
            "nginx 2, a 1, b 1, c 1, d 1 and 1 of others"
        );
    }

    #[test]
    fn names_without_end_are_counted_together() {
        let mut unread = UnreadLines::default();
        for number in 0..1_000 {
            unread.count(&format!("program-{number}"));
        }

        assert_eq!(unread.programs.len(), MAX_PROGRAMS);
        assert_eq!((unread.others, unread.total()), (936, 1_000));
    }
}
