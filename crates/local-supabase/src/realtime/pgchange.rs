//! A change of a row on its way to the subscribers.
//! Never knows who they are.

use serde_json::{Map, Value, json};

/// What happened to the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It is new.
    Insert,
    /// It changed.
    Update,
    /// It is gone.
    Delete,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// A column as an event lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its name.
    pub(crate) name: String,
    /// Its type, by Postgres' internal name.
    pub(crate) type_name: String,
}

/// A change as one subscriber may see it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    /// Schema of the table.
    pub(crate) schema: String,
    /// Name of the table.
    pub(crate) table: String,
    /// What happened.
    pub(crate) kind: Kind,
    /// When the transaction committed, in microseconds since 2000.
    pub(crate) committed_at: i64,
    /// Columns of the record.
    pub(crate) columns: Vec<Column>,
    /// The new row.
    pub(crate) record: Map<String, Value>,
    /// The old key or row.
    pub(crate) old: Map<String, Value>,
    /// Why something is missing.
    pub(crate) error: Option<ChangeError>,
}

/// Why an event lacks values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeError {
    /// The table has no primary key.
    NoPrimaryKey,
    /// The subscriber may not read the primary key.
    Unauthorized,
    /// The row is too large.
    TooLarge,
}

/// Size of a change above which Supabase cuts it.
const SIZE_LIMIT: usize = 1 << 20;
/// Size of a value that survives the cut.
const KEPT_VALUE: usize = 64;

impl Change {
    /// Drops the large values if the change is over the limit, or if it is to be treated as such.
    pub(crate) fn cut(&mut self, always: bool) {
        let size = |row: &Map<String, Value>| row.values().map(value_size).sum::<usize>();
        if !always && size(&self.record) + size(&self.old) <= SIZE_LIMIT {
            return;
        }
        for row in [&mut self.record, &mut self.old] {
            row.retain(|_, value| value_size(value) <= KEPT_VALUE);
        }
        self.error = Some(ChangeError::TooLarge);
    }

    /// Writes the `data` of the event.
    pub(crate) fn to_json(&self) -> Value {
        let mut data = json!({
            "schema": self.schema,
            "table": self.table,
            "type": self.kind.as_str(),
            "commit_timestamp": format_timestamp(self.committed_at),
            "columns": self.columns.iter().map(|column| {
                json!({ "name": column.name, "type": column.type_name })
            }).collect::<Vec<_>>(),
            "errors": self.error.map(|error| [error.message()]),
        });
        if self.kind != Kind::Delete {
            data["record"] = Value::Object(self.record.clone());
        }
        if self.kind != Kind::Insert {
            data["old_record"] = Value::Object(self.old.clone());
        }
        if matches!(
            self.error,
            Some(ChangeError::NoPrimaryKey | ChangeError::Unauthorized)
        ) {
            data["record"] = json!({});
            data["columns"] = json!([]);
            data["commit_timestamp"] = Value::Null;
        }
        data
    }
}

impl ChangeError {
    fn message(self) -> &'static str {
        match self {
            Self::NoPrimaryKey => "Error 400: Bad Request, no primary key",
            Self::Unauthorized => "Error 401: Unauthorized",
            Self::TooLarge => "Error 413: Payload Too Large",
        }
    }
}

fn value_size(value: &Value) -> usize {
    value
        .as_str()
        .map_or_else(|| value.to_string().len(), str::len)
}

/// Writes microseconds since 2000 with the millisecond precision Supabase has.
fn format_timestamp(committed_at: i64) -> Value {
    // 2000-01-01T00:00:00Z in microseconds since 1970.
    const EPOCH: i64 = 946_684_800_000_000;
    jiff::Timestamp::from_microsecond(committed_at.saturating_add(EPOCH))
        .map_or(Value::Null, |time| json!(format!("{time:.3}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: Kind) -> Change {
        let row = |text: &str| Map::from_iter([("id".to_owned(), json!(text))]);
        Change {
            schema: "public".into(),
            table: "agents".into(),
            kind,
            committed_at: 1_157_000,
            columns: vec![Column {
                name: "id".into(),
                type_name: "text".into(),
            }],
            record: row("new"),
            old: row("old"),
            error: None,
        }
    }

    #[test]
    fn an_insert_has_no_old_row_and_a_delete_no_new_one() {
        let insert = change(Kind::Insert).to_json();
        let delete = change(Kind::Delete).to_json();

        assert_eq!(insert["record"], json!({"id": "new"}));
        assert_eq!(insert.get("old_record"), None);
        assert_eq!(delete["old_record"], json!({"id": "old"}));
        assert_eq!(delete.get("record"), None);
        assert_eq!(insert["errors"], Value::Null);
    }

    #[test]
    fn commit_times_have_milliseconds() {
        let data = change(Kind::Update).to_json();

        assert_eq!(data["commit_timestamp"], "2000-01-01T00:00:01.157Z");
    }

    #[test]
    fn a_row_over_the_limit_loses_its_large_values_only() {
        let mut large = change(Kind::Update);
        large
            .record
            .insert("body".into(), json!("x".repeat(SIZE_LIMIT)));

        large.cut(false);

        let data = large.to_json();
        assert_eq!(data["record"], json!({"id": "new"}));
        assert_eq!(data["errors"], json!(["Error 413: Payload Too Large"]));
    }

    #[test]
    fn a_table_without_a_key_says_nothing_but_that() {
        let keyless = Change {
            error: Some(ChangeError::NoPrimaryKey),
            ..change(Kind::Insert)
        };

        let data = keyless.to_json();

        assert_eq!(data["record"], json!({}));
        assert_eq!(data["commit_timestamp"], Value::Null);
        assert_eq!(
            data["errors"],
            json!(["Error 400: Bad Request, no primary key"])
        );
    }
}
