//! Questions a viewer may ask a host, and the answers; nothing is changed and nothing is stored.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::desired::DesiredDocument;

/// A question to an agent; a closed set without free text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// All rules the host's packet filter holds now.
    FirewallRules,
    /// Whether our firewall table is active.
    FirewallStatus,
    /// What applying a document would change; nothing is applied.
    Plan {
        /// The document; without one, a viewer asks about what is desired in the database now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        document: Option<Box<DesiredDocument>>,
    },
}

/// An agent's answer to a question.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Answer {
    /// The rules in the order the kernel holds them.
    FirewallRules {
        /// One entry per rule, at most 5,000.
        rules: Vec<FirewallRule>,
        /// Whether the list was cut.
        truncated: bool,
    },
    /// The state of our table.
    FirewallStatus {
        /// Whether it is loaded.
        active: bool,
    },
    /// What a document would change.
    Plan(HostPlan),
    /// The host could not answer.
    Failed {
        /// What happened and what to do.
        message: String,
    },
}

/// One rule of the host's packet filter, as data.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirewallRule {
    /// Address family of its table, such as `inet`.
    pub family: String,
    /// Table.
    pub table: String,
    /// Chain.
    pub chain: String,
    /// The kernel's handle within the table.
    pub handle: u64,
    /// Whether the table is ours.
    pub managed: bool,
    /// What it matches and does, in nft's JSON vocabulary.
    pub expression: serde_json::Value,
    /// The comment on it, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The row of `firewall_rules` it enforces, if it is one of ours for a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Uuid>,
    /// How many packets it has counted, if it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    /// How many bytes they had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// What applying a document to a host would change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostPlan {
    /// What would become of our firewall table.
    pub firewall: FirewallPlan,
    /// Paths that would be watched and are not now.
    pub watch: Vec<String>,
    /// Paths that are watched now and would not be.
    pub unwatch: Vec<String>,
    /// Paths and firewall rules of the document that would be refused, each with its reason.
    pub refused: Vec<String>,
    /// How many entries are left out of these three lists, because one frame does not hold them.
    pub omitted: u32,
    /// Whether the host would lose the daemon.
    pub cuts_off: CutOff,
    /// Why that is thought, in one sentence.
    pub cut_off_why: String,
    /// Whoever is logged in by SSH now, at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ssh_peers: Vec<PlannedPeer>,
}

/// What a firewall would mean for somebody who is logged in by SSH; the session itself always lives.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedPeer {
    /// The other end.
    pub address: String,
    /// The host's port.
    pub port: u16,
    /// Whether a new session could begin for good; without it, for ten minutes only.
    pub returns: bool,
    /// Why, in one sentence.
    pub why: String,
}

/// What would become of the firewall table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirewallPlan {
    /// The act.
    pub change: PlannedChange,
    /// The difference of the rule sets, each line with `+ ` or `- ` before it, at most
    /// [`crate::MAX_PLAN_LINES`].
    pub lines: Vec<String>,
    /// Whether the difference was cut.
    pub truncated: bool,
}

/// What would be done to the firewall table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlannedChange {
    /// Nothing.
    None,
    /// It would be loaded.
    Load,
    /// It is loaded and would be put right, or changed to what is desired.
    Repair,
    /// It would be removed.
    Remove,
}

/// Whether a host would lose the daemon.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CutOff {
    /// It would.
    Yes,
    /// It would not.
    No,
    /// That cannot be told.
    Unknown,
}
