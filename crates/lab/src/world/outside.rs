//! The database as it is, behind everybody's back: rows without policies, and a search for a text in
//! every table, in the write-ahead log and in every file. It never writes a row.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls, Row};

use crate::command::{CommandError, run};

/// A query here reads a handful of rows; a checkpoint of a small database takes below a second.
const GREP_DEADLINE: Duration = Duration::from_secs(60);

/// A superuser's look at the database.
#[derive(Debug)]
pub struct Outside {
    client: Client,
    _connection: JoinSet<()>,
}

/// A row of `agent_conditions`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConditionRow {
    /// `true`, `false` or `unknown`.
    pub status: String,
    /// One word.
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// For which generation.
    pub observed_generation: Option<i64>,
}

/// What matters of a row of `alerts`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AlertRow {
    /// Its id.
    pub id: String,
    /// What was seen.
    pub title: String,
    /// A sentence.
    pub message: String,
    /// The class.
    pub alert_type: String,
    /// 1 to 4.
    pub severity: i16,
    /// How often.
    pub occurrences: i32,
    /// What makes a repeat the same.
    pub fingerprint: String,
    /// Why the rule matched.
    pub explanation: Value,
}

impl Outside {
    /// Connects as the superuser.
    ///
    /// # Errors
    /// When Postgres refuses.
    pub async fn connect(database_url: &str) -> Result<Self, OutsideError> {
        let connected = tokio_postgres::connect(database_url, NoTls).await;
        let (client, connection) = connected.map_err(failed("connect to the database"))?;
        let mut owner = JoinSet::new();
        // Its end shows as the failure of the next query.
        owner.spawn(async move { drop(connection.await) });
        Ok(Self { client, _connection: owner })
    }

    /// A condition of an agent.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn read_condition(
        &self,
        agent: &str,
        kind: &str,
    ) -> Result<Option<ConditionRow>, OutsideError> {
        let query = "select status, reason, message, observed_generation from agent_conditions \
                     where agent_id = $1::text::uuid and type = $2";
        let rows = self.client.query(query, &[&agent, &kind]).await;
        let rows = rows.map_err(failed("read a condition"))?;
        Ok(rows.first().map(|row| ConditionRow {
            status: row.get(0),
            reason: row.get(1),
            message: row.get(2),
            observed_generation: row.get(3),
        }))
    }

    /// The generation of what is desired of an agent.
    ///
    /// # Errors
    /// When the query fails or the agent has none.
    pub async fn read_generation(&self, agent: &str) -> Result<i64, OutsideError> {
        let query = "select generation from desired_generations where agent_id = $1::text::uuid";
        self.read_one(query, agent).await
    }

    /// Whether the agent is online, as people see it.
    ///
    /// # Errors
    /// When the query fails or there is no such agent.
    pub async fn is_online(&self, agent: &str) -> Result<bool, OutsideError> {
        self.read_one("select is_online from agents where id = $1::text::uuid", agent).await
    }

    /// Unresolved alerts of an agent with this title, oldest first.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn list_alerts(
        &self,
        agent: &str,
        title: &str,
    ) -> Result<Vec<AlertRow>, OutsideError> {
        let query = "select id::text, title, message, alert_type, severity, occurrences, \
                     coalesce(fingerprint, ''), explanation from alerts \
                     where agent_id = $1::text::uuid and title = $2 and not resolved \
                     order by created_at";
        let rows = self.client.query(query, &[&agent, &title]).await;
        Ok(rows.map_err(failed("list alerts"))?.iter().map(alert_of).collect())
    }

    /// How many rows of a table there are.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn count_rows(&self, table: &str) -> Result<i64, OutsideError> {
        let query = format!("select count(*) from {table}");
        let row = self.client.query_one(&query, &[]).await.map_err(failed("count rows"))?;
        Ok(row.get(0))
    }

    /// The tables, of every schema but Postgres's own, that hold a text anywhere.
    ///
    /// # Errors
    /// When a query fails.
    pub async fn find_in_tables(&self, text: &str) -> Result<Vec<String>, OutsideError> {
        let tables = "select format('%I.%I', n.nspname, c.relname) from pg_class c \
                      join pg_namespace n on n.oid = c.relnamespace \
                      where c.relkind in ('r', 'm') \
                      and n.nspname not in ('pg_catalog', 'information_schema') order by 1";
        let tables = self.client.query(tables, &[]).await.map_err(failed("list tables"))?;
        let mut found = Vec::new();
        for table in &tables {
            let table: String = table.get(0);
            let query =
                format!("select exists (select from {table} t where strpos(t::text, $1) > 0)");
            let row = self.client.query_one(&query, &[&text]).await;
            if row.map_err(failed("search a table"))?.get(0) {
                found.push(table);
            }
        }
        Ok(found)
    }

    /// The directory of the database's files, after everything in memory was written to it.
    ///
    /// # Errors
    /// When Postgres refuses.
    pub async fn flush(&self) -> Result<PathBuf, OutsideError> {
        self.client.batch_execute("checkpoint").await.map_err(failed("write a checkpoint"))?;
        let row = self.client.query_one("show data_directory", &[]).await;
        let directory: String = row.map_err(failed("find the database's files"))?.get(0);
        Ok(directory.into())
    }

    async fn read_one<T: for<'a> tokio_postgres::types::FromSql<'a>>(
        &self,
        query: &str,
        agent: &str,
    ) -> Result<T, OutsideError> {
        let row = self.client.query_one(query, &[&agent]).await;
        Ok(row.map_err(failed("read about an agent"))?.get(0))
    }
}

/// The files below a directory that hold a text, by `grep`.
///
/// # Errors
/// When `grep` cannot read them.
pub fn find_in_files(directory: &Path, text: &str) -> Result<Vec<String>, OutsideError> {
    let mut grep = Command::new("grep");
    grep.args(["--recursive", "--files-with-matches", "--text", "--fixed-strings", "-e", text]);
    grep.arg(directory);
    match run(grep, GREP_DEADLINE) {
        Ok(output) => {
            let files = String::from_utf8_lossy(&output.stdout);
            Ok(files.lines().map(str::to_owned).collect())
        }
        Err(CommandError::Failed { status, .. }) if status.code() == Some(1) => Ok(Vec::new()),
        Err(source) => Err(OutsideError::Search { directory: directory.to_owned(), source }),
    }
}

fn alert_of(row: &Row) -> AlertRow {
    AlertRow {
        id: row.get(0),
        title: row.get(1),
        message: row.get(2),
        alert_type: row.get(3),
        severity: row.get(4),
        occurrences: row.get(5),
        fingerprint: row.get(6),
        explanation: row.get(7),
    }
}

fn failed(action: &'static str) -> impl FnOnce(tokio_postgres::Error) -> OutsideError {
    move |source| OutsideError::Query { action, source }
}

/// Why something could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    /// Postgres did not answer as expected.
    #[error("could not {action}")]
    Query {
        /// What was tried.
        action: &'static str,
        /// What Postgres said.
        #[source]
        source: tokio_postgres::Error,
    },
    /// Files could not be searched.
    #[error("could not search {directory}")]
    Search {
        /// Where.
        directory: PathBuf,
        /// How it failed.
        #[source]
        source: CommandError,
    },
}
