//! Files that are refused: hostile YAML, broken metadata, references that lead nowhere.
//! It never tests selections and conditions, which have files of their own.

use std::time::{Duration, Instant};

use crate::support::{compile, refusal, rule};
use hidps_rules::{RuleFile, RuleSet};
use proptest::prelude::{any, proptest};

/// Longest time for a refusal in a debug build on a busy machine; in practice some milliseconds.
const PROMPT: Duration = Duration::from_secs(30);

const CORRELATION: &str = "title: C
id: c
correlation:
  type: event_count
  rules: [rule]
  group-by: [a]
  timespan: 1m
  condition: {gte: 2}
";

/// A simple rule with one more line at its top level.
fn rule_with(line: &str) -> String {
    format!("{line}\n{}", rule("  s: {a: b}\n  condition: s\n"))
}

#[test]
fn hostile_text_is_refused_promptly() {
    let units = [
        "[",
        "{",
        "- ",
        "? ",
        "a: ",
        "&a ",
        "'",
        "|\n",
        "%",
        "[a,",
        "{a: 1,",
        "\n---\n",
        "- a\n",
        "a: [",
        "- &a [b]\n- *a\n",
        "#",
        "\t",
        "\"\\u0041",
        "!<",
        "--- a\n",
        "&a a\n",
        "{a: &a [",
    ];
    for unit in units {
        let text = unit.repeat(262_144 / unit.len());
        let start = Instant::now();

        let refused = compile(&text).is_err();

        assert!(refused, "{unit:?}");
        assert!(
            start.elapsed() < PROMPT,
            "{unit:?} took {:?}",
            start.elapsed()
        );
    }
}

#[test]
fn aliases_cannot_multiply_without_bound() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let copies = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{copies}]\n"));
    }

    let error = refusal(&bomb);

    assert!(
        error
            .problem
            .contains("more than 20000 values, aliases counted"),
        "{error}"
    );
}

#[test]
fn aliases_cannot_nest_without_bound() {
    let nest = |inner: &str| format!("{}{inner}{}", "[".repeat(9), "]".repeat(9));
    let text = format!("a: &a {}\nb: {}\n", nest("x"), nest("*a"));

    let error = refusal(&text);

    assert!(error.problem.contains("nested deeper than 16"), "{error}");
    assert_eq!((error.line, error.column), (2, 13));
}

#[test]
fn aliases_within_bounds_are_read() {
    let text = rule("  s: {a: &list [x, y], b: *list}\n  condition: s\n");

    assert!(crate::support::matches(
        &text,
        "",
        &[("a", "x"), ("b", "y")]
    ));
    assert!(!crate::support::matches(
        &text,
        "",
        &[("a", "x"), ("b", "z")]
    ));
}

#[test]
fn sizes_past_the_limits_are_refused() {
    let long = format!("title: {}", "x".repeat(262_144));
    let deep = format!("title: {}x{}", "[".repeat(20), "]".repeat(20));
    let keys: String = (0..600).map(|key| format!("k{key}: 1\n")).collect();

    assert!(refusal(&long).problem.contains("more than 262144"));
    assert!(refusal(&deep).problem.contains("nested deeper than 16"));
    assert!(refusal(&keys).problem.contains("more than 500 keys"));
    assert!(refusal("").problem.contains("holds no rule"));
    assert!(refusal("- a\n").problem.contains("a rule is a map"));
}

#[test]
fn metadata_that_is_wrong_is_refused_at_its_place() {
    let table = [
        ("level: severe", 1, 8, "'severe' is not a level"),
        ("status: done", 1, 9, "'done' is not a status"),
        ("tags: {a: b}", 1, 7, "'tags' is not a list of texts"),
        ("author: [a]", 1, 9, "'author' is not a text"),
        ("hidps: {alert_type: A b}", 1, 21, "one lower-case word"),
        (
            "hidps: {colour: red}",
            1,
            9,
            "'hidps' has no attribute 'colour'",
        ),
        ("hidps: {evidence: 1}", 1, 19, "true or false is needed"),
        ("hidps: {shadow: 1}", 1, 17, "true or false is needed"),
        ("hidps: {risk: 101}", 1, 15, "a whole number from 0 to 100"),
        ("hidps: {risk: -1}", 1, 15, "a whole number from 0 to 100"),
        ("hidps: {risk: 1.5}", 1, 15, "a whole number from 0 to 100"),
        ("hidps: {rearm: ''}", 1, 16, "'rearm' names no rule"),
        ("hidps: {rearm: [a]}", 1, 16, "'rearm' is not a text"),
        (
            "hidps: {rearm: nobody}",
            1,
            16,
            "no rule with the id or name 'nobody'",
        ),
        ("hidps: text", 1, 8, "'hidps' is not a map"),
        ("action: global", 1, 9, "old form of rule collections"),
    ];

    for (line, at_line, column, problem) in table {
        let error = refusal(&rule_with(line));

        assert!(error.problem.contains(problem), "{line}: {error}");
        assert_eq!((error.line, error.column), (at_line, column), "{error}");
    }
}

#[test]
fn parts_that_are_missing_are_named() {
    let table = [
        (
            "id: x\ndetection: {s: {a: b}, condition: s}\n",
            "has no title",
        ),
        (
            "title: T\ndetection: {s: {a: b}, condition: s}\n",
            "has no log source",
        ),
        (
            "title: T\nlogsource: {}\ndetection: {s: {a: b}, condition: s}\n",
            "has no log source",
        ),
        (
            "title: T\nlogsource: {product: x}\n",
            "none of 'detection', 'correlation' and 'filter'",
        ),
        (
            "title: T\nlogsource: {product: x}\ndetection: {s: {a: b}}\n",
            "there is no condition",
        ),
        (
            "title: T\nlogsource: {product: x}\ndetection: [a]\n",
            "selections and a condition are needed here",
        ),
        (
            "title: T\nlogsource: {product: x}\ndetection: {s: {a: b}, timeframe: 5m, condition: s}\n",
            "'timeframe' belongs to the old form",
        ),
    ];

    for (text, problem) in table {
        let error = refusal(text);

        assert!(error.problem.contains(problem), "{error}");
    }
}

/// What is replaced in the correlation above, by what, and the refusal it gets.
const BROKEN_CORRELATIONS: [(&str, &str, &str); 32] = [
    (
        "event_count",
        "event_sum",
        "'event_sum' is not a correlation type",
    ),
    (
        "event_count",
        "value_avg",
        "'field' goes with the value types",
    ),
    (
        "event_count",
        "value_count",
        "'field' goes with the value types",
    ),
    (
        "{gte: 2}",
        "{gte: 2, field: b}",
        "'field' goes with the value types",
    ),
    ("[rule]", "[ghost]", "no rule with the id or name 'ghost'"),
    ("[rule]", "[]", "joins no rules"),
    ("  rules: [rule]\n", "", "joins no rules"),
    ("[rule]", "[c]", "joins itself"),
    ("1m", "1 minute", "'1 minute' is not a timespan"),
    ("1m", "0s", "'0s' is not a timespan"),
    ("1m", "32d", "'32d' is not a timespan"),
    ("1m", "ßs", "'ßs' is not a timespan"),
    ("{gte: 2}", "{atleast: 2}", "a condition has no 'atleast'"),
    ("{gte: 2}", "{gte: 10001}", "whole number from 0 to 10000"),
    ("{gte: 2}", "{gte: 2.5}", "whole number from 0 to 10000"),
    ("{gte: 2}", "{}", "the condition has no bound"),
    ("{gte: 2}", "[gte]", "the condition is a list"),
    (
        "{gte: 2}",
        "rule and rule",
        "only temporal and temporal_ordered",
    ),
    (
        "event_count",
        "temporal_extended",
        "needs a condition over rules",
    ),
    (
        "event_count",
        "value_percentile",
        "'percentile' is a number from 0 to 100",
    ),
    (
        "{gte: 2}",
        "{gte: 2, percentile: 5}",
        "'percentile' is a number from 0 to 100",
    ),
    (
        "  condition: {gte: 2}\n",
        "",
        "the correlation has no condition",
    ),
    (
        "group-by: [a]",
        "group_by: [a]",
        "a correlation has no 'group_by'",
    ),
    (
        "group-by: [a]",
        "group-by: [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q]",
        "more than 16 fields",
    ),
    (
        "group-by: [a]",
        "aliases: {x: y}",
        "an alias has the wrong form",
    ),
    (
        "group-by: [a]",
        "aliases: {x: {ghost: y}}",
        "no rule with the id or name 'ghost'",
    ),
    (
        "type: event_count",
        "type: event_count\n  generate: 1",
        "true or false is needed",
    ),
    (
        "type: event_count\n  rules: [rule]\n  group-by: [a]\n  timespan: 1m\n  condition: {gte: 2}",
        "type: value_sum\n  rules: [rule]\n  timespan: 1m\n  condition: {gte: 2, field: [a, b]}",
        "only value_count takes several",
    ),
    (
        "type: event_count\n  rules: [rule]\n  group-by: [a]\n  timespan: 1m\n  condition: {gte: 2}",
        "type: value_sum\n  rules: [rule]\n  timespan: 1m\n  condition: {gte: many, field: a}",
        "a bound is a number",
    ),
    (
        "type: event_count\n  rules: [rule]\n  group-by: [a]\n  timespan: 1m\n  condition: {gte: 2}",
        "type: value_percentile\n  rules: [rule]\n  timespan: 1m\n  condition: {gte: 2, field: a, percentile: 101}",
        "'percentile' is a number from 0 to 100",
    ),
    (
        "type: event_count\n  rules: [rule]\n  group-by: [a]\n  timespan: 1m\n  condition: {gte: 2}",
        "type: temporal\n  rules: [rule]\n  timespan: 1m\n  condition: not rule",
        "holds even when no rule has matched",
    ),
    (
        "type: event_count\n  rules: [rule]\n  group-by: [a]\n  timespan: 1m\n  condition: {gte: 2}",
        "type: temporal\n  rules: [rule, x]\n  timespan: 1m\n  condition: rule",
        "does not name the joined rule 'x'",
    ),
];

#[test]
fn correlations_that_mean_nothing_are_refused() {
    let replaced = |from: &str, to: &str| {
        format!(
            "{}---\n{}",
            rule("  s: {a: b}\n  condition: s\n"),
            CORRELATION.replace(from, to)
        )
    };

    for (from, to, problem) in BROKEN_CORRELATIONS {
        let error = refusal(&replaced(from, to));

        assert!(error.problem.contains(problem), "{from} to {to}: {error}");
        assert!(error.line > 6, "{error}");
    }
}

#[test]
fn two_rules_with_one_id_are_refused_and_both_are_named() {
    let text = rule("  s: {a: b}\n  condition: s\n");
    let files = ["a.yml", "b.yml"].map(|name| RuleFile { name, text: &text });

    let errors = RuleSet::compile(&files).unwrap_err();

    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].file, "b.yml");
    assert!(
        errors[0]
            .problem
            .contains("'rule' is also the id or name of a rule in a.yml")
    );
}

#[test]
fn every_fault_of_every_file_is_reported_at_once() {
    let bad = rule("  s: {a|x: b}\n  condition: s\n");
    let files = [
        RuleFile {
            name: "b.yml",
            text: &bad,
        },
        RuleFile {
            name: "a.yml",
            text: "title: [",
        },
        RuleFile {
            name: "c.yml",
            text: CORRELATION,
        },
    ];

    let errors = RuleSet::compile(&files).unwrap_err();

    let names: Vec<&str> = errors.iter().map(|error| error.file.as_str()).collect();
    assert_eq!(names, ["a.yml", "b.yml", "c.yml"]);
    assert!(
        errors[1]
            .to_string()
            .starts_with("b.yml:5:9: there is no modifier 'x'; use ")
    );
}

#[test]
fn the_hash_is_of_the_sources_whatever_their_order_and_line_ends() {
    let first = rule("  s: {a: b}\n  condition: s\n");
    let second = first.replace("id: rule", "id: other");
    let windows = second.replace('\n', "\r\n");
    let hash = |files: &[(&str, &str)]| {
        let files: Vec<RuleFile<'_>> = files
            .iter()
            .map(|(name, text)| RuleFile { name, text })
            .collect();
        RuleSet::compile(&files).unwrap().hash().to_owned()
    };

    let original = hash(&[("a", &first), ("b", &second)]);

    assert_eq!(original.len(), 64);
    assert_eq!(hash(&[("b", &windows), ("a", &first)]), original);
    assert_ne!(hash(&[("b", &first), ("a", &second)]), original);
    assert_ne!(hash(&[("a", &first)]), original);
}

proptest! {
    #[test]
    fn no_text_crashes_the_compiler(text in any::<String>()) {
        drop(compile(&text));
    }

    #[test]
    fn no_value_crashes_a_rule(value in "[ -~]{0,20}", modifier in "[a-z|]{0,12}") {
        drop(compile(&rule(&format!("  s:\n    a|{modifier}: {value}\n  condition: s\n"))));
    }

    #[test]
    fn no_condition_crashes_a_rule(condition in "[sx1-2 ()*|]{0,30}|(1 of |all of |not |and |or |s|\\(|\\)| ){0,12}") {
        drop(compile(&rule(&format!("  s: {{a: b}}\n  condition: {condition}\n"))));
    }
}

#[test]
fn a_text_that_every_text_holds_is_refused() {
    for (selection, problem) in [
        ("  k: ['']", "an empty keyword"),
        ("  k: [one, '']", "an empty keyword"),
        ("  k: {a|contains: ''}", "an empty text"),
    ] {
        let error = refusal(&rule(&format!("{selection}\n  condition: k\n")));

        assert!(error.problem.contains(problem), "{selection}: {error}");
    }
}
