//! A published table: turning logged text into JSON, and asking Postgres who may see a row.
//! Never decides visibility itself: the row is read again by its primary key under the subscriber's role and claims.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row};

use super::claims::Claims;
use super::join::Condition;
use super::pgchange::Column;
use super::pgoutput::{Cell, Relation};

/// Columns, types and primary key of a table.
const READ_COLUMNS: &str = "
  select a.attname::text, format_type(a.atttypid, a.atttypmod), t.typname::text,
         coalesce(a.attnum = any (i.indkey), false), c.relrowsecurity
  from pg_attribute a
  join pg_class c on c.oid = a.attrelid
  join pg_type t on t.oid = a.atttypid
  left join pg_index i on i.indrelid = a.attrelid and i.indisprimary
  where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
  order by a.attnum";

/// Columns a role may read.
const READABLE_COLUMNS: &str = "
  select a.attname::text from pg_attribute a
  where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
    and has_column_privilege($2::text::name, a.attrelid, a.attnum, 'select')";

/// A table as events need it.
#[derive(Debug)]
pub(crate) struct Table {
    /// How the log describes it.
    pub(crate) relation: Relation,
    /// Whether row level security is on.
    pub(crate) has_row_security: bool,
    columns: Vec<Attribute>,
}

#[derive(Debug)]
struct Attribute {
    column: Column,
    /// The type as SQL writes it.
    sql_type: String,
    is_key: bool,
}

/// What a subscriber may see of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sight {
    /// These columns.
    Columns(BTreeSet<String>),
    /// Nothing, as if there were no row.
    Hidden,
    /// Not even the primary key of any row.
    Unauthorized,
}

impl Table {
    /// Looks the table up in the catalog.
    pub(crate) async fn read(client: &Client, relation: Relation) -> Result<Self, Error> {
        let rows = client.query(READ_COLUMNS, &[&relation.oid]).await?;
        let has_row_security = rows.first().is_some_and(|row| row.get(4));
        let columns = rows.iter().map(Attribute::of).collect();
        Ok(Self {
            relation,
            has_row_security,
            columns,
        })
    }

    /// Tells whether rows can be told apart.
    pub(crate) fn has_key(&self) -> bool {
        self.columns.iter().any(|attribute| attribute.is_key)
    }

    /// Lists the columns among `seen`.
    pub(crate) fn list_columns(&self, seen: &BTreeSet<String>) -> Vec<Column> {
        let columns = self.columns.iter().map(|attribute| &attribute.column);
        columns
            .filter(|column| seen.contains(&column.name))
            .cloned()
            .collect()
    }

    /// Lists the names of all columns.
    pub(crate) fn all_names(&self) -> BTreeSet<String> {
        self.columns
            .iter()
            .map(|attribute| attribute.column.name.clone())
            .collect()
    }

    /// Turns logged cells into JSON with Postgres' own conversions; unchanged large values stay absent.
    pub(crate) async fn to_json(
        &self,
        client: &Client,
        cells: &[Cell],
    ) -> Result<Map<String, Value>, Error> {
        let present: Vec<(&Attribute, Option<&str>)> = self.pair(cells).collect();
        let expressions: Vec<String> = present
            .iter()
            .enumerate()
            .map(|(index, (attribute, _))| {
                format!("to_jsonb(${}::text::{})", index + 1, attribute.sql_type)
            })
            .collect();
        let values: Vec<&(dyn ToSql + Sync)> = present
            .iter()
            .map(|(_, value)| value as &(dyn ToSql + Sync))
            .collect();
        let query = format!("select {}", expressions.join(", "));
        let row = client.query_one(query.as_str(), &values).await?;
        let value = |index| row.get::<_, Option<Value>>(index).unwrap_or(Value::Null);
        Ok(present
            .iter()
            .enumerate()
            .map(|(index, (attribute, _))| (attribute.column.name.clone(), value(index)))
            .collect())
    }

    /// Keeps the primary key of a row.
    pub(crate) fn keep_key(&self, mut row: Map<String, Value>) -> Map<String, Value> {
        let is_key = |name: &str| {
            self.columns
                .iter()
                .any(|attribute| attribute.is_key && attribute.column.name == name)
        };
        row.retain(|name, _| is_key(name));
        row
    }

    /// Asks Postgres what somebody may see of the row with these cells.
    pub(crate) async fn look(
        &self,
        client: &mut Client,
        claims: &Claims,
        cells: &[Cell],
    ) -> Result<Sight, Error> {
        let readable = client
            .query(READABLE_COLUMNS, &[&self.relation.oid, &claims.role])
            .await?;
        let readable: BTreeSet<String> = readable.iter().map(|row| row.get(0)).collect();
        let key: Vec<(&Attribute, Option<&str>)> = self
            .pair(cells)
            .filter(|(attribute, _)| attribute.is_key)
            .collect();
        if !key
            .iter()
            .all(|(attribute, _)| readable.contains(&attribute.column.name))
        {
            return Ok(Sight::Unauthorized);
        }
        let values: Vec<&(dyn ToSql + Sync)> = key
            .iter()
            .map(|(_, value)| value as &(dyn ToSql + Sync))
            .collect();
        let transaction = client.transaction().await?;
        become_role(&transaction, claims).await?;
        let found = transaction
            .query_opt(self.find_by_key(&key).as_str(), &values)
            .await;
        transaction.rollback().await?;
        match found {
            Ok(Some(_)) => Ok(Sight::Columns(readable)),
            Ok(None) => Ok(Sight::Hidden),
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                Ok(Sight::Unauthorized)
            }
            Err(error) => Err(error),
        }
    }

    /// Asks Postgres whether a row meets all conditions; a value that was not logged meets every one.
    pub(crate) async fn meets(
        &self,
        client: &Client,
        conditions: &[Condition],
        cells: &[Cell],
    ) -> Result<bool, Error> {
        for condition in conditions {
            let found = self
                .pair(cells)
                .find(|(one, _)| one.column.name == condition.column);
            let Some((attribute, value)) = found else {
                continue;
            };
            let sql_type = &attribute.sql_type;
            let list = if condition.operator == "= any" {
                "[]"
            } else {
                ""
            };
            let query = format!(
                "select coalesce($1::text::{sql_type} {} ($2::text::{sql_type}{list}), false)",
                condition.operator
            );
            let row = client
                .query_one(query.as_str(), &[&value, &condition.value])
                .await?;
            if !row.get::<_, bool>(0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Pairs the columns with those cells that were logged.
    fn pair<'a>(
        &'a self,
        cells: &'a [Cell],
    ) -> impl Iterator<Item = (&'a Attribute, Option<&'a str>)> {
        self.relation
            .columns
            .iter()
            .zip(cells)
            .filter_map(|(name, cell)| {
                let attribute = self.columns.iter().find(|one| one.column.name == *name)?;
                match cell {
                    Cell::Null => Some((attribute, None)),
                    Cell::Text(text) => Some((attribute, Some(text.as_str()))),
                    Cell::Unchanged => None,
                }
            })
    }

    fn find_by_key(&self, key: &[(&Attribute, Option<&str>)]) -> String {
        let conditions: Vec<String> = key
            .iter()
            .enumerate()
            .map(|(index, (attribute, _))| {
                let name = quote(&attribute.column.name);
                format!("{name} = ${}::text::{}", index + 1, attribute.sql_type)
            })
            .collect();
        let (schema, table) = (quote(&self.relation.schema), quote(&self.relation.table));
        format!(
            "select 1 from {schema}.{table} where {}",
            conditions.join(" and ")
        )
    }
}

impl Attribute {
    fn of(row: &Row) -> Self {
        Self {
            column: Column {
                name: row.get(0),
                type_name: row.get(2),
            },
            sql_type: row.get(1),
            is_key: row.get(3),
        }
    }
}

/// Continues a transaction as somebody else; it ends with the transaction.
pub(crate) async fn become_role(
    transaction: &tokio_postgres::Transaction<'_>,
    claims: &Claims,
) -> Result<(), Error> {
    // The Auth server replaces auth.uid() and its siblings by forms that read one setting per claim; ours read all
    // claims at once. Which of them a policy meets depends on who started last, so both find what they look for.
    let statement = "
        select set_config('request.jwt.claims', $2::text, true),
               set_config('request.jwt.claim.sub', coalesce($2::text::json ->> 'sub', ''), true),
               set_config('request.jwt.claim.email', coalesce($2::text::json ->> 'email', ''), true),
               set_config('request.jwt.claim.role', $1, true),
               set_config('role', $1, true)";
    transaction
        .query_one(statement, &[&claims.role, &claims.json])
        .await
        .map(|_| ())
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
