//! Filters: exceptions kept apart from the rules they narrow.
//! It never tests selections and conditions, which are those of rules.

use crate::support::{compile, engine, observe, rule};
use hidps_rules::{RuleFile, RuleSet, Value};

/// A filter that leaves out the user `backup`.
fn filter(rules: &str) -> String {
    format!(
        "title: Backups\nlogsource: {{product: linux}}\nfilter:\n  rules: {rules}\n  \
         selection: {{user: backup}}\n  condition: not selection\n"
    )
}

/// The ids of the rules that match a user.
fn matching(texts: &[&str], user: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let fields = [("user", Value::Str(user))];
    observe(&mut engine(texts), "", &fields, &mut |seen| {
        ids.push(seen.rule.id.clone());
    });
    ids
}

#[test]
fn a_filter_narrows_the_rules_it_names_and_no_other() {
    let text = rule("  s: {user|exists: true}\n  condition: s\n");
    let first = text.replace("id: rule", "id: one");
    let second = text.replace("id: rule", "id: two\nname: second");
    let third = text.replace("id: rule", "id: three");
    let named = filter("[one, second]");
    let all = filter("Any");

    let others = matching(&[&first, &named, &second, &third], "alice");
    let named = matching(&[&first, &named, &second, &third], "backup");
    let none = matching(&[&first, &second, &third, &all], "backup");

    assert_eq!(others, ["one", "two", "three"]);
    assert_eq!(named, ["three"]);
    assert_eq!(none, Vec::<String>::new());
}

#[test]
fn selections_of_a_filter_and_of_its_rule_may_have_the_same_name() {
    let text = rule("  selection: {user|startswith: b}\n  condition: 1 of them\n");

    assert_eq!(matching(&[&text, &filter("rule")], "bob"), ["rule"]);
    assert_eq!(
        matching(&[&text, &filter("rule")], "backup"),
        Vec::<String>::new()
    );
}

#[test]
fn a_filter_does_not_reach_beyond_its_log_source() {
    let text = rule("  s: {user|exists: true}\n  condition: s\n");
    let narrow = filter("any").replace("product: linux", "product: linux, service: any");
    let within = text.replace("product: linux", "product: linux, service: any");

    assert_eq!(matching(&[&text, &narrow], "backup"), ["rule"]);
    assert_eq!(
        matching(&[&within, &narrow], "backup"),
        Vec::<String>::new()
    );
}

#[test]
fn a_filtered_base_rule_is_not_counted_by_correlations() {
    let base = rule("  s: {user|exists: true}\n  condition: s\n");
    let burst = "title: B\nid: burst\ncorrelation:\n  type: event_count\n  rules: [rule]\n  \
                 timespan: 1m\n  condition: {gte: 1}\n";

    assert_eq!(
        matching(&[&base, burst, &filter("rule")], "alice"),
        ["burst"]
    );
    assert_eq!(
        matching(&[&base, burst, &filter("rule")], "backup"),
        Vec::<String>::new()
    );
}

#[test]
fn filters_are_no_rules_and_change_the_hash() {
    let text = rule("  s: {user: x}\n  condition: s\n");
    let with_filter = format!("{text}---\n{}", filter("rule"));

    let (alone, filtered) = (compile(&text).unwrap(), compile(&with_filter).unwrap());

    assert_eq!(filtered.rules().len(), 1);
    assert_ne!(alone.hash(), filtered.hash());
}

#[test]
fn filters_that_mean_nothing_are_refused() {
    let base = rule("  s: {user: x}\n  condition: s\n");
    let burst = "title: B\nid: burst\ncorrelation:\n  type: event_count\n  rules: [rule]\n  \
                 timespan: 1m\n  condition: {gte: 1}\n";
    let table = [
        (
            filter("[ghost]"),
            "there is no rule with the id or name 'ghost'",
        ),
        (filter("[burst]"), "'burst' is a correlation"),
        (filter("[]"), "the filter names no rules"),
        (
            filter("any").replace("  rules: any\n", ""),
            "the filter names no rules",
        ),
        (
            filter("any").replace("  condition: not selection\n", ""),
            "there is no condition",
        ),
        (
            filter("any").replace("{product: linux}", "{}"),
            "the rule has no log source",
        ),
    ];

    for (text, problem) in table {
        let files = [base.as_str(), burst, text.as_str()];
        let files = files.map(|text| RuleFile {
            name: "x.yml",
            text,
        });
        let errors = RuleSet::compile(&files).unwrap_err();

        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].problem.contains(problem), "{}", errors[0]);
    }
}
