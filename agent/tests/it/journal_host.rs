//! A host with journald, sshd, sudo and su of its own, in namespaces.
//! It leaves nothing behind: what is written in it lies in memory and ends with it.

use std::fs;
use std::process::Command;

use hidps_lab::command::{Running, find_program, run};
use hidps_lab::fresh_host::COPIED_ROOT;
use hidps_lab::netns;
use tempfile::TempDir;

use crate::scripted_daemon::DEADLINE;

/// What the host needs of the machine.
const PROGRAMS: [&str; 6] = ["unshare", "nsenter", "journalctl", "logger", "su", "sshd"];

/// A running host.
pub(crate) struct JournalHost {
    host: Running,
    init: String,
    _directory: TempDir,
}

impl JournalHost {
    /// Starts a host whose sshd listens on a port of loopback, and whose journald reads the kernel's
    /// log of the machine or leaves it.
    ///
    /// # Errors
    /// Says what the machine lacks; any other failure is the test's.
    pub(crate) fn start(ssh_port: u16, reads_kernel_log: bool) -> Result<Self, String> {
        netns::check().map_err(|missing| missing.to_string())?;
        let is_absent = |program: &&&str| find_program(program).is_none();
        if let Some(missing) = PROGRAMS.iter().find(is_absent) {
            return Err(format!("{missing} is missing"));
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/journal_host.sh");
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
        command.arg(ssh_port.to_string());
        command.arg(if reads_kernel_log { "yes" } else { "no" });
        let directory = tempfile::tempdir().unwrap();
        command.arg(directory.path());
        let mut host = Running::start("journal host", command).unwrap();
        match host.wait_for_line("ready", DEADLINE, |line| line == "ready") {
            Err(error) if error.tells_of_missing() => return Err(error.to_string()),
            ready => ready.unwrap(),
        };
        let pid = host.id();
        let children = format!("/proc/{pid}/task/{pid}/children");
        let init = fs::read_to_string(children).unwrap();
        let init = init.trim().to_owned();
        Ok(Self {
            host,
            init,
            _directory: directory,
        })
    }

    /// A command inside of the host.
    pub(crate) fn exec(&self, command: &Command) -> Command {
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

    /// Runs a script of the shell, whatever becomes of its commands.
    pub(crate) fn shell(&self, script: &str) {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{script}\ntrue")]);
        run(self.exec(&command), DEADLINE).unwrap();
    }
}

impl Drop for JournalHost {
    fn drop(&mut self) {
        // Its first process ignores requests to end.
        self.host.kill().ok();
    }
}
