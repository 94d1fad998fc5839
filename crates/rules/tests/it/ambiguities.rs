//! What the Sigma specification leaves open, as docs/adr/0020 decides it: one test a decision.
//! It never tests what the specification says clearly.

use crate::support::{engine, matches, matches_values, refusal, rule};
use hidps_rules::{Engine, Event, LogSource, Scope, Value};

/// The text of a rule with one selection.
fn selection(text: &str) -> String {
    rule(&format!("  s:\n    {text}\n  condition: s\n"))
}

/// An engine with a correlation over rules `a` and `b`, which match events that name them.
fn correlation(lines: &str) -> Engine {
    let step = |name: &str| {
        selection(&format!("step|contains: {name}")).replace("id: rule", &format!("id: {name}"))
    };
    let text = format!("title: C\nid: c\ncorrelation:\n  timespan: 10s\n{lines}");
    engine(&[&step("a"), &step("b"), &text])
}

/// The events of a stream of times in milliseconds, steps and users on which an engine fires.
fn firing(engine: &mut Engine, stream: &[(i64, &str, &[&str])]) -> Vec<usize> {
    let mut fired = Vec::new();
    for (index, (now_ms, step, users)) in stream.iter().enumerate() {
        let mut fields = vec![("step", Value::Str(step))];
        fields.extend(users.iter().map(|user| ("user", Value::Str(user))));
        let event = Event {
            logsource: LogSource {
                product: Some("linux"),
                ..LogSource::default()
            },
            message: "",
            fields: &fields,
        };
        engine.observe(Scope(1), &event, *now_ms, &mut |_| fired.push(index));
    }
    fired
}

#[test]
fn keywords_are_searched_in_the_message_and_in_every_text_but_in_no_number() {
    let text = rule("  s: [needle, '42']\n  condition: s\n");

    assert!(matches(&text, "a needle", &[]));
    assert!(matches(&text, "", &[("any", "Needles")]));
    assert!(!matches_values(&text, "", &[("any", Value::Int(42))]));
    assert!(!matches(&text, "", &[("needle", "")]));
}

#[test]
fn case_is_folded_in_every_alphabet_one_character_for_one() {
    assert!(matches(&selection("a: ЖУК"), "", &[("a", "жук")]));
    assert!(matches(&selection("a: ?ber"), "", &[("a", "ÜBER")]));
    assert!(!matches(&selection("a: STRASSE"), "", &[("a", "straße")]));
}

#[test]
fn of_equal_times_the_order_of_arrival_counts_and_one_event_takes_one_step() {
    let mut ordered = correlation("  type: temporal_ordered\n  rules: [a, b]\n");

    assert_eq!(firing(&mut ordered, &[(0, "a", &[]), (0, "b", &[])]), [1]);
    let mut ordered = correlation("  type: temporal_ordered\n  rules: [a, b]\n");
    assert_eq!(
        firing(&mut ordered, &[(0, "b", &[]), (0, "a", &[])]),
        [0_usize; 0]
    );
    let mut ordered = correlation("  type: temporal_ordered\n  rules: [a, b]\n");
    assert_eq!(firing(&mut ordered, &[(0, "ab", &[])]), [0_usize; 0]);
}

#[test]
fn every_event_past_the_threshold_is_a_match() {
    let mut counted = correlation("  type: event_count\n  rules: a\n  condition: {gte: 2}\n");

    let stream: [(i64, &str, &[&str]); 4] =
        [(0, "a", &[]), (1, "a", &[]), (2, "a", &[]), (3, "b", &[])];
    let fired = firing(&mut counted, &stream);

    // The last is the match of rule b itself, which nothing joins.
    assert_eq!(fired, [1, 2, 3]);
}

#[test]
fn names_of_fields_have_a_case_and_names_of_log_sources_have_none() {
    assert!(!matches(&selection("USER: root"), "", &[("User", "root")]));
    let upper = selection("a: b").replace("product: linux", "product: Linux");
    assert!(matches(&upper, "", &[("a", "b")]));
}

#[test]
fn an_absent_field_differs_from_every_value() {
    assert!(matches(&selection("a|neq: x"), "", &[]));
    assert!(matches(&selection("a|neq: [x, y]"), "", &[("a", "z")]));
    assert!(!matches(&selection("a|neq: [x, y]"), "", &[("a", "Y")]));
    assert!(matches(&selection("a|fieldref|neq: b"), "", &[("a", "x")]));
}

#[test]
fn signs_of_regular_expressions_mean_what_they_mean_there() {
    let text = selection("a|re: 'x*y?'");
    assert!(matches(&text, "", &[("a", "anything")]));
    assert!(matches(&selection(r"a|re: '^x\*$'"), "", &[("a", "x*")]));
    assert!(!matches(&selection("a|re: abc"), "", &[("a", "ABC")]));
    assert!(
        refusal(&selection("a|re: 'a(?=b)'"))
            .problem
            .contains("cannot be used")
    );
}

#[test]
fn a_number_is_that_number_or_the_text_as_the_rule_writes_it() {
    let number = selection("a: 10");
    assert!(matches_values(&number, "", &[("a", Value::Int(10))]));
    assert!(matches_values(&number, "", &[("a", Value::Float(10.0))]));
    assert!(matches(&number, "", &[("a", "10")]));
    assert!(!matches(&number, "", &[("a", "010")]));
    assert!(matches_values(
        &selection("a: '10'"),
        "",
        &[("a", Value::Int(10))]
    ));
    assert!(matches_values(
        &selection("a: '1*'"),
        "",
        &[("a", Value::Int(10))]
    ));
    assert!(matches(&selection("a|gt: 9"), "", &[("a", "10")]));
}

#[test]
fn null_is_the_absent_field_and_not_the_empty_text() {
    assert!(matches(&selection("a: null"), "", &[]));
    assert!(!matches(&selection("a: null"), "", &[("a", "")]));
    assert!(matches(&selection("a: ''"), "", &[("a", "")]));
    assert!(!matches(&selection("a: ''"), "", &[]));
    assert!(matches(&selection("a: [x, null]"), "", &[]));
}

#[test]
fn modifiers_apply_from_left_to_right_and_what_comes_too_late_is_refused() {
    assert!(matches(
        &selection("a|wide|base64: ab"),
        "",
        &[("a", "YQBiAA==")]
    ));
    assert!(
        refusal(&selection("a|contains|base64: ab"))
            .problem
            .contains("comes too late")
    );
    assert!(
        refusal(&selection("a|gte|hour: 3"))
            .problem
            .contains("two modifiers")
    );
    assert!(matches(
        &selection("a|all|contains: [x, y]"),
        "",
        &[("a", "yx")]
    ));
    assert!(matches(
        &selection("a|contains|all: [x, y]"),
        "",
        &[("a", "yx")]
    ));
}

#[test]
fn of_several_values_of_a_group_field_the_first_counts_and_case_tells_groups_apart() {
    let count =
        "  type: event_count\n  rules: [a, b]\n  group-by: [user, user]\n  condition: {gte: 2}\n";

    let mut counted = correlation(count);
    let stream: [(i64, &str, &[&str]); 3] =
        [(0, "a", &["x", "y"]), (1, "a", &["y"]), (2, "a", &["x"])];
    assert_eq!(firing(&mut counted, &stream), [2]);
    let mut counted = correlation(count);
    let stream: [(i64, &str, &[&str]); 3] =
        [(0, "a", &["root"]), (1, "a", &["Root"]), (2, "a", &[])];
    assert_eq!(firing(&mut counted, &stream), [0_usize; 0]);
    assert_eq!(counted.counters().ungrouped, 1);
}

#[test]
fn an_event_from_the_past_counts_as_now_unless_it_is_from_before_the_window() {
    let count = "  type: event_count\n  rules: [a, b]\n  condition: {gte: 2}\n";

    let mut late = correlation(count);
    assert_eq!(firing(&mut late, &[(10_000, "a", &[]), (0, "a", &[])]), [1]);
    let mut set_back = correlation(count);
    assert_eq!(
        firing(
            &mut set_back,
            &[(10_001, "a", &[]), (0, "a", &[]), (1, "a", &[])]
        ),
        [2]
    );
}

#[test]
fn absence_is_judged_over_the_window_that_ends_with_the_event() {
    let mut absent = correlation("  type: temporal\n  condition: a and not b\n");

    assert_eq!(
        firing(&mut absent, &[(0, "a", &[]), (1, "b", &[]), (2, "a", &[])]),
        [0]
    );
}

#[test]
fn parts_of_a_time_are_those_written_whatever_the_zone() {
    let text = selection("a|hour: 23");

    assert!(matches(&text, "", &[("a", "2026-11-21T23:00:00+02:00")]));
    assert!(!matches(&text, "", &[("a", "2026-11-22T01:00:00+02:00")]));
    assert!(!matches(&text, "", &[("a", "1763766000")]));
}

#[test]
fn words_that_yaml_1_1_takes_for_truth_values_are_names_and_no_values() {
    for name in ["on", "off", "yes", "No"] {
        let named = rule(&format!("  {name}: {{{name}: x}}\n  condition: {name}\n"));
        assert!(matches(&named, "", &[(name, "x")]), "{name}");

        let value = refusal(&selection(&format!("a: {name}")));
        assert!(value.problem.contains("YAML readers disagree"), "{name}");
    }
}
