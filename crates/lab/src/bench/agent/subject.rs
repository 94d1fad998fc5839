//! Who is measured: how each is told to follow one file and to send what it reads to one port.
//! It measures nothing.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use super::certificate::Certificate;
use super::peers::Peers;
use super::sink::{Sink, Speech};
use crate::command::{Running, wait_for};
use crate::world::binaries::{find_agent, find_minimal_tail};

/// The agent's row; any will do.
const AGENT_ID: &str = "0190a000-0000-7000-8000-00000000b0b0";

/// How long one may take to connect.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who follows the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Subject {
    /// The agent as it is installed: every source, over TLS.
    Agent,
    /// The agent with nothing but the file to look after, in the clear, as its peers are.
    AgentLogsAlone,
    /// The least that can follow a file.
    Minimal,
    /// Debian's rsyslog.
    Rsyslog,
    /// Debian's syslog-ng.
    SyslogNg,
    /// An agent in Python, one frame a line.
    Python,
}

impl Subject {
    /// All of them; the first one is who the figures are about.
    pub(super) const ALL: [Self; 6] = [
        Self::Agent,
        Self::AgentLogsAlone,
        Self::Minimal,
        Self::Rsyslog,
        Self::SyslogNg,
        Self::Python,
    ];

    /// What people call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Agent => "hidps-agent",
            Self::AgentLogsAlone => "hidps-agent, logs alone",
            Self::Minimal => "minimal tail in Rust",
            Self::Rsyslog => "rsyslog",
            Self::SyslogNg => "syslog-ng",
            Self::Python => "agent in Python",
        }
    }

    /// Whether it can be started here.
    pub(super) fn is_there(self, peers: &Peers) -> bool {
        match self {
            Self::Agent | Self::AgentLogsAlone | Self::Minimal => true,
            Self::Rsyslog => peers.find("usr/sbin/rsyslogd").is_some(),
            Self::SyslogNg => peers.find("usr/sbin/syslog-ng").is_some(),
            Self::Python => peers.python().is_some(),
        }
    }
}

/// Somebody who follows a file.
#[derive(Debug)]
pub(super) struct Follower {
    /// Who.
    pub(super) subject: Subject,
    /// Where its lines go.
    pub(super) sink: Sink,
    /// The file.
    pub(super) file: PathBuf,
    /// What times in marks count from.
    pub(super) began: Instant,
    running: Running,
    _directory: TempDir,
}

impl Follower {
    /// Starts it and waits until it is connected and has settled.
    pub(super) fn start(
        subject: Subject,
        peers: &Peers,
        settle: Duration,
        (began, program): (Instant, &Path),
    ) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("watched.log");
        fs::write(&file, "")?;
        let speech = match subject {
            Subject::Agent => {
                let certificate = Certificate::make(&directory.path().join("ca.pem"))?;
                Speech::Sealed(Arc::new(certificate))
            }
            Subject::AgentLogsAlone | Subject::Python => Speech::Frames,
            Subject::Minimal | Subject::Rsyslog | Subject::SyslogNg => Speech::Lines,
        };
        let sink = Sink::open(speech, began, program)?;
        let place = Place {
            directory: directory.path(),
            file: &file,
            port: sink.port(),
        };
        let command = match subject {
            Subject::Agent => place.agent(true)?,
            Subject::AgentLogsAlone => place.agent(false)?,
            Subject::Minimal => place.minimal()?,
            Subject::Rsyslog => place.rsyslog(peers)?,
            Subject::SyslogNg => place.syslog_ng(peers)?,
            Subject::Python => place.python(peers)?,
        };
        let mut running = Running::start(subject.name(), command)?;
        let connected = wait_for("a connection", PATIENCE, || {
            // Some connect only once they have something to say.
            append(&file, "is anybody there?\n").ok();
            sink.is_connected().then_some(())
        });
        if let Err(error) = connected {
            running.kill().ok();
            bail!("{}: {error}; {}", subject.name(), running.log());
        }
        thread::sleep(settle);
        Ok(Self {
            subject,
            sink,
            file,
            began,
            running,
            _directory: directory,
        })
    }

    /// Its process.
    pub(super) fn process(&self) -> u32 {
        self.running.id()
    }
}

fn append(file: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new()
        .append(true)
        .open(file)?
        .write_all(text.as_bytes())
}

/// What everybody has to be told.
struct Place<'p> {
    directory: &'p Path,
    file: &'p Path,
    port: u16,
}

impl Place<'_> {
    fn agent(&self, is_whole: bool) -> anyhow::Result<Command> {
        let scheme = if is_whole { "https" } else { "http" };
        let (port, file) = (self.port, self.file.display());
        let directory = self.directory.display();
        let mut config = format!(
            "agent_id = \"{AGENT_ID}\"\nbackend_url = \"{scheme}://localhost:{port}\"\n\
             state_dir = \"{directory}/state\"\nfirewall = \"observe\"\njournal = \"off\"\n\
             kernel_log = \"off\"\n"
        );
        if is_whole {
            config += &format!("ca_file = \"{directory}/ca.pem\"\n");
        } else {
            config += "processes = \"off\"\nnetwork = \"off\"\n";
        }
        config += &format!("[[log_file]]\npath = \"{file}\"\nprogram = \"bench\"\n");
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
