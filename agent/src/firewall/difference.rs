//! The difference between two listings of the agent's table, for plans and for people.
//! It compares lines as nft prints them, and understands none.

use std::collections::BTreeMap;

use crate::text::printable;

/// How many lines a sentence names; the others are a number.
const MAX_NAMED: usize = 2;

/// Longest line in a sentence.
const MAX_LINE: usize = 120;

/// Lines that only one of two listings has, each in the order of its listing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Difference<'t> {
    /// Lines of the first listing.
    pub(super) removed: Vec<&'t str>,
    /// Lines of the second listing.
    pub(super) added: Vec<&'t str>,
}

impl<'t> Difference<'t> {
    /// What turns one listing into the other. The same lines in another order are all different,
    /// for in a firewall the order is what counts.
    pub(super) fn between(before: &'t str, after: &'t str) -> Self {
        let difference = Self {
            removed: missing_lines(before, after),
            added: missing_lines(after, before),
        };
        let is_same = lines(before).eq(lines(after));
        if is_same || difference != Self::default() {
            return difference;
        }
        Self {
            removed: lines(before).collect(),
            added: lines(after).collect(),
        }
    }

    /// What somebody did who turned the one into the other, after "somebody".
    pub(super) fn describe(&self) -> String {
        if !self.removed.is_empty() && self.removed.len() == self.added.len() {
            let mut sorted = (self.removed.clone(), self.added.clone());
            sorted.0.sort_unstable();
            sorted.1.sort_unstable();
            if sorted.0 == sorted.1 {
                return "changed the order of the firewall table".to_owned();
            }
        }
        let parts = [("added", &self.added), ("removed", &self.removed)];
        let parts: Vec<_> = parts
            .into_iter()
            .filter(|(_, lines)| !lines.is_empty())
            .map(|(verb, lines)| format!("{verb} {}", name_some(lines)))
            .collect();
        if parts.is_empty() {
            return "changed the firewall table".to_owned();
        }
        format!("changed the firewall table: {}", parts.join("; "))
    }
}

/// The lines of a listing that say something.
pub(super) fn lines(listing: &str) -> impl Iterator<Item = &str> {
    listing
        .lines()
        .map(str::trim)
        .filter(|line| !matches!(*line, "" | "}"))
}

/// The lines of one listing that the other does not have as often.
fn missing_lines<'t>(listing: &'t str, other: &str) -> Vec<&'t str> {
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    for line in lines(other) {
        *left.entry(line).or_default() += 1;
    }
    lines(listing)
        .filter(|line| match left.get_mut(line) {
            Some(n) if *n > 0 => {
                *n -= 1;
                false
            }
            Some(_) | None => true,
        })
        .collect()
}

fn name_some(lines: &[&str]) -> String {
    let named: Vec<_> = lines
        .iter()
        .take(MAX_NAMED)
        .map(|line| format!("\"{}\"", printable(line, MAX_LINE)))
        .collect();
    let more = lines.len() - named.len();
    let named = named.join(", ");
    if more == 0 {
        named
    } else {
        format!("{named} and {more} more")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TABLE: &str = "table inet hidps {\n\tchain input {\n\t\tpolicy drop;\n\t\tone\n\t\ttwo\n\t\tthree\n\t}\n}\n";

    #[test]
    fn somebodys_doing_is_told_in_one_sentence() {
        let check = |from: &str, to: &str, wanted: &str| {
            let found = TABLE.replace(from, to);

            assert_eq!(Difference::between(TABLE, &found).describe(), wanted);
        };

        check(
            "one",
            "accept\n\t\tone",
            "changed the firewall table: added \"accept\"",
        );
        check(
            "policy drop",
            "policy accept",
            "changed the firewall table: added \"policy accept;\"; removed \"policy drop;\"",
        );
        check(
            "\t\tone\n\t\ttwo\n\t\tthree\n",
            "",
            "changed the firewall table: removed \"one\", \"two\" and 1 more",
        );
        check(
            "one\n\t\ttwo",
            "two\n\t\tone",
            "changed the order of the firewall table",
        );
        check("none", "none", "changed the firewall table");
    }

    #[test]
    fn lines_that_say_nothing_are_left_out() {
        assert_eq!(lines("a {\n\tb\n}\n\n").collect::<Vec<_>>(), ["a {", "b"]);
    }

    #[test]
    fn a_hostile_line_stays_within_its_sentence() {
        let found = TABLE.replace("one", &format!("\u{1b}[31m{}", "x".repeat(5_000)));

        let said = Difference::between(TABLE, &found).describe();

        assert!(said.len() < 300 && !said.contains('\u{1b}'), "{said}");
    }

    proptest! {
        #[test]
        fn nothing_differs_exactly_if_the_lines_are_the_same(
            before in prop::collection::vec("[a-c]", 0..5),
            after in prop::collection::vec("[a-c]", 0..5),
        ) {
            let (first, second) = (before.join("\n"), after.join("\n"));

            let difference = Difference::between(&first, &second);

            prop_assert_eq!(difference == Difference::default(), before == after);
            let mut kept: Vec<_> = before.iter().map(String::as_str).collect();
            for line in &difference.removed {
                let at = kept.iter().position(|kept| kept == line);
                kept.remove(at.expect("what is removed was there"));
            }
            kept.extend(&difference.added);
            kept.sort_unstable();
            let mut wanted: Vec<_> = after.iter().map(String::as_str).collect();
            wanted.sort_unstable();
            prop_assert_eq!(kept, wanted);
        }
    }
}
