//! `cargo x types`: the frames' types for TypeScript, made from their JSON Schema.
//! It never looks into Rust sources; a test of `crates/wire` holds the schema to the decoder.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use crate::program::repository_root;

/// Where the frames are described.
pub(crate) const SCHEMA: &str = "docs/schema/frames.json";

/// What is made of that.
pub(crate) const TYPES: &str = "clients/typescript/frames.ts";

const HEAD: &str = "// Every frame and body between agents, daemon and viewers.\n\
                    // Made from docs/schema/frames.json by `cargo x types`, and never changed by hand.\n";

/// Writes the types anew.
pub(crate) fn run() -> Result<ExitCode> {
    let schema = fs::read_to_string(repository_root().join(SCHEMA));
    let types = generate(&schema.with_context(|| format!("cannot read {SCHEMA}"))?)?;
    let written = fs::write(repository_root().join(TYPES), types);
    written.with_context(|| format!("cannot write {TYPES}"))?;
    println!("{TYPES} is written");
    Ok(ExitCode::SUCCESS)
}

/// The types of a schema's definitions, in the order of their names.
pub(crate) fn generate(schema: &str) -> Result<String> {
    let schema: Value = serde_json::from_str(schema).context("the schema is not JSON")?;
    let definitions = schema["$defs"].as_object();
    let definitions = definitions.context("the schema defines nothing")?;
    let mut text = HEAD.to_owned();
    for (name, definition) in sorted(definitions) {
        let described = describe(definition, "");
        let written = write_type(definition, "").with_context(|| name.clone())?;
        let space = if written.starts_with('\n') { "" } else { " " };
        let name = type_name(name);
        text += &format!("\n{described}export type {name} ={space}{written};\n");
    }
    Ok(text)
}

/// Fields by name, what tells objects apart first; how a map keeps them depends on who links it.
fn sorted(fields: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut fields: Vec<_> = fields.iter().collect();
    fields.sort_by_key(|(name, _)| (!matches!(name.as_str(), "type" | "kind"), name.as_str()));
    fields
}

fn describe(schema: &Value, indent: &str) -> String {
    let described = schema["description"].as_str();
    described.map_or_else(String::new, |words| format!("{indent}/** {words} */\n"))
}

/// `agent_frame` as `AgentFrame`.
fn type_name(name: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    name.split('_').map(capital).collect()
}

fn write_type(schema: &Value, indent: &str) -> Result<String> {
    if let Some(path) = schema["$ref"].as_str() {
        return Ok(type_name(path.rsplit('/').next().unwrap_or(path)));
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        return write_choices(choices, indent);
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words.iter().map(Value::to_string).collect();
        return Ok(words.join(" | "));
    }
    if let Some(word) = schema.get("const") {
        return Ok(word.to_string());
    }
    match &schema["type"] {
        Value::Null => Ok("unknown".to_owned()),
        Value::String(name) => write_named(name, schema, indent),
        Value::Array(names) => {
            let names = names.iter().filter_map(Value::as_str);
            let written: Result<Vec<_>> = names
                .map(|name| write_named(name, schema, indent))
                .collect();
            Ok(written?.join(" | "))
        }
        other @ (Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
            bail!("the type {other} is not known")
        }
    }
}

/// Choices without words of their own stand in one line, others each in its own.
fn write_choices(choices: &[Value], indent: &str) -> Result<String> {
    let deeper = format!("{indent}  ");
    let written: Result<Vec<_>> = choices
        .iter()
        .map(|choice| write_type(choice, &deeper))
        .collect();
    let written = written?;
    let is_plain = |choice: &Value| choice["description"].is_null();
    if choices.iter().all(is_plain) && !written.iter().any(|text| text.contains('\n')) {
        return Ok(written.join(" | "));
    }
    let mut text = String::new();
    for (choice, written) in choices.iter().zip(written) {
        let described = describe(choice, &deeper);
        text += &format!("\n{described}{deeper}| {written}");
    }
    Ok(text)
}

fn write_named(name: &str, schema: &Value, indent: &str) -> Result<String> {
    Ok(match name {
        "string" | "boolean" | "null" => name.to_owned(),
        "integer" | "number" => "number".to_owned(),
        "array" => write_list(schema, indent)?,
        "object" => write_object(schema, indent)?,
        other => bail!("the type {other} is not known"),
    })
}

fn write_list(schema: &Value, indent: &str) -> Result<String> {
    let item = write_type(&schema["items"], indent)?;
    let (least, most) = (schema["minItems"].as_u64(), schema["maxItems"].as_u64());
    Ok(match (least, most) {
        (Some(least), Some(most)) if least == most => {
            let items = vec![item; usize::try_from(most)?];
            format!("[{}]", items.join(", "))
        }
        _ => format!("Array<{item}>"),
    })
}

fn write_object(schema: &Value, indent: &str) -> Result<String> {
    let Some(fields) = schema["properties"].as_object() else {
        let value = write_type(&schema["additionalProperties"], indent)?;
        return Ok(format!("{{ [name: string]: {value} }}"));
    };
    let deeper = format!("{indent}  ");
    let required = schema["required"].as_array();
    let is_required =
        |name: &str| required.is_some_and(|names| names.iter().any(|known| known == name));
    let mut text = "{\n".to_owned();
    for (name, field) in sorted(fields) {
        let mark = if is_required(name) { "" } else { "?" };
        let written = write_type(field, &deeper)?;
        text += &describe(field, &deeper);
        text += &format!("{deeper}{name}{mark}: {written};\n");
    }
    Ok(format!("{text}{indent}}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(definition: &str, expected: &str) {
        let text = generate(&format!(r#"{{"$defs": {{"a_b": {definition}}}}}"#)).unwrap();

        assert_eq!(text, format!("{HEAD}\n{expected}"));
    }

    #[test]
    fn every_form_of_the_schema_has_its_type() {
        check(
            r##"{"description": "D.", "type": "object", "required": ["type"], "properties": {
                "c": {"$ref": "#/$defs/d_e"}, "type": {"const": "x"},
                "f": {"type": "array", "items": {"enum": ["g", "h"]}},
                "i": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
                "j": {"type": "object", "additionalProperties": {"type": ["string", "null"]}}}}"##,
            "/** D. */\nexport type AB = {\n  type: \"x\";\n  c?: DE;\n  f?: Array<\"g\" | \"h\">;\n  \
             i?: [number, number];\n  j?: { [name: string]: string | null };\n};\n",
        );
        check(
            r#"{"oneOf": [{"type": "null"}, {"description": "B.", "const": "b"}]}"#,
            "export type AB =\n  | null\n  /** B. */\n  | \"b\";\n",
        );
        check(
            r##"{"oneOf": [{"type": "null"}, {"$ref": "#/$defs/c"}]}"##,
            "export type AB = null | C;\n",
        );
        check("{}", "export type AB = unknown;\n");
    }

    #[test]
    fn a_type_that_nobody_knows_is_no_type() {
        let refused = generate(r#"{"$defs": {"a": {"type": "date"}}}"#);

        assert!(format!("{:#}", refused.unwrap_err()).contains("date"));
    }
}
