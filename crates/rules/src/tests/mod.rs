//! Tests beside rules: `brute_force.test.yml` proves `brute_force.yml`, read here and run here.
//! It never reads files and never changes a rule set; the caller decides what a failure means.
//!
//! ```yaml
//! logsource: {product: linux, service: sshd}    # of every event that has none of its own
//! fields: {outcome: failure}                    # of every event, unless it says otherwise
//! cases:
//!   - name: five failures within a minute
//!     rule: ssh_brute_force                     # id or name; needed when the file has several
//!     events:
//!       - {at: 0s, fields: {src_ip: 192.0.2.7}}
//!       - {at: 15s, times: 4, every: 15s, fields: {src_ip: 192.0.2.7}}
//!     match: 1                                  # how many matches of the rule, or none
//! ```
//! `at` is the time since the case began, in ms, s, m, h or d, and never goes back by itself: an
//! event without it comes at the time of the one before. Every rule needs a case in which it
//! matches and one in which it does not.

mod case;

use std::collections::BTreeSet;

use crate::engine::Engine;
use crate::event::{Event, Scope};
use crate::fault::RuleError;
use crate::limits::Limits;
use crate::rule_set::RuleSet;
use case::{Case, parse_cases};

/// What a test file's name ends with, in place of the rule file's `.yml`.
pub const TEST_SUFFIX: &str = ".test.yml";

/// The time at which every case begins: 2026-01-01, so that times look like real ones.
const START_MS: i64 = 1_767_225_600_000;

/// The tests of one rule file.
#[derive(Clone, Debug)]
pub struct TestFile {
    name: String,
    cases: Vec<Case>,
}

/// Why a rule is not proven.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
pub enum TestFailure {
    /// A case came out differently.
    #[error("{file}: case '{case}': rule '{rule}' matched {found} times, expected {expected}")]
    Mismatch {
        /// The test file.
        file: String,
        /// The case.
        case: String,
        /// The rule.
        rule: String,
        /// How often it should match.
        expected: usize,
        /// How often it did.
        found: usize,
    },
    /// A case does not say, or says wrongly, which rule it proves.
    #[error("{file}: case '{case}' names no rule of {rule_file}; add 'rule: <id or name>'")]
    UnknownRule {
        /// The test file.
        file: String,
        /// The case.
        case: String,
        /// The rule file it stands beside.
        rule_file: String,
    },
    /// A rule has no case in which it matches, or none in which it does not.
    #[error(
        "{file}: rule '{rule}' has no case in which it {lacking}; add one to its {TEST_SUFFIX}"
    )]
    Unproven {
        /// The rule file.
        file: String,
        /// The rule.
        rule: String,
        /// What is not shown: `matches` or `does not match`.
        lacking: &'static str,
    },
    /// A test file stands beside no rule file.
    #[error("{file}: there is no rule file {rule_file} for these tests")]
    NoRuleFile {
        /// The test file.
        file: String,
        /// The rule file that is missing.
        rule_file: String,
    },
}

impl TestFile {
    /// Reads a test file.
    ///
    /// # Errors
    /// The first fault with its place.
    pub fn parse(name: &str, text: &str) -> Result<Self, RuleError> {
        let cases = parse_cases(text).map_err(|fault| fault.in_file(name))?;
        Ok(Self {
            name: name.to_owned(),
            cases,
        })
    }

    /// Name of the file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many cases it has.
    #[must_use]
    pub fn n_cases(&self) -> usize {
        self.cases.len()
    }

    /// Hands out every event of every case, repeated ones as often as they come.
    pub fn visit_events(&self, visit: &mut dyn FnMut(&Event<'_>)) {
        let events = self.cases.iter().flat_map(|case| &case.events);
        for event in events {
            event.visit(&mut |event, _| visit(event));
        }
    }

    /// Name of the rule file it proves.
    #[must_use]
    pub fn rule_file(&self) -> String {
        let stem = self.name.strip_suffix(TEST_SUFFIX).unwrap_or(&self.name);
        format!("{stem}.yml")
    }
}

/// Runs tests and answers every failure, rules that no test proves included, in order.
#[must_use]
pub fn run_tests(rules: &RuleSet, files: &[TestFile]) -> Vec<TestFailure> {
    let mut engine = Engine::new(rules.clone(), Limits::default());
    engine.report_joined_rules();
    let mut failures = Vec::new();
    let mut proven = BTreeSet::new();
    let mut scope = Scope(0);
    for file in files {
        if !rules.rules().any(|info| info.file == file.rule_file()) {
            let (file, rule_file) = (file.name.clone(), file.rule_file());
            failures.push(TestFailure::NoRuleFile { file, rule_file });
            continue;
        }
        for case in &file.cases {
            scope.0 += 1;
            match find_rule(rules, file, case) {
                Ok(id) => {
                    proven.insert((id, case.expected > 0));
                    failures.extend(run_case(&mut engine, scope, file, case, id));
                }
                Err(failure) => failures.push(failure),
            }
            engine.forget(scope);
        }
    }
    failures.extend(list_unproven(rules, &proven));
    failures.sort();
    failures
}

/// The rules that lack one side of the proof.
fn list_unproven(rules: &RuleSet, proven: &BTreeSet<(&str, bool)>) -> Vec<TestFailure> {
    let mut failures = Vec::new();
    for info in rules.rules() {
        for (matches, lacking) in [(true, "matches"), (false, "does not match")] {
            if !proven.contains(&(info.id.as_str(), matches)) {
                let (file, rule) = (info.file.clone(), info.id.clone());
                failures.push(TestFailure::Unproven {
                    file,
                    rule,
                    lacking,
                });
            }
        }
    }
    failures
}

/// The rule a case proves.
fn find_rule<'r>(rules: &'r RuleSet, file: &TestFile, case: &Case) -> Result<&'r str, TestFailure> {
    let rule_file = file.rule_file();
    let mut own = rules.rules().filter(|info| info.file == rule_file);
    let found = match &case.rule {
        Some(name) => own.find(|info| info.is_called(name)),
        None => own.next().filter(|_| own.next().is_none()),
    };
    found
        .map(|info| info.id.as_str())
        .ok_or_else(|| TestFailure::UnknownRule {
            file: file.name.clone(),
            case: case.name.clone(),
            rule_file,
        })
}

/// Runs one case in a scope of its own.
fn run_case(
    engine: &mut Engine,
    scope: Scope,
    file: &TestFile,
    case: &Case,
    id: &str,
) -> Option<TestFailure> {
    let mut found = 0;
    for event in &case.events {
        event.visit(&mut |observed, at_ms| {
            engine.observe(scope, observed, START_MS + at_ms, &mut |seen| {
                found += usize::from(seen.rule.id == id);
            });
        });
    }
    (found != case.expected).then(|| TestFailure::Mismatch {
        file: file.name.clone(),
        case: case.name.clone(),
        rule: id.to_owned(),
        expected: case.expected,
        found,
    })
}
