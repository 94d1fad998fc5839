//! Correlations as a caller sees them: counts, windows, scopes, reload.
//! It never looks inside windows.

use hidps_rules::{Engine, Event, Limits, LogSource, RuleFile, RuleSet, Scope, Value};

const FAILED: &str = "
title: Failed login
id: base
logsource: {product: linux, service: sshd}
detection:
  failure: {outcome: failure}
  condition: failure
level: low
";

const BURST: &str = "
title: Brute force
id: burst
correlation:
  type: event_count
  rules: [base]
  group-by: [src_ip]
  timespan: 60s
  condition: {gte: 5}
level: high
";

const SPRAY: &str = "
title: Many users from one source
id: spray
correlation:
  type: value_count
  rules: [base]
  group-by: [src_ip]
  timespan: 1m
  condition: {field: user, gte: 3}
";

/// An engine with these rules.
fn engine(texts: &[&str]) -> Engine {
    Engine::new(rules(texts), Limits::default())
}

/// The rules of these texts.
fn rules(texts: &[&str]) -> RuleSet {
    let files: Vec<RuleFile<'_>> = texts
        .iter()
        .map(|text| RuleFile {
            name: "rules.yml",
            text,
        })
        .collect();
    RuleSet::compile(&files).expect("the rules of this test compile")
}

/// Lets one login fail; answers id, count and group key of every match.
fn fail(
    engine: &mut Engine,
    scope: u128,
    now_ms: i64,
    source: &str,
    user: &str,
) -> Vec<(String, usize, String)> {
    let fields = [
        ("outcome", Value::Str("failure")),
        ("src_ip", Value::Str(source)),
        ("user", Value::Str(user)),
    ];
    let logsource = LogSource {
        category: None,
        product: Some("linux"),
        service: Some("sshd"),
        also: &[],
    };
    let event = Event {
        logsource,
        message: "",
        fields: &fields,
    };
    let mut found = Vec::new();
    engine.observe(Scope(scope), &event, now_ms, &mut |seen| {
        let count = seen.window.map_or(0, |window| window.count);
        found.push((seen.rule.id.clone(), count, seen.group_key));
    });
    found
}

#[test]
fn five_failures_from_one_source_within_the_window_fire_and_so_does_the_sixth() {
    let mut engine = engine(&[BURST, FAILED]);

    let first: Vec<_> = (0..4)
        .flat_map(|n| fail(&mut engine, 1, n * 1000, "192.0.2.1", "root"))
        .collect();
    let fifth = fail(&mut engine, 1, 60_000, "192.0.2.1", "root");
    let sixth = fail(&mut engine, 1, 60_000, "192.0.2.1", "root");

    assert_eq!(first, []);
    assert_eq!(fifth, [("burst".into(), 5, "src_ip=\"192.0.2.1\"".into())]);
    assert_eq!(sixth, [("burst".into(), 6, "src_ip=\"192.0.2.1\"".into())]);
}

#[test]
fn the_first_millisecond_of_the_window_counts_and_the_one_before_does_not() {
    for (fifth_ms, n_matches) in [(60_000, 1), (60_001, 0)] {
        let mut engine = engine(&[BURST, FAILED]);

        for now_ms in [0, 1, 2, 3] {
            fail(&mut engine, 1, now_ms, "192.0.2.1", "root");
        }
        let found = fail(&mut engine, 1, fifth_ms, "192.0.2.1", "root");

        assert_eq!(found.len(), n_matches, "fifth failure at {fifth_ms} ms");
    }
}

#[test]
fn sources_and_scopes_are_counted_apart() {
    let mut engine = engine(&[BURST, FAILED]);

    let mut found = Vec::new();
    for n in 0..4 {
        found.extend(fail(&mut engine, 1, n, "192.0.2.1", "root"));
        found.extend(fail(&mut engine, 1, n, "192.0.2.2", "root"));
        found.extend(fail(&mut engine, 2, n, "192.0.2.1", "root"));
    }

    assert_eq!(found, []);
    assert_eq!(engine.counters().windows, 3);
}

#[test]
fn distinct_values_are_counted_once() {
    let mut engine = engine(&[SPRAY, FAILED]);

    let mut found = Vec::new();
    for user in ["a", "b", "a", "b", "b"] {
        found.extend(fail(&mut engine, 1, 0, "192.0.2.1", user));
    }
    let third = fail(&mut engine, 1, 0, "192.0.2.1", "c");

    assert_eq!(found, []);
    assert_eq!(third, [("spray".into(), 3, "src_ip=\"192.0.2.1\"".into())]);
}

#[test]
fn a_reload_keeps_the_windows_of_rules_whose_content_is_unchanged() {
    let changed = BURST.replace("gte: 5", "gte: 4");
    for (reloaded, n_matches) in [(BURST, 1), (&format!("# note{BURST}"), 1), (&changed, 0)] {
        let mut engine = engine(&[BURST, FAILED]);
        for now_ms in 0..4 {
            fail(&mut engine, 1, now_ms, "192.0.2.1", "root");
        }

        engine.replace(rules(&[FAILED, reloaded, SPRAY]));
        let found = fail(&mut engine, 1, 5, "192.0.2.1", "root");

        assert_eq!(found.len(), n_matches, "{reloaded}");
    }
}

#[test]
fn a_joined_rule_is_silent_unless_a_correlation_says_generate() {
    let generating = BURST.replace("correlation:", "correlation:\n  generate: true");

    let silent = fail(&mut engine(&[BURST, FAILED]), 1, 0, "192.0.2.1", "root");
    let reported = fail(
        &mut engine(&[&generating, FAILED]),
        1,
        0,
        "192.0.2.1",
        "root",
    );

    assert_eq!(silent, []);
    assert_eq!(reported, [("base".into(), 0, String::new())]);
}
