//! Questions a viewer may ask a host, and the answers; nothing is changed and nothing is stored.

use serde::{Deserialize, Serialize};

/// A question to an agent; a closed set without free text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// All rules the host's packet filter holds now.
    FirewallRules,
    /// Whether our firewall table is active.
    FirewallStatus,
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
}
