//! Who is measured: each follows lines in one place, and sends what it reads to one port.
//! It measures nothing.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use hidps_wire::DesiredDocument;
use tempfile::TempDir;

use super::certificate::Certificate;
use super::lines::LinePlace;
use super::peers::Peers;
use super::place::Place;
use super::sink::{Sink, Speech};
use crate::command::{Running, wait_for};
use crate::journal_host::JournalHost;

/// How long one may take to connect.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who follows the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Subject {
    /// The agent with processes, network and a file, over TLS.
    Agent,
    /// The agent as it is installed, with the files of `/etc` to watch: its lines come by journald.
    AgentOfJournal,
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
    pub(super) const ALL: [Self; 7] = [
        Self::Agent,
        Self::AgentOfJournal,
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
            Self::AgentOfJournal => "hidps-agent, by the journal",
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
            Self::AgentOfJournal => JournalHost::check(None).is_ok(),
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
    /// Where its lines are written.
    pub(super) place: LinePlace,
    /// What times in marks count from.
    pub(super) began: Instant,
    running: Running,
    _host: Option<JournalHost>,
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
        let sink = open_sink(subject, directory.path(), began, program)?;
        let command = Place {
            directory: directory.path(),
            file: &file,
            port: sink.port(),
        }
        .command(subject, peers)?;
        // Once all is written that is read in it: it sees the machine as it is when it starts.
        let host = (subject == Subject::AgentOfJournal).then(start_host);
        let host = host.transpose()?;
        let place = match &host {
            Some(host) => LinePlace::Journal(host.path("/run/systemd/journal/dev-log")),
            None => LinePlace::File(file),
        };
        let command = match &host {
            Some(host) => with_journal_of(host, &command),
            None => command,
        };
        let mut running = Running::start(subject.name(), command)?;
        let connected = wait_for("a connection", PATIENCE, || {
            // Some connect only once they have something to say.
            place.say("bench: is anybody there?").ok();
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
            place,
            began,
            running,
            _host: host,
            _directory: directory,
        })
    }

    /// Its process.
    pub(super) fn process(&self) -> u32 {
        self.running.id()
    }
}

fn open_sink(
    subject: Subject,
    directory: &Path,
    began: Instant,
    program: &Path,
) -> anyhow::Result<Sink> {
    let speech = match subject {
        Subject::Agent | Subject::AgentOfJournal => {
            let certificate = Certificate::make(&directory.join("ca.pem"))?;
            Speech::Sealed(Arc::new(certificate))
        }
        Subject::AgentLogsAlone | Subject::Python => Speech::Frames,
        Subject::Minimal | Subject::Rsyslog | Subject::SyslogNg => Speech::Lines,
    };
    let etc: Vec<_> = (subject == Subject::AgentOfJournal)
        .then(|| "/etc".to_owned())
        .into_iter()
        .collect();
    let document = DesiredDocument {
        monitored_files: etc.clone(),
        monitored_recursively: etc,
        ..DesiredDocument::default()
    };
    Ok(Sink::open(speech, began, program, document)?)
}

fn start_host() -> anyhow::Result<JournalHost> {
    JournalHost::start(None, false).map_err(|missing| anyhow!(missing))
}

/// The command, in the namespaces of this machine as of an agent that is installed, but that what it
/// finds as the journal is the host's: the kernel tells nobody of processes in namespaces of their own.
fn with_journal_of(host: &JournalHost, command: &Command) -> Command {
    const SCRIPT: &str = "mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/log && \
         ln -s \"$1/run/log/journal\" /run/log/journal && cp \"$1/etc/machine-id\" /run/id && \
         mount --bind /run/id /etc/machine-id && shift && exec \"$@\"";
    let mut inside = Command::new("unshare");
    inside.args(["-m", "sh", "-c", SCRIPT, "sh"]);
    inside.arg(host.path(""));
    inside.arg(command.get_program()).args(command.get_args());
    inside
}
