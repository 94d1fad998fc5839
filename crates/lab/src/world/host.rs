//! A host with an agent: a network namespace with a real sshd, a second namespace that can reach it,
//! and the agent's process. Without privileges the agent runs on this machine and only observes.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::command::{CommandError, Running, find_program, run};
use crate::netns::{self, Link, Namespace, NetnsError};
use crate::ports::free_port;
use crate::ssh_server::{SshError, SshServer};

/// Where sshd listens in the host's namespace; the agent is told to keep it open.
const SSH_PORT: u16 = 2222;

/// An `nft` call takes milliseconds, and seconds where all is busy.
const NFT_DEADLINE: Duration = Duration::from_secs(60);

/// A `ufw` call takes a third of a second, and waits for those of others.
const UFW_DEADLINE: Duration = Duration::from_secs(60);

/// The places of a host: a namespace, the cables and what listens.
#[derive(Debug)]
pub struct Host {
    ssh: Option<SshServer>,
    place: Option<Place>,
    why_degraded: Option<String>,
}

#[derive(Debug)]
struct Place {
    host: Namespace,
    stranger: Namespace,
    to_machine: Link,
    to_stranger: Link,
}

impl Host {
    /// Makes a host, in a namespace if this process may make one.
    ///
    /// # Errors
    /// When namespaces can be made but something in them fails.
    pub fn new() -> Result<Self, HostError> {
        if let Err(missing) = netns::check() {
            return Ok(Self::degraded(&missing));
        }
        let network = |source| HostError::Network { source };
        let host = Namespace::new("host").map_err(network)?;
        if find_program("ufw").is_some() {
            host.own_etc(&["ufw", "default"]).map_err(network)?;
        }
        let stranger = Namespace::new("stranger").map_err(network)?;
        let to_machine = host.link_to_machine().map_err(network)?;
        let to_stranger = host.link_to(&stranger).map_err(network)?;
        let address = SocketAddr::from((to_stranger.near, SSH_PORT));
        let ssh =
            SshServer::start(Some(&host), address).map_err(|source| HostError::Ssh { source })?;
        let place = Place {
            host,
            stranger,
            to_machine,
            to_stranger,
        };
        Ok(Self {
            ssh: Some(ssh),
            place: Some(place),
            why_degraded: None,
        })
    }

    /// This machine as the host, with an sshd on loopback if it has one.
    fn degraded(missing: &NetnsError) -> Self {
        let loopback = Ipv4Addr::LOCALHOST;
        let port = free_port(loopback.into()).ok();
        let ssh = port.and_then(|port| SshServer::start(None, (loopback, port).into()).ok());
        Self {
            ssh,
            place: None,
            why_degraded: Some(missing.to_string()),
        }
    }

    /// Why there is no namespace, in one sentence.
    #[must_use]
    pub fn why_degraded(&self) -> Option<&str> {
        self.why_degraded.as_deref()
    }

    /// The host's namespace.
    #[must_use]
    pub fn namespace(&self) -> Option<&Namespace> {
        self.place.as_ref().map(|place| &place.host)
    }

    /// The namespace of somebody else on the host's network.
    #[must_use]
    pub fn stranger(&self) -> Option<&Namespace> {
        self.place.as_ref().map(|place| &place.stranger)
    }

    /// Its address on the network it shares with the stranger.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.place.as_ref().map(|place| place.to_stranger.near)
    }

    /// Its address on the cable to this machine, from which its agent connects.
    #[must_use]
    pub fn uplink_address(&self) -> Option<Ipv4Addr> {
        self.place.as_ref().map(|place| place.to_machine.near)
    }

    /// The machine's end of the cable, where the daemon has to listen.
    #[must_use]
    pub fn machine_address(&self) -> Option<Ipv4Addr> {
        self.place.as_ref().map(|place| place.to_machine.far)
    }

    /// Its sshd.
    #[must_use]
    pub const fn ssh(&self) -> Option<&SshServer> {
        self.ssh.as_ref()
    }

    /// Opens a listener on the host.
    ///
    /// # Errors
    /// When there is no namespace or the port is taken.
    pub fn listen(&self, port: u16) -> Result<TcpListener, HostError> {
        let place = self.place.as_ref().ok_or(HostError::Degraded)?;
        let address = SocketAddr::from((place.to_stranger.near, port));
        let opened = place.host.run_inside(|| TcpListener::bind(address));
        opened
            .map_err(|source| HostError::Network { source })?
            .map_err(|source| HostError::Socket {
                action: "listen on the host",
                source,
            })
    }

    /// Connects to the host as the stranger.
    ///
    /// # Errors
    /// When it is not reached within the deadline.
    pub fn connect_as_stranger(
        &self,
        port: u16,
        deadline: Duration,
    ) -> Result<TcpStream, HostError> {
        let place = self.place.as_ref().ok_or(HostError::Degraded)?;
        let address = SocketAddr::from((place.to_stranger.near, port));
        let reached = place
            .stranger
            .run_inside(|| TcpStream::connect_timeout(&address, deadline));
        reached
            .map_err(|source| HostError::Network { source })?
            .map_err(|source| HostError::Socket {
                action: "reach the host",
                source,
            })
    }

    /// Runs `ufw` on the host, as somebody who administers it.
    ///
    /// # Errors
    /// When `ufw` is missing or fails.
    pub fn ufw(&self, arguments: &[&str]) -> Result<(), HostError> {
        let place = self.place.as_ref().ok_or(HostError::Degraded)?;
        let mut ufw = Command::new("ufw");
        ufw.args(arguments);
        run(place.host.exec(&ufw), UFW_DEADLINE)
            .map(drop)
            .map_err(|source| HostError::Process {
                action: "run ufw",
                source,
            })
    }

    /// The host's packet filter as `nft list ruleset` prints it.
    ///
    /// # Errors
    /// When `nft` fails.
    pub fn list_firewall(&self) -> Result<String, HostError> {
        let place = self.place.as_ref().ok_or(HostError::Degraded)?;
        let mut nft = Command::new("nft");
        nft.args(["list", "ruleset"]);
        run(place.host.exec(&nft), NFT_DEADLINE)
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .map_err(|source| HostError::Process {
                action: "list the firewall",
                source,
            })
    }
}

/// What the agent of a host is started with.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// The program.
    pub program: PathBuf,
    /// The key of its row.
    pub agent_id: String,
    /// The enrollment token.
    pub token: String,
    /// The daemon's port.
    pub daemon_port: u16,
    /// Its directory, for configuration and state.
    pub directory: PathBuf,
}

/// The process of an agent.
#[derive(Debug)]
pub struct AgentProcess {
    settings: AgentSettings,
    config: PathBuf,
    process: Running,
}

impl AgentProcess {
    /// Writes the configuration and starts the agent on a host.
    ///
    /// # Errors
    /// When a file cannot be written or the program does not start.
    pub fn start(host: &Host, settings: AgentSettings) -> Result<Self, HostError> {
        let config = settings.directory.join("agent.toml");
        write(&settings.directory.join("token"), &settings.token)?;
        write(&config, &config_text(host, &settings))?;
        let process = spawn(host, &settings.program, &config)?;
        Ok(Self {
            settings,
            config,
            process,
        })
    }

    /// The file it is configured by.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Where it keeps its key and its ledger.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.settings.directory.join("state")
    }

    /// The file with the document it accepted last.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.state_dir().join("desired.json")
    }

    /// What it logged since its last start.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn kill(&mut self) -> Result<(), HostError> {
        let killed = self.process.kill();
        killed.map(drop).map_err(|source| HostError::Process {
            action: "kill the agent",
            source,
        })
    }

    /// Starts it again with the same settings.
    ///
    /// # Errors
    /// When the program does not start.
    pub fn restart(&mut self, host: &Host) -> Result<(), HostError> {
        self.process = spawn(host, &self.settings.program, &self.config)?;
        Ok(())
    }
}

fn spawn(host: &Host, program: &Path, config: &Path) -> Result<Running, HostError> {
    let mut command = Command::new(program);
    command.arg("run").arg("--config").arg(config);
    let command = match host.namespace() {
        Some(place) => place.exec(&command),
        None => command,
    };
    Running::start("hidps-agent", command).map_err(|source| HostError::Process {
        action: "start the agent",
        source,
    })
}

fn config_text(host: &Host, settings: &AgentSettings) -> String {
    let daemon = host.machine_address().unwrap_or(Ipv4Addr::LOCALHOST);
    let firewall = if host.namespace().is_some() {
        "auto"
    } else {
        "observe"
    };
    let directory = settings.directory.display();
    let mut text = format!(
        "agent_id = \"{}\"\nbackend_url = \"ws://{daemon}:{}\"\n\
         # The cable to the daemon never leaves this machine.\nallow_plaintext = true\n\
         state_dir = \"{directory}/state\"\ntoken_file = \"{directory}/token\"\n\
         firewall = \"{firewall}\"\nkeep_open = [\"{SSH_PORT}/tcp\"]\nusage_interval_secs = 5\n\
         top_processes_interval_secs = 3600\n\
         # Hosts of the lab share processes and logs of this machine, with each other and with you.\n\
         processes = \"off\"\nnetwork = \"off\"\njournal = \"off\"\nkernel_log = \"off\"\n",
        settings.agent_id, settings.daemon_port,
    );
    if let Some(ssh) = host.ssh() {
        let path = ssh.log_path().display();
        write!(
            text,
            "\n[[log_file]]\npath = \"{path}\"\nprogram = \"sshd\"\n"
        )
        .expect("a string takes any text");
    }
    text
}

fn write(path: &Path, text: &str) -> Result<(), HostError> {
    // Only its owner may read the token, which the agent checks.
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| HostError::Write {
            path: path.to_owned(),
            source,
        })
}

/// Why a host could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// There is no namespace here.
    #[error("this host has no namespace of its own")]
    Degraded,
    /// Its network could not be made or entered.
    #[error("could not make or enter the host's network")]
    Network {
        /// How it failed.
        #[source]
        source: NetnsError,
    },
    /// sshd did not start.
    #[error("could not start the host's sshd")]
    Ssh {
        /// How it failed.
        #[source]
        source: SshError,
    },
    /// A socket did not do what was wanted.
    #[error("could not {action}")]
    Socket {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A process did not do what was wanted.
    #[error("could not {action}")]
    Process {
        /// What was tried.
        action: &'static str,
        /// How it failed.
        #[source]
        source: CommandError,
    },
    /// A file could not be written.
    #[error("could not write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}
