//! The tests beside rules: what passes, what fails, what is missing.
//! It never runs the rules this project ships.

use crate::support::rule;
use hidps_rules::tests::{TestFailure, TestFile, run_tests};
use hidps_rules::{RuleFile, RuleSet};

const BOTH_SIDES: &str = "
logsource: {product: linux}
cases:
  - {name: it matches, events: [{fields: {a: b}}], match: 1}
  - {name: it does not, events: [{fields: {a: c}}], match: none}
";

/// The failures of these tests on one rule `a: b`.
fn run(tests: &[(&str, &str)]) -> Vec<String> {
    let text = rule("  s: {a: b}\n  condition: s\n");
    let rules = RuleSet::compile(&[RuleFile {
        name: "d/rule.yml",
        text: &text,
    }])
    .expect("the test is well formed");
    let files: Vec<TestFile> = tests
        .iter()
        .map(|(name, text)| TestFile::parse(name, text).expect("the test is well formed"))
        .collect();
    run_tests(&rules, &files)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_rule_with_both_sides_shown_has_no_failures() {
    assert_eq!(
        run(&[("d/rule.test.yml", BOTH_SIDES)]),
        Vec::<String>::new()
    );
}

#[test]
fn a_case_that_comes_out_differently_is_a_failure_with_both_numbers() {
    let wrong = BOTH_SIDES.replace("match: 1", "match: 2");

    let failures = run(&[("d/rule.test.yml", &wrong)]);

    let expected = "d/rule.test.yml: case 'it matches': rule 'rule' matched 1 times, expected 2";
    assert_eq!(failures, [expected]);
}

#[test]
fn a_rule_without_tests_or_with_one_side_only_is_reported() {
    let one_sided = "cases:\n  - {name: no, events: [{fields: {a: b}}], match: none}\n";

    let none = run(&[]);
    let one = run(&[("d/rule.test.yml", one_sided)]);

    assert_eq!(none.len(), 2, "{none:?}");
    assert_eq!(
        one,
        ["d/rule.yml: rule 'rule' has no case in which it matches; add one to its .test.yml"]
    );
}

#[test]
fn tests_that_prove_no_rule_are_reported() {
    let stranger = run(&[
        ("d/rule.test.yml", BOTH_SIDES),
        ("rule.test.yml", BOTH_SIDES),
    ]);
    let renamed = BOTH_SIDES.replace("{name: it matches", "{rule: ghost, name: it matches");
    let ghost = run(&[("d/rule.test.yml", &renamed)]);

    assert_eq!(
        stranger,
        ["rule.test.yml: there is no rule file rule.yml for these tests"]
    );
    assert!(
        ghost[0].contains("case 'it matches' names no rule of d/rule.yml"),
        "{ghost:?}"
    );
}

#[test]
fn a_file_with_two_rules_needs_cases_that_say_which() {
    let text = format!(
        "{}---\n{}",
        rule("  s: {a: b}\n  condition: s\n"),
        rule("  s: {a: c}\n  condition: s\n").replace("id: rule", "id: other"),
    );
    let rules = RuleSet::compile(&[RuleFile {
        name: "rule.yml",
        text: &text,
    }])
    .unwrap();
    let file = TestFile::parse("rule.test.yml", BOTH_SIDES).unwrap();

    let failures = run_tests(&rules, &[file]);

    let unnamed = |failure: &&TestFailure| matches!(failure, TestFailure::UnknownRule { .. });
    assert_eq!(failures.iter().filter(unnamed).count(), 2);
    assert_eq!(failures.len(), 6, "{failures:?}");
}

#[test]
fn cases_do_not_see_each_others_windows() {
    let text = format!(
        "{}---\ntitle: B\nid: burst\ncorrelation: {{type: event_count, rules: [rule], timespan: 1m, condition: {{gte: 2}}}}\n",
        rule("  s: {a: b}\n  condition: s\n"),
    );
    let tests = "
logsource: {product: linux}
fields: {a: b}
cases:
  - {name: silent base, rule: rule, events: [{}], match: 1}
  - {name: silent base does not, rule: rule, events: [{fields: {a: null}}], match: none}
  - {name: one, rule: burst, events: [{}], match: none}
  - {name: one more, rule: burst, events: [{}], match: none}
  - {name: two in the minute, rule: burst, events: [{at: 1h}, {at: 1h, times: 1, every: 5ms}], match: 1}
  - {name: three, rule: burst, events: [{times: 3, every: 30s}, {}], match: 3}
  - {name: too far apart, rule: burst, events: [{at: 0s}, {at: 60001ms}], match: none}
";
    let rules = RuleSet::compile(&[RuleFile {
        name: "rule.yml",
        text: &text,
    }])
    .unwrap();
    let file = TestFile::parse("rule.test.yml", tests).unwrap();

    assert_eq!(run_tests(&rules, &[file]), []);
}

#[test]
fn test_files_that_mean_nothing_are_refused_at_their_place() {
    let case = |rest: &str| format!("cases:\n  - {{name: n, {rest}}}\n");
    let table = [
        ("[a]".to_owned(), "a map is needed here"),
        ("cases: 1".to_owned(), "a test file is one map with cases"),
        ("tests: []".to_owned(), "'tests' is not known here"),
        (case("events: [{}]"), "does not say how often"),
        (case("events: [{}], match: 0"), "does not say how often"),
        (case("events: [{}], match: some"), "does not say how often"),
        (case("match: 1"), "has no events"),
        (
            case("events: [{at: soon}], match: 1"),
            "'soon' is not a time",
        ),
        (
            case("events: [{at: -5ms}], match: 1"),
            "'-5ms' is not a time",
        ),
        (
            case("events: [{times: 0}], match: 1"),
            "'times' is not a number above zero",
        ),
        (
            case("events: [{times: 100001}], match: 1"),
            "more than 100000 events",
        ),
        (
            case("events: [{time: 1s}], match: 1"),
            "'time' is not known here",
        ),
        (
            case("events: [{fields: [a]}], match: 1"),
            "'fields' is not a map",
        ),
        (
            case("events: [{fields: {a: [b]}}], match: 1"),
            "a single value is needed",
        ),
        (
            case("events: [{logsource: {name: x}}], match: 1"),
            "'name' is not known here",
        ),
        (
            "cases:\n  - {events: [{}], match: 1}\n".to_owned(),
            "the case has no name",
        ),
    ];

    for (text, problem) in table {
        let error = TestFile::parse("x.test.yml", &text).unwrap_err();

        assert!(error.problem.contains(problem), "{text}: {error}");
        assert_eq!(error.file, "x.test.yml");
    }
}
