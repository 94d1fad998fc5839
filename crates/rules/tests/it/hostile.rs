//! Hostile expressions and conditions, and regular expressions against hostile text: bounds that
//! hold.
//! It never measures a machine; clocks are made up.

use crate::support::{matches, rule};
use hidps_rules::RuleSet;

/// The text of a rule with one regular expression.
fn regex_rule(source: &str) -> String {
    rule(&format!("  s: {{a|re: '{source}'}}\n  condition: s\n"))
}

/// A set of one rule with one regular expression.
fn set(source: &str) -> RuleSet {
    crate::support::compile(&regex_rule(source)).expect("the expression is taken")
}

/// A clock on which every reading comes `step` nanoseconds after the one before.
fn clock(step: u64) -> impl FnMut() -> u64 {
    let mut now = 0;
    move || {
        now += step;
        now
    }
}

#[test]
fn an_expression_over_the_budget_is_refused_with_its_place() {
    let rules = set("[^/]{100,}$");

    let refused = rules.probe(100, &mut clock(10_000_000));

    assert_eq!(refused.len(), 1);
    let error = &refused[0];
    assert_eq!(
        (error.file.as_str(), error.line, error.column),
        ("rule.yml", 5, 13)
    );
    assert!(error.problem.contains("'[^/]{100,}$' takes"), "{error}");
    assert!(error.problem.contains("more than 100"), "{error}");
}

#[test]
fn an_expression_within_the_budget_is_not_refused() {
    assert_eq!(set("[^/]{100,}$").probe(100, &mut clock(1)), []);
}

#[test]
fn an_expression_that_only_counts_is_never_dear() {
    for source in [".{1000,}", "(.){200,}", "^.{3,500}$"] {
        assert_eq!(set(source).probe(1, &mut clock(10_000_000)), [], "{source}");
    }
}

#[test]
fn one_interruption_is_not_taken_for_a_cost() {
    let mut readings = 0_u64;
    let mut now = 0;
    let mut clock = || {
        readings += 1;
        now += if readings % 6 == 2 { 1_000_000_000 } else { 1 };
        now
    };

    assert_eq!(set("(a+)+$").probe(100, &mut clock), []);
}

#[test]
fn expressions_that_backtrack_elsewhere_end_here() {
    let text = "a".repeat(64 * 1024);
    for (source, expected) in [("(a+)+$", true), ("(x+x+)+y", false), ("(.*a){20}", true)] {
        assert_eq!(
            matches(&regex_rule(source), "", &[("a", &format!("{text}!a"))]),
            expected,
            "{source}"
        );
    }
}

#[test]
fn repetitions_too_big_to_hold_are_refused() {
    for source in [r"\w{1000}", r"(\w{50}){50}", r"(\w{1,200}){1,200}"] {
        let error = crate::support::refusal(&regex_rule(source));

        assert_eq!((error.line, error.column), (5, 13), "{source}");
        assert!(error.problem.contains("bytes compiled"), "{error}");
    }
}

#[test]
fn lengths_are_counted_in_characters_of_any_alphabet() {
    let text = regex_rule(".{1000,}");
    for unit in ["a", "é", "漢", "🦀"] {
        assert!(matches(&text, "", &[("a", &unit.repeat(1000))]), "{unit}");
        assert!(!matches(&text, "", &[("a", &unit.repeat(999))]), "{unit}");
        let lines = format!("{}\n{}", unit.repeat(999), unit.repeat(999));
        assert!(!matches(&text, "", &[("a", &lines)]), "{unit}");
    }
}

#[test]
fn what_hides_behind_a_long_filler_is_found_by_its_literal() {
    let filler = "é".repeat(100_000);
    for text in [
        format!("{filler}curl x | sh"),
        format!("{filler}curl x | sh{filler}"),
    ] {
        assert!(matches(
            &regex_rule(r"curl\s\S+\s\|\s?(ba)?sh"),
            "",
            &[("a", &text)]
        ));
    }
}

#[test]
fn the_community_expressions_cost_little_on_hostile_text() {
    // A generous bound: this runs without optimization on a busy machine.
    for source in [
        r"\s-[FTd]\s",
        r"https://[0-9]{1,3}\.[0-9]{1,3}",
        r"(^|\/)\.[^.\/]",
        "-D",
    ] {
        let start = std::time::Instant::now();
        let mut clock = || u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);

        assert_eq!(set(source).probe(20_000, &mut clock), [], "{source}");
    }
}

#[test]
fn a_short_condition_that_means_a_hundred_thousand_selections_is_refused() {
    let selections: String = (0..300).map(|n| format!("  s{n}: {{a: b}}\n")).collect();
    let conditions = "    - 1 of s*\n".repeat(50);
    let rule = format!(
        "title: T\nlogsource: {{product: linux}}\ndetection:\n{selections}  condition:\n{conditions}"
    );
    let errors = crate::support::compile(&rule).expect_err("it is refused");

    assert!(
        errors[0].problem.contains("more than 10000"),
        "{}",
        errors[0]
    );
}
