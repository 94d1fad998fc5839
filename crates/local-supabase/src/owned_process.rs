//! Programs that live exactly as long as the value that owns them.
//! Never detaches one: each holds a pipe from us as its standard input and ends when that pipe closes, which the
//! kernel does even if we are killed with SIGKILL.
//!
//! The parent-death signal would need `unsafe` and follows the thread that started the child, not the process; a
//! pipe has neither flaw and works on every Unix.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::error::{StackError, io_failed};

/// Longest wait for a program to say that it is ready; a cold disk and a busy machine included.
const READY_DEADLINE: Duration = Duration::from_secs(30);
/// Longest wait for a program to end after its pipe closed, before it is killed.
const END_DEADLINE: Duration = Duration::from_secs(10);
/// How much of a log is repeated in an error.
const LAST_WORDS: usize = 2000;

/// A running program.
#[derive(Debug)]
pub(crate) struct OwnedProcess {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl OwnedProcess {
    /// Starts `command`, whose standard error goes to `<logs>/<name>.log`.
    pub(crate) fn start(
        name: &'static str,
        mut command: Command,
        logs: &Path,
    ) -> Result<Self, StackError> {
        let log = logs.join(format!("{name}.log"));
        let file = File::create(&log).map_err(io_failed(format!("create {}", log.display())))?;
        let child = command
            // Shows a person whose process this is, whatever its command line says.
            .env("LOCAL_SUPABASE_LOGS", logs)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file)
            // Ctrl-C in a terminal reaches the whole group; these end with their owner, in its order.
            .process_group(0)
            .spawn()
            .map_err(io_failed(format!("start {name}")))?;
        Ok(Self { name, child, log })
    }

    /// Waits for the one line of JSON a program prints when it is ready.
    pub(crate) async fn read_greeting<T: DeserializeOwned>(&mut self) -> Result<T, StackError> {
        let stdout = self.child.stdout.take();
        let line = async {
            let mut line = String::new();
            BufReader::new(stdout?).read_line(&mut line).await.ok()?;
            serde_json::from_str(&line).ok()
        };
        let greeting = tokio::time::timeout(READY_DEADLINE, line)
            .await
            .ok()
            .flatten();
        greeting.ok_or_else(|| self.not_ready())
    }

    /// Tells whether the program has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Describes the failure to become ready, with the end of the log.
    pub(crate) fn not_ready(&self) -> StackError {
        StackError::NotReady {
            program: self.name,
            last_words: last_words(&self.log),
        }
    }

    /// Closes the pipe and waits for the end.
    pub(crate) async fn stop(mut self) -> Result<(), StackError> {
        drop(self.child.stdin.take());
        if let Ok(ended) = tokio::time::timeout(END_DEADLINE, self.child.wait()).await {
            return ended
                .map(|_| ())
                .map_err(io_failed(format!("wait for {}", self.name)));
        }
        tracing::warn!(
            program = self.name,
            "program did not end in time and is killed"
        );
        self.child
            .kill()
            .await
            .map_err(io_failed(format!("kill {}", self.name)))
    }
}

/// Reads the end of a log.
pub(crate) fn last_words(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    tail(&bytes)
}

/// Gives the end of an output as text.
pub(crate) fn tail(bytes: &[u8]) -> String {
    let start = bytes.len().saturating_sub(LAST_WORDS);
    let end = bytes.get(start..).unwrap_or_default();
    String::from_utf8_lossy(end).trim().to_owned()
}
