//! The JSON Schemas of viewers' frames against the golden lines: each line is valid, no line is valid
//! with a field more or a required one less, and both know the same frames.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

fn read(path: &str) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    fs::read_to_string(format!("{root}/{path}")).expect("the file is there")
}

fn schema(name: &str) -> Value {
    serde_json::from_str(&read(&format!("docs/schema/{name}.json"))).expect("JSON")
}

fn golden(name: &str) -> Vec<Value> {
    let text = read(&format!("crates/wire/tests/golden/{name}.jsonl"));
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// Whether a value is valid, for the words of JSON Schema that ours use.
fn is_valid(value: &Value, schema: &Value, root: &Value) -> bool {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root
            .pointer(reference.trim_start_matches('#'))
            .expect("it is defined");
        return is_valid(value, target, root);
    }
    let has_type = |name: &Value| match name.as_str().expect("a type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{other} is not known here"),
    };
    let is_typed = schema.get("type").is_none_or(|types| {
        let several = types.as_array();
        several.map_or_else(|| has_type(types), |names| names.iter().any(has_type))
    });
    let of = |name: &str| schema[name].as_array();
    let one_of = of("oneOf").is_none_or(|choices| {
        choices
            .iter()
            .filter(|choice| is_valid(value, choice, root))
            .count()
            == 1
    });
    let in_enum = of("enum").is_none_or(|words| words.contains(value));
    let is_const = schema.get("const").is_none_or(|wanted| wanted == value);
    let has_all = of("required").is_none_or(|names| {
        names
            .iter()
            .all(|name| value.get(name.as_str().expect("a name")).is_some())
    });
    let fields = value.as_object().is_none_or(|fields| {
        fields
            .iter()
            .all(|(name, field)| match schema["properties"].get(name) {
                Some(property) => is_valid(field, property, root),
                None => schema["additionalProperties"] != json!(false),
            })
    });
    let items = value.as_array().is_none_or(|items| {
        let schema = schema.get("items");
        schema.is_none_or(|schema| items.iter().all(|item| is_valid(item, schema, root)))
    });
    is_typed && one_of && in_enum && is_const && has_all && fields && items
}

fn check(schema_name: &str, golden_name: &str) {
    let schema = schema(schema_name);
    let mut seen = BTreeSet::new();
    for frame in golden(golden_name) {
        assert!(is_valid(&frame, &schema, &schema), "{schema_name}: {frame}");
        let kind = frame["type"].as_str().expect("a type").to_owned();
        let mut more = frame.clone();
        more["surplus"] = json!(1);
        assert!(!is_valid(&more, &schema, &schema), "{more}");
        let choices = schema["oneOf"].as_array().expect("choices");
        let choice = choices
            .iter()
            .find(|choice| choice["properties"]["type"]["const"] == kind);
        for name in choice.expect("one")["required"].as_array().expect("names") {
            let mut less = frame.clone();
            less.as_object_mut()
                .expect("a frame")
                .remove(name.as_str().expect("a name"));
            assert!(!is_valid(&less, &schema, &schema), "{less}");
        }
        seen.insert(kind);
    }
    let choices = schema["oneOf"].as_array().expect("choices").iter();
    let described = choices.map(|choice| choice["properties"]["type"]["const"].as_str());
    let described: BTreeSet<_> = described
        .map(|kind| kind.expect("a type").to_owned())
        .collect();
    assert_eq!(described, seen);
}

#[test]
fn viewers_frames_are_what_their_schema_says() {
    check("viewer-frame", "viewer");
}

#[test]
fn frames_to_viewers_are_what_their_schema_says() {
    check("stream-frame", "stream");
}

#[test]
fn every_answer_of_a_host_is_what_the_schema_says() {
    let schema = schema("stream-frame");
    let answers = golden("agent")
        .into_iter()
        .filter(|frame| frame["type"] == "answer");
    let mut n_answers = 0;
    for frame in answers {
        let answer = &frame["answer"];
        assert!(
            is_valid(answer, &schema["$defs"]["answer"], &schema),
            "{answer}"
        );
        n_answers += 1;
    }
    assert!(n_answers >= 4, "{n_answers} answers");
}
