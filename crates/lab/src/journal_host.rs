//! A host with journald, sshd, sudo and su of its own, in namespaces.
//! It leaves nothing behind: what is written in it lies in memory and ends with it.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::command::{Running, find_program, run};
use crate::fresh_host::COPIED_ROOT;
use crate::netns;

/// How long it may take to start, and a command inside to end.
const DEADLINE: Duration = Duration::from_secs(60);

/// What the host needs of the machine.
const PROGRAMS: [&str; 6] = ["unshare", "nsenter", "journalctl", "logger", "su", "sshd"];

/// The first of them, which do for journald alone.
const N_FOR_JOURNAL: usize = 3;

/// A running host.
#[derive(Debug)]
pub struct JournalHost {
    host: Running,
    init: String,
    _directory: TempDir,
}

impl JournalHost {
    /// Starts a host whose sshd listens on a port of loopback, if it is to have one, and whose
    /// journald reads the kernel's log of the machine or leaves it.
    ///
    /// # Errors
    /// Says what the machine lacks.
    ///
    /// # Panics
    /// When it does not start although nothing is missing.
    pub fn start(ssh_port: Option<u16>, reads_kernel_log: bool) -> Result<Self, String> {
        Self::check(ssh_port)?;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/sh/journal_host.sh");
        let mut command = Command::new("unshare");
        command.args([
            "-m",
            "-p",
            "-f",
            "-u",
            "-i",
            "-C",
            "--kill-child",
            "sh",
            script,
            COPIED_ROOT,
        ]);
        command.arg(ssh_port.map_or_else(|| "none".to_owned(), |port| port.to_string()));
        command.arg(if reads_kernel_log { "yes" } else { "no" });
        let directory = tempfile::tempdir().expect("a directory");
        command.arg(directory.path());
        let mut host = Running::start("journal host", command).expect("it is there");
        match host.wait_for_line("ready", DEADLINE, |line| line == "ready") {
            Err(error) if error.tells_of_missing() => return Err(error.to_string()),
            ready => ready.expect("nothing is missing"),
        };
        let init = child_of(host.id()).expect("it runs").to_string();
        Ok(Self {
            host,
            init,
            _directory: directory,
        })
    }

    /// Looks for what such a host needs.
    ///
    /// # Errors
    /// Says what the machine lacks.
    pub fn check(ssh_port: Option<u16>) -> Result<(), String> {
        netns::check().map_err(|missing| missing.to_string())?;
        let n_wanted = ssh_port.map_or(N_FOR_JOURNAL, |_| PROGRAMS.len());
        let is_absent = |program: &&&str| find_program(program).is_none();
        match PROGRAMS.iter().take(n_wanted).find(is_absent) {
            Some(missing) => Err(format!("{missing} is missing")),
            None => Ok(()),
        }
    }

    /// A command inside of the host; what is started runs as its child.
    #[must_use]
    pub fn exec(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.args([
            "-t", &self.init, "-m", "-p", "-u", "-i", "-C", "-r", "-w", "--",
        ]);
        inside.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                inside.env(name, value);
            }
        }
        inside
    }

    /// A path inside of the host, as it is reached from outside.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.init))
    }

    /// Runs a script of the shell, whatever becomes of its commands.
    ///
    /// # Panics
    /// When it does not end.
    pub fn shell(&self, script: &str) {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{script}\ntrue")]);
        run(self.exec(&command), DEADLINE).expect("it ends");
    }
}

/// The first child of a process, as which `nsenter` and `unshare` run what they are asked for.
///
/// # Errors
/// When the process has none, or is gone.
pub fn child_of(process: u32) -> io::Result<u32> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"))?;
    let first = children.split_whitespace().next();
    let first = first.and_then(|child| child.parse().ok());
    first.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it has no child"))
}

impl Drop for JournalHost {
    fn drop(&mut self) {
        // Its first process ignores requests to end.
        self.host.kill().ok();
    }
}
