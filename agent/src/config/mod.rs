//! Every setting, its default and the reason for it; all faults are reported at once.
//! It never prints a secret: the enrollment token has no readable form.

mod cadence;
mod daemon;
pub mod fuzzing;
mod port;
mod table;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hidps_wire::AgentId;
use zeroize::Zeroizing;

use crate::backend::Backend;
use crate::collect::cadence::Cadence;
use crate::collect::process::ProcessSettings;
use crate::dial::{ClientFiles, Pin, Proxy, Way};
use crate::text::printable;
use table::SettingsTable;

pub use port::{Port, Transport};

/// Where the configuration is unless said otherwise.
pub const DEFAULT_FILE: &str = "/etc/hidps/agent.toml";

/// Where the state is unless said otherwise.
const DEFAULT_STATE_DIR: &str = "/var/lib/hidps-agent";

/// The variable in which systemd names the directory of credentials.
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// The credential with the enrollment token.
const CREDENTIAL: &str = "token";

/// Longest fault; the list of all settings fits in twice.
const MAX_FAULT: usize = 1_000;

/// How long a new firewall may take to be confirmed: a fresh connection takes milliseconds, and a
/// daemon that restarts is back within this time.
const DEFAULT_CONFIRM_SECS: u64 = 30;

/// Below this a slow network would look like a host that is cut off; above it a host that is cut
/// off would stay so for longer than anybody wants to wait.
const CONFIRM_SECS: std::ops::RangeInclusive<i64> = 5..=600;

/// Everything the agent is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The agent's address: the primary key of its row.
    pub agent_id: AgentId,
    /// The daemon.
    pub backend: Backend,
    /// A certificate authority to trust beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// The public keys of which the daemon has to have one; any that is trusted if there are none.
    pub pins: BTreeSet<Pin>,
    /// The certificate the agent shows where the daemon asks for one.
    pub client: Option<ClientFiles>,
    /// The proxy that leads to the daemon, if any.
    pub proxy: Option<Proxy>,
    /// Where the key, the ledger and the last status are.
    pub state_dir: PathBuf,
    /// Where the enrollment token comes from.
    pub token: TokenSource,
    /// What the agent may do to the firewall.
    pub firewall: FirewallMode,
    /// Ports that stay reachable when the firewall is on.
    pub keep_open: BTreeSet<Port>,
    /// How long a new firewall may take to be confirmed before it is rolled back; none where the
    /// agent changes none.
    pub confirm_within: Option<Duration>,
    /// Where lines of logs come from.
    pub logs: LogSettings,
    /// How often the host is looked at, unless an admin wants it otherwise.
    pub cadence: Cadence,
    /// How processes are watched.
    pub processes: ProcessSettings,
    /// How often sockets are looked at, unless an admin wants it otherwise; none where they are not.
    pub network_interval: Option<Duration>,
    /// The form of the agent's own log.
    pub log_format: LogFormat,
}

/// By which way processes are watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProcessMode {
    /// As the kernel tells of them; by looking where it does not.
    Auto,
    /// As the kernel tells of them, or not at all.
    Connector,
    /// By looking.
    Poll,
    /// Not at all.
    Off,
}

/// Which ends of processes are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProcessExits {
    /// Those of every program.
    All,
    /// Those by a signal.
    Killed,
    /// None.
    Off,
}

/// What the agent may do to the firewall.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FirewallMode {
    /// Filter with ufw where that rules the host and the agent may use it, otherwise with nftables.
    Auto,
    /// Load and remove its own nftables table.
    Nftables,
    /// Keep its own rules in ufw.
    Ufw,
    /// Look, and never touch.
    Observe,
}

/// The form of the agent's own log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Where lines of logs come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogSettings {
    /// Whether the journal is read.
    pub journal: JournalMode,
    /// Whether the kernel's log is read.
    pub kernel_log: KernelLogMode,
    /// Whether the kernel's audit is read.
    pub audit: AuditMode,
    /// Log files to follow.
    pub files: Vec<LogFileSource>,
}

/// Whether the kernel's log is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KernelLogMode {
    /// Where the journal does not tell it: there is none, or its journald does not read it.
    Auto,
    /// Always; where it cannot be, that is a fault.
    On,
    /// Never.
    Off,
}

/// Whether the kernel's audit is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuditMode {
    /// Where it can be.
    Auto,
    /// It must be; where it cannot, that is a fault.
    On,
    /// Never.
    Off,
}

/// Whether the journal is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JournalMode {
    /// Where it can be; elsewhere well-known log files take its place.
    Auto,
    /// Never.
    Off,
}

/// A log file to follow.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LogFileSource {
    /// The file.
    pub path: PathBuf,
    /// The program its lines are from when they do not say.
    pub program: Option<String>,
}

/// Where the enrollment token comes from; never an argument, which every user of the host can read.
#[derive(Clone, Debug, Default)]
pub struct TokenSource {
    /// A file with the token.
    pub file: Option<PathBuf>,
    /// A file with the token that the service manager handed over; it goes before the other one, and
    /// may be empty.
    pub credential: Option<PathBuf>,
    /// The token from the environment; it goes before the file.
    pub value: Option<Token>,
}

/// An enrollment token.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// Wraps a token; surrounding white space is not part of it.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.trim().to_owned()))
    }

    /// The secret, for the one header that carries it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// All that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {} fault(s):{}", .0.len(), list(.0))]
pub struct ConfigFaults(pub Vec<String>);

impl ConfigFaults {
    /// Faults that may quote the file, on a line each.
    fn of(faults: Vec<String>) -> Self {
        let faults = faults.iter().map(|fault| printable(fault, MAX_FAULT));
        Self(faults.collect())
    }
}

fn list(faults: &[String]) -> String {
    faults
        .iter()
        .map(|fault| format!("\n  - {fault}"))
        .collect()
}

impl Config {
    /// Reads the file, if there is one, and the environment, which goes before it.
    ///
    /// # Errors
    /// Lists every fault, each with the setting's name and what to write instead.
    pub fn load(file: &Path, env: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigFaults> {
        match std::fs::read_to_string(file) {
            Ok(text) => Self::parse(&text, env),
            // Everything that is needed may be in the environment.
            Err(error)
                if error.kind() == std::io::ErrorKind::NotFound
                    && file == Path::new(DEFAULT_FILE) =>
            {
                Self::parse("", env)
            }
            Err(error) => {
                let fault = format!("{} cannot be read: {error}", file.display());
                Err(ConfigFaults(vec![fault]))
            }
        }
    }

    /// Reads the text of a file and the environment, which goes before it.
    ///
    /// # Errors
    /// Lists every fault, each with the setting's name and what to write instead.
    pub fn parse(text: &str, env: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigFaults> {
        let mut settings =
            SettingsTable::parse(text, env).map_err(|fault| ConfigFaults::of(vec![fault]))?;
        let agent_id = read_agent_id(&mut settings);
        let backend = read_backend(&mut settings);
        let token = TokenSource {
            file: settings.path("token_file", "HIDPS_TOKEN_FILE"),
            credential: settings
                .variable(CREDENTIALS_VARIABLE)
                .map(|directory| Path::new(&directory).join(CREDENTIAL)),
            value: settings.secret("HIDPS_TOKEN").as_deref().map(Token::new),
        };
        let state_dir = settings
            .path("state_dir", "HIDPS_STATE_DIR")
            .unwrap_or_else(|| PathBuf::from(DEFAULT_STATE_DIR));
        let ca_file = settings.path("ca_file", "");
        let pins = daemon::read_pins(&mut settings, backend.as_ref());
        let client = daemon::read_client(&mut settings, backend.as_ref());
        let proxy = daemon::read_proxy(&mut settings, backend.as_ref());
        let firewall = settings.choice(
            "firewall",
            &[
                ("auto", FirewallMode::Auto),
                ("nftables", FirewallMode::Nftables),
                ("ufw", FirewallMode::Ufw),
                ("observe", FirewallMode::Observe),
            ],
        );
        let keep_open = read_keep_open(&mut settings);
        let confirm_secs = settings.integer("confirm_secs", CONFIRM_SECS);
        let logs = read_logs(&mut settings);
        let cadence = cadence::read(&mut settings);
        let processes = read_processes(&mut settings, &cadence);
        let watches_network = settings.choice("network", &[("poll", true), ("off", false)]);
        let log_format = settings.choice(
            "log_format",
            &[("text", LogFormat::Text), ("json", LogFormat::Json)],
        );

        let faults = settings.into_faults();
        match (agent_id, backend) {
            (Some(agent_id), Some(backend)) if faults.is_empty() => Ok(Self {
                agent_id,
                backend,
                ca_file,
                pins,
                client,
                proxy,
                state_dir,
                token,
                firewall,
                keep_open,
                confirm_within: (firewall != FirewallMode::Observe)
                    .then(|| Duration::from_secs(confirm_secs.unwrap_or(DEFAULT_CONFIRM_SECS))),
                logs,
                cadence,
                processes,
                network_interval: watches_network.then_some(cadence.network),
                log_format,
            }),
            _ => Err(ConfigFaults::of(faults)),
        }
    }

    /// How the daemon is reached.
    #[must_use]
    pub fn way(&self) -> Way {
        Way {
            backend: self.backend.clone(),
            ca_file: self.ca_file.clone(),
            pins: self.pins.clone(),
            client: self.client.clone(),
            proxy: self.proxy.clone(),
        }
    }
}

fn read_agent_id(settings: &mut SettingsTable<'_>) -> Option<AgentId> {
    let text = settings.required("agent_id", "HIDPS_AGENT_ID")?;
    let id = text.parse();
    if id.is_err() {
        settings.fault(format!(
            "agent_id is {text:?}; it must be the id of the agent's row, a UUID"
        ));
    }
    id.ok()
}

fn read_backend(settings: &mut SettingsTable<'_>) -> Option<Backend> {
    let allow_plaintext = settings.boolean("allow_plaintext").unwrap_or(false);
    let text = settings.required("backend_url", "HIDPS_BACKEND_URL")?;
    let backend = Backend::parse(&text, allow_plaintext);
    if let Err(error) = &backend {
        settings.fault(format!("backend_url {error}"));
    }
    backend.ok()
}

fn read_keep_open(settings: &mut SettingsTable<'_>) -> BTreeSet<Port> {
    let Some(entries) = settings.texts("keep_open") else {
        return BTreeSet::from([Port::SSH]);
    };
    let mut ports = BTreeSet::new();
    for entry in entries {
        match entry.parse() {
            Ok(port) => {
                ports.insert(port);
            }
            Err(error) => settings.fault(format!("keep_open has {entry:?}, which {error}")),
        }
    }
    ports
}

fn read_logs(settings: &mut SettingsTable<'_>) -> LogSettings {
    let modes = [("auto", JournalMode::Auto), ("off", JournalMode::Off)];
    LogSettings {
        journal: settings.choice("journal", &modes),
        kernel_log: settings.choice(
            "kernel_log",
            &[
                ("auto", KernelLogMode::Auto),
                ("on", KernelLogMode::On),
                ("off", KernelLogMode::Off),
            ],
        ),
        audit: settings.choice(
            "audit",
            &[
                ("auto", AuditMode::Auto),
                ("on", AuditMode::On),
                ("off", AuditMode::Off),
            ],
        ),
        files: read_log_files(settings),
    }
}

fn read_processes(settings: &mut SettingsTable<'_>, cadence: &Cadence) -> ProcessSettings {
    let mode = settings.choice(
        "processes",
        &[
            ("auto", ProcessMode::Auto),
            ("connector", ProcessMode::Connector),
            ("poll", ProcessMode::Poll),
            ("off", ProcessMode::Off),
        ],
    );
    let exits = settings.choice(
        "process_exits",
        &[
            ("all", ProcessExits::All),
            ("killed", ProcessExits::Killed),
            ("off", ProcessExits::Off),
        ],
    );
    ProcessSettings {
        mode,
        exits,
        interval: cadence.process_poll,
    }
}

fn read_log_files(settings: &mut SettingsTable<'_>) -> Vec<LogFileSource> {
    let mut sources = Vec::new();
    for (index, mut entry) in settings.tables("log_file").into_iter().enumerate() {
        let path = entry.path("path", "");
        let program = entry.text("program", "");
        match path {
            None => entry.fault("path is missing; name the file to follow".to_owned()),
            Some(path) if !path.is_absolute() => {
                entry.fault(format!("path {} must begin with /", path.display()));
            }
            Some(path) => sources.push(LogFileSource { path, program }),
        }
        for fault in entry.into_faults() {
            settings.fault(format!("log_file number {}: {fault}", index + 1));
        }
    }
    sources
}

#[cfg(test)]
mod tests;
