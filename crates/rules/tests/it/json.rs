//! Events as JSON text: the same matches as the same event with its fields in a list.
//! It never tests the language.

use crate::support::{engine, rule};
use hidps_rules::{Engine, Event, LogSource, RuleFile, RuleSet, Scope, Value};
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use serde_json::{Map, json};

/// The source of every event here.
const SOURCE: LogSource<'static> = LogSource {
    category: None,
    product: Some("linux"),
    service: None,
    also: &[],
};

/// What rules answer to an event: their ids and what matched.
fn answers(engine: &mut Engine, event: Result<&Event<'_>, &str>) -> Vec<String> {
    let mut answers = Vec::new();
    let mut keep = |found: hidps_rules::Match<'_>| {
        answers.push(format!(
            "{} {:?} {}",
            found.rule.id, found.matched, found.group_key
        ));
    };
    match event {
        Ok(event) => engine.observe(Scope(1), event, 0, &mut keep),
        Err(json) => engine
            .observe_json(Scope(1), SOURCE, json, 0, &mut keep)
            .expect("the text is an object"),
    }
    answers
}

/// Rules of every kind of test over the fields `f0`, `f1` and `f.2`.
fn rules() -> Vec<String> {
    let details = [
        "s: {f0|contains: a}",
        "s: {f0: [1, 2.5, true]}",
        "s: {f1|gte: 1}",
        "s: [a, '\"']",
        "s: {f.2|endswith: É}",
        "s: {f.2|re: '\\d'}",
        "s: {f1: null}",
        "s: {message|startswith: b}",
    ];
    let numbered = details.iter().enumerate().map(|(number, detail)| {
        rule(&format!(
            "  {detail}\n  condition: s\nhidps: {{group-by: [f0]}}\n"
        ))
        .replace("id: rule", &format!("id: r{number}"))
    });
    numbered.collect()
}

/// A value that JSON and events have alike.
#[derive(Clone, Debug)]
enum Given {
    Text(String),
    Int(i64),
    Float(f64),
    Flag(bool),
}

impl Given {
    fn borrow(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Str(text),
            Self::Int(whole) => Value::Int(*whole),
            Self::Float(fraction) => Value::Float(*fraction),
            Self::Flag(flag) => Value::Bool(*flag),
        }
    }

    fn json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Int(whole) => json!(whole),
            Self::Float(fraction) => json!(fraction),
            Self::Flag(flag) => json!(flag),
        }
    }
}

fn any_given() -> impl Strategy<Value = Given> {
    prop_oneof![
        "[abÉé1\"\\\\\n]{0,6}".prop_map(Given::Text),
        prop_oneof![Just(1), Just(2), any::<i64>()].prop_map(Given::Int),
        prop_oneof![Just(2.5), (-1e9..1e9_f64)].prop_map(Given::Float),
        any::<bool>().prop_map(Given::Flag),
    ]
}

proptest! {
    #[test]
    fn json_and_a_list_of_fields_are_one_event(
        message in "[abÉ1\"\\\\]{0,6}",
        given in proptest::collection::vec(any_given(), 4),
        n_given in 0..=4_usize,
    ) {
        let names = ["f0", "f1", "f.2", "unheard"];
        let fields: Vec<(&str, Value<'_>)> =
            names.iter().zip(&given).take(n_given).map(|(name, value)| (*name, value.borrow())).collect();
        let mut object: Map<String, serde_json::Value> = names
            .iter()
            .zip(&given)
            .take(n_given)
            .map(|(name, value)| ((*name).to_owned(), value.json()))
            .collect();
        object.insert("message".to_owned(), json!(message));
        if let Some(inner) = object.remove("f.2") {
            object.insert("f".to_owned(), json!({"2": inner, "none": null}));
        }
        let json = serde_json::Value::Object(object).to_string();
        let texts = rules();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let event = Event { logsource: SOURCE, message: &message, fields: &fields };

        let listed = answers(&mut engine(&texts), Ok(&event));
        let read = answers(&mut engine(&texts), Err(&json));

        assert_eq!(listed, read, "{json}");
    }
}

#[test]
fn an_array_is_several_values_and_null_is_none() {
    let texts = ["a: {f: x}", "a: {f: y}", "a: {f: null}", "a: {o.p: z}"].map(|detail| {
        rule(&format!("  {detail}\n  condition: a\n"))
            .replace("id: rule", &format!("id: '{detail}'"))
    });
    let mut engine = engine(&texts.each_ref().map(String::as_str));
    let mut ids = |json| {
        let mut ids = Vec::new();
        engine
            .observe_json(Scope(1), SOURCE, json, 0, &mut |found| {
                ids.push(found.rule.id.clone());
            })
            .unwrap();
        ids
    };

    assert_eq!(
        ids(r#"{"f": ["x", null, "y"], "o": [{"p": "a"}, {"p": "z"}]}"#),
        ["a: {f: x}", "a: {f: y}", "a: {o.p: z}"]
    );
    assert_eq!(
        ids(r#"{"f": null, "o": {"q": {"p": "z"}}}"#),
        ["a: {f: null}"]
    );
}

#[test]
fn a_field_that_is_null_or_empty_is_there_and_has_no_value() {
    let selections = [
        "a|exists: true",
        "a|exists: false",
        "a: null",
        "a: ''",
        "a|neq: x",
    ];
    let texts = selections.map(|selection| {
        rule(&format!("  s:\n    {selection}\n  condition: s\n"))
            .replace("id: rule", &format!("id: \"{selection}\""))
    });
    let mut engine = engine(&texts.each_ref().map(String::as_str));
    let mut ids = |json| {
        let mut ids = Vec::new();
        engine
            .observe_json(Scope(1), SOURCE, json, 0, &mut |found| {
                ids.push(found.rule.id.clone());
            })
            .unwrap();
        ids
    };

    for json in [
        r#"{"a": null}"#,
        r#"{"a": []}"#,
        r#"{"a": [null]}"#,
        r#"{"a": {"b": "x"}}"#,
    ] {
        assert_eq!(
            ids(json),
            ["a|exists: true", "a: null", "a|neq: x"],
            "{json}"
        );
    }
    assert_eq!(ids("{}"), ["a|exists: false", "a: null", "a|neq: x"]);
    assert_eq!(
        ids(r#"{"a": [null, ""]}"#),
        ["a|exists: true", "a: ''", "a|neq: x"]
    );
}

#[test]
fn text_that_is_no_object_is_refused_and_not_counted() {
    let mut engine = engine(&[&rule("  s: {a: null}\n  condition: s\n")]);
    let deep = format!("{}1{}", "{\"a\":".repeat(500), "}".repeat(500));
    let long = format!("{{\"a.b\":1,{}", "\"x\":{".repeat(90));

    for json in [
        "",
        "[]",
        "7",
        "{\"a\": 1",
        "{} {}",
        "{\"a\": nul}",
        deep.as_str(),
        long.as_str(),
    ] {
        let outcome = engine.observe_json(Scope(1), SOURCE, json, 0, &mut |_| panic!("{json}"));

        assert!(outcome.is_err(), "{json}");
    }
    assert_eq!(engine.counters().events, 0);
    engine
        .observe_json(Scope(1), SOURCE, "{}", 0, &mut |_| {})
        .unwrap();
    assert_eq!(engine.counters().events, 1);
}

#[test]
fn names_are_read_anew_for_other_rules() {
    let asks = |field: &str| rule(&format!("  s: {{{field}: x}}\n  condition: s\n"));
    let json = r#"{"a": "x", "b": "y", "c": "x"}"#;
    let mut engine = engine(&[&asks("a")]);
    assert_eq!(answers(&mut engine, Err(json)).len(), 1);

    for (field, n) in [("b", 0), ("c", 1), ("a", 1)] {
        let text = asks(field);
        let file = RuleFile {
            name: "rule.yml",
            text: &text,
        };
        engine.replace(RuleSet::compile(&[file]).unwrap());
        for _ in 0..2 {
            assert_eq!(answers(&mut engine, Err(json)).len(), n, "{field}");
        }
    }
}

proptest! {
    #[test]
    fn events_of_many_kinds_in_turn_are_read_like_each_alone(
        texts in proptest::collection::vec(
            "\\{\"(f0|f1|f|\\\\u0066|x)\": (1|\"a\"|\\{\"2\": \"É1\"\\}), \"(f0|f1|f\\.2|y)\": \"(a|b)\"\\}",
            1..12,
        ),
    ) {
        let texts_of_rules = rules();
        let texts_of_rules: Vec<&str> = texts_of_rules.iter().map(String::as_str).collect();
        let mut one = engine(&texts_of_rules);
        for text in &texts {
            let alone = answers(&mut engine(&texts_of_rules), Err(text));

            assert_eq!(answers(&mut one, Err(text)), alone, "{text}");
        }
    }
}

/// How long an event of some megabytes may take on a busy machine; what grows with the square of its
/// values takes minutes.
const SOON: std::time::Duration = std::time::Duration::from_secs(20);

#[test]
fn many_values_of_one_name_take_no_longer_than_as_many_fields() {
    let mut engine = engine(&[&rule("  s: {f0: last}\n  condition: s\n")]);
    let json = format!("{{\"f0\": [{}\"last\"]}}", "1,".repeat(400_000));
    let begun = std::time::Instant::now();

    assert_eq!(answers(&mut engine, Err(&json)).len(), 1);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[test]
fn many_values_with_a_keyword_take_no_longer_than_one_text_of_their_length() {
    let mut engine = engine(&[&rule("  k: [needle]\n  s: {f0: x}\n  condition: k and s\n")]);
    let json = format!(
        "{{\"f0\": \"x\", \"f1\": [{}\"\"]}}",
        "\"needle\",".repeat(400_000)
    );
    let begun = std::time::Instant::now();

    assert_eq!(answers(&mut engine, Err(&json)).len(), 1);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}
