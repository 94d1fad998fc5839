//! Windows against a reference that keeps everything and counts again for every event.
//! It never tests how rules match events.

use std::collections::BTreeSet;

use crate::support::{engine, rule};
use hidps_rules::{Engine, Event, Limits, LogSource, Scope, Value};
use proptest::prelude::{Strategy, any, proptest};

/// One event of a stream: how long after the one before, and its values.
#[derive(Clone, Debug)]
struct Arrival {
    after_ms: i64,
    group: u8,
    value: u8,
    step: u8,
}

const SPAN_MS: i64 = 10_000;

/// Streams whose gaps often fall on the edge of the window.
fn any_stream() -> impl Strategy<Value = Vec<Arrival>> {
    let gap = proptest::sample::select(vec![
        0, 1, 1_000, 2_500, 4_999, 5_000, 9_999, 10_000, 10_001,
    ]);
    let arrival =
        (gap, 0..2_u8, 0..4_u8, 0..3_u8).prop_map(|(after_ms, group, value, step)| Arrival {
            after_ms,
            group,
            value,
            step,
        });
    proptest::collection::vec(arrival, 0..40)
}

/// Three rules, one per step, that events match by their field `step`.
fn steps() -> Vec<String> {
    let step = |number: usize| {
        rule(&format!("  s: {{step: {number}}}\n  condition: s\n"))
            .replace("id: rule", &format!("id: step{number}"))
    };
    (0..3).map(step).collect()
}

/// An engine with one correlation over the three steps.
fn correlation(kind: &str, condition: &str) -> Engine {
    let text = format!(
        "title: C\nid: c\ncorrelation:\n  type: {kind}\n  rules: [step0, step1, step2]\n  \
         group-by: [group]\n  timespan: 10s\n{condition}"
    );
    let mut texts = steps();
    texts.push(text);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    engine(&texts)
}

/// The count of every event of a stream for which the engine fires.
fn run(engine: &mut Engine, scope: u128, stream: &[Arrival]) -> Vec<Option<usize>> {
    let mut now_ms = 0;
    let mut counts = Vec::new();
    for arrival in stream {
        now_ms += arrival.after_ms;
        counts.push(observe(engine, scope, now_ms, arrival));
    }
    counts
}

/// The count for which the engine fires on one event.
fn observe(engine: &mut Engine, scope: u128, now_ms: i64, arrival: &Arrival) -> Option<usize> {
    let fields = [
        ("group", Value::Int(arrival.group.into())),
        ("value", Value::Int(arrival.value.into())),
        ("step", Value::Int(arrival.step.into())),
    ];
    let logsource = LogSource {
        category: None,
        product: Some("linux"),
        service: None,
        also: &[],
    };
    let event = Event {
        logsource,
        message: "",
        fields: &fields,
    };
    let mut count = None;
    engine.observe(Scope(scope), &event, now_ms, &mut |seen| {
        count = seen.window.map(|window| window.count);
    });
    count
}

/// What `measure` says of the window that ends with each event, where it says anything.
fn reference(
    stream: &[Arrival],
    measure: impl Fn(&[&Arrival]) -> Option<usize>,
) -> Vec<Option<usize>> {
    let mut now_ms = 0;
    let timed: Vec<(i64, &Arrival)> = stream
        .iter()
        .map(|arrival| {
            now_ms += arrival.after_ms;
            (now_ms, arrival)
        })
        .collect();
    (0..timed.len())
        .map(|last| {
            let (now_ms, newest) = timed[last];
            let window: Vec<&Arrival> = timed[..=last]
                .iter()
                .filter(|(time, one)| *time >= now_ms - SPAN_MS && one.group == newest.group)
                .map(|(_, one)| *one)
                .collect();
            measure(&window)
        })
        .collect()
}

/// How many distinct values a window has.
fn n_values(window: &[&Arrival]) -> usize {
    window
        .iter()
        .map(|one| one.value)
        .collect::<BTreeSet<u8>>()
        .len()
}

/// Whether the steps occur in order.
fn is_ordered(window: &[&Arrival]) -> bool {
    let mut next = 0;
    for one in window {
        next += u8::from(one.step == next);
    }
    next == 3
}

proptest! {
    #[test]
    fn event_counts_are_of_the_window_that_ends_with_the_event(stream in any_stream()) {
        let found = run(&mut correlation("event_count", "  condition: {gte: 3}\n"), 1, &stream);

        let expected = reference(&stream, |window| Some(window.len()).filter(|count| *count >= 3));
        assert_eq!(found, expected);
    }

    #[test]
    fn ranges_have_two_edges(stream in any_stream()) {
        let condition = "  condition: {gt: 1, lte: 3}\n";
        let found = run(&mut correlation("event_count", condition), 1, &stream);

        let in_range = |count: &usize| (2..=3).contains(count);
        assert_eq!(found, reference(&stream, |window| Some(window.len()).filter(in_range)));
    }

    #[test]
    fn value_counts_are_of_distinct_values(stream in any_stream()) {
        let condition = "  condition: {field: value, gte: 3}\n";
        let found = run(&mut correlation("value_count", condition), 1, &stream);

        let expected = reference(&stream, |window| Some(n_values(window)).filter(|n| *n >= 3));
        assert_eq!(found, expected);
    }

    #[test]
    fn value_counts_of_several_fields_are_of_distinct_combinations(stream in any_stream()) {
        let condition = "  condition: {field: [value, step], gte: 4}\n";
        let found = run(&mut correlation("value_count", condition), 1, &stream);

        let expected = reference(&stream, |window| {
            let pairs: BTreeSet<_> = window.iter().map(|one| (one.value, one.step)).collect();
            Some(pairs.len()).filter(|n| *n >= 4)
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn temporal_wants_every_rule_in_any_order(stream in any_stream()) {
        let found = run(&mut correlation("temporal", ""), 1, &stream);

        let expected = reference(&stream, |window| {
            let steps: BTreeSet<u8> = window.iter().map(|one| one.step).collect();
            (steps.len() == 3).then_some(3)
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn temporal_ordered_wants_every_rule_in_the_order_written(stream in any_stream()) {
        let found = run(&mut correlation("temporal_ordered", ""), 1, &stream);

        let expected = reference(&stream, |window| is_ordered(window).then_some(3));
        assert_eq!(found, expected);
    }

    #[test]
    fn the_order_of_events_of_one_time_does_not_matter_at_its_end(
        stream in any_stream(),
        turn in any::<proptest::sample::Index>(),
    ) {
        for (kind, condition) in [
            ("event_count", "  condition: {gte: 2}\n"),
            ("value_count", "  condition: {field: value, gte: 2}\n"),
            ("temporal", ""),
        ] {
            let mut at_once: Vec<Arrival> = stream.clone();
            for arrival in &mut at_once {
                (arrival.after_ms, arrival.group) = (0, 0);
            }
            let last = Arrival { after_ms: 0, group: 0, value: 0, step: 0 };
            let mut turned = at_once.clone();
            turned.rotate_left(turn.index(at_once.len().max(1)));
            at_once.push(last.clone());
            turned.push(last);

            let one = run(&mut correlation(kind, condition), 1, &at_once);
            let other = run(&mut correlation(kind, condition), 1, &turned);

            assert_eq!(one.last(), other.last(), "{kind}");
        }
    }

    #[test]
    fn an_event_that_comes_twice_is_two_events_and_one_value(stream in any_stream()) {
        let doubled: Vec<Arrival> = stream
            .iter()
            .flat_map(|one| [one.clone(), Arrival { after_ms: 0, ..one.clone() }])
            .collect();
        let counts = |kind, condition, stream: &[Arrival]| {
            run(&mut correlation(kind, condition), 1, stream)
        };
        let second = |counts: Vec<Option<usize>>| -> Vec<Option<usize>> {
            counts.into_iter().skip(1).step_by(2).collect()
        };
        let events = "  condition: {gte: 1}\n";
        let values = "  condition: {field: value, gte: 1}\n";

        let twice: Vec<_> = counts("event_count", events, &stream)
            .into_iter()
            .map(|count| count.map(|count| count * 2))
            .collect();
        assert_eq!(second(counts("event_count", events, &doubled)), twice);
        let same = counts("value_count", values, &stream);
        assert_eq!(second(counts("value_count", values, &doubled)), same);
    }

    #[test]
    fn scopes_do_not_see_each_other(left in any_stream(), right in any_stream()) {
        let fresh = || correlation("value_count", "  condition: {field: value, gte: 2}\n");
        let mut shared = fresh();
        let (mut left_ms, mut right_ms) = (0, 0);
        let mut found = (Vec::new(), Vec::new());

        for index in 0..left.len().max(right.len()) {
            if let Some(arrival) = left.get(index) {
                left_ms += arrival.after_ms;
                found.0.push(observe(&mut shared, 1, left_ms, arrival));
            }
            if let Some(arrival) = right.get(index) {
                right_ms += arrival.after_ms;
                found.1.push(observe(&mut shared, 2, right_ms, arrival));
            }
        }

        assert_eq!(found.0, run(&mut fresh(), 1, &left));
        assert_eq!(found.1, run(&mut fresh(), 2, &right));
    }

    #[test]
    fn a_reload_in_the_middle_of_a_stream_changes_nothing(
        stream in any_stream(),
        cut in any::<proptest::sample::Index>(),
    ) {
        let condition = "  condition: {gte: 3}\n";
        let mut reloaded = correlation("event_count", condition);
        let cut = cut.index(stream.len() + 1);
        let base: i64 = stream[..cut].iter().map(|one| one.after_ms).sum();

        let mut found = run(&mut reloaded, 1, &stream[..cut]);
        reloaded.replace(correlation("event_count", condition).rules().clone());
        let mut now_ms = base;
        for arrival in &stream[cut..] {
            now_ms += arrival.after_ms;
            found.push(observe(&mut reloaded, 1, now_ms, arrival));
        }

        assert_eq!(found, run(&mut correlation("event_count", condition), 1, &stream));
    }

    #[test]
    fn times_in_any_order_neither_crash_nor_hold_more_than_the_window(
        times in proptest::collection::vec(any::<i64>(), 0..30),
    ) {
        let mut engine = correlation("event_count", "  condition: {gte: 1}\n");
        let arrival = Arrival { after_ms: 0, group: 0, value: 0, step: 0 };

        for now_ms in times {
            assert!(observe(&mut engine, 1, now_ms, &arrival).is_some());
        }

        assert!(engine.counters().windows <= 1);
    }
}

#[test]
fn an_event_from_the_past_counts_as_now_and_one_from_before_the_window_starts_anew() {
    let one = Arrival {
        after_ms: 0,
        group: 0,
        value: 0,
        step: 0,
    };
    let mut engine = correlation("event_count", "  condition: {gte: 1}\n");

    let counts = [50_000, 45_000, 60_000, 40_000, 41_000]
        .map(|now_ms| observe(&mut engine, 1, now_ms, &one));

    assert_eq!(counts, [Some(1), Some(2), Some(3), Some(1), Some(2)]);
}

#[test]
fn an_event_that_matches_two_joined_rules_counts_once() {
    let first = rule("  s: {a: x}\n  condition: s\n").replace("id: rule", "id: one");
    let second = rule("  s: {b: y}\n  condition: s\n").replace("id: rule", "id: two");
    let both = "title: C\nid: c\ncorrelation: {type: event_count, rules: [one, two], timespan: 1m, condition: {gte: 2}}\n";
    let ordered =
        "title: O\nid: o\ncorrelation: {type: temporal_ordered, rules: [one, two], timespan: 1m}\n";
    let mut engine = engine(&[&first, &second, both, ordered]);
    let mut seen = |now_ms| {
        let fields = [("a", Value::Str("x")), ("b", Value::Str("y"))];
        let logsource = LogSource {
            category: None,
            product: Some("linux"),
            service: None,
            also: &[],
        };
        let event = Event {
            logsource,
            message: "",
            fields: &fields,
        };
        let mut ids = Vec::new();
        engine.observe(Scope(1), &event, now_ms, &mut |seen| {
            ids.push(seen.rule.id.clone());
        });
        ids
    };

    let first = seen(0);
    let second = seen(1);

    assert_eq!(first, Vec::<String>::new());
    assert_eq!(second, ["c", "o"]);
}

#[test]
fn fields_of_different_names_are_joined_by_aliases() {
    let first = rule("  s: {step: 1}\n  condition: s\n").replace("id: rule", "id: one");
    let second = rule("  s: {step: 2}\n  condition: s\n").replace("id: rule", "id: two");
    let joined = "title: C\nid: c\ncorrelation:\n  type: temporal\n  rules: [one, two]\n  \
                  aliases: {ip: {one: src, two: peer}}\n  group-by: [ip]\n  timespan: 1m\n";
    let mut engine = engine(&[&first, &second, joined]);
    let mut seen = |fields: &[(&str, Value<'_>)]| {
        let mut keys = Vec::new();
        crate::support::observe(&mut engine, "", fields, &mut |seen| {
            keys.push(seen.group_key);
        });
        keys
    };

    let one = seen(&[("step", Value::Int(1)), ("src", Value::Str("192.0.2.1"))]);
    let other = seen(&[("step", Value::Int(2)), ("peer", Value::Str("192.0.2.2"))]);
    let same = seen(&[("step", Value::Int(2)), ("peer", Value::Str("192.0.2.1"))]);

    assert_eq!((one.len(), other.len()), (0, 0));
    assert_eq!(same, ["ip=\"192.0.2.1\""]);
}

/// An engine with these limits and one window per value, which fires at its second event.
fn counting_values(limits: Limits) -> Engine {
    let counter = "title: C\nid: c\ncorrelation:\n  type: event_count\n  rules: [step0]\n  \
                   group-by: [value]\n  timespan: 10s\n  condition: {gte: 2}\n";
    let mut texts = steps();
    texts.push(counter.to_owned());
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    Engine::new(engine(&texts).rules().clone(), limits)
}

/// Whether an event with this value fires.
fn fires(engine: &mut Engine, scope: u128, now_ms: i64, value: u8) -> bool {
    observe(
        engine,
        scope,
        now_ms,
        &Arrival {
            after_ms: 0,
            group: 0,
            value,
            step: 0,
        },
    )
    .is_some()
}

#[test]
fn windows_past_the_bound_of_a_scope_go_longest_idle_first_and_are_counted() {
    let limits = Limits {
        groups_per_scope: 2,
        ..Limits::default()
    };
    let mut engine = counting_values(limits);

    let first = [(0, 0), (1, 1), (2, 0), (3, 2)];
    let found = first.map(|(now_ms, value)| fires(&mut engine, 1, now_ms, value));

    assert_eq!(found, [false, false, true, false]);
    assert!(
        fires(&mut engine, 1, 4, 0),
        "value 0 was used after value 1 and stays"
    );
    assert!(
        !fires(&mut engine, 1, 5, 1),
        "value 1 was the longest idle and went"
    );
    assert_eq!(engine.counters().evictions.groups, 2);
}

#[test]
fn when_all_scopes_are_full_the_largest_gives_way_and_no_other() {
    let limits = Limits {
        groups_per_rule: 4,
        ..Limits::default()
    };
    let mut engine = counting_values(limits);
    for (scope, value) in [(1, 0), (1, 1), (1, 2), (2, 0)] {
        fires(&mut engine, scope, 0, value);
    }

    fires(&mut engine, 3, 0, 0);

    let kept = [(2, 0), (3, 0), (1, 1), (1, 2)];
    assert_eq!(
        kept.map(|(scope, value)| fires(&mut engine, scope, 1, value)),
        [true; 4]
    );
    assert_eq!(engine.counters().windows, 4);
    assert_eq!(engine.counters().evictions.groups, 1);
}

#[test]
fn windows_that_are_over_make_room_without_being_counted_as_lost() {
    let limits = Limits {
        groups_per_scope: 2,
        ..Limits::default()
    };
    let mut engine = counting_values(limits);

    for (now_ms, value) in [(0, 0), (5_000, 1), (10_001, 2)] {
        fires(&mut engine, 1, now_ms, value);
    }

    assert!(fires(&mut engine, 1, 10_002, 1));
    assert_eq!(engine.counters().windows, 2);
    assert_eq!(engine.counters().evictions.groups, 0);
}

#[test]
fn a_flood_of_one_value_does_not_push_out_the_others() {
    let limits = Limits {
        entries_per_group: 4,
        ..Limits::default()
    };
    let rules = correlation("value_count", "  condition: {field: value, gte: 3}\n");
    let mut engine = Engine::new(rules.rules().clone(), limits);
    let arrival = |value| Arrival {
        after_ms: 0,
        group: 0,
        value,
        step: 0,
    };

    observe(&mut engine, 1, 0, &arrival(1));
    observe(&mut engine, 1, 1, &arrival(2));
    for _ in 0..1000 {
        observe(&mut engine, 1, 2, &arrival(2));
    }
    let third = observe(&mut engine, 1, 3, &arrival(3));

    assert_eq!(third, Some(3));
    assert_eq!(engine.counters().evictions.entries, 0);
}

#[test]
fn entries_past_the_bound_are_counted_as_lost_and_the_threshold_is_still_reached() {
    let limits = Limits {
        entries_per_group: 2,
        ..Limits::default()
    };
    let rules = correlation("event_count", "  condition: {gte: 5}\n");
    let mut engine = Engine::new(rules.rules().clone(), limits);
    let arrival = Arrival {
        after_ms: 0,
        group: 0,
        value: 0,
        step: 0,
    };

    let counts: Vec<_> = (0..8)
        .map(|now| observe(&mut engine, 1, now, &arrival))
        .collect();

    assert_eq!(counts[3..], [None, Some(5), Some(6), Some(6), Some(6)]);
    assert_eq!(engine.counters().evictions.entries, 2);
}

#[test]
fn values_past_the_bound_are_counted_as_lost_and_those_within_it_are_not() {
    let limits = Limits {
        entries_per_group: 2,
        ..Limits::default()
    };
    let rules = correlation("value_count", "  condition: {field: value, gte: 3}\n");
    let mut engine = Engine::new(rules.rules().clone(), limits);

    let counts = [0, 1, 2, 3, 4, 5].map(|value| {
        let arrival = Arrival {
            after_ms: 0,
            group: 0,
            value,
            step: 0,
        };
        let count = observe(&mut engine, 1, 0, &arrival);
        (count, engine.counters().evictions.entries)
    });

    let held = [(None, 0), (None, 0), (Some(3), 0), (Some(4), 0)];
    assert_eq!(counts[..4], held, "four are held for a threshold of three");
    assert_eq!(counts[4..], [(Some(4), 1), (Some(4), 2)]);
}

#[test]
fn an_event_a_whole_window_before_the_newest_still_counts_as_now() {
    let one = Arrival {
        after_ms: 0,
        group: 0,
        value: 0,
        step: 0,
    };
    let mut engine = correlation("event_count", "  condition: {gte: 1}\n");

    let counts = [60_000, 60_000 - SPAN_MS, 60_000 - SPAN_MS - 1]
        .map(|now_ms| observe(&mut engine, 1, now_ms, &one));

    assert_eq!(counts, [Some(1), Some(2), Some(1)]);
}

#[test]
fn a_reload_keeps_the_window_of_what_is_unchanged_and_of_nothing_else() {
    let counter = |timespan: &str| {
        format!(
            "title: C\nid: c\ncorrelation:\n  type: event_count\n  rules: [step0]\n  \
             group-by: [group]\n  timespan: {timespan}\n  condition: {{gte: 2}}\n"
        )
    };
    let with = |texts: &[&str]| engine(texts).rules().clone();
    let [step0, step1, _] = <[String; 3]>::try_from(steps()).expect("there are three steps");
    let changed_step = step0.replace("condition: s", "condition: s and s");
    let renamed_step = step0.replace("title: A rule", "title: Another\ndescription: Longer");
    let before = with(&[&step0, &counter("10s")]);
    let after = [
        ("nothing", with(&[&step0, &counter("10s")]), true),
        ("the order", with(&[&step1, &counter("10s"), &step0]), true),
        ("the span", with(&[&step0, &counter("11s")]), false),
        ("the rule", with(&[&changed_step, &counter("10s")]), false),
        ("its title", with(&[&renamed_step, &counter("10s")]), true),
    ];

    for (what, rules, keeps) in after {
        let mut engine = Engine::new(before.clone(), Limits::default());
        assert!(!fires(&mut engine, 1, 0, 0));
        engine.replace(rules);
        assert_eq!(fires(&mut engine, 1, 1, 0), keeps, "{what} changed");
    }
}

#[test]
fn entries_of_all_windows_together_are_bounded() {
    let limits = Limits {
        entries_per_rule: 3,
        ..Limits::default()
    };
    let mut engine = counting_values(limits);

    let first = [(1, 0), (1, 1), (2, 0)].map(|(scope, value)| fires(&mut engine, scope, 0, value));
    let fourth = fires(&mut engine, 1, 1, 1);

    assert_eq!((first, fourth), ([false; 3], true));
    assert_eq!(engine.counters().evictions.groups, 1);
    assert!(!fires(&mut engine, 1, 2, 0), "the longest idle window went");
    engine.forget(Scope(1));
    engine.forget(Scope(2));
    assert_eq!(engine.counters().windows, 0);
    let again = [(1, 0), (1, 1), (1, 0)].map(|(scope, value)| fires(&mut engine, scope, 3, value));
    assert_eq!(
        again,
        [false, false, true],
        "what was forgotten is not counted any more"
    );
}

#[test]
fn an_event_without_a_group_field_is_in_no_window_and_is_counted() {
    let mut engine = correlation("event_count", "  condition: {gte: 1}\n");
    let mut n_matches = 0;

    crate::support::observe(&mut engine, "", &[("step", Value::Int(0))], &mut |_| {
        n_matches += 1;
    });

    assert_eq!(n_matches, 0);
    assert_eq!(engine.counters().ungrouped, 1);
}

#[test]
fn a_forgotten_scope_starts_from_nothing() {
    let mut engine = correlation("event_count", "  condition: {gte: 2}\n");
    let arrival = Arrival {
        after_ms: 0,
        group: 0,
        value: 0,
        step: 0,
    };

    observe(&mut engine, 1, 0, &arrival);
    engine.forget(Scope(1));

    assert_eq!(observe(&mut engine, 1, 1, &arrival), None);
    assert_eq!(engine.counters().windows, 1);
}
