//! The clauses of the Sigma specification, one table each: what a text means, by what it matches.
//! It never tests what the specification leaves open; that is in `ambiguities.rs`.

use crate::support::{compile, matches, matches_values, refusal, rule};
use hidps_rules::{Engine, Event, Limits, LogSource, RuleFile, RuleSet, Scope, Value};

/// A clause: a selection, a field's value, and whether it matches; `-` is no such field.
type Clause<'t> = (&'t str, &'t str, bool);

/// Fields and their texts.
type Fields<'t> = &'t [(&'t str, &'t str)];

/// Checks clauses over the field `a`.
fn check(clauses: &[Clause<'_>]) {
    for (selection, value, expected) in clauses {
        let text = rule(&format!("  s:\n    {selection}\n  condition: s\n"));
        let fields: &[(&str, &str)] = match *value {
            "-" => &[],
            value => &[("a", value)],
        };

        let found = matches(&text, "", fields);

        assert_eq!(found, *expected, "{selection} on {value:?}");
    }
}

#[test]
fn values_are_caseless_with_wildcards_and_escapes() {
    check(&[
        ("a: Value", "vALUE", true),
        ("a: v*e", "ve", true),
        ("a: v*e", "xve", false),
        ("a: v?e", "vae", true),
        ("a: v?e", "ve", false),
        (r"a: 'v\*e'", "v*e", true),
        (r"a: 'v\*e'", "vxe", false),
        (r"a: 'v\?e'", "v?e", true),
        (r"a: 'v\\*e'", r"v\xe", true),
        (r"a: 'v\\*e'", "v*e", false),
        (r"a: 'v\\\*e'", r"v\*e", true),
        (r"a: 'v\\\*e'", r"v\xe", false),
        (r"a: 'c:\dir\file'", r"C:\DIR\FILE", true),
        (r"a: 'c:\\dir'", r"c:\dir", true),
        ("a: ''", "", true),
        ("a: ''", "-", false),
        ("a: null", "-", true),
        ("a: null", "", false),
    ]);
}

#[test]
fn a_missing_field_makes_a_line_false_and_its_opposite_true() {
    let text = rule("  s: {a: x}\n  t: {b: y}\n  condition: s and not t\n");

    assert!(matches(&text, "", &[("a", "x")]));
    assert!(!matches(&text, "", &[("a", "x"), ("b", "y")]));
    assert!(!matches(&text, "", &[("b", "z")]));
}

#[test]
fn numbers_and_booleans_match_either_storage() {
    let table = [
        ("a: 5", Value::Int(5), true),
        ("a: 5", Value::Str("5"), true),
        ("a: 5", Value::Int(6), false),
        ("a: 1.5", Value::Float(1.5), true),
        ("a: 'true'", Value::Bool(true), true),
        ("a: true", Value::Str("True"), true),
        ("a: false", Value::Bool(true), false),
    ];
    for (selection, value, expected) in table {
        let text = rule(&format!("  s: {{{selection}}}\n  condition: s\n"));
        assert_eq!(
            matches_values(&text, "", &[("a", value)]),
            expected,
            "{selection} on {value:?}"
        );
    }
}

#[test]
fn maps_are_and_lists_are_or_and_lists_of_texts_are_keywords() {
    let table: [(&str, &str, Fields<'_>, bool); 9] = [
        ("{a: x, b: y}", "", &[("a", "x"), ("b", "y")], true),
        ("{a: x, b: y}", "", &[("a", "x")], false),
        ("[{a: x}, {b: y}]", "", &[("b", "y")], true),
        ("[{a: x}, {b: y}]", "", &[("b", "x")], false),
        ("{a: [x, y]}", "", &[("a", "y")], true),
        ("[one, two]", "number TWO here", &[], true),
        ("[o*e]", "oxxe", &[], true),
        ("{'|all': [one, two]}", "two then one", &[], true),
        ("{'|all': [one, two]}", "one", &[], false),
    ];
    for (selection, message, fields, expected) in table {
        let text = rule(&format!("  s: {selection}\n  condition: s\n"));
        assert_eq!(matches(&text, message, fields), expected, "{selection}");
    }
}

#[test]
fn every_modifier_does_what_its_name_says() {
    check(&[
        ("a|contains: b", "abc", true),
        ("a|startswith: b", "abc", false),
        ("a|startswith: a", "ABC", true),
        ("a|endswith: c", "abc", true),
        ("a|contains|all: [a, c]", "abc", true),
        ("a|contains|all: [a, d]", "abc", false),
        ("a|cased: Abc", "abc", false),
        ("a|contains|cased: B", "aBc", true),
        ("a|neq: x", "y", true),
        ("a|neq: x", "X", false),
        ("a|exists: true", "", true),
        ("a|exists: false", "-", true),
        ("a|re: '^a.c$'", "abc", true),
        ("a|re: '^a.c$'", "ABC", false),
        ("a|re|i: '^a.c$'", "ABC", true),
        ("a|re|m: '^b$'", "a\nb", true),
        ("a|re|s: 'a.b'", "a\nb", true),
        ("a|re: 'a.b'", "a\nb", false),
        ("a|base64: foo", "Zm9v", true),
        ("a|base64offset|contains: foobar", "eGZvb2Jhcg==", true),
        ("a|wide: ab", "a\0b\0", true),
        ("a|utf16le: ab", "a\0b\0", true),
        ("a|utf16be: ab", "\0a\0b", true),
        ("a|utf16: a", "\u{feff}a\0", true),
        ("a|windash|contains: ' -x'", "cmd /x", true),
        ("a|windash|contains: ' -x'", "cmd \u{2014}x", true),
        ("a|windash|contains: ' -x'", "cmd +x", false),
        ("a|lt: 5", "4", true),
        ("a|lte: 5", "5", true),
        ("a|gt: 5", "5", false),
        ("a|gte: 5", "5.0", true),
        ("a|cidr: 192.0.2.0/24", "192.0.2.77", true),
        ("a|cidr: 192.0.2.0/24", "192.0.3.1", false),
        ("a|cidr: '2001:db8::/32'", "2001:db8:1::5", true),
        ("a|fieldref: a", "x", true),
        ("a|fieldref|neq: a", "x", false),
        ("a|fieldref|startswith: a", "x", true),
        ("a|fieldref|contains: b", "x", false),
        ("a|hour: 13", "2026-11-21T13:45:00Z", true),
    ]);
}

#[test]
fn conditions_bind_or_less_than_and_less_than_not_less_than_of() {
    let holds = |condition: &str, truth: &str| {
        let selections: String = ["a", "b", "c", "_d"]
            .map(|name| format!("  {name}: {{{name}: 1}}\n"))
            .concat();
        let text = rule(&format!("{selections}  condition: {condition}\n"));
        let fields: Vec<(&str, &str)> = truth.split(' ').map(|name| (name, "1")).collect();
        matches(&text, "", &fields)
    };
    let table = [
        ("a or b and c", "a", true),
        ("a or b and c", "b", false),
        ("not a and b", "b", true),
        ("not (a and b)", "a", true),
        ("not 1 of them", "c", false),
        ("1 of them", "_d", false),
        ("1 of _*", "_d", true),
        ("any of them", "b", true),
        ("all of them", "a b c", true),
        ("all of them", "a b", false),
        ("1 of a*", "b", false),
        ("[a, b]", "b", true),
    ];
    for (condition, truth, expected) in table {
        assert_eq!(
            holds(condition, truth),
            expected,
            "{condition} with {truth}"
        );
    }
}

#[test]
fn aggregations_of_the_old_form_are_refused_with_what_replaces_them() {
    let table = [
        ("s | count() by x > 5", "event_count"),
        ("s | count(user) by x > 5", "value_count"),
        ("s | sum(n) by x > 5", "value_sum"),
        ("s | avg(n) > 5", "value_avg"),
        ("s | near t", "temporal"),
    ];
    for (condition, replacement) in table {
        let error = refusal(&rule(&format!("  s: {{a: b}}\n  condition: {condition}\n")));

        assert!(
            error.instead.contains(&format!("type {replacement} ")),
            "{error}"
        );
        assert_eq!((error.line, error.column), (6, 16), "{error}");
    }
}

#[test]
fn a_rule_is_tried_on_events_whose_log_source_has_all_it_asks_for() {
    let routed = |asked: &str, product, service| {
        let text = rule("  s: [x]\n  condition: s\n").replace("{product: linux}", asked);
        let set = compile(&text).expect("the rule compiles");
        let mut engine = Engine::new(set, Limits::default());
        let event = Event {
            logsource: LogSource {
                product,
                service,
                ..LogSource::default()
            },
            message: "x",
            fields: &[],
        };
        let mut n_matches = 0;
        engine.observe(Scope(1), &event, 0, &mut |_| n_matches += 1);
        n_matches == 1
    };
    let table = [
        ("{product: linux}", Some("linux"), Some("sshd"), true),
        ("{product: linux}", Some("windows"), Some("sshd"), false),
        (
            "{product: linux, service: sshd}",
            Some("linux"),
            None,
            false,
        ),
        ("{service: sshd}", Some("linux"), Some("sshd"), true),
        ("{category: sshd}", Some("linux"), Some("sshd"), false),
    ];
    for (asked, product, service, expected) in table {
        assert_eq!(routed(asked, product, service), expected, "{asked}");
    }
}

#[test]
fn documents_of_one_file_may_name_each_other_in_any_order() {
    let base = rule("  s: {a: b}\n  condition: s\n");
    let outer = "title: O\nid: outer\ncorrelation: {type: temporal_ordered, rules: [inner, rule], timespan: 1h}\n";
    let inner = "title: I\nid: inner\ncorrelation: {type: event_count, rules: [rule], timespan: 1m, condition: {gte: 2}}\n";
    let filter = "title: F\nlogsource: {product: linux}\nfilter: {rules: any, f: {user: root}, condition: not f}\n";
    let text = [outer, filter, inner, base.as_str()].join("---\n");
    let set = RuleSet::compile(&[RuleFile {
        name: "all.yml",
        text: &text,
    }])
    .expect("the file compiles");
    let mut engine = Engine::new(set, Limits::default());
    let mut found = Vec::new();
    for user in ["alice", "root", "alice", "alice"] {
        let fields = [("a", Value::Str("b")), ("user", Value::Str(user))];
        crate::support::observe(&mut engine, "", &fields, &mut |seen| {
            found.push(seen.rule.id.clone());
        });
    }

    assert_eq!(found, ["outer"]);
}

#[test]
fn windows_of_all_rules_together_are_bounded_and_what_goes_is_counted() {
    let correlation = |id: &str| {
        format!(
            "title: {id}\nid: {id}\ncorrelation: {{type: event_count, rules: [rule], group-by: [{id}], timespan: 1m, condition: {{gte: 9}}}}\n"
        )
    };
    let base = rule("  s: {a: b}\n  condition: s\n");
    let text = [base, correlation("x"), correlation("y")].join("---\n");
    let limits = Limits {
        groups_in_all: 10,
        entries_in_all: 15,
        ..Limits::default()
    };
    let mut engine = Engine::new(compile(&text).expect("the rules compile"), limits);
    for number in 0..200 {
        let fields = [
            ("a", Value::Str("b")),
            ("x", Value::Int(number)),
            ("y", Value::Int(number % 3)),
        ];
        crate::support::observe(&mut engine, "", &fields, &mut |_| {});

        assert!(engine.counters().windows <= 10, "{:?}", engine.counters());
    }

    assert!(
        engine.counters().evictions.groups > 150,
        "{:?}",
        engine.counters()
    );
}
