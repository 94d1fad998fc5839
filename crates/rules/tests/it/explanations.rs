//! Explanations: what is said of a rule that matches, of one that does not, of one not tried.
//! It never tests matching itself.

use crate::support::{engine, rule};
use hidps_rules::{Event, LogSource, Scope, Value, Verdict};

/// A log source of product linux and this service.
fn source(service: &'static str) -> LogSource<'static> {
    LogSource {
        product: Some("linux"),
        service: Some(service),
        ..LogSource::default()
    }
}

#[test]
fn each_line_of_each_selection_is_told_with_what_was_seen() {
    let text = rule(
        "  s:\n    user|startswith: [ad, ro]\n    port|contains|all: ['2', '9']\n  t: [denied]\n  condition: s and not t\n",
    );
    let engine = engine(&[&text]);
    let fields = [("user", Value::Str("root")), ("port", Value::Int(22))];
    let event = Event {
        logsource: source("sshd"),
        message: "Denied",
        fields: &fields,
    };

    let why = engine.explain(Scope(1), &event, 0);

    assert_eq!(why.len(), 1);
    assert_eq!(why[0].verdict, Verdict::NotMatched);
    assert_eq!(why[0].condition, "s and not t");
    let [first, second] = why[0].selections.as_slice() else {
        panic!("{why:?}");
    };
    assert_eq!((first.name.as_str(), first.holds), ("s", false));
    assert!(first.items[0].holds);
    assert_eq!(first.items[0].field, "user|startswith");
    assert!(!first.items[1].holds);
    assert_eq!(first.items[1].patterns, ["9"]);
    assert_eq!(first.items[1].seen, ["22"]);
    assert!(second.holds);
    assert!(second.items[0].seen.contains(&"Denied".to_owned()));
    let text = why[0].to_string();
    assert!(
        text.contains("port|contains|all: '9' does not hold\n      seen: '22'"),
        "{text}"
    );
}

#[test]
fn a_rule_for_other_events_says_which_part_of_the_log_source_differs() {
    let text = rule("  s: {a: b}\n  condition: s\n")
        .replace("{product: linux}", "{product: linux, service: auth}");
    let engine = engine(&[&text]);
    let explain = |logsource| {
        let event = Event {
            logsource,
            message: "",
            fields: &[("a", Value::Str("b"))],
        };
        engine.explain(Scope(1), &event, 0).remove(0)
    };

    let other = explain(source("cron"));
    let also = explain(LogSource {
        also: &["auth"],
        ..source("sshd")
    });

    assert_eq!(
        other.verdict,
        Verdict::NotRouted {
            part: "service",
            wanted: "auth".to_owned(),
            seen: Some("cron".to_owned()),
        }
    );
    assert!(other.selections.is_empty());
    assert_eq!(also.verdict, Verdict::Matched);
}

#[test]
fn a_suspended_rule_says_why() {
    let mut engine = engine(&[&rule("  s: {a: b}\n  condition: s\n")]);
    engine.suspend("rule", "too slow");
    let event = Event {
        logsource: source("sshd"),
        message: "",
        fields: &[],
    };

    let why = engine.explain(Scope(1), &event, 0);

    assert_eq!(why[0].verdict, Verdict::Suspended("too slow".to_owned()));
}

#[test]
fn long_values_and_many_values_are_cut() {
    let words: Vec<String> = (0..200).map(|n| format!("w{n}")).collect();
    let text = rule(&format!(
        "  s:\n    a: [{}]\n  condition: s\n",
        words.join(", ")
    ));
    let engine = engine(&[&text]);
    let long = "x".repeat(100_000);
    let event = Event {
        logsource: source("sshd"),
        message: "",
        fields: &[("a", Value::Str(&long))],
    };

    let why = engine.explain(Scope(1), &event, 0);

    let item = &why[0].selections[0].items[0];
    assert!(item.patterns.len() <= 16);
    assert!(item.seen[0].chars().count() <= 257);
}

#[test]
fn a_correlation_tells_what_its_window_would_hold_with_the_event() {
    let base = rule("  s: {a: b}\n  condition: s\n");
    let text = "title: C\nid: c\ncorrelation: {type: value_sum, rules: [rule], group-by: [user], timespan: 1m, condition: {field: n, gte: 10}}\n";
    let mut engine = engine(&[&base, text]);
    let alice = [
        ("a", Value::Str("b")),
        ("user", Value::Str("alice")),
        ("n", Value::Int(6)),
    ];
    let event = |fields| Event {
        logsource: source("sshd"),
        message: "",
        fields,
    };
    engine.observe(Scope(1), &event(&alice), 1_000, &mut |_| {});

    let windows = engine.counters().windows;
    let mut why = engine.explain(Scope(1), &event(&alice), 2_000);
    let elsewhere = engine.explain(Scope(2), &event(&alice), 2_000).remove(1);
    let nobody = engine
        .explain(Scope(1), &event(&alice[..1]), 2_000)
        .remove(1);

    let found = why.remove(1);
    assert_eq!(found.verdict, Verdict::Matched);
    assert_eq!(found.condition, "field n, gte 10");
    let text = found.to_string();
    assert!(
        text.contains("joined rules that match: rule\n  window [user=alice]: 12, entries: 2"),
        "{text}"
    );
    assert_eq!(elsewhere.verdict, Verdict::NotMatched);
    assert_eq!(elsewhere.window.and_then(|window| window.number), Some(6.0));
    let missing = nobody.window.and_then(|window| window.missing);
    assert_eq!(missing.as_deref(), Some("user"));
    assert_eq!(engine.counters().windows, windows);
}
