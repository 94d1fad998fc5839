//! What a client asks for when it joins a channel.
//! Never looks at the database: whether a table exists is found out later, as on Supabase.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::pgchange::Kind;

/// A parsed `phx_join` payload.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Join {
    /// Whether row level security decides who may join.
    pub(crate) private: bool,
    /// Whether the sender hears its own broadcasts.
    pub(crate) hears_itself: bool,
    /// Whether broadcasts are acknowledged.
    pub(crate) acknowledges: bool,
    /// Whether the client wants to know who is present.
    pub(crate) presence: bool,
    /// The token, if one was sent.
    pub(crate) access_token: Option<String>,
    /// The change filters as the reply repeats them.
    pub(crate) echo: Vec<Value>,
    /// The change filters, or why one of them is wrong.
    pub(crate) bindings: Result<Vec<Binding>, String>,
}

/// One change filter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Binding {
    /// Id derived from the parameters, so that equal ones share it.
    pub(crate) id: u32,
    /// Schema, or `*`.
    pub(crate) schema: String,
    /// Table, or `*`.
    pub(crate) table: String,
    /// Kind of change; none means all.
    pub(crate) kind: Option<Kind>,
    /// Conditions on the row, all of which must hold.
    pub(crate) conditions: Vec<Condition>,
}

/// One condition on a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    /// Name of the column.
    pub(crate) column: String,
    /// Operator in SQL.
    pub(crate) operator: &'static str,
    /// Value to compare with, as text.
    pub(crate) value: String,
}

impl Join {
    /// Reads the payload; what is missing has Supabase's default.
    pub(crate) fn parse(payload: &Value) -> Self {
        let config = &payload["config"];
        let flag = |value: &Value| value.as_bool().unwrap_or(false);
        let filters = config["postgres_changes"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        Self {
            private: flag(&config["private"]),
            hears_itself: flag(&config["broadcast"]["self"]),
            acknowledges: flag(&config["broadcast"]["ack"]),
            presence: config["presence"]["enabled"].as_bool().unwrap_or(true),
            access_token: payload["access_token"].as_str().map(str::to_owned),
            echo: filters.iter().map(echo).collect(),
            bindings: filters.iter().map(parse_binding).collect(),
        }
    }
}

impl Binding {
    /// Tells whether a change of this kind and table is asked for, conditions apart.
    pub(crate) fn covers(&self, schema: &str, table: &str, kind: Kind) -> bool {
        let matches = |pattern: &str, name: &str| pattern == "*" || pattern == name;
        matches(&self.schema, schema)
            && matches(&self.table, table)
            && self.kind.is_none_or(|wanted| wanted == kind)
    }
}

fn echo(filter: &Value) -> Value {
    let mut echo = filter.as_object().cloned().unwrap_or_default();
    echo.insert("id".to_owned(), json!(id_of(filter)));
    Value::Object(echo)
}

/// Hashes the parameters to 27 bits, as the original does.
fn id_of(filter: &Value) -> u32 {
    let hash = Sha256::digest(filter.to_string());
    let (head, _) = hash
        .split_first_chunk::<4>()
        .expect("a sha-256 is longer than 4 bytes");
    u32::from_be_bytes(*head) & 0x07ff_ffff
}

fn parse_binding(filter: &Value) -> Result<Binding, String> {
    let wrong = || {
        format!(
            "No subscription params provided. Please provide at least a `schema` or `table` \
             to subscribe to: {filter}"
        )
    };
    let params: &Map<String, Value> = filter.as_object().ok_or_else(wrong)?;
    let text = |name: &str| match params.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(wrong()),
    };
    let (schema, table) = (text("schema")?, text("table")?);
    if schema.is_none() && table.is_none() {
        return Err(wrong());
    }
    Ok(Binding {
        id: id_of(filter),
        schema: schema.unwrap_or("public").to_owned(),
        table: table.unwrap_or("*").to_owned(),
        kind: parse_kind(text("event")?.unwrap_or("*")).ok_or_else(wrong)?,
        conditions: parse_conditions(text("filter")?.unwrap_or_default())?,
    })
}

fn parse_kind(event: &str) -> Option<Option<Kind>> {
    match event {
        "*" => Some(None),
        "INSERT" => Some(Some(Kind::Insert)),
        "UPDATE" => Some(Some(Kind::Update)),
        "DELETE" => Some(Some(Kind::Delete)),
        _ => None,
    }
}

fn parse_conditions(filter: &str) -> Result<Vec<Condition>, String> {
    split_conditions(filter)
        .into_iter()
        .map(parse_condition)
        .collect()
}

/// Splits at commas that are not inside the brackets of an `in` list.
fn split_conditions(filter: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    let is_separator = |character: char| {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        character == ',' && depth == 0
    };
    filter
        .split(is_separator)
        .filter(|condition| !condition.is_empty())
        .collect()
}

fn parse_condition(condition: &str) -> Result<Condition, String> {
    let wrong = || format!("Error parsing `filter` params: {condition}");
    let (column, rest) = condition.split_once('=').ok_or_else(wrong)?;
    let (operator, value) = rest.split_once('.').ok_or_else(wrong)?;
    let (operator, value) = match operator {
        "eq" => ("=", value.to_owned()),
        "neq" => ("<>", value.to_owned()),
        "lt" => ("<", value.to_owned()),
        "lte" => ("<=", value.to_owned()),
        "gt" => (">", value.to_owned()),
        "gte" => (">=", value.to_owned()),
        "in" => {
            let list = value
                .strip_prefix('(')
                .and_then(|list| list.strip_suffix(')'));
            ("= any", format!("{{{}}}", list.ok_or_else(wrong)?))
        }
        // The newer operators are not imitated; refusing them is better than ignoring them.
        _ => return Err(wrong()),
    };
    Ok(Condition {
        column: column.trim().to_owned(),
        operator,
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bindings(filter: &Value) -> Result<Vec<Binding>, String> {
        Join::parse(&json!({"config": {"postgres_changes": [filter]}})).bindings
    }

    #[test]
    fn equal_parameters_share_an_id_and_the_echo_repeats_them() {
        let filter = json!({"event": "*", "schema": "public", "table": "agents"});
        let payload = json!({"config": {"postgres_changes": [filter, filter]}});

        let join = Join::parse(&payload);

        let bindings = join.bindings.unwrap();
        assert_eq!(bindings[0].id, bindings[1].id);
        assert!(bindings[0].id < 1 << 27);
        assert_eq!(join.echo[0]["id"], json!(bindings[0].id));
        assert_eq!(join.echo[0]["table"], "agents");
    }

    #[test]
    fn a_filter_of_null_is_refused_and_an_empty_one_is_fine() {
        let null = bindings(&json!({"event": "*", "schema": "public", "filter": null}));
        let empty = bindings(&json!({"event": "*", "schema": "public", "filter": ""}));

        assert!(
            null.unwrap_err()
                .starts_with("No subscription params provided")
        );
        assert_eq!(empty.unwrap()[0].conditions, []);
    }

    #[test]
    fn conditions_are_joined_by_commas_outside_of_lists() {
        let filter = json!({"event": "UPDATE", "table": "t", "filter": "id=eq.5,name=in.(a,b)"});

        let conditions = bindings(&filter).unwrap().remove(0).conditions;

        let expected =
            [("id", "=", "5"), ("name", "= any", "{a,b}")].map(|(column, operator, value)| {
                Condition {
                    column: column.into(),
                    operator,
                    value: value.into(),
                }
            });
        assert_eq!(conditions, expected);
    }

    #[test]
    fn operators_that_are_not_imitated_are_refused() {
        for filter in ["id=match.x", "id", "id=eq", "id=in.5"] {
            assert!(
                bindings(&json!({"table": "t", "filter": filter})).is_err(),
                "{filter}"
            );
        }
    }
}
