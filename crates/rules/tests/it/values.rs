//! What values of selections mean: text, numbers, booleans, null, keywords and modifiers.
//! It never tests conditions beyond a single selection.

use crate::support::{matches, matches_values, refusal, rule};
use hidps_rules::Value;

/// Checks one selection against events that must and must not match.
fn check(selection: &str, matching: &[&[(&str, &str)]], other: &[&[(&str, &str)]]) {
    let text = rule(&format!("  s:\n    {selection}\n  condition: s\n"));
    for fields in matching {
        assert!(
            matches(&text, "", fields),
            "{selection} should match {fields:?}"
        );
    }
    for fields in other {
        assert!(
            !matches(&text, "", fields),
            "{selection} should not match {fields:?}"
        );
    }
}

/// Checks one selection against typed values of the field `n`.
fn check_values(selection: &str, matching: &[Value<'_>], other: &[Value<'_>]) {
    let text = rule(&format!("  s:\n    {selection}\n  condition: s\n"));
    for value in matching {
        assert!(
            matches_values(&text, "", &[("n", *value)]),
            "{selection} should match {value:?}"
        );
    }
    for value in other {
        assert!(
            !matches_values(&text, "", &[("n", *value)]),
            "{selection}: {value:?}"
        );
    }
}

#[test]
fn text_is_compared_whole_and_without_case() {
    check(
        "a: Root",
        &[&[("a", "root")], &[("a", "ROOT")]],
        &[&[("a", "rooty")], &[("A", "root")], &[]],
    );
    check("a: ''", &[&[("a", "")]], &[&[("a", "x")], &[]]);
    check("a: '*'", &[&[("a", "")], &[("a", "x\ny")]], &[&[]]);
    check(r"a: '\*'", &[&[("a", "*")]], &[&[("a", "x")]]);
    check("a: Grüße", &[&[("a", "GRÜßE")]], &[&[("a", "GRUSSE")]]);
}

#[test]
fn lists_mean_any_and_all_means_every_one() {
    check(
        "a: [x, y]",
        &[&[("a", "x")], &[("a", "Y")]],
        &[&[("a", "z")]],
    );
    check(
        "a|contains|all: [x, y]",
        &[&[("a", "1y2x")]],
        &[&[("a", "x")], &[("a", "y")]],
    );
    check("a|contains: [x, y]", &[&[("a", "1y")]], &[&[("a", "1")]]);
}

#[test]
fn places_and_case_are_what_the_modifiers_say() {
    check("a|contains: B", &[&[("a", "abc")]], &[&[("a", "ac")]]);
    check(
        "a|startswith: /ETC/",
        &[&[("a", "/etc/passwd")]],
        &[&[("a", "x/etc/")]],
    );
    check("a|endswith: .SH", &[&[("a", "a.sh")]], &[&[("a", "a.sh ")]]);
    check(
        "a|contains: 'a*c?e'",
        &[&[("a", "xxabbbcdexx")]],
        &[&[("a", "xxabbbcexx")]],
    );
    check("a|cased: Root", &[&[("a", "Root")]], &[&[("a", "root")]]);
    check(
        "a|contains|cased: B",
        &[&[("a", "aBc")]],
        &[&[("a", "abc")]],
    );
}

#[test]
fn null_and_exists_ask_for_presence() {
    check(
        "a: null",
        &[&[], &[("b", "")]],
        &[&[("a", "")], &[("a", "x")]],
    );
    check("a:", &[&[]], &[&[("a", "")]]);
    check("a|exists: true", &[&[("a", "")]], &[&[]]);
    check("a|exists: false", &[&[]], &[&[("a", "")]]);
    check("a|neq: null", &[&[("a", "")]], &[&[]]);
}

#[test]
fn neq_is_the_opposite_of_the_match_so_an_absent_field_differs() {
    check("a|neq: x", &[&[("a", "y")], &[]], &[&[("a", "X")]]);
    check(
        "a|neq: [x, y]",
        &[&[("a", "z")]],
        &[&[("a", "x")], &[("a", "y")]],
    );
    check("a|contains|neq: x", &[&[("a", "y")]], &[&[("a", "axb")]]);
}

#[test]
fn numbers_match_however_they_are_stored() {
    check_values(
        "n: 22",
        &[Value::Int(22), Value::Float(22.0), Value::Str("22")],
        &[
            Value::Int(2),
            Value::Str("022"),
            Value::Str("22.0"),
            Value::Bool(true),
        ],
    );
    check_values(
        "n: '22'",
        &[Value::Int(22), Value::Str("22")],
        &[Value::Int(221)],
    );
    check_values(
        "n: '2*'",
        &[Value::Int(22), Value::Int(2)],
        &[Value::Int(12)],
    );
    check_values(
        "n: 0.5",
        &[Value::Float(0.5), Value::Str("0.5")],
        &[Value::Int(0)],
    );
    check_values("n: -1", &[Value::Int(-1)], &[Value::Int(1)]);
}

#[test]
fn comparisons_are_between_numbers_only() {
    check_values(
        "n|gt: 5",
        &[Value::Int(6), Value::Str("6"), Value::Float(5.1)],
        &[
            Value::Int(5),
            Value::Str("six"),
            Value::Str(""),
            Value::Float(f64::NAN),
        ],
    );
    check_values("n|gte: 5", &[Value::Int(5)], &[Value::Int(4)]);
    check_values(
        "n|lt: 5",
        &[Value::Int(4), Value::Str("-1")],
        &[Value::Int(5)],
    );
    check_values("n|lte: 5", &[Value::Int(5)], &[Value::Float(5.5)]);
    let large = i64::MAX;
    check_values(
        &format!("n|gt: {}", large - 1),
        &[Value::Int(large)],
        &[Value::Int(large - 1)],
    );
}

#[test]
fn booleans_match_however_they_are_stored() {
    check_values(
        "n: true",
        &[
            Value::Bool(true),
            Value::Str("True"),
            Value::Str("1"),
            Value::Int(1),
            Value::Float(1.0),
        ],
        &[
            Value::Bool(false),
            Value::Int(0),
            Value::Int(2),
            Value::Str("0"),
        ],
    );
    check_values(
        "n: false",
        &[
            Value::Bool(false),
            Value::Str("false"),
            Value::Str("0"),
            Value::Int(0),
        ],
        &[
            Value::Bool(true),
            Value::Int(1),
            Value::Str("no"),
            Value::Str(""),
        ],
    );
    check_values("n: 'true'", &[Value::Bool(true)], &[Value::Bool(false)]);
}

#[test]
fn regular_expressions_are_cased_and_found_anywhere() {
    check("a|re: 'fo+'", &[&[("a", "xfoox")]], &[&[("a", "FOO")]]);
    check("a|re|i: 'fo+'", &[&[("a", "xFOO")]], &[&[("a", "f")]]);
    check("a|re: '^b$'", &[&[("a", "b")]], &[&[("a", "a\nb")]]);
    check("a|re|m: '^b$'", &[&[("a", "a\nb")]], &[&[("a", "ab")]]);
    check("a|re|s: 'a.b'", &[&[("a", "a\nb")]], &[&[("a", "ab")]]);
    check_values("n|re: '^2+$'", &[Value::Int(22)], &[Value::Int(23)]);
}

#[test]
fn networks_hold_addresses_of_their_version() {
    check(
        "a|cidr: 192.0.2.0/24",
        &[&[("a", "192.0.2.255")], &[("a", "::ffff:192.0.2.1")]],
        &[
            &[("a", "192.0.3.0")],
            &[("a", "2001:db8::1")],
            &[("a", "192.0.2.1x")],
            &[],
        ],
    );
    check(
        "a|cidr: 2001:db8::/32",
        &[&[("a", "2001:DB8::1")]],
        &[&[("a", "2001:db9::1")]],
    );
    check(
        "a|cidr: 0.0.0.0/0",
        &[&[("a", "203.0.113.1")]],
        &[&[("a", "::1")]],
    );
    check(
        "a|cidr: [10.0.0.0/8, 127.0.0.1]",
        &[&[("a", "127.0.0.1")]],
        &[&[("a", "127.0.0.2")]],
    );
}

#[test]
fn encoded_values_match_their_encoded_form() {
    check(
        "a|base64: foo",
        &[&[("a", "Zm9v")]],
        &[&[("a", "foo")], &[("a", "xZm9v")]],
    );
    check(
        "a|base64offset|contains: /bin/bash",
        &[
            &[("a", "x L2Jpbi9iYXNo y")],
            &[("a", "QvYmluL2Jhc2")],
            &[("a", "vYmluL2Jhc2")],
        ],
        &[&[("a", "/bin/bash")]],
    );
    check(
        "a|wide|base64offset|contains: ab",
        &[&[("a", "xYQBiAx")]],
        &[&[("a", "YWI=")]],
    );
    // The mark of UTF-16 is the bytes FF FE, whatever they are as text.
    check(
        "a|utf16|base64: cmd",
        &[&[("a", "//5jAG0AZAA=")]],
        &[&[("a", "77u/YwBtAGQA")]],
    );
    check(
        "a|utf16|base64offset|contains: cmd",
        &[&[("a", "x//5jAG0AZAy")], &[("a", "x/+YwBtAGQAy")]],
        &[&[("a", "77u/YwBtAGQA")]],
    );
    check(
        "a|windash|contains: ' -f '",
        &[
            &[("a", "x -f y")],
            &[("a", "x /f y")],
            &[("a", "x \u{2014}f y")],
        ],
        &[&[("a", "x f y")]],
    );
    check(
        "a|windash|contains|all: [' -f', ' -g']",
        &[&[("a", "x /f -g")]],
        &[&[("a", "x /f")]],
    );
}

#[test]
fn a_field_reference_compares_two_fields() {
    check(
        "a|fieldref: b",
        &[&[("a", "X"), ("b", "x")]],
        &[&[("a", "x"), ("b", "y")], &[("a", "x")]],
    );
    check(
        "a|fieldref|startswith: b",
        &[&[("a", "xyz"), ("b", "xy")]],
        &[&[("a", "xyz"), ("b", "yz")]],
    );
}

#[test]
fn a_repeated_field_matches_when_one_of_its_values_does() {
    let text = rule("  s: {a: x}\n  condition: s\n");

    assert!(matches(&text, "", &[("a", "y"), ("b", "z"), ("a", "x")]));
    assert!(!matches(&text, "", &[("a", "y"), ("b", "x"), ("a", "z")]));
}

#[test]
fn keywords_search_the_message_and_every_text_and_no_number() {
    let any = rule("  k: ['Out of*memory', other]\n  condition: k\n");
    let all = rule("  k:\n    '|all': [one, two]\n  condition: k\n");
    let single = rule("  k: word\n  condition: k\n");

    assert!(matches(&any, "x OUT OF free MEMORY y", &[]));
    assert!(matches(&any, "", &[("a", "an Other b")]));
    assert!(!matches(&any, "memory", &[("a", "out of")]));
    assert!(matches(&all, "one", &[("a", "two")]));
    assert!(!matches(&all, "one", &[("a", "three")]));
    assert!(matches(&single, "a word here", &[]));
    assert!(!matches_values(
        &rule("  k: ['22']\n  condition: k\n"),
        "",
        &[("n", Value::Int(22))]
    ));
}

#[test]
fn a_list_may_mix_maps_and_keywords() {
    let text = rule("  s:\n    - {a: x, b: y}\n    - word\n    - a: z\n  condition: s\n");

    assert!(matches(&text, "", &[("a", "x"), ("b", "y")]));
    assert!(matches(&text, "a word", &[]));
    assert!(matches(&text, "", &[("a", "z")]));
    assert!(!matches(&text, "", &[("a", "x")]));
}

#[test]
fn the_message_is_a_field_unless_the_event_has_one_of_that_name() {
    let text = rule("  s: {'message|startswith': Failed}\n  condition: s\n");

    assert!(matches(&text, "Failed password", &[]));
    assert!(!matches(&text, "Failed password", &[("message", "else")]));
    assert!(matches(&text, "else", &[("message", "failed")]));
}

#[test]
fn what_cannot_be_honoured_is_refused_at_its_place() {
    let table = [
        ("a|containz: x", 6, "there is no modifier 'containz'"),
        (
            "a|contains|endswith: x",
            15,
            "two of 'contains', 'startswith' and 'endswith'",
        ),
        ("a|re|cidr: x", 9, "two modifiers that say what it is"),
        ("a|all|all: [x, y]", 10, "'all' is written twice"),
        ("a|i: x", 6, "no 're' is before it"),
        ("a|re|contains: x", 4, "do not go with this kind of value"),
        ("a|re|cased: x", 4, "'cased' is for plain text"),
        ("a|base64: 'x*'", 14, "wildcards has no encoded form"),
        ("a|wide: ä", 12, "only ASCII has a wide form"),
        ("a|windash: -a -b -c -d", 15, "at most three dashes"),
        ("a|contains|wide: x", 15, "'wide' comes too late"),
        ("a|base64: 5", 14, "a text modifier stands before"),
        (
            "a|wide|wide|wide|wide: x",
            21,
            "rewritten more than 3 times",
        ),
        ("a|wide|re: x", 4, "an encoding does not go with"),
        ("'|endswith': x", 4, "a keyword takes no modifiers but"),
        (
            "a|contains: 5",
            16,
            "a text modifier stands before a value that is not text",
        ),
        ("a|contains: ''", 16, "an empty text is part of every text"),
        ("a|re: '('", 10, "this regular expression cannot be used"),
        ("a|re: '(?=x)'", 10, "look-around"),
        (r"a|re: '(x)\1'", 10, "backreferences are not supported"),
        (r"a|re: '(\w{50}){50}'", 10, "needs more than"),
        ("a|cidr: 192.0.2.0/33", 12, "this is not a network"),
        ("a|cidr: example.org", 12, "this is not a network"),
        ("a|gt: many", 10, "a comparison takes a number"),
        ("a|exists: maybe", 14, "true or false is needed here"),
        ("a: [[x]]", 8, "a single value is needed here"),
        ("a: {b: c}", 7, "a field holds a map"),
        ("a: []", 7, "is empty"),
        ("a: yes", 7, "YAML readers disagree"),
        ("a: 010", 7, "YAML readers disagree"),
        ("a: 0x1F", 7, "YAML readers disagree"),
        ("a: !!binary aGk=", 7, "YAML tags"),
        ("a: x\n    a: y", 4, "written twice in one map"),
    ];

    for (selection, column, problem) in table {
        let error = refusal(&rule(&format!("  s:\n    {selection}\n  condition: s\n")));

        assert!(error.problem.contains(problem), "{selection}: {error}");
        let line = if selection.contains('\n') { 7 } else { 6 };
        assert_eq!(
            (error.line, error.column),
            (line, column + 1),
            "{selection}: {error}"
        );
        assert!(!error.instead.is_empty(), "{selection}");
    }
}

#[test]
fn parts_of_a_time_are_compared_as_numbers() {
    let evening = Value::Str("2026-11-21T20:15:00+01:00");
    let morning = Value::Str("2026-03-02 06:59");
    let no_time = [Value::Str("20:15"), Value::Int(20), Value::Bool(true)];
    let table = [
        ("n|hour: 20", true, false),
        ("n|hour|gte: 20", true, false),
        ("n|hour|neq: 20", false, true),
        ("n|minute: [15, 16]", true, false),
        ("n|day|lt: 21", false, true),
        ("n|week: 47", true, false),
        ("n|month|lte: 3", false, true),
        ("n|year: 2026", true, true),
    ];

    for (selection, is_evening, is_morning) in table {
        let values = [(evening, is_evening), (morning, is_morning)];
        let chosen = |wanted| -> Vec<Value<'_>> {
            let values = values.iter().filter(|(_, holds)| *holds == wanted);
            values.map(|(value, _)| *value).collect()
        };
        check_values(selection, &chosen(true), &chosen(false));
        if !selection.contains("neq") {
            check_values(selection, &[], &no_time);
        }
    }
}

#[test]
fn parts_of_a_time_that_mean_nothing_are_refused() {
    let table = [
        ("a|hour: x", 13, "a comparison takes a number"),
        ("a|gte|hour: 3", 11, "two modifiers that say what it is"),
        ("a|hour|minute: 3", 12, "two modifiers that say what it is"),
        ("a|expand: '%x%'", 15, "nothing is configured for"),
    ];
    for (selection, column, problem) in table {
        let error = refusal(&rule(&format!("  s:\n    {selection}\n  condition: s\n")));

        assert!(error.problem.contains(problem), "{selection}: {error}");
        assert_eq!((error.line, error.column), (6, column), "{error}");
    }
}

#[test]
fn only_a_whole_address_is_in_a_network() {
    check_values(
        "n|cidr: 192.0.2.0/24",
        &[
            Value::Str("192.0.2.0"),
            Value::Str("192.0.2.255"),
            Value::Str("::ffff:192.0.2.7"),
        ],
        &[
            Value::Str("192.0.2.255 "),
            Value::Str("192.0.2.2550"),
            Value::Str("192.0.2"),
            Value::Str("192.0.3.0"),
            Value::Str(""),
        ],
    );
}
