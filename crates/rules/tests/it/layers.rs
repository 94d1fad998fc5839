//! Rules laid over a set: what a layer adds, narrows and counts for itself, and that the set below
//! stays as it is.
//! It never tests the language.

use std::collections::BTreeMap;

use crate::support::observe;
use hidps_rules::{
    Engine, Layer, LayerLimits, Limits, Options, Pipeline, RuleError, RuleFile, RuleSet, Value,
    parse_placeholders,
};
use proptest::prelude::*;

const LIMITS: LayerLimits = LayerLimits {
    documents: 20,
    taken: 3,
    regexes: 2,
    size: 300,
};

/// A set as it might be built in: failures, bursts of them, bursts of bursts, and something else.
const BELOW: &str = "\
title: Failure
id: failure
name: failed
logsource: {product: linux}
detection: {s: {outcome: failure}, condition: s}
---
title: Burst
id: burst
correlation:
  {type: event_count, rules: [failed], group-by: [src], timespan: 1m, condition: {gte: 3}, generate: true}
---
title: Root
id: root
logsource: {product: linux}
detection: {s: {user: root}, condition: s}
---
title: Storm
id: storm
correlation: {type: event_count, rules: [burst], group-by: [src], timespan: 1m, condition: {gte: 2}, generate: true}
";

const EXCEPTION: &str = "\
title: The backup host may fail
logsource: {product: linux}
filter:
  rules: [failed]
  backup: {src: backup}
  condition: not backup
";

const OWN: &str = "\
title: Own
id: own
logsource: {product: linux}
detection: {s: {user|startswith: s}, condition: s}
---
title: Root after failure
id: own-chain
correlation: {type: temporal, rules: [failure, root], group-by: [src], timespan: 1m, generate: true}
";

fn files<'a>(texts: &[&'a str]) -> Vec<RuleFile<'a>> {
    const NAMES: [&str; 3] = ["below.yml", "first", "second"];
    let named = NAMES.iter().zip(texts);
    named.map(|(name, text)| RuleFile { name, text }).collect()
}

fn below() -> RuleSet {
    RuleSet::compile(&files(&[BELOW])).expect("it compiles")
}

fn lay_over(texts: &[&str], thresholds: &[(String, i64)]) -> Result<Layer, Vec<RuleError>> {
    let all = [&[BELOW], texts].concat();
    let files = files(&all);
    below().lay_over(files.get(1..).unwrap_or_default(), thresholds, LIMITS)
}

/// One event: outcome, user, source.
type Fields = (&'static str, &'static str, &'static str);

/// How often each rule matches in these events.
fn count(set: RuleSet, events: &[Fields]) -> BTreeMap<String, usize> {
    let mut engine = Engine::new(set, Limits::default());
    let mut counts = BTreeMap::new();
    for (outcome, user, src) in events {
        let fields = [("outcome", *outcome), ("user", *user), ("src", *src)];
        let fields = fields.map(|(name, value)| (name, Value::Str(value)));
        observe(&mut engine, "", &fields, &mut |found| {
            *counts.entry(found.rule.id.clone()).or_insert(0) += 1;
        });
    }
    counts
}

/// What somebody under a layer is told: the set's matches but those that are replaced, and the layer's.
fn count_under(layer: &Layer, events: &[Fields]) -> BTreeMap<String, usize> {
    let mut counts = count(below(), events);
    counts.retain(|id, _| !layer.replaced.contains(id));
    for (id, n) in count(layer.set.clone(), events) {
        assert_eq!(counts.insert(id.clone(), n), None, "{id} is told twice");
    }
    counts
}

#[test]
fn an_exception_narrows_a_rule_and_all_that_counts_its_matches() {
    let layer = lay_over(&[EXCEPTION], &[]).expect("it compiles");
    let failures = [("failure", "root", "backup"); 6];
    let others = [("failure", "root", "other"); 6];

    assert_eq!(
        layer.replaced.iter().collect::<Vec<_>>(),
        ["burst", "failure", "storm"]
    );
    assert_eq!(
        count_under(&layer, &failures),
        BTreeMap::from([("root".into(), 6)])
    );
    assert_eq!(count_under(&layer, &others), count(below(), &others));
}

#[test]
fn another_threshold_counts_in_windows_of_its_own() {
    let layer = lay_over(&[], &[("burst".into(), 5)]).expect("it compiles");
    let failures = [("failure", "x", "a"); 6];

    let counts = count_under(&layer, &failures);

    assert_eq!(counts.get("burst"), Some(&2));
    assert_eq!(
        counts.get("failure"),
        Some(&6),
        "the base rule is told once"
    );
    assert_eq!(count(below(), &failures).get("burst"), Some(&4));
}

#[test]
fn only_correlations_that_count_have_a_threshold() {
    let set = below();

    assert!(set.has_threshold("burst"));
    assert!(!set.has_threshold("failure"));
    assert!(!set.has_threshold("nobody"));
}

#[test]
fn a_correlation_over_a_rule_below_does_not_silence_it() {
    let own = "title: Own\nid: own\ncorrelation: {type: event_count, rules: [root], timespan: 1m, \
               condition: {gte: 2}}\n";
    let layer = lay_over(&[own], &[]).expect("it compiles");

    let counts = count_under(&layer, &[("x", "root", "a"); 2]);

    assert_eq!(
        counts,
        BTreeMap::from([("own".into(), 1), ("root".into(), 2)])
    );
    assert!(layer.replaced.is_empty());
}

#[test]
fn equal_layers_have_equal_hashes_and_others_do_not() {
    let hash = |texts: &[&str], thresholds: &[(String, i64)]| {
        let layer = lay_over(texts, thresholds).expect("it compiles");
        layer.set.hash().to_owned()
    };

    assert_eq!(hash(&[OWN], &[]), hash(&[OWN], &[]));
    assert_ne!(hash(&[OWN], &[]), hash(&[EXCEPTION], &[]));
    assert_ne!(
        hash(&[], &[("burst".into(), 5)]),
        hash(&[], &[("burst".into(), 6)])
    );
    assert_ne!(hash(&[], &[]), below().hash());
}

/// A rule of this id that looks for this.
fn rule(id: &str, wanted: &str) -> String {
    format!(
        "title: T\nid: {id}\nlogsource: {{product: linux}}\n\
         detection: {{s: {{{wanted}}}, condition: s}}\n"
    )
}

/// Expects the second of two files to be refused at this place.
fn check_refused(text: &str, (line, column): (usize, usize), problem: &str) {
    let errors = lay_over(&[OWN, text], &[]).expect_err("it is refused");

    let error = errors.first().expect("with a reason");
    assert!(error.problem.contains(problem), "{error}");
    assert_eq!(error.file, "second", "{error}");
    assert_eq!((error.line, error.column), (line, column), "{error}");
}

#[test]
fn names_that_are_taken_or_mean_nothing_are_refused_at_their_place() {
    let named = "title: N\ncorrelation: {type: temporal, rules: [nobody, root], timespan: 1m}\n";
    let nobody = EXCEPTION.replace("failed", "nobody");
    let burst = EXCEPTION.replace("failed", "burst");

    check_refused(
        &rule("root", "a: b"),
        (1, 1),
        "also that of the built-in rule 'Root'",
    );
    check_refused(
        &rule("failed", "a: b"),
        (1, 1),
        "also that of the built-in rule 'Failure'",
    );
    check_refused(&nobody, (4, 11), "no rule with the id or name 'nobody'");
    check_refused(&burst, (4, 11), "'burst' is a correlation");
    check_refused(named, (2, 39), "no rule with the id or name 'nobody'");
    check_refused("title: [", (2, 1), "");
}

#[test]
fn a_layer_past_its_limits_is_refused() {
    let many: Vec<String> = (0..21).map(|n| rule(&format!("r{n}"), "a: b")).collect();
    let any = EXCEPTION.replace("[failed]", "any");

    check_refused(
        &rule("x", "a|re: [a, b, c]"),
        (4, 30),
        "more than 2 regular expressions",
    );
    check_refused(&many.join("---\n"), (91, 1), "more than 20 rules");
    check_refused(&any, (1, 1), "take in 4 of the built-in rules");
}

proptest! {
    #[test]
    fn under_a_layer_everything_matches_as_if_all_files_were_one_set(
        events in prop::collection::vec(
            (
                prop::sample::select(vec!["failure", "success"]),
                prop::sample::select(vec!["root", "sam", "x"]),
                prop::sample::select(vec!["backup", "a"]),
            ),
            0..20,
        ),
        with_exception in any::<bool>(),
        with_own in any::<bool>(),
    ) {
        let texts: Vec<&str> = [(with_exception, EXCEPTION), (with_own, OWN)]
            .into_iter()
            .filter_map(|(is_there, text)| is_there.then_some(text))
            .collect();
        let limits = LayerLimits { taken: 4, ..LIMITS };
        let all = [&[BELOW], texts.as_slice()].concat();
        let files = files(&all);
        let layer = below().lay_over(&files[1..], &[], limits).expect("it compiles");
        let whole = RuleSet::compile(&files).expect("it compiles");

        prop_assert_eq!(count_under(&layer, &events), count(whole, &events));
    }
}

/// A rule over this many values.
fn values(id: &str, n: usize) -> String {
    let values: Vec<String> = (0..n).map(|n| format!("v{n}")).collect();
    let values = values.join(", ");
    format!(
        "title: V\nid: {id}\nlogsource: {{product: linux}}\ndetection: {{s: {{a: [{values}]}}, \
         condition: s}}\n"
    )
}

#[test]
fn a_layer_holds_no_more_than_it_may_and_names_what_does_not_fit() {
    let (one, two, three) = (values("one", 200), values("two", 200), values("three", 50));

    let errors = lay_over_all(&[&one, &two, &three]).expect_err("it is too much");

    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0].file, "1.yml");
    assert!(errors[0].problem.contains("more than 300"), "{}", errors[0]);
}

#[test]
fn every_spelling_of_a_value_counts() {
    let spelled = |id: &str| {
        values(id, 1).replace("a: [v0]", "a|windash: '-a -b -c'") // 125 spellings
    };

    let two = lay_over_all(&[&spelled("one"), &spelled("two")]);
    let three = lay_over_all(&[&spelled("one"), &spelled("two"), &spelled("three")]);

    two.expect("two of them fit");
    let errors = three.expect_err("it is too much");
    assert!(errors[0].problem.contains("more than 300"), "{}", errors[0]);
}

#[test]
fn every_text_past_the_most_documents_is_named_at_once() {
    let text = |n: usize| {
        let rules: Vec<String> = (0..12).map(|m| values(&format!("r{n}x{m}"), 1)).collect();
        rules.join("---\n")
    };
    let texts: Vec<String> = (0..3).map(text).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();

    let errors = lay_over_all(&texts).expect_err("they are too many");

    let files: Vec<&str> = errors.iter().map(|error| error.file.as_str()).collect();
    assert_eq!(files, ["1.yml", "2.yml"], "{errors:?}");
}

#[test]
fn what_a_filter_adds_to_every_rule_it_narrows_counts() {
    let filter = |n: usize| {
        let values: Vec<String> = (0..n).map(|n| format!("v{n}")).collect();
        let values = values.join(", ");
        format!(
            "title: F\nlogsource: {{product: linux}}\nfilter: {{rules: any, s: {{a: [{values}]}}, \
             condition: not s}}\n"
        )
    };

    let errors = lay_over_all(&[&filter(200)]).expect_err("it is too much");

    assert!(errors[0].problem.contains("this filter adds"), "{errors:?}");
    lay_over_all(&[&filter(20)]).expect("a short one fits");
}

fn lay_over_all(texts: &[&str]) -> Result<Layer, Vec<RuleError>> {
    let names: Vec<String> = (0..texts.len()).map(|n| format!("{n}.yml")).collect();
    let files = names.iter().zip(texts);
    let files: Vec<RuleFile<'_>> = files.map(|(name, text)| RuleFile { name, text }).collect();
    let limits = LayerLimits { taken: 4, ..LIMITS };
    below().lay_over(&files, &[], limits)
}

#[test]
fn a_layer_is_compiled_with_the_pipelines_and_placeholders_of_the_set_below() {
    let pipeline = "name: Names\ntransformations:\n  - type: field_name_mapping\n    \
                    mapping: {Account: user}\n    rule_conditions:\n      \
                    - {type: logsource, product: linux}\n";
    let options = Options {
        pipelines: vec![Pipeline::parse("names.yml", pipeline).expect("it is one")],
        placeholders: parse_placeholders("p.yml", "admins: [root, toor]\n").expect("they are"),
    };
    let own = "title: Own\nid: own\nlogsource: {product: linux}\ndetection:\n  \
               s: {Account|expand: '%admins%'}\n  condition: s\n";
    let below = RuleSet::compile_with(&files(&[BELOW]), &options).expect("it compiles");

    let all = files(&[BELOW, own]);
    let layer = below.lay_over(&all[1..], &[], LIMITS).expect("it compiles");

    let counts = count(layer.set, &[("x", "toor", "a"), ("x", "eve", "a")]);
    assert_eq!(counts, BTreeMap::from([("own".into(), 1)]));
}

#[test]
fn placeholders_that_are_no_map_of_texts_are_refused_with_their_place() {
    for (text, place) in [("- a\n", (1, 1)), ("a: b\nc: {d: e}\n", (2, 4))] {
        let fault = parse_placeholders("p.yml", text).expect_err("it is refused");
        assert_eq!((fault.line, fault.column), place, "{fault}");
    }
}
