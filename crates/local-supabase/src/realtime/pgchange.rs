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
pub enum ChangeError {
    /// 400: the table has no primary key; the event names the table and nothing else.
    NoPrimaryKey,
    /// 401: the subscriber may not read the primary key; the event names the table and nothing else.
    Unauthorized,
    /// 413: the row is too large; the event lacks its large values.
    TooLarge,
}

/// Size of a change above which Supabase cuts it.
const SIZE_LIMIT: usize = 1 << 20;
/// Size of a value that survives the cut.
const KEPT_VALUE: usize = 64;

impl Change {
    /// Gives the change the error it is to carry, or the one its size earns.
    pub(crate) fn spoil(&mut self, error: Option<ChangeError>) {
        let size = |row: &Map<String, Value>| row.values().map(value_size).sum::<usize>();
        let is_large = size(&self.record) + size(&self.old) > SIZE_LIMIT;
        let Some(error) = error.or(is_large.then_some(ChangeError::TooLarge)) else {
            return;
        };
        if error == ChangeError::TooLarge {
            for row in [&mut self.record, &mut self.old] {
                row.retain(|_, value| value_size(value) <= KEPT_VALUE);
            }
        }
        self.error = Some(error);
    }

    /// Writes the `data` of the event.
    pub(crate) fn to_json(&self) -> Value {
        let mut data = json!({
            "schema": self.schema,
            "table": self.table,
            "type": self.kind.as_str(),
            "commit_timestamp": null,
            "columns": [],
            "errors": self.error.map(|error| [error.message()]),
        });
        let (mut record, mut old) = (json!({}), json!({}));
        if !self.is_nameless() {
            record = Value::Object(self.record.clone());
            old = Value::Object(self.old.clone());
            data["commit_timestamp"] = format_timestamp(self.committed_at);
            let column = |column: &Column| json!({ "name": column.name, "type": column.type_name });
            data["columns"] = self.columns.iter().map(column).collect();
        }
        if self.kind != Kind::Delete {
            data["record"] = record;
        }
        if self.kind != Kind::Insert {
            data["old_record"] = old;
        }
        data
    }

    /// Tells whether the event may not even say which row it is about.
    fn is_nameless(&self) -> bool {
        matches!(
            self.error,
            Some(ChangeError::NoPrimaryKey | ChangeError::Unauthorized)
        )
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

        large.spoil(None);

        let data = large.to_json();
        assert_eq!(data["record"], json!({"id": "new"}));
        assert_eq!(data["errors"], json!(["Error 413: Payload Too Large"]));
    }

    #[test]
    fn a_change_that_may_not_name_its_row_says_what_happened_and_nothing_more() {
        let check = |kind, error, words: &str, rows: Value| {
            let mut nameless = change(kind);
            nameless.spoil(Some(error));
            let mut expected = json!({
                "schema": "public", "table": "agents", "type": kind.as_str(),
                "commit_timestamp": null, "columns": [], "errors": [words],
            });
            let rows = rows.as_object().unwrap().clone();
            expected.as_object_mut().unwrap().extend(rows);

            assert_eq!(nameless.to_json(), expected);
        };

        let no_key = "Error 400: Bad Request, no primary key";
        let insert = json!({"record": {}});
        check(Kind::Insert, ChangeError::NoPrimaryKey, no_key, insert);
        let update = json!({"record": {}, "old_record": {}});
        let denied = "Error 401: Unauthorized";
        check(Kind::Update, ChangeError::Unauthorized, denied, update);
        let delete = json!({"old_record": {}});
        check(Kind::Delete, ChangeError::Unauthorized, denied, delete);
    }
}
