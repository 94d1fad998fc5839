//! Our own attributes of a rule: shadow, risk and the rule that arms it again.
//! It never tests what matches.

use crate::support::{compile, refusal, rule};
use hidps_rules::{Level, RuleInfo};

/// A rule of this name with these further lines.
fn named(name: &str, lines: &str) -> String {
    let text = rule("  s: {a: b}\n  condition: s\n").replace("id: rule", &format!("id: id-{name}"));
    format!("{text}name: {name}\n{lines}")
}

/// Two rules in one file.
fn pair(first: &str, second: &str) -> String {
    format!("{first}---\n{second}")
}

/// What a rule of a set says of itself.
fn info(text: &str, id: &str) -> RuleInfo {
    let set = compile(text).expect("the rules compile");
    set.rule(id).expect("the rule is there").clone()
}

#[test]
fn a_rule_says_that_it_is_only_tried_out_and_how_much_it_weighs() {
    let quiet = info(&named("a", "hidps: {shadow: true, risk: 100}\n"), "id-a");
    let plain = info(&named("a", "level: high\n"), "id-a");

    assert!(quiet.shadow);
    assert_eq!(quiet.risk, 100);
    assert!(!plain.shadow);
    assert_eq!(plain.risk, 70);
}

#[test]
fn a_rule_without_a_risk_has_that_of_its_level() {
    let table = [
        (Level::Informational, 5),
        (Level::Low, 20),
        (Level::Medium, 50),
        (Level::High, 70),
        (Level::Critical, 90),
    ];

    for (level, risk) in table {
        let text = named("a", &format!("level: {}\n", level.as_str()));

        assert_eq!(info(&text, "id-a").risk, risk);
    }
}

#[test]
fn a_rule_names_the_one_that_arms_it_again_by_id_or_name() {
    for name in ["calm", "id-calm"] {
        let full = named("full", &format!("hidps: {{rearm: {name}}}\n"));
        let text = pair(&full, &named("calm", ""));

        assert_eq!(info(&text, "id-full").rearm.as_deref(), Some("id-calm"));
        assert_eq!(info(&text, "id-calm").rearm, None);
    }
}

#[test]
fn a_rule_that_could_never_be_armed_again_is_refused_at_the_name() {
    let joined = "---\ntitle: C\ncorrelation: {type: event_count, rules: [calm], group-by: [a], \
                  timespan: 1m, condition: {gte: 2}}\n";
    let full = named("full", "hidps: {rearm: calm}\n");
    let calm = named("calm", "");
    let table = [
        (named("full", "hidps: {rearm: full}\n"), "would arm itself"),
        (
            pair(&full, &format!("{calm}{joined}")),
            "silenced by a correlation",
        ),
        (
            pair(&full, &named("calm", "hidps: {group-by: [user]}\n")),
            "does not group by the same fields",
        ),
    ];

    for (text, problem) in table {
        let error = refusal(&text);
        let line = text.lines().nth(error.line - 1).unwrap_or_default();

        assert!(error.problem.contains(problem), "{error}");
        assert!(line.starts_with("hidps: {rearm"), "{error}");
        assert_eq!(error.column, 16, "{error}");
    }
}
