//! Whether a value is valid, for the words of JSON Schema that ours use.
//! It never passes over a word that it does not know.

use serde_json::{Map, Value};
use uuid::Uuid;

/// Words that describe and decide nothing.
const SILENT: [&str; 4] = ["$schema", "$id", "title", "description"];

/// Whether a value is valid by a schema, whose references are looked up in `root`.
pub(crate) fn is_valid(value: &Value, schema: &Value, root: &Value) -> bool {
    let words = schema.as_object().expect("a schema is an object");
    words
        .iter()
        .filter(|(word, _)| !SILENT.contains(&word.as_str()))
        .all(|(word, wanted)| obeys(value, word, wanted, words, root))
}

fn obeys(
    value: &Value,
    word: &str,
    wanted: &Value,
    words: &Map<String, Value>,
    root: &Value,
) -> bool {
    match word {
        "$ref" => {
            let path = wanted.as_str().expect("a path").trim_start_matches('#');
            is_valid(value, root.pointer(path).expect("it is defined"), root)
        }
        "oneOf" => {
            let choices = list(wanted).iter();
            choices
                .filter(|choice| is_valid(value, choice, root))
                .count()
                == 1
        }
        "const" => value == wanted,
        "enum" => list(wanted).contains(value),
        "type" => match wanted.as_array() {
            Some(names) => names.iter().any(|name| has_type(value, name)),
            None => has_type(value, wanted),
        },
        "format" => {
            assert_eq!(wanted, "uuid");
            let text = value.as_str().unwrap_or_default();
            text.len() == 36 && Uuid::try_parse(text).is_ok()
        }
        "minimum" => value.as_f64() >= wanted.as_f64(),
        "maximum" => value.as_f64() <= wanted.as_f64(),
        "required" => list(wanted)
            .iter()
            .all(|name| value.get(name.as_str().expect("a name")).is_some()),
        "properties" => fields(value).all(|(name, field)| {
            let schema = wanted.get(name);
            schema.is_none_or(|schema| is_valid(field, schema, root))
        }),
        "additionalProperties" => fields(value)
            .filter(|(name, _)| {
                words
                    .get("properties")
                    .and_then(|all| all.get(name))
                    .is_none()
            })
            .all(|(_, field)| wanted.is_object() && is_valid(field, wanted, root)),
        "maxProperties" => fields(value).count() as u64 <= count(wanted),
        "items" => items(value).iter().all(|item| is_valid(item, wanted, root)),
        "minItems" => items(value).len() as u64 >= count(wanted),
        "maxItems" => items(value).len() as u64 <= count(wanted),
        other => panic!("{other} is not known here"),
    }
}

fn has_type(value: &Value, name: &Value) -> bool {
    match name.as_str().expect("a type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{other} is not known here"),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn count(value: &Value) -> u64 {
    value.as_u64().expect("a count")
}
