//! Laws that hold for any rule and any event: of logic, case, escapes, and order.
//! It never says what one rule matches; other tests do.

use std::collections::BTreeSet;

use crate::support::{compile, engine, matches, observe, rule};
use hidps_rules::{Engine, Event, LogSource, Scope, Value};
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

/// Values over few letters, so that they often match and often just miss.
fn any_value() -> impl Strategy<Value = String> {
    let letters: Vec<char> = "abAB*?\\%_. ".chars().collect();
    proptest::collection::vec(proptest::sample::select(letters), 0..6)
        .prop_map(|chosen| chosen.into_iter().collect())
}

/// Events with some of three fields.
fn any_event() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let field = prop_oneof![Just("a"), Just("b"), Just("c")];
    proptest::collection::vec((field, any_value()), 0..4)
}

/// One line of a selection.
fn any_item() -> impl Strategy<Value = String> {
    let field = prop_oneof![Just("a"), Just("b"), Just("c")];
    let modifier = prop_oneof![
        Just(""),
        Just("|contains"),
        Just("|startswith"),
        Just("|endswith"),
        Just("|cased"),
        Just("|neq"),
    ];
    let value = any_value().prop_filter("an empty text is refused", |value| !value.is_empty());
    (field, modifier, value).prop_map(|(field, modifier, value)| {
        format!("{{{field}{modifier}: '{}'}}", value.replace('\'', "''"))
    })
}

/// Which of several conditions over selections `x`, `y` and `z` hold for an event.
fn truths<const N: usize>(
    items: &[String; 3],
    conditions: [&str; N],
    event: &[(&str, String)],
) -> [bool; N] {
    let [x, y, z] = items;
    let selections = format!("  x: {x}\n  y: {y}\n  z: {z}\n");
    let fields: Vec<(&str, &str)> = event
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    conditions.map(|condition| {
        let text = rule(&format!("{selections}  condition: {condition}\n"));
        matches(&text, "", &fields)
    })
}

/// Writes a text so that it means itself in a value and in YAML.
fn escaped(text: &str) -> String {
    let mut written = String::new();
    for character in text.chars() {
        if matches!(character, '*' | '?' | '\\') {
            written.push('\\');
        }
        written.push(character);
    }
    written.replace('\'', "''")
}

/// Which rules match, by id, in order of their ids.
fn ids(engine: &mut Engine, fields: &[(&str, &str)]) -> Vec<String> {
    let fields: Vec<(&str, Value<'_>)> = fields
        .iter()
        .map(|(name, value)| (*name, Value::Str(value)))
        .collect();
    let mut ids = Vec::new();
    observe(engine, "", &fields, &mut |found| {
        ids.push(found.rule.id.clone());
    });
    ids.sort();
    ids
}

proptest! {
    #[test]
    fn conditions_obey_the_laws_of_logic(
        items in [any_item(), any_item(), any_item()],
        event in any_event(),
    ) {
        let equal = [
            ["not (x or y)", "not x and not y"],
            ["not (x and y)", "not x or not y"],
            ["x and x", "x"],
            ["x or x", "x"],
            ["not not x", "x"],
            ["x and (x or y)", "x"],
            ["x or x and y", "x"],
            ["x and (y or z)", "x and y or x and z"],
            ["x or y and z", "(x or y) and (x or z)"],
            ["1 of them", "x or y or z"],
            ["all of them", "x and y and z"],
            ["not 1 of them", "not x and not y and not z"],
            ["not all of them", "not x or not y or not z"],
        ];

        for [one, other] in equal {
            let [left, right] = truths(&items, [one, other], &event);
            assert_eq!(left, right, "{one} and {other}");
        }
        let [never, always] = truths(&items, ["x and not x", "x or not x"], &event);
        assert_eq!((never, always), (false, true));
    }

    #[test]
    fn neq_is_the_opposite_of_its_value_and_a_list_is_an_or(
        one in any_value(),
        other in any_value(),
        event in any_event(),
    ) {
        let fields: Vec<(&str, &str)> = event.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let holds = |selection: &str| {
            matches(&rule(&format!("  s: {selection}\n  condition: s\n")), "", &fields)
        };
        let (one, other) = (escaped(&one), escaped(&other));

        assert_ne!(holds(&format!("{{a: '{one}'}}")), holds(&format!("{{a|neq: '{one}'}}")));
        assert_eq!(
            holds(&format!("{{a: ['{one}', '{other}']}}")),
            holds(&format!("{{a: '{one}'}}")) || holds(&format!("{{a: '{other}'}}")),
        );
        assert_eq!(
            holds(&format!("[{{a: '{one}'}}, {{b: '{other}'}}]")),
            holds(&format!("{{a: '{one}'}}")) || holds(&format!("{{b: '{other}'}}")),
        );
        assert_eq!(
            holds(&format!("{{a: '{one}', b: '{other}'}}")),
            holds(&format!("{{a: '{one}'}}")) && holds(&format!("{{b: '{other}'}}")),
        );
    }

    #[test]
    fn case_matters_only_where_the_rule_says_so(value in "[ -~äöüßΣσς]{1,8}", seen in "[ -~äöüßΣσς]{0,8}") {
        let text = escaped(&value);
        let plain = rule(&format!("  s: {{a|contains: '{text}'}}\n  condition: s\n"));
        let cased = rule(&format!("  s: {{a|contains|cased: '{text}'}}\n  condition: s\n"));
        let all = format!("{seen}{value}{seen}");
        let other: String = all
            .chars()
            .map(|one| if one.is_ascii_lowercase() { one.to_ascii_uppercase() } else { one.to_ascii_lowercase() })
            .collect();

        assert!(matches(&plain, "", &[("a", &all)]) && matches(&cased, "", &[("a", &all)]));
        assert!(matches(&plain, "", &[("a", &other)]));
        assert_eq!(matches(&cased, "", &[("a", &other)]), other.contains(&value));
    }

    #[test]
    fn an_escaped_value_means_itself_in_a_field_and_among_keywords(
        value in any_value(),
        seen in any_value(),
    ) {
        let field = rule(&format!("  s: {{a: '{}'}}\n  condition: s\n", escaped(&value)));

        assert!(matches(&field, "", &[("a", &value)]));
        assert_eq!(matches(&field, "", &[("a", &seen)]), seen.eq_ignore_ascii_case(&value));
        if !value.is_empty() {
            let keyword = rule(&format!("  k: ['{}']\n  condition: k\n", escaped(&value)));
            let lower = |text: &str| text.to_ascii_lowercase();
            assert_eq!(matches(&keyword, &seen, &[]), lower(&seen).contains(&lower(&value)));
        }
    }

    #[test]
    fn neither_the_order_of_rules_nor_of_fields_nor_repetition_changes_a_match(
        items in proptest::collection::vec(any_item(), 1..8),
        mut event in any_event(),
        turn in any::<proptest::sample::Index>(),
    ) {
        let texts: Vec<String> = items
            .iter()
            .enumerate()
            .map(|(number, item)| {
                rule(&format!("  s: {item}\n  condition: s\n")).replace("id: rule", &format!("id: r{number}"))
            })
            .collect();
        let mut turned: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut first = engine(&turned);
        turned.rotate_left(turn.index(texts.len()));
        let mut second = engine(&turned);
        let original = event.clone();
        event.reverse();
        let doubled = [event.clone(), original.clone()].concat();
        let borrow = |event: &[(&str, String)], engine: &mut Engine| {
            let fields: Vec<(&str, &str)> = event.iter().map(|(name, value)| (*name, value.as_str())).collect();
            ids(engine, &fields)
        };

        let expected = borrow(&original, &mut first);

        assert_eq!(borrow(&original, &mut first), expected, "the same event again");
        assert_eq!(borrow(&original, &mut second), expected, "rules in another order");
        assert_eq!(borrow(&event, &mut first), expected, "fields in another order");
        assert_eq!(borrow(&doubled, &mut first), expected, "every field twice");
        for (number, text) in texts.iter().enumerate() {
            let alone = borrow(&original, &mut engine(&[text])).len() == 1;
            assert_eq!(alone, expected.contains(&format!("r{number}")), "{text} alone");
        }
    }

    #[test]
    fn an_event_of_several_services_matches_what_it_would_as_each_of_them(
        wanted in proptest::collection::vec(proptest::sample::select(vec!["sshd", "auth", "syslog", "cron"]), 1..6),
        service in proptest::sample::select(vec!["sshd", "cron", "other"]),
        also in proptest::sample::subsequence(vec!["auth", "syslog", "cron"], 0..=3),
        negated in any::<bool>(),
    ) {
        let texts: Vec<String> = wanted
            .iter()
            .enumerate()
            .map(|(number, service)| {
                let condition = if negated { "not s" } else { "s" };
                rule(&format!("  s: {{a: x}}\n  condition: {condition}\n"))
                    .replace("id: rule", &format!("id: r{number}"))
                    .replace("product: linux", &format!("product: linux, service: {service}"))
            })
            .collect();
        let mut engine = engine(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        let mut ids = |service, also: &[&str]| {
            let source = LogSource { category: None, product: Some("linux"), service: Some(service), also };
            let fields = [("a", Value::Str(if negated { "y" } else { "x" }))];
            let mut ids = BTreeSet::new();
            let event = Event { logsource: source, message: "", fields: &fields };
            engine.observe(Scope(1), &event, 0, &mut |found| {
                assert!(ids.insert(found.rule.id.clone()), "each rule matches once");
            });
            ids
        };

        let mut each = ids(service, &[]);
        for other in &also {
            each.extend(ids(other, &[]));
        }

        assert_eq!(ids(service, &also), each);
    }

    #[test]
    fn a_rule_that_compiles_has_the_same_hash_with_either_line_end(item in any_item()) {
        let text = rule(&format!("  s: {item}\n  condition: s\n"));

        let unix = compile(&text).expect("the rule compiles");
        let other = compile(&text.replace('\n', "\r\n")).expect("the rule compiles");

        assert_eq!(unix.hash(), other.hash());
    }
}
