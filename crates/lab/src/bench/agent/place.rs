//! How each subject is told what to follow and where to send it: its settings and its command line.
//! It starts nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::peers::Peers;
use super::subject::Subject;
use crate::world::binaries::{find_agent, find_minimal_tail};

/// The agent's row; any will do.
const AGENT_ID: &str = "0190a000-0000-7000-8000-00000000b0b0";

/// What everybody has to be told.
pub(super) struct Place<'p> {
    pub(super) directory: &'p Path,
    pub(super) file: &'p Path,
    pub(super) port: u16,
}

impl Place<'_> {
    /// How it is started.
    pub(super) fn command(&self, subject: Subject, peers: &Peers) -> anyhow::Result<Command> {
        match subject {
            Subject::Agent | Subject::AgentOfJournal | Subject::AgentLogsAlone => {
                self.agent(subject)
            }
            Subject::Minimal => self.minimal(),
            Subject::Rsyslog => self.rsyslog(peers),
            Subject::SyslogNg => self.syslog_ng(peers),
            Subject::Python => self.python(peers),
        }
    }

    fn agent(&self, subject: Subject) -> anyhow::Result<Command> {
        let is_whole = subject != Subject::AgentLogsAlone;
        let scheme = if is_whole { "https" } else { "http" };
        let (port, file) = (self.port, self.file.display());
        let directory = self.directory.display();
        let mut config = format!(
            "agent_id = \"{AGENT_ID}\"\nbackend_url = \"{scheme}://localhost:{port}\"\n\
             state_dir = \"{directory}/state\"\nfirewall = \"observe\"\n"
        );
        if is_whole {
            config += &format!("ca_file = \"{directory}/ca.pem\"\n");
        } else {
            config += "processes = \"off\"\nnetwork = \"off\"\n";
        }
        if subject != Subject::AgentOfJournal {
            config += "journal = \"off\"\nkernel_log = \"off\"\n";
            config += &format!("[[log_file]]\npath = \"{file}\"\nprogram = \"bench\"\n");
        }
        let path = self.directory.join("agent.toml");
        fs::write(&path, config)?;
        let mut command = Command::new(find_agent()?);
        command.args(["run", "--config"]).arg(path);
        Ok(command)
    }

    fn minimal(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(find_minimal_tail()?);
        command
            .arg(self.file)
            .arg(format!("127.0.0.1:{}", self.port));
        Ok(command)
    }

    fn rsyslog(&self, peers: &Peers) -> anyhow::Result<Command> {
        let config = include_str!("../../../peers/rsyslog.conf");
        let program = peers.find("usr/sbin/rsyslogd").context("it is not there")?;
        let libraries = peers.libraries()?;
        let modules = libraries.split(':').map(|path| format!("{path}/rsyslog"));
        let mut command = Command::new(program);
        command
            .args(["-n", "-i", "NONE", "-f"])
            .arg(self.write_config(config)?);
        command.arg("-M").arg(modules.collect::<Vec<_>>().join(":"));
        command.env("LD_LIBRARY_PATH", libraries);
        Ok(command)
    }

    fn syslog_ng(&self, peers: &Peers) -> anyhow::Result<Command> {
        let config = include_str!("../../../peers/syslog-ng.conf");
        let program = peers
            .find("usr/sbin/syslog-ng")
            .context("it is not there")?;
        let modules = fs::read_dir(peers.path("usr/lib/syslog-ng"))?.filter_map(Result::ok);
        let modules = modules.map(|entry| entry.path()).find(|path| path.is_dir());
        let mut command = Command::new(program);
        command
            .args(["-F", "--no-caps", "-f"])
            .arg(self.write_config(config)?);
        command
            .arg("--module-path")
            .arg(modules.context("it has no modules")?);
        for (option, name) in [("-R", "persist"), ("-c", "control"), ("--pidfile", "pid")] {
            command.arg(option).arg(self.directory.join(name));
        }
        command.env("LD_LIBRARY_PATH", peers.libraries()?);
        Ok(command)
    }

    fn python(&self, peers: &Peers) -> anyhow::Result<Command> {
        let program = include_str!("../../../peers/tail_and_send.py");
        let path = self.directory.join("tail_and_send.py");
        fs::write(&path, program)?;
        let mut command = Command::new(peers.python().context("it is not there")?);
        command.arg(path).arg(self.file);
        command.arg(format!("ws://127.0.0.1:{}/", self.port));
        Ok(command)
    }

    fn write_config(&self, template: &str) -> anyhow::Result<PathBuf> {
        let directory = self.directory.display().to_string();
        let text = template
            .replace("@DIRECTORY@", &directory)
            .replace("@FILE@", &self.file.display().to_string())
            .replace("@PORT@", &self.port.to_string());
        let path = self.directory.join("peer.conf");
        fs::write(&path, text)?;
        Ok(path)
    }
}
