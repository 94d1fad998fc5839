//! Connections to the stack's Postgres and the files that are run on it.
//! Never holds a pool: each part of the stack has its own connection and says what it is for.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_postgres::{AsyncMessage, Client, NoTls, SimpleQueryMessage};

use crate::error::{StackError, database_failed, io_failed};

/// What a project has before the first migration.
const BOOTSTRAP: &str = include_str!("../sql/bootstrap.sql");

/// One row of [`crate::Stack::sql`]: column names and their values as text.
pub type Row = BTreeMap<String, Option<String>>;

/// Connects; the connection's own task joins `tasks`, and every notification wakes `notified`.
pub(crate) async fn connect(
    url: &str,
    tasks: &mut JoinSet<()>,
    notified: Option<Arc<Notify>>,
) -> Result<Client, StackError> {
    let (client, mut connection) = tokio_postgres::connect(url, NoTls)
        .await
        .map_err(database_failed("connect to postgres"))?;
    tasks.spawn(async move {
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            match message {
                Ok(AsyncMessage::Notification(_)) => {
                    if let Some(notified) = &notified {
                        notified.notify_one();
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "connection to postgres ended");
                    return;
                }
            }
        }
    });
    Ok(client)
}

/// Makes roles, schemas and publications, and lets the REST and Auth server log in.
pub(crate) async fn bootstrap(
    client: &Client,
    authenticator_password: &str,
) -> Result<(), StackError> {
    client
        .batch_execute(BOOTSTRAP)
        .await
        .map_err(database_failed("run bootstrap.sql"))?;
    client
        .batch_execute(&format!(
            "alter role authenticator password '{authenticator_password}'"
        ))
        .await
        .map_err(database_failed("give authenticator a password"))
}

/// Runs the migrations in the order of their names, each in a transaction as the Supabase CLI does.
pub(crate) async fn apply_migrations(client: &Client, folder: &Path) -> Result<(), StackError> {
    for path in list_migrations(folder)? {
        apply_file(client, &path).await?;
    }
    Ok(())
}

/// Runs one file.
pub(crate) async fn apply_file(client: &Client, path: &Path) -> Result<(), StackError> {
    let text =
        std::fs::read_to_string(path).map_err(io_failed(format!("read {}", path.display())))?;
    // Several statements in one simple query are one transaction.
    client
        .batch_execute(&text)
        .await
        .map_err(|error| StackError::Migration {
            path: path.to_owned(),
            reason: describe(&error, &text),
        })
}

/// Finds some table of schema public with row level security.
pub(crate) async fn find_guarded_table(client: &Client) -> Result<Option<String>, StackError> {
    let find = "select relname::text from pg_class
        where relrowsecurity and relkind = 'r' and relnamespace = 'public'::regnamespace limit 1";
    let row = client
        .query_opt(find, &[])
        .await
        .map_err(database_failed("look for a table"))?;
    Ok(row.map(|row| row.get(0)))
}

/// Runs statements and gives the rows of all of them.
pub(crate) async fn run(client: &Client, statements: &str) -> Result<Vec<Row>, StackError> {
    let messages = client
        .simple_query(statements)
        .await
        .map_err(database_failed("run a statement"))?;
    let rows = messages.into_iter().filter_map(|message| {
        let SimpleQueryMessage::Row(row) = message else {
            return None;
        };
        let values =
            row.columns().iter().enumerate().map(|(index, column)| {
                (column.name().to_owned(), row.get(index).map(str::to_owned))
            });
        Some(values.collect())
    });
    Ok(rows.collect())
}

fn list_migrations(folder: &Path) -> Result<Vec<PathBuf>, StackError> {
    let entries =
        std::fs::read_dir(folder).map_err(io_failed(format!("list {}", folder.display())))?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .collect();
    paths.sort();
    Ok(paths)
}

/// Tells what the server disliked and where.
fn describe(error: &tokio_postgres::Error, text: &str) -> String {
    let Some(error) = error.as_db_error() else {
        return error.to_string();
    };
    let mut words = format!("{} ({})", error.message(), error.code().code());
    if let Some(tokio_postgres::error::ErrorPosition::Original(position)) = error.position() {
        let before = text.chars().take(*position as usize);
        let line = before.filter(|character| *character == '\n').count() + 1;
        words.push_str(&format!(", line {line}"));
    }
    for more in [error.detail(), error.hint(), error.where_()]
        .into_iter()
        .flatten()
    {
        words.push_str(", ");
        words.push_str(more);
    }
    words
}
