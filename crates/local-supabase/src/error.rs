//! Why the stack cannot start or answer, in sentences a newcomer can act on.
//! Never carries a key or a password.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// What went wrong with the stack.
#[derive(Debug, Error)]
pub enum StackError {
    /// No Postgres was found.
    #[error(
        "find postgres: no initdb and postgres of version 15 or newer in HIDPS_POSTGRES_BIN or, if that is \
         not set, on PATH or in /usr/lib/postgresql; install it (Debian: apt-get install postgresql)"
    )]
    PostgresMissing,
    /// Node or npm was not found.
    #[error(
        "find {program}: it is not on PATH; install Node.js 20 or newer with npm \
         (from nodejs.org, or Debian 13: apt-get install nodejs npm)"
    )]
    NodeMissing {
        /// The missing program.
        program: &'static str,
    },
    /// Node is older than the packages allow.
    #[error(
        "check node: version {version} is older than 20; install a newer one \
         (from nodejs.org, or Debian 13: apt-get install nodejs npm)"
    )]
    NodeTooOld {
        /// What it said its version is.
        version: String,
    },
    /// Postgres refuses to run as root, and there is no other user to run it as.
    #[error(
        "find a user for postgres: it does not run as root; create one (useradd --system postgres)"
    )]
    NoUserForPostgres,
    /// A program ended with a failure.
    #[error("run {program}: it failed; its last words: {last_words}")]
    Program {
        /// What was run.
        program: &'static str,
        /// The end of what it printed.
        last_words: String,
    },
    /// A program that should stay ended or never became ready.
    #[error("wait for {program} to be ready; its last words: {last_words}")]
    NotReady {
        /// What was run.
        program: &'static str,
        /// The end of its log.
        last_words: String,
    },
    /// The system refused something.
    #[error("{operation}")]
    Io {
        /// What was tried.
        operation: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Postgres refused something.
    #[error("{operation}")]
    Database {
        /// What was tried.
        operation: String,
        /// Why not.
        #[source]
        source: tokio_postgres::Error,
    },
    /// A migration or seed file failed.
    #[error("apply {}: {reason}", path.display())]
    Migration {
        /// The file.
        path: PathBuf,
        /// The server's message, with its detail.
        reason: String,
    },
    /// A request to one of the parts failed.
    #[error("{operation}: {reason}")]
    Http {
        /// What was asked.
        operation: String,
        /// Why not.
        reason: String,
    },
    /// The Auth server refused a person.
    #[error("{operation} {email}: status {status}: {message}")]
    Auth {
        /// `sign up` or `sign in`.
        operation: &'static str,
        /// Who.
        email: String,
        /// The HTTP status.
        status: u16,
        /// The server's words.
        message: String,
    },
}

/// Names the operation that an I/O error interrupted.
pub(crate) fn io_failed(operation: impl Into<String>) -> impl FnOnce(io::Error) -> StackError {
    let operation = operation.into();
    move |source| StackError::Io { operation, source }
}

/// Names the operation that a database error interrupted.
pub(crate) fn database_failed(
    operation: impl Into<String>,
) -> impl FnOnce(tokio_postgres::Error) -> StackError {
    let operation = operation.into();
    move |source| StackError::Database { operation, source }
}
