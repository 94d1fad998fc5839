//! The JSON Schema of all frames against the golden lines and the decoder: what the schema allows is
//! taken, what is taken is written as the schema says, and both know the same frames.

#[path = "schema/mutants.rs"]
mod mutants;
#[path = "schema/validity.rs"]
mod validity;

use std::collections::BTreeSet;
use std::fs;

use hidps_wire::{
    AgentFrame, DaemonFrame, EnrollRequest, EnrollResponse, EventBatch, MAX_DAEMON_FRAME_BYTES,
    RotateRequest, RotateResponse, StreamFrame, ViewerFrame, decode, encode, frame_type,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use mutants::mutants;
use validity::is_valid;

/// Reads a frame and writes it again; none where it is refused.
type Again = fn(&str) -> Option<String>;

fn read(path: &str) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    fs::read_to_string(format!("{root}/{path}")).expect("the file is there")
}

fn schema() -> Value {
    serde_json::from_str(&read("docs/schema/frames.json")).expect("JSON")
}

fn golden(name: &str) -> Vec<Value> {
    let text = read(&format!("crates/wire/tests/golden/{name}.jsonl"));
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn again<'a, T: Serialize + Deserialize<'a>>(text: &'a str) -> Option<String> {
    let frame: T = decode(text, MAX_DAEMON_FRAME_BYTES).ok()?;
    Some(encode(&frame))
}

/// An agent's frames go two ways, told apart by their type as the daemon does.
fn agent_again(text: &str) -> Option<String> {
    if frame_type(text).as_deref() == Some(EventBatch::TYPE) {
        return again::<EventBatch<'_>>(text);
    }
    again::<AgentFrame>(text)
}

/// Every word that a schema names as the whole of a text.
fn words(schema: &Value) -> BTreeSet<String> {
    let own = ["const", "enum"]
        .iter()
        .flat_map(|name| match &schema[name] {
            Value::String(word) => vec![word.clone()],
            Value::Array(words) => words
                .iter()
                .filter_map(|word| word.as_str().map(str::to_owned))
                .collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
        });
    let mut all: BTreeSet<String> = own.collect();
    match schema {
        Value::Object(fields) => all.extend(fields.values().flat_map(words)),
        Value::Array(items) => all.extend(items.iter().flat_map(words)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    all
}

/// The names of the frames that a definition describes.
fn described(definition: &Value) -> BTreeSet<&str> {
    let choices = definition["oneOf"].as_array().into_iter().flatten();
    choices
        .map(|choice| {
            choice["properties"]["type"]["const"]
                .as_str()
                .expect("a name")
        })
        .collect()
}

fn check(name: &str, files: &[&str], again: Again) {
    let root = schema();
    let definition = &root["$defs"][name];
    let words: Vec<String> = words(&root).into_iter().collect();
    let frames: Vec<Value> = files.iter().flat_map(|file| golden(file)).collect();
    let (mut n_taken, mut n_refused) = (0, 0);
    for frame in &frames {
        assert!(is_valid(frame, definition, &root), "{name}: {frame}");
        for mutant in mutants(frame, &words) {
            let written = again(&mutant.to_string());
            if is_valid(&mutant, definition, &root) {
                assert!(written.is_some(), "allowed and not taken: {mutant}");
            }
            match written {
                None => n_refused += 1,
                Some(text) => {
                    n_taken += 1;
                    let written: Value = serde_json::from_str(&text).expect("JSON");
                    let is_allowed = is_valid(&written, definition, &root);
                    assert!(is_allowed, "taken and not allowed: {mutant} as {text}");
                }
            }
        }
    }
    assert!(n_taken > 0 && n_refused > 0, "{n_taken}, {n_refused}");
    let seen: BTreeSet<&str> = frames
        .iter()
        .filter_map(|frame| frame["type"].as_str())
        .collect();
    assert_eq!(described(definition), seen);
}

#[test]
fn agents_frames_are_what_the_schema_says() {
    check("agent_frame", &["agent", "events"], agent_again);
}

#[test]
fn frames_to_agents_are_what_the_schema_says() {
    check("daemon_frame", &["daemon"], |text| {
        again::<DaemonFrame>(&with_type_first(text))
    });
}

/// The same frame as a daemon writes it; a schema says nothing of an order.
fn with_type_first(text: &str) -> String {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(text) else {
        return text.to_owned();
    };
    let Some(name) = fields.remove("type") else {
        return text.to_owned();
    };
    let rest = Value::Object(fields).to_string();
    match rest.strip_prefix('{') {
        None | Some("}") => format!("{{\"type\":{name}}}"),
        Some(rest) => format!("{{\"type\":{name},{rest}"),
    }
}

#[test]
fn viewers_frames_are_what_the_schema_says() {
    check("viewer_frame", &["viewer"], |text| {
        again::<ViewerFrame>(text)
    });
}

#[test]
fn frames_to_viewers_are_what_the_schema_says() {
    check("stream_frame", &["stream"], |text| {
        again::<StreamFrame<'_>>(text)
    });
}

#[test]
fn bodies_of_enrollments_are_what_the_schema_says() {
    check("enroll_request", &["enroll_request"], |text| {
        again::<EnrollRequest>(text)
    });
    check("enroll_response", &["enroll_response"], |text| {
        again::<EnrollResponse>(text)
    });
}

#[test]
fn bodies_of_a_change_of_keys_are_what_the_schema_says() {
    check("rotate_request", &["rotate_request"], |text| {
        again::<RotateRequest>(text)
    });
    check("rotate_response", &["rotate_response"], |text| {
        again::<RotateResponse>(text)
    });
}

#[test]
fn a_field_that_nobody_knows_is_allowed_nowhere() {
    let root = schema();
    fn assert_closed(schema: &Value, path: &str) {
        if schema["properties"].is_object() {
            let rest = &schema["additionalProperties"];
            assert_eq!(rest, &Value::Bool(false), "{path}");
        }
        for (name, part) in schema.as_object().into_iter().flatten() {
            assert_closed(part, &format!("{path}/{name}"));
        }
        for part in schema.as_array().into_iter().flatten() {
            assert_closed(part, path);
        }
    }

    assert_closed(&root["$defs"], "");
}
