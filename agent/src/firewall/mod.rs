//! The host's firewall as an actuator: the whole desired value in, the true resulting state out.
//! It touches nothing but the agent's own table, or its own rules in ufw, and in observe mode not
//! even that.
//!
//! Whatever is desired, answers to what the host began, the link to the daemon and, for a while,
//! whoever was logged in by SSH stay let through. Why an own small module runs `nft` and not the crate `nftables`: that crate
//! reads listings into closed types and fails on the rules of other programs, which the agent has
//! to list, and it waits for `nft` without a deadline.

mod counts;
mod cut_off;
mod daemon_place;
mod difference;
mod drift;
mod forecast;
pub mod fuzzing;
mod goal;
mod guard;
mod host;
mod listing;
mod nft;
mod nftables;
mod observe;
mod other_filters;
mod program;
mod ruleset;
mod ssh_peers;
mod ssh_sessions;
mod ufw;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use hidps_wire::{CutOff, FirewallPlan, FirewallPolicy, FirewallRule, PlannedPeer};
use uuid::Uuid;

use crate::config::Port;
pub use daemon_place::DaemonPlace;
pub use drift::{Actor, Drift, watch_drift};
pub use goal::FirewallGoal;
pub use guard::{Returning, SshPeer};
pub use host::HostFirewall;
pub use nft::FirewallError;
pub use other_filters::OtherFilter;
pub use ufw::UfwError;

/// Family of the agent's table: both versions of IP.
pub const TABLE_FAMILY: &str = "inet";

/// Name of the agent's table.
pub const TABLE_NAME: &str = "hidps";

/// Entrance for fuzzing: reads a text as each of ufw's files; gives how many rules are in it.
#[must_use]
pub fn read_ufw_files(text: &str) -> usize {
    ufw::read_any(text)
}

/// What the loop and the questions need of a firewall.
pub trait Firewall: Send + Sync + 'static {
    /// Makes it so and says what is so now; an equal value again changes nothing.
    fn ensure(&self, goal: &FirewallGoal) -> impl Future<Output = FirewallOutcome> + Send;

    /// Whether the agent's table is loaded.
    fn is_active(&self) -> impl Future<Output = Result<bool, FirewallError>> + Send;

    /// All rules of the host.
    fn list_rules(&self) -> impl Future<Output = Result<RuleList, FirewallError>> + Send;

    /// What [`Firewall::ensure`] would change, and whether that would cost the host its daemon;
    /// nothing is changed.
    fn forecast(
        &self,
        goal: &FirewallGoal,
        place: &DaemonPlace,
    ) -> impl Future<Output = Result<Forecast, FirewallError>> + Send;
}

/// The rules of a host.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RuleList {
    /// In the order the kernel holds them.
    pub rules: Vec<FirewallRule>,
    /// Whether there are more than travel in one answer.
    pub truncated: bool,
}

/// What would become of an intent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forecast {
    /// What would be done to the table.
    pub plan: FirewallPlan,
    /// Whether the host would lose its daemon.
    pub cuts_off: CutOff,
    /// Why that is thought, in one sentence.
    pub why: String,
    /// Whoever is logged in by SSH now, and whether they could come back.
    pub ssh_peers: Vec<PlannedPeer>,
    /// How many more are connected by SSH.
    pub n_peers_left_out: usize,
}

/// What became of an intent.
#[derive(Debug)]
pub struct FirewallOutcome {
    /// Which one was told; what was done was done there.
    pub back_end: BackEnd,
    /// Whether the table is loaded; none when that cannot be read.
    pub active: Option<bool>,
    /// What was done.
    pub change: Option<FirewallChange>,
    /// What somebody else had done to the table, when that was put right.
    pub tampering: Option<String>,
    /// How what is so now relates to the intent.
    pub sync: FirewallSync,
}

/// What an actuator did to the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FirewallChange {
    /// It was absent and is loaded.
    Loaded,
    /// It differed from what the agent had loaded and is replaced.
    Repaired,
    /// It is replaced, because something else is desired or the daemon has moved.
    Adjusted,
    /// It was there and is gone.
    Removed,
}

/// What filters packets for the agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BackEnd {
    /// A table of its own in nftables.
    #[default]
    Nftables,
    /// Rules of its own in ufw.
    Ufw,
}

impl BackEnd {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Ufw => "ufw",
        }
    }

    /// What it cannot do, for a sentence; none where that is nothing.
    #[must_use]
    pub const fn cannot(self) -> Option<&'static str> {
        match self {
            Self::Nftables => None,
            Self::Ufw => Some(
                "ufw changes one rule at a time, and lets in ping, multicast name service and DHCP \
                 before any rule",
            ),
        }
    }
}

/// A desired rule that the back end cannot enforce; all others are in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnsupportedRule {
    /// Its row.
    pub id: Uuid,
    /// Why, as the rest of a sentence about the rule.
    pub why: &'static str,
}

/// What is in force while the firewall is on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct InForce {
    /// What filters.
    pub back_end: BackEnd,
    /// What it lets through.
    pub policy: Arc<FirewallPolicy>,
    /// The ports that stay reachable unless a rule closes them.
    pub keep_open: BTreeSet<Port>,
    /// Who was connected by SSH when it was loaded and may come back, and until when.
    pub returning: Option<Returning>,
    /// Packet filters of others, which every packet has to pass as well.
    pub others: Vec<OtherFilter>,
    /// Desired rules that are not in force, because this back end cannot do what they say.
    pub unsupported: Vec<UnsupportedRule>,
}

/// How the firewall relates to what is desired.
#[derive(Debug)]
pub enum FirewallSync {
    /// The table is loaded, as desired.
    Enabled(InForce),
    /// The table is absent, as desired.
    Disabled,
    /// Nothing is desired, and nothing was done.
    Unmanaged,
    /// The agent may only look; this is whether it happens to be as desired.
    ObserveOnly {
        /// Whether it is.
        as_desired: bool,
    },
    /// It could not be made so, or not be read.
    Failed(FirewallError),
}
