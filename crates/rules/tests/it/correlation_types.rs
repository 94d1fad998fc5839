//! Correlations over numbers, formulas over rules and sequences that may leave out rules.
//! It never tests bounds on memory, which are tested with windows.

use std::collections::BTreeSet;

use crate::support::{engine, rule};
use hidps_rules::{Engine, Event, LogSource, Scope, Value, Verdict};
use proptest::prelude::{Strategy, prop_oneof, proptest};

/// Five rules, `a` to `e`, each of which matches events that name it.
fn steps() -> Vec<String> {
    let step = |name: &str| {
        rule(&format!("  s: {{step|contains: {name}}}\n  condition: s\n"))
            .replace("id: rule", &format!("id: {name}"))
    };
    ["a", "b", "c", "d", "e"].map(step).to_vec()
}

/// An engine with one correlation over the steps, its window ten seconds long.
fn correlation(lines: &str) -> Engine {
    let text = format!("title: C\nid: corr\ncorrelation:\n  timespan: 10s\n{lines}");
    let mut texts = steps();
    texts.push(text);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    engine(&texts)
}

/// One event: time in seconds, the steps it is, its number.
type Step<'s> = (i64, &'s str, Value<'s>);

/// Times in seconds and the steps that happen then.
type Times<'s> = &'s [(i64, &'s str)];

/// What a formula says of the steps seen.
type Truth = fn(&BTreeSet<usize>) -> bool;

/// What an engine fires on each event of a stream: the computed value, or the count.
fn run(engine: &mut Engine, stream: &[Step<'_>]) -> Vec<Option<f64>> {
    let mut fired = Vec::new();
    for (at, step, number) in stream {
        let fields = [("step", Value::Str(step)), ("n", *number)];
        let event = Event {
            logsource: LogSource {
                product: Some("linux"),
                ..LogSource::default()
            },
            message: "",
            fields: &fields,
        };
        let why = engine.explain(Scope(1), &event, at * 1000);
        let mut found = None;
        engine.observe(Scope(1), &event, at * 1000, &mut |seen| {
            let count = |count| u32::try_from(count).map_or(f64::NAN, f64::from);
            found = seen
                .window
                .map(|window| window.value.unwrap_or_else(|| count(window.count)))
                .or(found);
        });
        let last = why.last().expect("every rule is explained");
        let explained = last.verdict == Verdict::Matched;
        assert_eq!(explained, found.is_some(), "{last}");
        fired.push(found);
    }
    fired
}

/// The events of a stream on which an engine fires.
fn firing(engine: &mut Engine, stream: &[(i64, &str)]) -> Vec<usize> {
    let stream: Vec<Step<'_>> = stream
        .iter()
        .map(|(at, step)| (*at, *step, Value::Int(0)))
        .collect();
    let fired = run(engine, &stream).into_iter().enumerate();
    fired
        .filter(|(_, found)| found.is_some())
        .map(|(index, _)| index)
        .collect()
}

#[test]
fn sums_averages_and_percentiles_are_of_the_window() {
    let stream = [
        (0, "a", Value::Int(10)),
        (2, "a", Value::Str("2.5")),
        (4, "a", Value::Float(0.5)),
        (11, "a", Value::Int(-4)),
        (30, "a", Value::Int(1)),
    ];
    let table: [(&str, [Option<f64>; 5]); 5] = [
        (
            "value_sum\n  condition: {field: n, gte: -100}",
            [Some(10.0), Some(12.5), Some(13.0), Some(-1.0), Some(1.0)],
        ),
        (
            "value_sum\n  condition: {field: n, gt: 12, lte: 12.5}",
            [None, Some(12.5), None, None, None],
        ),
        (
            "value_avg\n  condition: {field: n, lt: 5}",
            [None, None, Some(13.0 / 3.0), Some(-1.0 / 3.0), Some(1.0)],
        ),
        (
            "value_median\n  condition: {field: n, neq: 10}",
            [None, Some(6.25), Some(2.5), Some(0.5), Some(1.0)],
        ),
        (
            "value_percentile\n  condition: {field: n, percentile: 90, gte: 2}",
            [Some(10.0), Some(9.25), Some(8.5), Some(2.1), None],
        ),
    ];
    for (lines, expected) in table {
        let mut engine = correlation(&format!("  rules: a\n  type: {lines}\n"));

        let fired = run(&mut engine, &stream);

        for (found, expected) in fired.iter().zip(expected) {
            let close = match (found, expected) {
                (Some(found), Some(expected)) => (found - expected).abs() < 1e-12,
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(close, "{lines}: {fired:?}");
        }
    }
}

#[test]
fn what_is_no_number_is_left_out_and_counted() {
    let mut engine =
        correlation("  rules: a\n  type: value_sum\n  condition: {field: n, gte: 0}\n");
    let stream = [
        (0, "a", Value::Str("many")),
        (1, "a", Value::Float(f64::NAN)),
        (2, "a", Value::Float(f64::INFINITY)),
        (3, "a", Value::Str("inf")),
        (4, "a", Value::Bool(true)),
        (5, "a", Value::Str("")),
        (6, "a", Value::Int(3)),
        (7, "a", Value::Str("0x10")),
    ];

    let fired = run(&mut engine, &stream);

    assert_eq!(
        fired,
        [None, None, None, None, None, None, Some(3.0), Some(3.0)]
    );
    assert_eq!(engine.counters().without_value, 7);
}

#[test]
fn sums_do_not_overflow_and_do_not_drift() {
    let huge = [
        (0, "a", Value::Int(i64::MAX)),
        (1, "a", Value::Int(i64::MAX)),
        (2, "a", Value::Float(1e308)),
        (3, "a", Value::Float(1e308)),
        (14, "a", Value::Float(0.1)),
    ];
    let mut engine =
        correlation("  rules: a\n  type: value_sum\n  condition: {field: n, gte: 0}\n");

    let fired = run(&mut engine, &huge);

    assert_eq!(fired[1], Some(2.0_f64.powi(64)));
    assert_eq!(fired[3], Some(f64::INFINITY));
    assert_eq!(fired[4], Some(0.1));
}

#[test]
fn one_event_of_two_joined_rules_brings_its_number_once() {
    let mut engine =
        correlation("  rules: [a, b]\n  type: value_sum\n  condition: {field: n, gte: 0}\n");

    let fired = run(
        &mut engine,
        &[(0, "ab", Value::Int(5)), (1, "b", Value::Int(5))],
    );

    assert_eq!(fired, [Some(5.0), Some(10.0)]);
}

#[test]
fn formulas_over_rules_hold_or_not_in_the_window_that_ends_now() {
    let table: [(&str, Times<'_>, &[usize]); 7] = [
        (
            "a and b",
            &[(0, "a"), (1, "b"), (2, "a"), (12, "b")],
            &[1, 2, 3],
        ),
        ("a or b", &[(0, "b"), (1, "c")], &[0]),
        (
            "a and not b",
            &[(0, "a"), (1, "b"), (2, "a"), (12, "a")],
            &[0, 3],
        ),
        ("(a or b) and c", &[(0, "c"), (5, "b"), (16, "c")], &[1]),
        (
            "a and not (b and c)",
            &[(0, "b"), (1, "a"), (2, "c"), (3, "a")],
            &[1],
        ),
        ("a and not b", &[(0, "ab"), (11, "a")], &[1]),
        ("1 of them", &[(0, "x"), (1, "a")], &[1]),
    ];
    for (formula, stream, expected) in table {
        let rules = if formula == "1 of them" {
            "  rules: [a, b]\n"
        } else {
            ""
        };
        let mut engine = correlation(&format!(
            "  type: temporal\n{rules}  condition: {formula}\n"
        ));

        assert_eq!(firing(&mut engine, stream), expected, "{formula}");
    }
}

#[test]
fn ordered_formulas_want_their_rules_in_the_order_of_the_rules() {
    let table: [(&str, &str, Times<'_>, &[usize]); 6] = [
        ("", "a and b", &[(0, "b"), (1, "a"), (2, "b")], &[2]),
        (
            "  rules: [b, a]\n",
            "a and b",
            &[(0, "b"), (1, "a"), (2, "b")],
            &[1, 2],
        ),
        ("", "(a or b) and c", &[(0, "c"), (1, "b"), (2, "c")], &[2]),
        (
            "",
            "a and b and not c",
            &[(0, "c"), (1, "a"), (2, "b"), (11, "a"), (12, "b")],
            &[3, 4],
        ),
        ("", "a and b", &[(0, "ab"), (1, "b")], &[1]),
        ("", "a and b", &[(0, "a"), (11, "b")], &[]),
    ];
    for (rules, formula, stream, expected) in table {
        for kind in ["temporal_ordered", "temporal_ordered_extended"] {
            let mut engine =
                correlation(&format!("  type: {kind}\n{rules}  condition: {formula}\n"));

            assert_eq!(firing(&mut engine, stream), expected, "{rules}{formula}");
        }
    }
}

#[test]
fn sequences_may_leave_out_rules_where_the_condition_says_so() {
    let table: [(&str, Times<'_>, &[usize]); 5] = [
        ("{gte: 2}", &[(0, "c"), (1, "a"), (2, "c")], &[2]),
        ("{gte: 2}", &[(0, "c"), (1, "b"), (2, "a")], &[]),
        (
            "{gt: 1, lt: 3}",
            &[(0, "a"), (1, "c"), (2, "b"), (3, "c")],
            &[1, 2],
        ),
        (
            "{gte: 3}",
            &[(0, "a"), (1, "b"), (2, "c"), (3, "a"), (11, "c")],
            &[2, 3],
        ),
        ("{eq: 1}", &[(0, "b"), (1, "a"), (2, "c")], &[0, 1]),
    ];
    for (condition, stream, expected) in table {
        let mut engine = correlation(&format!(
            "  type: temporal_ordered\n  rules: [a, b, c]\n  condition: {condition}\n"
        ));

        assert_eq!(
            firing(&mut engine, stream),
            expected,
            "{condition} {stream:?}"
        );
    }
}

#[test]
fn several_fields_are_counted_together_and_only_where_all_are_there() {
    let text = "title: C\nid: corr\ncorrelation:\n  type: value_count\n  rules: a\n  timespan: 10s\n  condition: {field: [x, y], gte: 1}\n";
    let mut texts = steps();
    texts.push(text.to_owned());
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut engine = engine(&texts);
    let mut distinct = Vec::new();
    for (x, y) in [
        ("1", Some("23")),
        ("12", Some("3")),
        ("1", Some("23")),
        ("1", None),
    ] {
        let mut fields = vec![("step", Value::Str("a")), ("x", Value::Str(x))];
        fields.extend(y.map(|y| ("y", Value::Str(y))));
        crate::support::observe(&mut engine, "", &fields, &mut |seen| {
            distinct.push(seen.window.and_then(|window| window.distinct));
        });
    }

    assert_eq!(distinct, [Some(1), Some(2), Some(2), Some(2)]);
}

#[test]
fn without_group_by_all_events_of_a_scope_share_one_window() {
    let mut engine = correlation("  type: event_count\n  rules: [a, b]\n  condition: {gte: 2}\n");

    assert_eq!(firing(&mut engine, &[(0, "a"), (1, "b"), (12, "a")]), [1]);
}

#[test]
fn aliases_rename_the_field_that_holds_the_number() {
    let text = "title: C\nid: corr\ncorrelation:\n  type: value_sum\n  rules: [a, b]\n  group-by: [who]\n  timespan: 10s\n  aliases: {who: {a: n, b: m}, bytes: {a: x, b: y}}\n  condition: {field: bytes, gte: 5}\n";
    let mut texts = steps();
    texts.push(text.to_owned());
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut engine = engine(&texts);
    let mut sums = Vec::new();
    for fields in [
        [
            ("step", Value::Str("a")),
            ("n", Value::Int(1)),
            ("x", Value::Int(3)),
        ],
        [
            ("step", Value::Str("b")),
            ("m", Value::Int(2)),
            ("y", Value::Int(4)),
        ],
        [
            ("step", Value::Str("b")),
            ("m", Value::Int(1)),
            ("y", Value::Int(4)),
        ],
    ] {
        crate::support::observe(&mut engine, "", &fields, &mut |seen| {
            sums.push(seen.window.and_then(|window| window.value));
        });
    }

    assert_eq!(sums, [Some(7.0)]);
}

#[test]
fn a_correlation_of_correlations_is_grouped_by_its_own_fields() {
    let guessed = "title: G\nid: guessed\ncorrelation:\n  type: event_count\n  rules: [a]\n  \
        group-by: [host]\n  timespan: 10s\n  condition: {gte: 2}\n";
    let entered = "title: E\nid: entered\ncorrelation:\n  type: temporal_ordered\n  \
        rules: [guessed, b]\n  group-by: [user]\n  timespan: 10s\n";
    let [a, b] = ["a", "b"].map(|step| {
        rule(&format!("  s: {{step: {step}}}\n  condition: s\n"))
            .replace("id: rule", &format!("id: {step}"))
    });
    let mut engine = crate::support::engine(&[&a, &b, guessed, entered]);
    let mut fired = |now_ms, step, user| {
        let fields = [
            ("step", Value::Str(step)),
            ("host", Value::Str("h")),
            ("user", Value::Str(user)),
        ];
        let event = Event {
            logsource: LogSource {
                product: Some("linux"),
                ..LogSource::default()
            },
            message: "",
            fields: &fields,
        };
        let mut keys = Vec::new();
        engine.observe(Scope(1), &event, now_ms, &mut |found| {
            keys.push(found.group_key);
        });
        keys
    };

    assert_eq!(fired(0, "a", "x"), [""; 0]);
    assert_eq!(fired(1, "a", "y"), [""; 0]);
    assert_eq!(fired(2, "b", "x"), [""; 0]);
    assert_eq!(fired(3, "b", "y"), ["user=\"y\""]);
}

#[test]
fn a_suspended_correlation_does_not_fire() {
    let mut engine = correlation("  type: event_count\n  rules: a\n  condition: {gte: 1}\n");
    engine.suspend("corr", "too many");

    assert_eq!(firing(&mut engine, &[(0, "a")]), Vec::<usize>::new());
    engine.resume("corr");
    assert_eq!(firing(&mut engine, &[(1, "a")]), [0]);
}

/// Whether the steps of a stream's window hold rules in order, at least so many of three.
fn longest_row(window: &[(i64, usize)]) -> usize {
    let mut lengths = [0_usize; 3];
    for (_, step) in window {
        let before = lengths.iter().take(*step).max().copied().unwrap_or(0);
        lengths[*step] = lengths[*step].max(before + 1);
    }
    lengths.into_iter().max().unwrap_or(0)
}

/// Numbers that are easy to add.
fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![
        (-50_i32..50).prop_map(|n| f64::from(n) / 8.0),
        (-3_i32..3).prop_map(f64::from)
    ]
}

proptest! {
    #[test]
    fn sums_are_those_of_the_events_in_the_window(
        stream in proptest::collection::vec((0_i64..6, any_number()), 1..40),
    ) {
        let mut engine = correlation("  rules: a\n  type: value_sum\n  condition: {field: n, gte: -1e9}\n");
        let mut now = 0;
        let mut past: Vec<(i64, f64)> = Vec::new();
        for (after, number) in stream {
            now += after;
            past.push((now, number));
            let expected: f64 = past.iter().filter(|(at, _)| now - at <= 10).map(|(_, n)| n).sum();

            let fired = run(&mut engine, &[(now, "a", Value::Float(number))]);

            assert_eq!(fired, [Some(expected)]);
        }
    }

    #[test]
    fn the_longest_row_of_rules_is_that_of_the_window(
        stream in proptest::collection::vec((0_i64..6, 0_usize..3), 1..40),
        least in 1_usize..3,
    ) {
        let mut engine = correlation(&format!(
            "  rules: [a, b, c]\n  type: temporal_ordered\n  condition: {{gte: {least}}}\n"
        ));
        let mut now = 0;
        let mut past: Vec<(i64, usize)> = Vec::new();
        for (after, step) in stream {
            now += after;
            past.push((now, step));
            past.retain(|(at, _)| now - at <= 10);
            let longest = longest_row(&past);

            let fired = firing(&mut engine, &[(now, ["a", "b", "c"][step])]);

            assert_eq!(!fired.is_empty(), longest >= least, "{past:?}");
        }
    }

    #[test]
    fn formulas_agree_with_the_rules_seen_in_the_window(
        stream in proptest::collection::vec((0_i64..6, 0_usize..3), 1..30),
        pick in 0_usize..4,
    ) {
        let formulas: [(&str, Truth); 4] = [
            ("a and b and not c", |seen| seen.contains(&0) && seen.contains(&1) && !seen.contains(&2)),
            ("a and (b or c)", |seen| seen.contains(&0) && (seen.contains(&1) || seen.contains(&2))),
            ("a or b and c", |seen| seen.contains(&0) || (seen.contains(&1) && seen.contains(&2))),
            ("not (not a or not b) and (c or a)", |seen| seen.contains(&0) && seen.contains(&1)),
        ];
        let (formula, holds) = formulas[pick];
        let mut engine = correlation(&format!("  type: temporal\n  condition: {formula}\n"));
        let mut now = 0;
        let mut past: Vec<(i64, usize)> = Vec::new();
        for (after, step) in stream {
            now += after;
            past.push((now, step));
            let seen: BTreeSet<usize> = past.iter().filter(|(at, _)| now - at <= 10).map(|(_, step)| *step).collect();

            let fired = firing(&mut engine, &[(now, ["a", "b", "c"][step])]);

            assert_eq!(!fired.is_empty(), holds(&seen), "{formula} {past:?}");
        }
    }
}
