//! The content of a `postgres_changes` frame.
//! Never guesses: a frame that names no table or no kind is refused, a frame with errors is marked.

use serde_json::{Map, Value};

use crate::event::{Change, ChangeKind};
use crate::protocol::Undecodable;

/// Reads the `data` of a `postgres_changes` payload.
pub(crate) fn parse_change(mut data: Value) -> Result<Change, Undecodable> {
    let kind = match data["type"].as_str() {
        Some("INSERT") => ChangeKind::Insert,
        Some("UPDATE") => ChangeKind::Update,
        Some("DELETE") => ChangeKind::Delete,
        _ => return Err(Undecodable("type of a change")),
    };
    Ok(Change {
        schema: take_text(&mut data, "schema").ok_or(Undecodable("schema of a change"))?,
        table: take_text(&mut data, "table").ok_or(Undecodable("table of a change"))?,
        kind,
        intact: lists_no_error(&data["errors"]),
        record: take_row(&mut data, "record")?,
        old: take_row(&mut data, "old_record")?,
        commit_timestamp: take_text(&mut data, "commit_timestamp"),
    })
}

/// The guide says `errors` is a string, the server sends an array or null: anything else than nothing counts.
fn lists_no_error(errors: &Value) -> bool {
    match errors {
        Value::Null => true,
        Value::Array(errors) => errors.is_empty(),
        Value::String(error) => error.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}

fn take_text(data: &mut Value, key: &str) -> Option<String> {
    match data.get_mut(key)?.take() {
        Value::String(text) => Some(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    }
}

fn take_row(data: &mut Value, key: &str) -> Result<Map<String, Value>, Undecodable> {
    match data.get_mut(key).map(Value::take) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(row)) => Ok(row),
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            Err(Undecodable("row of a change"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_update_keeps_values_apart_from_missing_keys() {
        let data = json!({
            "schema": "public", "table": "agents", "type": "UPDATE",
            "commit_timestamp": "2026-11-21T00:12:45.157Z", "errors": null,
            "columns": [{"name": "id", "type": "int8"}],
            "record": {"id": 9_007_199_254_740_993_i64, "name": null}, "old_record": {"id": 1},
        });

        let change = parse_change(data).unwrap();

        assert_eq!(change.kind, ChangeKind::Update);
        assert_eq!(change.record["id"], json!(9_007_199_254_740_993_i64));
        assert_eq!(change.record.get("name"), Some(&Value::Null));
        assert_eq!(change.record.get("absent"), None);
        assert!(change.intact);
    }

    #[test]
    fn an_event_with_errors_and_without_a_timestamp_is_not_intact() {
        let data = json!({
            "schema": "public", "table": "agents", "type": "INSERT", "commit_timestamp": null,
            "errors": ["Error 413: Payload Too Large"], "record": {}, "columns": [],
        });

        let change = parse_change(data).unwrap();

        assert!(!change.intact);
        assert_eq!(change.commit_timestamp, None);
    }

    #[test]
    fn an_error_given_as_text_counts_as_well() {
        let data = json!({"schema": "s", "table": "t", "type": "DELETE", "errors": "Error 401"});

        assert!(!parse_change(data).unwrap().intact);
    }

    #[test]
    fn a_change_without_type_table_or_proper_row_is_refused() {
        let check = |data: Value, what| assert_eq!(parse_change(data), Err(Undecodable(what)));

        check(Value::Null, "type of a change");
        check(json!({"type": "TRUNCATE"}), "type of a change");
        check(
            json!({"type": "INSERT", "schema": "s"}),
            "table of a change",
        );
        check(
            json!({"type": "INSERT", "table": "t"}),
            "schema of a change",
        );
        let row = json!({"type": "INSERT", "schema": "s", "table": "t", "record": [1]});
        check(row, "row of a change");
    }
}
