//! What an engine hands out: routing by log source, the content of matches, counters, suspension.
//! It never tests the language.

use crate::support::{engine, observe, rule};
use hidps_rules::{Engine, Event, Limits, LogSource, Match, Scope, Value};

/// The ids of the rules that match an event without fields from this source.
fn matching(engine: &mut Engine, logsource: LogSource<'_>) -> Vec<String> {
    let mut ids = Vec::new();
    let event = Event {
        logsource,
        message: "",
        fields: &[],
    };
    engine.observe(Scope(1), &event, 0, &mut |seen| {
        ids.push(seen.rule.id.clone());
    });
    ids
}

/// What a match says, owned.
fn only_match<T>(
    engine: &mut Engine,
    message: &str,
    fields: &[(&str, Value<'_>)],
    read: impl Fn(Match<'_>) -> T,
) -> T {
    let mut found = Vec::new();
    observe(engine, message, fields, &mut |seen| found.push(read(seen)));
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[test]
fn a_rule_applies_to_events_whose_source_has_all_it_asks_for() {
    let of = |id: &str, source: &str| {
        rule("  s: {x: null}\n  condition: s\n")
            .replace("{product: linux}", source)
            .replace("id: rule", &format!("id: {id}"))
    };
    let texts = [
        of("linux", "{product: linux}"),
        of("sshd", "{product: linux, service: sshd}"),
        of("file", "{category: file_event}"),
        of("upper", "{product: Linux, category: FILE_EVENT}"),
    ];
    let mut engine = engine(&texts.each_ref().map(String::as_str));
    let source = |category, product, service| LogSource {
        category,
        product,
        service,
        also: &[],
    };

    let sshd = matching(&mut engine, source(None, Some("linux"), Some("sshd")));
    let sudo = matching(&mut engine, source(None, Some("linux"), Some("sudo")));
    let file = matching(&mut engine, source(Some("file_event"), Some("linux"), None));
    let windows = matching(
        &mut engine,
        source(Some("file_event"), Some("windows"), None),
    );
    let nothing = matching(&mut engine, LogSource::default());

    assert_eq!(sshd, ["linux", "sshd"]);
    assert_eq!(sudo, ["linux"]);
    assert_eq!(file, ["linux", "file", "upper"]);
    assert_eq!(windows, ["file"]);
    assert_eq!(nothing, Vec::<String>::new());
}

#[test]
fn an_event_answers_to_its_service_and_to_every_further_one() {
    let of = |service: &str| {
        rule("  s: {x: null}\n  condition: s\n")
            .replace(
                "{product: linux}",
                &format!("{{product: linux, service: {service}}}"),
            )
            .replace("id: rule", &format!("id: {service}"))
    };
    let texts = ["auth", "sshd", "syslog", "cron"].map(of);
    let mut engine = engine(&texts.each_ref().map(String::as_str));
    let source = |also| LogSource {
        product: Some("linux"),
        service: Some("sshd"),
        also,
        ..LogSource::default()
    };

    assert_eq!(matching(&mut engine, source(&[])), ["sshd"]);
    for also in [&["auth", "syslog"], &["syslog", "auth"]] {
        assert_eq!(
            matching(&mut engine, source(also)),
            ["auth", "sshd", "syslog"]
        );
    }
    let doubled: &[&str] = &["sshd", "unheard", "auth", "auth"];
    assert_eq!(matching(&mut engine, source(doubled)), ["auth", "sshd"]);
}

#[test]
fn a_match_names_the_fields_that_matched_and_not_those_that_only_were_there() {
    let text = rule(
        "  s: {user|startswith: ro, src|exists: true}\n  other: {tool: nmap}\n  f: {src: ::1}\n  \
         condition: (s or other) and not f\n",
    );
    let fields = [
        ("user", Value::Str("Root")),
        ("src", Value::Str("192.0.2.1")),
        ("port", Value::Int(22)),
    ];

    let matched = only_match(&mut engine(&[&text]), "", &fields, |seen| seen.matched);

    let expected = [("src", "192.0.2.1"), ("user", "Root")];
    assert_eq!(
        matched,
        expected
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    );
}

#[test]
fn a_keyword_match_quotes_the_text_it_was_found_in() {
    let text = rule("  k: [needle]\n  condition: k\n");

    let matched = only_match(
        &mut engine(&[&text]),
        "a Needle here",
        &[("a", Value::Str("hay"))],
        |seen| seen.matched,
    );

    assert_eq!(
        matched,
        [("message".to_owned(), "a Needle here".to_owned())].into()
    );
}

#[test]
fn what_a_match_quotes_is_bounded() {
    let selection: String = (0..40)
        .map(|n| format!("    f{n}|exists: true\n"))
        .collect();
    let text = rule(&format!("  s:\n{selection}  condition: s\n"));
    let names: Vec<String> = (0..40).map(|n| format!("f{n}")).collect();
    let long = "ä".repeat(5000);
    let fields: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), Value::Str(&long)))
        .collect();
    let limits = Limits::default();

    let matched = only_match(&mut engine(&[&text]), "", &fields, |seen| seen.matched);

    assert_eq!(matched.len(), limits.excerpts);
    assert!(
        matched
            .values()
            .all(|value| value.chars().count() == limits.excerpt_chars + 1)
    );
    assert!(matched.values().all(|value| value.ends_with('…')));
}

#[test]
fn our_own_attribute_tells_matches_apart_and_what_to_do() {
    let text = format!(
        "{}hidps: {{alert_type: integrity, advice: look, evidence: false, group-by: [path, user]}}\n",
        rule("  s: {path|exists: true}\n  condition: s\n"),
    );
    let mut engine = engine(&[&text]);
    let mut key = |path| {
        only_match(&mut engine, "", &[("path", Value::Str(path))], |seen| {
            assert_eq!(seen.rule.alert_type.as_deref(), Some("integrity"));
            assert_eq!(seen.rule.advice.as_deref(), Some("look"));
            assert!(!seen.rule.evidence);
            seen.group_key
        })
    };

    let (first, second) = (key("/etc/passwd"), key("/etc/shadow"));
    let (forged, long, longer) = (
        key("a\" user=\"b"),
        key(&"x".repeat(200)),
        key(&"x".repeat(201)),
    );

    assert_eq!(first, "path=\"/etc/passwd\" user=\"\"");
    assert_eq!(second, "path=\"/etc/shadow\" user=\"\"");
    assert_eq!(forged, "path=\"a\\\" user=\\\"b\" user=\"\"");
    assert_ne!(long, longer);
    assert!(longer.len() < 300);
}

#[test]
fn a_rule_without_an_id_is_known_by_its_name_or_title() {
    let base = rule("  s: {a: b}\n  condition: s\n");
    let named = base.replace("id: rule", "name: short");
    let bare = base.replace("id: rule\n", "");

    let ids = [&named, &bare].map(|text| {
        let rules = crate::support::compile(text).unwrap();
        rules.rules().map(|info| info.id.clone()).next()
    });

    assert_eq!(ids, [Some("short".to_owned()), Some("A rule".to_owned())]);
}

#[test]
fn a_suspended_rule_is_not_tried_until_it_is_resumed() {
    let mut engine = engine(&[&rule("  s: {a: null}\n  condition: s\n")]);
    let mut n_matches = || {
        let mut n_matches = 0;
        observe(&mut engine, "", &[], &mut |_| n_matches += 1);
        n_matches
    };
    assert_eq!(n_matches(), 1);

    assert!(engine.suspend("rule", "too dear"));
    let mut n_suspended = 0;
    observe(&mut engine, "", &[], &mut |_| n_suspended += 1);
    let counters = engine.counters();
    let suspended: Vec<_> = counters.suspended().collect();
    assert!(engine.resume("rule"));
    let mut n_resumed = 0;
    observe(&mut engine, "", &[], &mut |_| n_resumed += 1);

    assert_eq!((n_suspended, n_resumed), (0, 1));
    assert_eq!(suspended, [("rule", "too dear")]);
    assert!(!engine.suspend("ghost", "none"));
}

#[test]
fn counters_count_events_matches_and_hits_even_of_silent_rules() {
    let base = rule("  s: {a: b}\n  condition: s\n");
    let burst = "title: B\nid: burst\ncorrelation: {type: event_count, rules: [rule], timespan: 1m, condition: {gte: 2}}\n";
    let mut engine = engine(&[&base, burst]);

    for value in ["b", "b", "c"] {
        observe(&mut engine, "", &[("a", Value::Str(value))], &mut |_| {});
    }

    let counters = engine.counters();
    assert_eq!((counters.events, counters.matches), (3, 1));
    assert_eq!(counters.rules["rule"].hits, 2);
    assert_eq!(counters.rules["burst"].hits, 1);
}

#[test]
fn correlations_of_correlations_pass_their_group_on() {
    let base = rule("  s: {a: b}\n  condition: s\n");
    let burst = "title: B\nid: burst\ncorrelation: {type: event_count, rules: [rule], group-by: [src, user], timespan: 1m, condition: {gte: 2}}\n";
    let spread = "title: S\nid: spread\ncorrelation: {type: value_count, rules: [burst], group-by: [src], timespan: 1h, condition: {field: user, gte: 2}}\n";
    let mut engine = engine(&[spread, burst, &base]);
    let mut found = Vec::new();

    for user in ["x", "x", "y", "y"] {
        let fields = [
            ("a", Value::Str("b")),
            ("src", Value::Str("192.0.2.1")),
            ("user", Value::Str(user)),
        ];
        observe(&mut engine, "", &fields, &mut |seen| {
            found.push((seen.rule.id.clone(), seen.group_key, seen.matched));
        });
    }

    let pairs = [("src", "192.0.2.1"), ("user", "y")];
    let matched = pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    assert_eq!(
        found,
        [("spread".to_owned(), "src=\"192.0.2.1\"".to_owned(), matched)]
    );
}

#[test]
fn an_engine_can_move_to_another_thread() {
    fn assert_send<T: Send>() {}
    assert_send::<Engine>();
}

#[test]
fn events_of_many_log_sources_in_turn_meet_the_rules_of_their_own() {
    let names: Vec<String> = (0..60).map(|number| format!("s{number}")).collect();
    let rules: Vec<String> = names
        .iter()
        .flat_map(|name| {
            ["category", "service"].map(|part| {
                rule("  s: {a: b}\n  condition: s\n")
                    .replace("product: linux", &format!("{part}: {name}"))
                    .replace("id: rule", &format!("id: {part}-{name}"))
            })
        })
        .collect();
    let texts: Vec<&str> = rules.iter().map(String::as_str).collect();
    let mut engine = engine(&texts);

    for turn in 0..3 {
        for (number, name) in names.iter().enumerate() {
            let other = (turn > 0).then(|| names[(number * 7 + turn) % names.len()].as_str());
            let logsource = LogSource {
                category: other,
                product: Some("linux"),
                service: Some(name),
                also: &[],
            };
            let event = Event {
                logsource,
                message: "",
                fields: &[("a", Value::Str("b"))],
            };
            let mut found = Vec::new();
            engine.observe(Scope(1), &event, 0, &mut |seen| {
                found.push(seen.rule.id.clone());
            });

            let mut expected = vec![format!("service-{name}")];
            expected.extend(other.map(|other| format!("category-{other}")));
            found.sort();
            expected.sort();
            assert_eq!(found, expected);
        }
    }
}
