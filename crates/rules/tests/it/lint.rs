//! Lint: every kind of finding at its place, and nothing said about a good rule.
//! It never tests refusals, which are findings as they stand.

use hidps_rules::{Finding, RuleFile, Severity, lint};

/// A rule without a blemish; `{}` is its detection.
fn good(detection: &str) -> String {
    format!(
        "title: A rule
id: 0b8a7a3e-6f9a-4f0e-9f7c-1d2b3c4d5e6f
name: a_rule
status: test
description: What it means.
author: Somebody
date: 2026-11-21
tags: [attack.t1110]
level: low
logsource: {{product: linux, service: sshd}}
detection:
{detection}"
    )
}

/// The findings of one text.
fn findings(text: &str) -> Vec<Finding> {
    lint(&[RuleFile {
        name: "rule.yml",
        text,
    }])
}

/// A correlation over the good rule.
fn with_correlation(correlation: &str) -> String {
    format!(
        "{}---
title: A correlation
id: 1b8a7a3e-6f9a-4f0e-9f7c-1d2b3c4d5e6f
status: test
description: What it means.
author: Somebody
date: 2026-11-21
level: high
correlation: {correlation}
",
        good("  s: {user: root}\n  condition: s\n")
    )
}

#[test]
fn a_selection_that_other_tools_read_as_a_truth_value_is_told() {
    let found = findings(&good("  on: {user: root}\n  condition: on\n"));

    let [only] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(
        (only.line, only.column, only.severity),
        (12, 3, Severity::Warning)
    );
    assert!(only.what.contains("'on'"), "{only:?}");
}

#[test]
fn nothing_is_said_about_a_good_rule() {
    let texts = [
        good(
            "  s:\n    user|contains|all: [a, b]\n    src_ip: null\n  t: {message|re: 'a.b'}\n  condition: s or t\n",
        ),
        with_correlation(
            "{type: event_count, rules: [a_rule], group-by: [src_ip], timespan: 1m, condition: {gt: 3, lte: 9}}",
        ),
    ];

    for text in texts {
        assert_eq!(findings(&text), [], "{text}");
    }
}

/// A detection, the place of the finding, how much it matters and what is said.
const SELECTIONS: [(&str, usize, usize, Severity, &str); 8] = [
    (
        "  s:\n    user|contains|all: a\n  condition: s\n",
        13,
        5,
        Severity::Warning,
        "'all' stands before a single value",
    ),
    (
        "  s:\n    user: [a, null]\n  condition: s\n",
        13,
        15,
        Severity::Warning,
        "null stands in a list",
    ),
    (
        "  s:\n    User: a\n  condition: s\n",
        13,
        5,
        Severity::Warning,
        "has the field 'User'",
    ),
    (
        "  s: {user: a}\n  t: {user: b}\n  condition: s\n",
        13,
        3,
        Severity::Warning,
        "does not use the selection 't'",
    ),
    (
        "  s: {user: a}\n  condition: s and not s\n",
        13,
        14,
        Severity::Warning,
        "holds for no event",
    ),
    (
        "  s: {user: a}\n  condition: s or not s\n",
        13,
        14,
        Severity::Warning,
        "holds for every event",
    ),
    (
        "  s:\n    user|re: abc\n  condition: s\n",
        13,
        14,
        Severity::Advice,
        "plain text",
    ),
    (
        "  s: {user|like: a}\n  condition: s\n",
        12,
        12,
        Severity::Error,
        "no modifier 'like'",
    ),
];

/// What is replaced in a good rule, by what, and the finding.
const ATTRIBUTES: [(&str, &str, usize, usize, Severity, &str); 7] = [
    (
        "status: test",
        "status: deprecated",
        4,
        9,
        Severity::Warning,
        "loaded although its status",
    ),
    ("0b8a7a3e", "zz", 2, 5, Severity::Advice, "not a UUID"),
    (
        "2026-11-21",
        "21.11.2026",
        7,
        7,
        Severity::Advice,
        "not a date",
    ),
    (
        "author: Somebody\n",
        "",
        1,
        1,
        Severity::Advice,
        "no 'author'",
    ),
    (
        "attack.t1110",
        "attack",
        8,
        8,
        Severity::Advice,
        "no namespace",
    ),
    (
        "level: low",
        "level: terrible",
        9,
        8,
        Severity::Error,
        "'terrible' is not a level",
    ),
    (
        "status: test",
        "status: done",
        4,
        9,
        Severity::Error,
        "'done' is not a status",
    ),
];

/// A correlation over a good rule, the column of the finding, how much it matters, what is said.
const CORRELATIONS: [(&str, usize, Severity, &str); 4] = [
    (
        "{type: event_count, rules: [a_rule], timespan: 1m, condition: {gte: 3}}",
        14,
        Severity::Advice,
        "without 'group-by'",
    ),
    (
        "{type: event_count, rules: [a_rule], group-by: [user], timespan: 1m, condition: {gt: 3, lt: 3}}",
        94,
        Severity::Warning,
        "no number satisfies",
    ),
    (
        "{type: temporal, rules: [a_rule], group-by: [user], timespan: 1m, condition: {gte: 2}}",
        91,
        Severity::Warning,
        "no number satisfies",
    ),
    (
        "{type: event_count, rules: [a_rule], group-by: [user], timespan: 1m, condition: {gt: 3}, aliases: {who: {a_rule: user}}}",
        113,
        Severity::Warning,
        "nothing uses the alias 'who'",
    ),
];

#[test]
fn each_blemish_is_found_at_its_place() {
    let plain = "  s: {user: a}\n  condition: s\n";
    let mut cases = Vec::new();
    for (detection, line, column, severity, what) in SELECTIONS {
        cases.push((good(detection), line, column, severity, what));
    }
    for (from, to, line, column, severity, what) in ATTRIBUTES {
        cases.push((good(plain).replace(from, to), line, column, severity, what));
    }
    for (correlation, column, severity, what) in CORRELATIONS {
        let text = with_correlation(correlation);
        cases.push((text, 22, column, severity, what));
    }

    for (text, line, column, severity, what) in cases {
        let found = findings(&text);

        assert_eq!(found.len(), 1, "{what}: {found:?}");
        let found = &found[0];
        assert!(found.what.contains(what), "{found}");
        assert_eq!((found.line, found.column), (line, column), "{found}");
        assert_eq!(found.severity, severity, "{found}");
    }
}

#[test]
fn a_slip_in_a_name_is_shown_with_the_right_name() {
    let found = findings(&good("  s: {srcIp: 192.0.2.1}\n  condition: s\n"));

    assert_eq!(found[0].instead, "write 'src_ip'");
}

#[test]
fn titles_and_ids_of_two_rules_must_differ() {
    let first = good("  s: {user: a}\n  condition: s\n");
    let second = first
        .replace("0b8a7a3e", "2b8a7a3e")
        .replace("a_rule", "b_rule");
    let file = |name, text| RuleFile { name, text };

    let same_title = lint(&[file("a.yml", &first), file("b.yml", &second)]);
    let same_id = lint(&[file("a.yml", &first), file("b.yml", &first)]);

    assert_eq!(same_title.len(), 1, "{same_title:?}");
    assert_eq!(
        same_title[0].to_string(),
        "b.yml:1:8: warning: a rule in a.yml has the same title; say in the title what is different here"
    );
    assert!(
        same_id
            .iter()
            .any(|one| one.severity == Severity::Error && one.what.contains("is also the id"))
    );
}

#[test]
fn a_filter_that_narrows_nothing_is_found() {
    let filter = "title: F\nid: 3b8a7a3e-6f9a-4f0e-9f7c-1d2b3c4d5e6f\ndescription: D.\nlogsource: {product: windows}\nfilter: {rules: any, s: {a: b}, condition: not s}\n";
    let text = format!("{}---\n{filter}", good("  s: {user: a}\n  condition: s\n"));

    let found = findings(&text);

    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].what.contains("no rule lies within"),
        "{}",
        found[0]
    );
}
