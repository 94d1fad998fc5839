//! Plain data shared by the modules: what is desired, observed, alerted and delivered.
//! It never does I/O and never derives `Serialize`: row shapes belong to `persistence`.

mod detection;

use std::net::IpAddr;

use hidps_wire::{
    AgentId, ConditionStatus, ContentHash, DesiredDocument, DiskUse, Facts, Generation, Processes,
    Sensor, SubjectCondition, Usage,
};
use jiff::Timestamp;
use uuid::Uuid;

/// Whether a character deceives whoever reads a text of others: one rule for frames, mails and rows.
pub use hidps_wire::is_misleading;

pub use self::detection::{
    Contribution, DetectionIntent, DetectionReports, DetectionVerdict, IntentKind, IntentRow,
    OrgId, OwnRule, RiskReport, RuleOverride, ShadowReport, SilenceMatch, SuppressedReport,
    Suppression, VerdictStatus,
};

/// Everything desired of one agent, as the database composed it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DesiredState {
    /// The generation it belongs to.
    pub generation: Generation,
    /// The database's hash of the document.
    pub hash: ContentHash,
    /// The document.
    pub document: DesiredDocument,
    /// When the generation was made, by the database's clock.
    pub changed_at: Timestamp,
    /// Why the database wants it held back.
    pub hold: Option<HoldMark>,
    /// Whether somebody released exactly this generation, whatever it does.
    pub released: bool,
}

/// Which version of an agent's desired state the database holds. The generation alone does not say:
/// after a restored backup, changes count up to one that was given to other content already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DesiredVersion {
    /// The agent.
    pub agent_id: AgentId,
    /// The generation.
    pub generation: Generation,
    /// When it was made, by the database's clock.
    pub changed_at: Timestamp,
}

/// Why the database wants a change held back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoldMark {
    /// Too many agents of its organization were touched at once.
    BlastRadius,
    /// A reason this daemon does not know; it is held all the same.
    Unknown,
}

/// A condition of one agent, ready to be recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConditionReport {
    /// The agent.
    pub agent_id: AgentId,
    /// Which condition.
    pub kind: ConditionKind,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// One CamelCase word.
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// The generation that was compared with the host; none before the first document.
    pub observed_generation: Option<Generation>,
    /// What is not as desired, one by one.
    pub subjects: Vec<SubjectCondition>,
    /// When the status last changed, if that happened between this report and the one before,
    /// which was never written; a repaired fault stays visible by it.
    pub transition_at: Option<Timestamp>,
}

/// How far one change has come on one agent; what is unknown is left to what is known already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChangeReport {
    /// The agent.
    pub agent_id: AgentId,
    /// The change.
    pub generation: Generation,
    /// When it was made, by the database's clock.
    pub changed_at: Timestamp,
    /// When its frame was written to the agent's socket.
    pub sent_at: Option<Timestamp>,
    /// When the agent said that it has accepted and applied it.
    pub applied_at: Option<Timestamp>,
    /// When every facet was read back as desired.
    pub observed_at: Option<Timestamp>,
}

/// A step of a change on its way to a host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Milestone {
    /// Its frame was given to the socket.
    Sent,
    /// The agent has accepted and applied it.
    Applied,
    /// Every facet was read back as desired.
    Observed,
}

/// The conditions the daemon records.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ConditionKind {
    /// The firewall is as desired.
    FirewallSynced,
    /// Every monitored file is watched.
    FilesWatched,
    /// The host looks at itself as often as desired.
    CollectionSynced,
    /// What is desired is written down on the host.
    DocumentStored,
    /// Every source of events is read that the host's configuration asks for.
    SourcesRead,
    /// The key that was to be given up is not the agent's any more.
    KeyRotated,
    /// The agent is connected.
    Connected,
    /// A desired state is being held back.
    Held,
}

impl ConditionKind {
    /// The value of the `type` column.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FirewallSynced => "FirewallSynced",
            Self::FilesWatched => "FilesWatched",
            Self::CollectionSynced => "CollectionSynced",
            Self::DocumentStored => "DocumentStored",
            Self::SourcesRead => "SourcesRead",
            Self::KeyRotated => "KeyRotated",
            Self::Connected => "Connected",
            Self::Held => "Held",
        }
    }
}

/// A condition of the daemon itself, ready to be recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthReport {
    /// Which condition.
    pub kind: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// One CamelCase word.
    pub reason: &'static str,
    /// One sentence.
    pub message: String,
    /// What programs may want to know beside it: an object of at most 4 KiB as text.
    pub details: serde_json::Value,
}

/// An agent of which a daemon that has just started does not know whether it lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unheard {
    /// The agent.
    pub agent: AgentId,
    /// When it was last heard of.
    pub heard_at: Timestamp,
    /// Whether it holds no connection and asks regularly instead.
    pub polls: bool,
}

/// Whether an agent is connected, and what it said of its host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PresenceReport {
    /// The agent.
    pub agent_id: AgentId,
    /// Whether it is connected.
    pub online: bool,
    /// When the daemon saw it.
    pub at: Timestamp,
    /// What it said when it connected.
    pub host: Option<HostFacts>,
}

/// What an agent claims of its host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostFacts {
    /// Host name.
    pub hostname: String,
    /// Operating system.
    pub os: String,
    /// Processor architecture.
    pub arch: String,
    /// Version of the agent program.
    pub agent_version: String,
    /// Whether it gives up a key that a document names.
    pub retires_keys: bool,
}

/// How busy a host is, in percent, and whether our firewall table is loaded.
#[derive(Clone, PartialEq, Debug)]
pub struct UsageReport {
    /// The agent.
    pub agent_id: AgentId,
    /// Processor time in use.
    pub cpu: f32,
    /// Memory in use.
    pub ram: f32,
    /// Root file system in use.
    pub storage: f32,
    /// Whether our table is loaded; none while unknown.
    pub firewall_active: Option<bool>,
    /// Load over 1, 5 and 15 minutes.
    pub load: Option<[f32; 3]>,
    /// Each file system.
    pub disks: Vec<DiskUse>,
    /// How warm it is.
    pub sensors: Vec<Sensor>,
}

impl UsageReport {
    /// What an agent measured, and what is known of its firewall.
    #[must_use]
    pub fn of(agent_id: AgentId, usage: Usage, firewall_active: Option<bool>) -> Self {
        Self {
            agent_id,
            cpu: usage.cpu,
            ram: usage.ram,
            storage: usage.storage,
            firewall_active,
            load: usage.load,
            disks: usage.disks,
            sensors: usage.sensors,
        }
    }
}

/// What runs on a host and takes most of it.
#[derive(Clone, PartialEq, Debug)]
pub struct ProcessesReport {
    /// The agent.
    pub agent_id: AgentId,
    /// Whose agent it is: where there is no room for all, each organization has its share.
    pub org: OrgId,
    /// When the daemon heard of it.
    pub at: Timestamp,
    /// The snapshot.
    pub processes: Processes,
}

/// What a host is, as its agent found it.
#[derive(Clone, PartialEq, Debug)]
pub struct FactsReport {
    /// The agent.
    pub agent_id: AgentId,
    /// The facts.
    pub facts: Facts,
}

/// Something a person should know, ready to become a row.
#[derive(Clone, PartialEq, Debug)]
pub struct Alert {
    /// Names this occurrence, so that writing it twice counts once.
    pub occurrence_id: Uuid,
    /// The agent it happened on.
    pub agent_id: AgentId,
    /// Equal for what is the same trouble; the open row of a fingerprint is counted up.
    pub fingerprint: String,
    /// The Sigma rule.
    pub rule_id: String,
    /// What happened, in a few words.
    pub title: String,
    /// What happened, in sentences.
    pub message: String,
    /// The frontend's tab, such as `security`.
    pub alert_type: String,
    /// 1 low to 4 critical.
    pub severity: u8,
    /// 0 to 100.
    pub risk: u8,
    /// A bounded, redacted excerpt of the events.
    pub evidence: serde_json::Value,
    /// Why the rule fired: matched fields, window, counts, rule-set hash.
    pub explanation: serde_json::Value,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// How many times it happened since the last report.
    pub count: u32,
}

/// An agent as it signed: whose it was then, and by which key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnedAgent {
    /// The agent.
    pub agent: AgentId,
    /// Its organization.
    pub org: OrgId,
    /// The key it signed with.
    pub key: PublicKey,
}

/// An Ed25519 public key.
pub type PublicKey = [u8; 32];

/// A public key and whether it may connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AgentCredential {
    /// The agent's organization.
    pub org: OrgId,
    /// The key.
    pub public_key: PublicKey,
    /// Whether it may connect.
    pub status: KeyStatus,
}

/// An enrollment or a connect that was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AgentRefusal {
    /// The agent that was named; nobody proved to be it.
    pub agent: AgentId,
    /// From where it was asked.
    pub from: Option<IpAddr>,
    /// What finds the token that was shown, if one was; it is no secret.
    pub token_prefix: Option<String>,
    /// Why, in one sentence.
    pub reason: String,
}

/// Whether a key may connect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyStatus {
    /// It may.
    Admitted,
    /// An admin has to approve it first.
    Pending,
    /// It may not any more.
    Revoked,
}

/// An agent a person may read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AgentAccess {
    /// The agent.
    pub agent_id: AgentId,
    /// Whether the person may change it.
    pub can_admin: bool,
}

/// One message to one person.
#[derive(Clone, PartialEq, Debug)]
pub struct Notification {
    /// The row.
    pub id: Uuid,
    /// Mail address.
    pub recipient: String,
    /// Deliveries begun, this one included.
    pub attempts: i32,
    /// Stable `Message-ID`, so that a second delivery collapses with the first.
    pub message_id: String,
    /// What it is about.
    pub notice: Notice,
}

/// What a message to a person is about.
#[derive(Clone, PartialEq, Debug)]
pub enum Notice {
    /// An alert of an agent that they may see.
    Alert(NotifiedAlert),
    /// Their own account.
    Account(NotifiedAccount),
}

/// What a notification says about the account of the person who gets it.
#[derive(Clone, PartialEq, Debug)]
pub struct NotifiedAccount {
    /// What happened, in a few words.
    pub title: String,
    /// What happened, in sentences; it repeats what a client claimed of itself, hostile until escaped.
    pub message: String,
    /// When.
    pub at: Timestamp,
    /// What to do now.
    pub advice: Option<String>,
}

/// What a notification says about its alert.
#[derive(Clone, PartialEq, Debug)]
pub struct NotifiedAlert {
    /// The row.
    pub id: Uuid,
    /// What happened, in a few words.
    pub title: String,
    /// What happened, in sentences.
    pub message: String,
    /// 1 low to 4 critical.
    pub severity: u8,
    /// 0 to 100.
    pub risk: u8,
    /// The Sigma rule.
    pub rule_id: String,
    /// How many times so far.
    pub occurrences: i32,
    /// First time.
    pub first_seen: Timestamp,
    /// Last time so far.
    pub last_seen: Timestamp,
    /// A bounded, redacted excerpt of the events; text from the host, hostile until escaped.
    pub evidence: Vec<String>,
    /// What to do now, from the rule.
    pub advice: Option<String>,
    /// Whether this is the last mail about the agent for an hour, as there were too many.
    pub is_storm: bool,
    /// The agent.
    pub agent_id: AgentId,
    /// The agent's name.
    pub agent_name: String,
    /// The organization's name.
    pub organization: String,
}

/// What the daemon itself observed about an agent; nothing an agent sends becomes one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Observation {
    /// Nothing has been heard of it since its connection ended.
    Silent {
        /// For how long.
        seconds: u64,
    },
    /// It is back after a silence that was told.
    Back {
        /// How long that was.
        seconds: u64,
    },
    /// Its key has two holders.
    Twin {
        /// What shows it.
        sign: TwinSign,
        /// Where the two came from, the newer one first; none where that is this machine.
        addresses: [Option<IpAddr>; 2],
    },
    /// Its clock differs from the daemon's.
    ClockSkew {
        /// By how much; positive is ahead.
        seconds: i64,
    },
    /// How its host is used, in percent.
    Usage {
        /// Processor.
        cpu: f32,
        /// Memory.
        ram: f32,
        /// The root file system.
        storage: f32,
        /// Tasks that ran or waited, on average over 1, 5 and 15 minutes.
        load: Option<[f32; 3]>,
        /// How warm the warmest of its sensors is.
        celsius: Option<f32>,
    },
}

/// What shows that a key has two holders.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TwinSign {
    /// Both are alive at once.
    Alive,
    /// They take turns.
    Turns,
}

/// What became of a delivery.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeliveryOutcome {
    /// The mail server took it.
    Sent,
    /// It failed in a way that may pass.
    Retry {
        /// What happened.
        error: String,
        /// Seconds until the next attempt.
        after_secs: u32,
    },
    /// It failed for good.
    Failed {
        /// What happened.
        error: String,
    },
}
