//! What an organization wants of detection, and what was observed of it.
//! It never says how a rule is compiled or a match is judged.

use hidps_wire::AgentId;
use jiff::Timestamp;
use uuid::Uuid;

/// Names an organization.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OrgId(pub Uuid);

/// Everything one organization wants, as the database composed it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DetectionIntent {
    /// The organization.
    pub org: OrgId,
    /// Which of its states this is.
    pub generation: u64,
    /// The agents it holds for.
    pub agents: Vec<AgentId>,
    /// Its own rules and exceptions, oldest first.
    pub rules: Vec<OwnRule>,
    /// Its other settings of built-in rules.
    pub overrides: Vec<RuleOverride>,
    /// What it wants to keep quiet about, oldest first.
    pub suppressions: Vec<Suppression>,
}

/// One row of intent, in one of its versions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IntentRow {
    /// The row.
    pub id: Uuid,
    /// Grows with every change of what is wanted.
    pub version: i64,
}

/// Rules, correlations or exceptions of an organization's own, in one text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnRule {
    /// The row.
    pub row: IntentRow,
    /// The YAML text.
    pub body: String,
    /// Whether it is wanted at all.
    pub enabled: bool,
    /// Whether its matches are only counted.
    pub shadow: bool,
}

/// Other settings of one built-in rule; what is none stays the rule's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleOverride {
    /// The row.
    pub row: IntentRow,
    /// The rule's id.
    pub rule_id: String,
    /// Whether its matches are raised at all.
    pub enabled: Option<bool>,
    /// Sigma's name of a level.
    pub level: Option<String>,
    /// The number a correlation counts towards.
    pub threshold: Option<i64>,
    /// Whether its matches are only counted.
    pub shadow: Option<bool>,
}

/// Matches to keep quiet about; what is none means any.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Suppression {
    /// The row.
    pub row: IntentRow,
    /// The rule's id.
    pub rule_id: Option<String>,
    /// The agent.
    pub agent: Option<AgentId>,
    /// A field of the event and what its value must be.
    pub field: Option<(String, SilenceMatch)>,
    /// When it ends.
    pub until: Option<Timestamp>,
}

/// What a field's value must be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SilenceMatch {
    /// Equal to this.
    Value(String),
    /// An address in this network.
    Cidr(String),
    /// This path, or one below it.
    Prefix(String),
    /// Something a newer database knows.
    Unknown(String),
}

/// Which table a row of intent is in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum IntentKind {
    /// Own rules.
    Rule,
    /// Other settings.
    Override,
    /// What is kept quiet about.
    Suppression,
    /// No row of intent but everything of one organization; its version is the generation.
    Organization,
}

/// What became of one row of intent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DetectionVerdict {
    /// Its table.
    pub kind: IntentKind,
    /// The row, in the version that was judged.
    pub row: IntentRow,
    /// Whether it is in force.
    pub status: VerdictStatus,
    /// Why not, in a sentence; empty where it is.
    pub reason: String,
    /// Line and column of the fault, counted from one.
    pub place: Option<(usize, usize)>,
    /// Hash of the organization's rules in force.
    pub rule_set: Option<String>,
}

/// Whether a row of intent is in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VerdictStatus {
    /// It is.
    Accepted,
    /// It cannot be honoured.
    Refused,
    /// It was, and cost too much.
    Suspended,
    /// Nobody wants it to be.
    Disabled,
    /// It could not be read.
    NotRead,
    /// All organizations together hold as much as they may.
    Crowded,
}

/// Matches of a rule on trial since the last report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShadowReport {
    /// Where it matched.
    pub agent_id: AgentId,
    /// The rule.
    pub rule_id: String,
    /// Its title.
    pub title: String,
    /// How often.
    pub matches: u64,
}

/// Matches that were kept quiet about since the last report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SuppressedReport {
    /// The row that wanted it.
    pub suppression: Uuid,
    /// Where they were.
    pub agent_id: AgentId,
    /// How many.
    pub matches: u64,
}

/// How much what was seen on an agent lately says against it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RiskReport {
    /// The agent.
    pub agent_id: AgentId,
    /// 0 to 100.
    pub score: u8,
    /// How far it looks back.
    pub window_secs: u32,
    /// Until when it holds if nothing more is seen.
    pub valid_until: Timestamp,
    /// What weighs most, heaviest first.
    pub contributions: Vec<Contribution>,
}

/// One rule's part of an agent's risk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contribution {
    /// The rule.
    pub rule_id: String,
    /// Its title.
    pub title: String,
    /// 0 to 100.
    pub risk: u8,
}

/// Reports of one kind, ready to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DetectionReports {
    /// What became of rows of intent.
    Verdicts(Vec<DetectionVerdict>),
    /// Matches of rules on trial.
    Shadow(Vec<ShadowReport>),
    /// Matches kept quiet about.
    Suppressed(Vec<SuppressedReport>),
    /// Risk of agents.
    Risk(Vec<RiskReport>),
}
