//! Pipelines and placeholders: what they make of rules, and what of them is refused.
//! It never tests how a rule matches once its names and values are settled.

use std::collections::BTreeMap;

use crate::support::{observe, rule};
use hidps_rules::{Engine, Limits, Options, Pipeline, RuleError, RuleFile, RuleSet, Value};

/// Options with one pipeline of these steps.
fn steps(text: &str) -> Options {
    let text = format!("name: P\nvars: {{hosts: [alpha, 'b*']}}\ntransformations:\n{text}");
    let pipeline = Pipeline::parse("p.yml", &text).expect("the pipeline of this test is read");
    Options {
        pipelines: vec![pipeline],
        ..Options::default()
    }
}

/// An engine with one text compiled with options.
fn engine_with(text: &str, options: &Options) -> Result<Engine, Vec<RuleError>> {
    let file = RuleFile {
        name: "rule.yml",
        text,
    };
    let rules = RuleSet::compile_with(&[file], options)?;
    Ok(Engine::new(rules, Limits::default()))
}

/// Whether a selection compiled with options matches an event with these fields.
fn matches_with(selection: &str, options: &Options, fields: &[(&str, &str)]) -> bool {
    let text = rule(&format!("  s:\n    {selection}\n  condition: s\n"));
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, text)| (*name, Value::Str(text)))
        .collect();
    let mut engine = engine_with(&text, options).expect("the rule of this test compiles");
    let mut n_matches = 0;
    observe(&mut engine, "", &fields, &mut |_| n_matches += 1);
    n_matches == 1
}

/// The only refusal of a rule compiled with options.
fn refusal_with(text: &str, options: &Options) -> RuleError {
    let mut errors = engine_with(text, options).expect_err("the rule is refused");
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.remove(0)
}

/// A case: steps, selection, fields that match, fields that do not.
type Case<'t> = (
    &'t str,
    &'t str,
    &'t [(&'t str, &'t str)],
    &'t [(&'t str, &'t str)],
);

const CASES: [Case<'_>; 16] = [
    (
        "- {type: field_name_mapping, mapping: {a: x}}",
        "a: v",
        &[("x", "v")],
        &[("a", "v")],
    ),
    (
        "- {type: field_name_mapping, mapping: {a: [x, y]}}",
        "a|startswith: v",
        &[("y", "value")],
        &[("a", "value"), ("x", "w")],
    ),
    (
        "- {type: field_name_mapping, mapping: {a: [x, y]}}",
        "a|contains|all: [v, w]",
        &[("x", "vw")],
        &[("x", "v"), ("y", "w")],
    ),
    (
        "- {type: field_name_prefix_mapping, mapping: {win.: log., w: q}}",
        "win.a: v",
        &[("log.a", "v")],
        &[("qin.a", "v")],
    ),
    (
        "- {type: field_name_prefix, prefix: p.}\n- {type: field_name_suffix, suffix: .k}",
        "a: v",
        &[("p.a.k", "v")],
        &[("a", "v")],
    ),
    (
        "- {type: field_name_mapping, mapping: {a: x}}\n- {type: field_name_mapping, mapping: {x: y}}",
        "a: v",
        &[("y", "v")],
        &[("x", "v")],
    ),
    (
        "- {type: field_name_mapping, mapping: {a: x}, field_name_conditions: [{type: exclude_fields, fields: [a]}]}",
        "a: v",
        &[("a", "v")],
        &[("x", "v")],
    ),
    (
        "- {type: field_name_prefix, prefix: p., field_name_conditions: [{type: include_fields, fields: ['a.*'], mode: re}]}",
        "ab: v",
        &[("p.ab", "v")],
        &[("ab", "v")],
    ),
    (
        "- {type: field_name_mapping, mapping: {a: x}, rule_conditions: [{type: logsource, product: windows}]}",
        "a: v",
        &[("a", "v")],
        &[("x", "v")],
    ),
    (
        "- {type: field_name_mapping, mapping: {a: x}, rule_conditions: [{type: logsource, product: windows}], rule_cond_not: true}",
        "a: v",
        &[("x", "v")],
        &[("a", "v")],
    ),
    (
        "- {type: field_name_mapping, mapping: {a: x}, rule_conditions: {w: {type: logsource, product: windows}, l: {type: logsource, product: linux}}, rule_cond_expr: l and not w}",
        "a: v",
        &[("x", "v")],
        &[("a", "v")],
    ),
    (
        "- {type: drop_detection_item, field_name_conditions: [{type: include_fields, fields: [b]}]}",
        "{a: v, b: w}",
        &[("a", "v")],
        &[("b", "w")],
    ),
    (
        "- {type: drop_detection_item, detection_item_conditions: [{type: match_string, cond: any, pattern: w}]}",
        "{a: v, b: wow}",
        &[("a", "v")],
        &[("b", "wow")],
    ),
    (
        "- {type: add_condition, conditions: {b: w}}\n- {type: field_name_mapping, mapping: {b: c}}",
        "a: v",
        &[("a", "v"), ("c", "w")],
        &[("a", "v"), ("b", "w")],
    ),
    (
        "- {type: field_name_mapping, mapping: {b: c}}\n- {type: add_condition, negated: true, conditions: {b: w}}",
        "a: v",
        &[("a", "v"), ("c", "w")],
        &[("a", "v"), ("b", "w")],
    ),
    (
        "- {id: first, type: set_state, key: k, val: one}\n- {type: field_name_mapping, mapping: {a: x}, rule_conditions: [{type: processing_state, key: k, val: one}, {type: processing_item_applied, processing_item_id: first}]}\n- {type: field_name_mapping, mapping: {x: y}, rule_conditions: [{type: processing_state, key: k, val: two}]}",
        "a: v",
        &[("x", "v")],
        &[("y", "v")],
    ),
];

#[test]
fn steps_do_what_they_say_and_only_where_their_conditions_hold() {
    for (text, selection, matching, other) in CASES {
        let options = steps(text);

        assert!(matches_with(selection, &options, matching), "{text}");
        assert!(!matches_with(selection, &options, other), "{text}");
    }
}

#[test]
fn a_reference_to_a_field_follows_the_field() {
    let options = steps("- {type: field_name_mapping, mapping: {a: x, b: [y, z]}}");

    assert!(matches_with(
        "a|fieldref: b",
        &options,
        &[("x", "v"), ("z", "v")]
    ));
    assert!(!matches_with(
        "a|fieldref: b",
        &options,
        &[("x", "v"), ("b", "v")]
    ));
}

#[test]
fn a_changed_log_source_decides_what_the_rule_is_tried_on() {
    let elsewhere = steps("- {type: change_logsource, product: other}");
    let here = steps("- {type: change_logsource, service: any}");

    assert!(!matches_with("a: v", &elsewhere, &[("a", "v")]));
    assert!(matches_with("a: v", &here, &[("a", "v")]));
}

#[test]
fn a_selection_that_is_dropped_leaves_the_condition() {
    let drop_b = "- {type: drop_detection_item, field_name_conditions: [{type: include_fields, fields: [b]}]}";
    let text = rule("  s: {a: v}\n  t: {b: w}\n  condition: s and not t\n");
    let mut engine = engine_with(&text, &steps(drop_b)).unwrap();
    let mut n_matches = 0;
    let fields = [("a", Value::Str("v")), ("b", Value::Str("w"))];
    observe(&mut engine, "", &fields, &mut |_| n_matches += 1);
    assert_eq!(n_matches, 1);

    let error = refusal_with(&rule("  t: {b: w}\n  condition: t\n"), &steps(drop_b));
    assert!(error.problem.contains("drop everything"), "{error}");
}

#[test]
fn lower_priorities_come_first() {
    let pipeline = |priority: i64, from: &str, to: &str| {
        let text = format!(
            "priority: {priority}\ntransformations:\n- {{type: field_name_mapping, mapping: {{{from}: {to}}}}}\n"
        );
        Pipeline::parse("p.yml", &text).unwrap()
    };
    let options = Options {
        pipelines: vec![pipeline(20, "x", "y"), pipeline(10, "a", "x")],
        ..Options::default()
    };

    assert!(matches_with("a: v", &options, &[("y", "v")]));
}

#[test]
fn placeholders_stand_for_configured_values_in_every_combination() {
    let own = Options {
        placeholders: BTreeMap::from([
            (
                "users".to_owned(),
                vec!["root".to_owned(), "adm".to_owned()],
            ),
            ("nets".to_owned(), vec!["10.0.0.0/8".to_owned()]),
            ("signs".to_owned(), vec!["a+b".to_owned()]),
        ]),
        ..Options::default()
    };
    assert!(matches_with(
        "a|expand: '%users%-%users%'",
        &own,
        &[("a", "ADM-root")]
    ));
    assert!(!matches_with(
        "a|expand: '%users%-%users%'",
        &own,
        &[("a", "adm")]
    ));
    assert!(matches_with(
        "a|expand|cidr: '%nets%'",
        &own,
        &[("a", "10.1.2.3")]
    ));
    assert!(matches_with(
        "a|re|expand: '^%signs%$'",
        &own,
        &[("a", "a+b")]
    ));
    assert!(matches_with(
        "a|contains|expand: 100%",
        &own,
        &[("a", "at 100% now")]
    ));

    let filled = steps("- {type: value_placeholders}");
    assert!(matches_with(
        "a|expand: '%hosts%'",
        &filled,
        &[("a", "beta")]
    ));
    assert!(!matches_with(
        "a|expand: '%hosts%'",
        &filled,
        &[("a", "gamma")]
    ));
    let lifted =
        steps("- {type: wildcard_placeholders, exclude: [hosts]}\n- {type: value_placeholders}");
    assert!(matches_with("a|expand: 'x%any%'", &lifted, &[("a", "xyz")]));
    assert!(!matches_with(
        "a|expand: '%hosts%'",
        &lifted,
        &[("a", "gamma")]
    ));
}

#[test]
fn a_backslash_makes_a_percent_sign_plain() {
    let own = Options {
        placeholders: BTreeMap::from([(
            "users".to_owned(),
            vec!["root".to_owned(), "adm".to_owned()],
        )]),
        ..Options::default()
    };
    for (value, seen) in [
        (r"\%plain%users%", "%plainroot"),
        (r"\%users%", "%users%"),
        (r"C:\\%users%", r"C:\adm"),
        (r"\*%users%", "*adm"),
    ] {
        let selection = format!("a|expand: '{value}'");
        assert!(matches_with(&selection, &own, &[("a", seen)]), "{value}");
    }
}

#[test]
fn a_placeholder_without_a_value_is_refused_at_its_place() {
    let error = refusal_with(
        &rule("  s:\n    a|expand: [x, '%ghosts%']\n  condition: s\n"),
        &steps("- {type: value_placeholders}"),
    );

    assert_eq!((error.line, error.column), (6, 19), "{error}");
    assert!(error.problem.contains("'%ghosts%'"), "{error}");
}

#[test]
fn correlations_take_part_with_the_fields_that_keep_windows_apart() {
    let options = steps(
        "- {type: field_name_mapping, mapping: {a: x, user: account}, rule_conditions: [{type: logsource, product: linux}]}",
    );
    let text = format!(
        "{}---\ntitle: C\nid: c\ncorrelation: {{type: event_count, rules: [rule], group-by: [user], timespan: 1m, condition: {{gte: 2}}}}\n",
        rule("  s: {a: v}\n  condition: s\n")
    );
    let mut engine = engine_with(&text, &options).unwrap();
    let mut groups = Vec::new();
    for account in ["alice", "bob", "alice"] {
        let fields = [("x", Value::Str("v")), ("account", Value::Str(account))];
        observe(&mut engine, "", &fields, &mut |found| {
            groups.push(found.window.expect("only correlations report").group);
        });
    }

    assert_eq!(groups, [vec![("account".to_owned(), "alice".to_owned())]]);
}

#[test]
fn a_rule_refused_by_a_pipeline_says_so() {
    let text = rule("  s: {a: v}\n  condition: s\n");
    let refuse = steps(
        "- {type: rule_failure, message: not here, rule_conditions: [{type: logsource, product: linux}]}",
    );
    let refuse_item = steps(
        "- {type: detection_item_failure, message: no a, field_name_conditions: [{type: include_fields, fields: [a]}]}",
    );

    assert!(refusal_with(&text, &refuse).problem.contains("not here"));
    assert!(refusal_with(&text, &refuse_item).problem.contains("no a"));
}

/// A step, the place of its refusal and what is said.
const REFUSED: [(&str, usize, usize, &str); 11] = [
    ("- {type: regex}", 3, 10, "does not take the step 'regex'"),
    (
        "- {type: nest, items: []}",
        3,
        10,
        "does not take the step 'nest'",
    ),
    (
        "- {type: field_name_mapping}",
        3,
        3,
        "a mapping has the wrong form",
    ),
    (
        "- {type: field_name_mapping, mapping: {a: x}, colour: red}",
        3,
        47,
        "has no 'colour' here",
    ),
    (
        "- {type: field_name_mapping, mapping: {a: []}}",
        3,
        40,
        "a field needs a name to become",
    ),
    (
        "- {type: drop_detection_item, rule_conditions: [{type: moon}]}",
        3,
        56,
        "no condition 'moon' here",
    ),
    (
        "- {type: drop_detection_item, field_name_conditions: [{type: include_fields, fields: ['(']  , mode: re}]}",
        3,
        55,
        "'(' is not a regular expression",
    ),
    (
        "- {type: drop_detection_item, rule_cond_op: xor}",
        3,
        3,
        "'xor' does not join",
    ),
    (
        "- {type: add_condition, template: true, conditions: {a: b}}",
        3,
        35,
        "'template' writes a log source",
    ),
    ("- {type: set_state, key: a}", 3, 3, "'val' is missing"),
    ("- x", 3, 3, "does not take the step ''"),
];

#[test]
fn what_a_pipeline_cannot_mean_is_refused_at_its_place() {
    for (step, line, column, problem) in REFUSED {
        let text = format!("name: P\ntransformations:\n{step}\n");

        let error = Pipeline::parse("p.yml", &text).expect_err(step);

        assert!(error.to_string().contains(problem), "{step}: {error}");
        assert_eq!(
            (error.line, error.column),
            (line, column),
            "{step}: {error}"
        );
    }
    let error = Pipeline::parse("p.yml", "name: P\nfinalizers: []\n").unwrap_err();
    assert!(
        error.problem.contains("has no 'finalizers' here"),
        "{error}"
    );
}

#[test]
fn pipelines_are_part_of_what_a_rule_is() {
    let text = rule("  s: {a: v}\n  condition: s\n");
    let file = RuleFile {
        name: "rule.yml",
        text: &text,
    };
    let hash = |options: &Options| {
        RuleSet::compile_with(&[file], options)
            .unwrap()
            .hash()
            .to_owned()
    };
    let mapped = steps("- {type: field_name_mapping, mapping: {a: x}}");

    assert_ne!(hash(&Options::default()), hash(&mapped));
    assert_eq!(hash(&mapped), hash(&mapped.clone()));
}
