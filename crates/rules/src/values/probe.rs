//! What regular expressions cost on hostile text, measured by a clock that the caller brings.
//! It never reads a clock by itself and never changes a rule; who asked decides what follows.

use crate::fault::RuleError;
use crate::rule_set::{Rule, RuleSet};
use crate::selecting::expression::Expression;
use crate::values::matcher::Matcher;
use crate::values::regular::Regular;

/// Nanoseconds per byte that an expression may cost at most: of the community's 217 all that are
/// more than a test of length stay far below on an ordinary machine, and a value as long as an
/// expression reads then costs at most some eight milliseconds.
pub const MAX_NANOS_PER_BYTE: u64 = 250;

/// Length of a hostile text.
const HOSTILE_BYTES: usize = 4 * 1024;

/// How often a text is read that took too long; the shortest time counts, since others are
/// interruptions.
const RUNS: usize = 3;

impl RuleSet {
    /// Runs every regular expression over hostile texts and answers those that cost more than
    /// `max_nanos_per_byte`, each as a refusal with its place.
    ///
    /// `clock` answers nanoseconds since any moment and never goes back.
    #[must_use]
    pub fn probe(&self, max_nanos_per_byte: u64, clock: &mut dyn FnMut() -> u64) -> Vec<RuleError> {
        let mut regulars = Vec::new();
        for detection in self.rules.iter().filter_map(Rule::detection) {
            for expression in detection.selections.iter().chain([&detection.condition]) {
                list_regulars(expression, &mut regulars);
            }
        }
        let mut refused = Vec::new();
        for regular in regulars.into_iter().filter(|regular| regular.is_probed()) {
            let cost = hostile_texts(regular)
                .iter()
                .map(|text| cost_of(regular, text, max_nanos_per_byte, clock))
                .find(|cost| *cost > max_nanos_per_byte);
            if let Some(cost) = cost {
                refused.push(regular.refuse(
                    &format!(
                        "takes {cost} ns per byte of a hostile text, more than {max_nanos_per_byte}"
                    ),
                    "use smaller repetition counts, or 'contains' and 'startswith'",
                ));
            }
        }
        refused.sort();
        refused.dedup();
        refused
    }
}

/// Nanoseconds per byte of a text, as few as were seen before it was little enough.
fn cost_of(regular: &Regular, text: &str, enough: u64, clock: &mut dyn FnMut() -> u64) -> u64 {
    let folded = crate::values::fold::fold(text);
    let mut least = u64::MAX;
    for _ in 0..RUNS {
        let start = clock();
        // Hidden from the optimizer: the answer is of no interest, the time is.
        std::hint::black_box(regular.is_match(std::hint::black_box(text), &folded));
        let spent = clock().saturating_sub(start);
        least = least.min(spent / text.len().max(1) as u64);
        if least <= enough {
            break;
        }
    }
    least
}

/// Texts that make an automaton work: long runs, near misses, many alphabets; each with a literal
/// that opens the gate.
fn hostile_texts(regular: &Regular) -> Vec<String> {
    let literals = regular.needed().map_or(&[][..], |needed| &needed.literals);
    let key = literals.first().cloned().unwrap_or_default();
    let fillers = [
        "a", "x", "é", "aé", "0", " ", "0 ", "/a", ".", "aA0_-", "漢", "🦀", "-", "\"' ", "0a.",
    ];
    let mut units: Vec<String> = fillers.map(str::to_owned).to_vec();
    if !key.is_empty() {
        units.push(key.clone());
        units.push(format!("{key}a"));
        units.push(format!("{key}0é"));
    }
    let long = |unit: &String| {
        let times = HOSTILE_BYTES / unit.len().max(1);
        format!("{}{key}!", unit.repeat(times))
    };
    units.iter().map(long).collect()
}

/// Gathers the regular expressions of an expression.
fn list_regulars<'e>(expression: &'e Expression, found: &mut Vec<&'e Regular>) {
    match expression {
        Expression::All(parts) | Expression::Any(parts) => {
            parts.iter().for_each(|part| list_regulars(part, found));
        }
        Expression::Not(part) => list_regulars(part, found),
        Expression::Selection(_) => {}
        Expression::Item(item) => {
            item.matchers
                .iter()
                .for_each(|matcher| list_in_matcher(matcher, found));
        }
    }
}

/// Gathers the regular expressions of a value.
fn list_in_matcher<'e>(matcher: &'e Matcher, found: &mut Vec<&'e Regular>) {
    if let Matcher::Regex(regular) = matcher {
        found.push(regular);
    }
    if let Matcher::AnyOf(spellings) = matcher {
        spellings
            .iter()
            .for_each(|spelling| list_in_matcher(spelling, found));
    }
}
