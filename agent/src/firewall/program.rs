//! A program of the host, run with fixed arguments, an empty environment and a deadline.
//! It never builds a shell string and knows nothing of what it runs.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

/// Where distributions put programs of root; an inherited `PATH` decides nothing that root runs.
const DIRECTORIES: [&str; 5] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin"];

/// A listing beyond this would cost the host more memory than the answer is worth.
pub(super) const MAX_OUTPUT_BYTES: u64 = 16 * 1024 * 1024;

/// A program, where it is installed.
#[derive(Debug)]
pub(super) struct Program {
    path: Option<PathBuf>,
    deadline: Duration,
}

/// How a program ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) is_success: bool,
    pub(super) output: Vec<u8>,
    pub(super) errors: Vec<u8>,
}

/// Why a program did not run to its end.
#[derive(Debug)]
pub(super) enum RunError {
    Missing,
    Start(io::Error),
    Deadline,
    TooLong,
}

impl Program {
    /// Looks for a program.
    pub(super) fn find(name: &str, deadline: Duration) -> Self {
        let places = DIRECTORIES.iter().map(|it| Path::new(it).join(name));
        Self {
            path: places.into_iter().find(|path| path.is_file()),
            deadline,
        }
    }

    /// The program at this path.
    #[cfg(test)]
    pub(super) const fn at(path: PathBuf, deadline: Duration) -> Self {
        Self {
            path: Some(path),
            deadline,
        }
    }

    pub(super) const fn is_there(&self) -> bool {
        self.path.is_some()
    }

    pub(super) const fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Runs it to its end with this input.
    pub(super) async fn run(&self, arguments: &[&str], input: &str) -> Result<Ended, RunError> {
        let path = self.path.as_ref().ok_or(RunError::Missing)?;
        let mut child = Command::new(path)
            .args(arguments)
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", DIRECTORIES.join(":"))
            // What a program of root writes for a moment is nobody else's to touch.
            .env("TMPDIR", "/run")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            // What it started itself must not go on after it.
            .process_group(0)
            .spawn()
            .map_err(RunError::Start)?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let talk = async {
            let write = async {
                if let Some(mut stdin) = stdin {
                    // A program that ended early says why in its error output.
                    stdin.write_all(input.as_bytes()).await.ok();
                }
            };
            let ((), output, errors) = tokio::join!(write, read_all(stdout), read_all(stderr));
            let status = child.wait().await.map_err(RunError::Start)?;
            Ok(Ended {
                is_success: status.success(),
                output: output?,
                errors: errors?,
            })
        };
        let ended = tokio::time::timeout(self.deadline, talk).await;
        ended.unwrap_or_else(|_| {
            if let Some(group) = group {
                // The one that hangs has not been waited for, so its number is still its own.
                kill_process_group(group, Signal::KILL).ok();
            }
            Err(RunError::Deadline)
        })
    }
}

async fn read_all(pipe: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, RunError> {
    let mut content = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(MAX_OUTPUT_BYTES)
            .read_to_end(&mut content)
            .await
            .map_err(RunError::Start)?;
    }
    if content.len() as u64 == MAX_OUTPUT_BYTES {
        return Err(RunError::TooLong);
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[tokio::test]
    async fn what_hangs_is_ended_with_all_that_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let (script, child) = (
            directory.path().join("hangs"),
            directory.path().join("child"),
        );
        let text = format!(
            "#!/bin/sh\nsleep 1000 &\necho $! >{}\nwait\n",
            child.display()
        );
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
        let program = Program::at(script, Duration::from_secs(2));

        let ended = program.run(&[], "").await;

        assert!(matches!(ended, Err(RunError::Deadline)), "{ended:?}");
        let id = fs::read_to_string(&child).unwrap();
        let stat = format!("/proc/{}/stat", id.trim());
        let is_gone = || {
            // Nobody may be there to wait for it.
            let state = fs::read_to_string(&stat).unwrap_or_default();
            (state.is_empty() || state.contains(") Z ")).then_some(())
        };
        hidps_lab::command::wait_for("the child's end", Duration::from_secs(20), is_gone).unwrap();
    }
}
