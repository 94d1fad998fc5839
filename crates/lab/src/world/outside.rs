//! The database as it is, behind everybody's back: rows without policies, and a search for a text in
//! every table, in the write-ahead log and in every file. It never writes a row.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hidps_local_supabase::{Row, Stack, StackError};
use serde_json::Value;

use crate::command::{CommandError, run};

/// The files of a small database are some hundred megabytes.
const GREP_DEADLINE: Duration = Duration::from_secs(60);

/// A superuser's look at the database of a stack.
#[derive(Clone, Copy, Debug)]
pub struct Outside<'a>(pub &'a Stack);

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

/// What people want of an agent, from the rows they write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IntentRows {
    /// The generation of all of it.
    pub generation: i64,
    /// Whether the firewall is to be on; none where it is left alone.
    pub firewall: Option<bool>,
    /// The paths to be watched.
    pub paths: BTreeSet<String>,
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

impl Outside<'_> {
    /// A condition of an agent.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn read_condition(
        &self,
        agent: &str,
        kind: &str,
    ) -> Result<Option<ConditionRow>, OutsideError> {
        let (agent, kind) = (quote(agent), quote(kind));
        let query = format!(
            "select status, reason, message, observed_generation from agent_conditions \
             where agent_id = {agent} and type = {kind}"
        );
        let rows = self.query("read a condition", &query).await?;
        Ok(rows.first().map(|row| ConditionRow {
            status: text(row, "status"),
            reason: text(row, "reason"),
            message: text(row, "message"),
            observed_generation: text(row, "observed_generation").parse().ok(),
        }))
    }

    /// The generation of what is desired of an agent.
    ///
    /// # Errors
    /// When the query fails or the agent has none.
    pub async fn read_generation(&self, agent: &str) -> Result<i64, OutsideError> {
        let agent = quote(agent);
        let query =
            format!("select generation as value from desired_generations where agent_id = {agent}");
        self.read_one("read a generation", &query).await
    }

    /// What is desired of an agent, read at one moment.
    ///
    /// # Errors
    /// When the query fails or nothing was ever desired.
    pub async fn read_intent(&self, agent: &str) -> Result<IntentRows, OutsideError> {
        let agent = quote(agent);
        let query = format!(
            "select jsonb_build_object('generation', g.generation, \
               'firewall', (select s.firewall_enabled from agent_stats s where s.agent_id = {agent}), \
               'paths', (select coalesce(jsonb_agg(m.file_path), '[]') from monitored_files m \
                 where m.agent_id = {agent})) as value \
             from desired_generations g where g.agent_id = {agent}"
        );
        let action = "read what is desired";
        let value: Value = self.read_one(action, &query).await?;
        let paths = value["paths"].as_array().into_iter().flatten();
        Ok(IntentRows {
            generation: value["generation"]
                .as_i64()
                .ok_or(OutsideError::NoValue { action })?,
            firewall: value["firewall"].as_bool(),
            paths: paths
                .filter_map(|path| path.as_str().map(str::to_owned))
                .collect(),
        })
    }

    /// Whether the agent is online, as people see it.
    ///
    /// # Errors
    /// When the query fails or there is no such agent.
    pub async fn is_online(&self, agent: &str) -> Result<bool, OutsideError> {
        let agent = quote(agent);
        let query = format!("select is_online::text as value from agents where id = {agent}");
        self.read_one("read whether an agent is online", &query)
            .await
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
        let (agent, title) = (quote(agent), quote(title));
        let query = format!(
            "select id, title, message, alert_type, severity, occurrences, fingerprint, \
             explanation from alerts \
             where agent_id = {agent} and title = {title} and not resolved order by created_at"
        );
        Ok(self
            .query("list alerts", &query)
            .await?
            .iter()
            .map(alert_of)
            .collect())
    }

    /// The tables, of every schema but Postgres's own, that hold a text anywhere.
    ///
    /// # Errors
    /// When a query fails.
    pub async fn find_in_tables(&self, wanted: &str) -> Result<Vec<String>, OutsideError> {
        let tables = "select format('%I.%I', n.nspname, c.relname) as value from pg_class c \
                      join pg_namespace n on n.oid = c.relnamespace \
                      where c.relkind in ('r', 'm') \
                      and n.nspname not in ('pg_catalog', 'information_schema') order by 1";
        let wanted = quote(wanted);
        let mut found = Vec::new();
        for table in self.query("list tables", tables).await? {
            let table = text(&table, "value");
            let holds = format!(
                "select exists (select from {table} t where strpos(t::text, {wanted}) > 0)::text \
                 as value"
            );
            if self.read_one("search a table", &holds).await? {
                found.push(table);
            }
        }
        Ok(found)
    }

    /// Writes everything in memory to the database's files.
    ///
    /// # Errors
    /// When Postgres refuses.
    pub async fn flush(&self) -> Result<(), OutsideError> {
        self.query("write a checkpoint", "checkpoint")
            .await
            .map(drop)
    }

    async fn read_one<T: std::str::FromStr>(
        &self,
        action: &'static str,
        query: &str,
    ) -> Result<T, OutsideError> {
        let rows = self.query(action, query).await?;
        let value = rows.first().and_then(|row| text(row, "value").parse().ok());
        value.ok_or(OutsideError::NoValue { action })
    }

    async fn query(&self, action: &'static str, query: &str) -> Result<Vec<Row>, OutsideError> {
        let rows = self.0.sql(query).await;
        rows.map_err(|source| OutsideError::Query { action, source })
    }
}

/// The files below a directory that hold a text, by `grep`; one that vanishes meanwhile holds
/// nothing.
///
/// # Errors
/// When `grep` cannot read them.
pub fn find_in_files(directory: &Path, text: &str) -> Result<Vec<String>, OutsideError> {
    let mut grep = Command::new("grep");
    grep.args([
        "--recursive",
        "--files-with-matches",
        "--text",
        "--fixed-strings",
        "-e",
        text,
    ]);
    grep.arg(directory).env("LC_ALL", "C");
    let lines = |found: &str| found.lines().map(str::to_owned).collect();
    match run(grep, GREP_DEADLINE) {
        Ok(output) => Ok(lines(&String::from_utf8_lossy(&output.stdout))),
        Err(CommandError::Failed { status, .. }) if status.code() == Some(1) => Ok(Vec::new()),
        Err(CommandError::Failed { stdout, stderr, .. }) if tells_of_vanished_only(&stderr) => {
            Ok(lines(&stdout))
        }
        Err(source) => Err(OutsideError::Search {
            directory: directory.to_owned(),
            source,
        }),
    }
}

/// Whether all that `grep` complained of are files that went away after they were listed.
fn tells_of_vanished_only(stderr: &str) -> bool {
    let vanished = |line: &str| line.ends_with(": No such file or directory");
    !stderr.is_empty() && stderr.lines().all(vanished)
}

fn alert_of(row: &Row) -> AlertRow {
    AlertRow {
        id: text(row, "id"),
        title: text(row, "title"),
        message: text(row, "message"),
        alert_type: text(row, "alert_type"),
        severity: text(row, "severity").parse().unwrap_or_default(),
        occurrences: text(row, "occurrences").parse().unwrap_or_default(),
        fingerprint: text(row, "fingerprint"),
        explanation: serde_json::from_str(&text(row, "explanation")).unwrap_or_default(),
    }
}

/// A column as text; null and a missing column are the empty text.
fn text(row: &Row, column: &str) -> String {
    row.get(column).cloned().flatten().unwrap_or_default()
}

/// A text as a literal of SQL.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Why something could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    /// Postgres did not answer as expected.
    #[error("could not {action}")]
    Query {
        /// What was tried.
        action: &'static str,
        /// What the stack said.
        #[source]
        source: StackError,
    },
    /// There was no row, or its value was of another kind.
    #[error("could not {action}: there is no such value")]
    NoValue {
        /// What was tried.
        action: &'static str,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_in_binary_files_at_any_depth() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("wal"), b"\0\xffmarked\0").unwrap();
        std::fs::write(directory.path().join("other"), "unmarke").unwrap();

        let found = find_in_files(directory.path(), "marked").unwrap();
        let absent = find_in_files(directory.path(), "nowhere").unwrap();

        assert_eq!(found, [deep.join("wal").display().to_string()]);
        assert!(absent.is_empty());
    }

    #[test]
    fn files_that_vanish_while_they_are_searched_hide_nothing_and_fail_nothing() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("stays"), "marked").unwrap();
        let (ended, churn) = (std::sync::atomic::AtomicBool::new(false), directory.path());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                    for number in 0..500 {
                        std::fs::write(churn.join(number.to_string()), "x").ok();
                    }
                    for number in 0..500 {
                        std::fs::remove_file(churn.join(number.to_string())).ok();
                    }
                }
            });
            let found: Vec<_> = (0..30).map(|_| find_in_files(churn, "marked")).collect();
            ended.store(true, std::sync::atomic::Ordering::Relaxed);

            for found in found {
                assert_eq!(found.unwrap(), [churn.join("stays").display().to_string()]);
            }
        });
    }

    #[test]
    fn a_file_that_may_not_be_read_is_no_file_that_vanished() {
        assert!(tells_of_vanished_only(
            "grep: /a/b: No such file or directory\n"
        ));
        assert!(!tells_of_vanished_only(
            "grep: /a: No such file or directory\ngrep: /b: Permission denied\n"
        ));
        assert!(!tells_of_vanished_only(""));
    }

    #[test]
    fn a_text_with_quotes_is_one_literal() {
        assert_eq!(quote("it's"), "'it''s'");
    }
}
