//! An agent as a process with a state directory and configuration of its own.
//! It changes nothing outside of its temporary directory.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hidps_lab::command::{Running, run};
use hidps_lab::netns::Namespace;
use hidps_wire::{DesiredDocument, LogEvent};
use tempfile::TempDir;

/// Every agent of these tests.
pub(crate) const AGENT_ID: &str = "7d444840-9dc0-11d1-b245-5ffdce74fad2";

/// What an agent keeps between its runs.
pub(crate) struct AgentHome {
    directory: TempDir,
    config: PathBuf,
}

impl AgentHome {
    /// A home whose agent finds its daemon at an address; `settings` are further lines.
    pub(crate) fn new(backend: SocketAddr, settings: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("agent.toml");
        // What else runs on this machine is no part of a test, unless the test says so.
        let defaults = [
            ("processes =", "processes = \"off\"\n"),
            ("network =", "network = \"off\"\n"),
            ("journal =", "journal = \"off\"\n"),
            ("kernel_log =", "kernel_log = \"off\"\n"),
        ];
        let unsaid = defaults.iter().filter(|(name, _)| !settings.contains(name));
        let defaults: String = unsaid.map(|(_, line)| *line).collect();
        let text = format!(
            "agent_id = \"{AGENT_ID}\"\nbackend_url = \"http://{backend}\"\n\
             allow_plaintext = true\nstate_dir = {:?}\n{defaults}{settings}\n",
            directory.path().join("state"),
        );
        fs::write(&config, text).unwrap();
        Self { directory, config }
    }

    /// An agent that never touches a firewall.
    pub(crate) fn observing(backend: SocketAddr) -> Self {
        Self::new(backend, "firewall = \"observe\"")
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hidps-agent"));
        command.arg(subcommand).arg("--config").arg(&self.config);
        command.env("HIDPS_LOG", "debug");
        command
    }

    /// Starts the agent, inside a namespace if one is given.
    pub(crate) fn start(&self, place: Option<&Namespace>) -> Running {
        let command = self.command("run");
        let command = match place {
            Some(host) => host.exec(&command),
            None => command,
        };
        Running::start("hidps-agent", command).unwrap()
    }

    /// The text a subcommand prints.
    pub(crate) fn print(&self, subcommand: &str) -> String {
        let output = run(self.command(subcommand), Duration::from_secs(20)).unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

/// A document.
pub(crate) fn document(firewall: Option<bool>, files: &[&Path]) -> DesiredDocument {
    DesiredDocument {
        firewall_enabled: firewall,
        monitored_files: files
            .iter()
            .map(|f| f.to_str().unwrap().to_owned())
            .collect(),
        ..DesiredDocument::default()
    }
}

/// Whether an event tells, in these words and no others, that this process has modified a file; who
/// did it is told where the agent has the right to know.
pub(crate) fn tells_modified(event: &LogEvent<'_>, file: &Path) -> bool {
    let modified = format!("{} was modified", file.display());
    let program = std::env::current_exe().unwrap();
    let (program, process) = (program.display(), std::process::id());
    let by_this = format!("{modified} by {program} (process {process})");
    [modified, by_this].contains(&event.message.to_string())
}
