//! The firewall of this host: which back end filters, and that no other keeps anything of the agent's.
//! It changes no rule itself.

use hidps_wire::FirewallIntent;

use super::forecast::judge_host;
use super::listing::{parse_rules, with_ufw};
use super::nft::Nft;
use super::nftables::Nftables;
use super::observe::ObserveOnly;
use super::ufw::Ufw;
use super::{
    BackEnd, DaemonPlace, Firewall, FirewallError, FirewallGoal, FirewallOutcome, FirewallSync,
    Forecast, OtherFilter, RuleList,
};
use crate::config::{Config, FirewallMode};
use crate::error_chain::chain;

/// The firewall of this host.
#[derive(Debug)]
pub enum HostFirewall {
    /// Managed by the agent.
    Managed(Box<Managed>),
    /// Looked at by the agent.
    Observe(ObserveOnly),
}

/// What the agent can filter with.
#[derive(Debug)]
pub struct Managed {
    /// The one that is told; none where it is found out.
    told: Option<BackEnd>,
    nftables: Nftables,
    ufw: Ufw,
}

impl HostFirewall {
    /// The firewall as configured.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let managed = |told| {
            let keep_open = config.keep_open.clone();
            let nftables = Nftables::new(Nft::find(), keep_open, config.way().first_hop());
            Self::Managed(Box::new(Managed {
                told,
                nftables,
                ufw: Ufw::new(config),
            }))
        };
        match config.firewall {
            FirewallMode::Auto => managed(None),
            FirewallMode::Nftables => managed(Some(BackEnd::Nftables)),
            FirewallMode::Ufw => managed(Some(BackEnd::Ufw)),
            FirewallMode::Observe => Self::Observe(ObserveOnly::new(Nft::find())),
        }
    }

    /// What filters, or would; none where the agent never does.
    #[must_use]
    pub fn back_end(&self) -> Option<BackEnd> {
        match self {
            Self::Managed(managed) => Some(managed.back_end()),
            Self::Observe(_) => None,
        }
    }
}

impl Managed {
    /// Where nobody said which: ufw where it rules the host and the agent may use it, and as long as
    /// the agent has rules in it.
    fn back_end(&self) -> BackEnd {
        let is_ufw = || self.ufw.is_taken() || self.ufw.is_usable();
        match self.told {
            Some(told) => told,
            None if is_ufw() => BackEnd::Ufw,
            None => BackEnd::Nftables,
        }
    }

    async fn ensure(&self, goal: &FirewallGoal) -> FirewallOutcome {
        let back_end = self.back_end();
        let mut outcome = match back_end {
            BackEnd::Nftables => self.nftables.ensure(goal).await,
            BackEnd::Ufw => self.ufw.ensure(goal).await,
        };
        if let FirewallSync::Enabled(force) = &mut outcome.sync
            && back_end == BackEnd::Ufw
        {
            force.others = self.nftables.find_others().await;
            force.others.retain(|it| *it != OtherFilter::Ufw);
        }
        // Only what is replaced is taken away, so that nothing is open in between.
        let is_to_be_cleared = match goal.intent() {
            FirewallIntent::Unmanaged => false,
            FirewallIntent::Off => true,
            FirewallIntent::On => matches!(outcome.sync, FirewallSync::Enabled(_)),
        };
        if is_to_be_cleared {
            self.clear_other(back_end, &mut outcome).await;
        }
        outcome
    }

    /// Takes away what the agent has in the other back end, from before that was changed.
    async fn clear_other(&self, back_end: BackEnd, outcome: &mut FirewallOutcome) {
        let off = FirewallGoal::Off;
        let other = match back_end {
            BackEnd::Nftables if self.ufw.is_taken() => self.ufw.ensure(&off).await,
            BackEnd::Nftables => return,
            BackEnd::Ufw => self.nftables.ensure(&off).await,
        };
        match other.sync {
            FirewallSync::Failed(FirewallError::Missing | FirewallError::Privilege) => {}
            FirewallSync::Failed(error) => {
                let error = chain(&error);
                tracing::error!(error, "rules of the agent are left in another back end");
                // Whoever wants nothing of the agent's left is told that something is.
                if matches!(outcome.sync, FirewallSync::Disabled) {
                    outcome.sync = FirewallSync::Failed(FirewallError::LeftBehind(error));
                }
            }
            FirewallSync::Enabled(_)
            | FirewallSync::Disabled
            | FirewallSync::Unmanaged
            | FirewallSync::ObserveOnly { .. } => {
                if outcome.change.is_none() && other.change.is_some() {
                    outcome.change = other.change;
                    outcome.back_end = other.back_end;
                }
            }
        }
    }

    async fn forecast(
        &self,
        goal: &FirewallGoal,
        place: &DaemonPlace,
    ) -> Result<Forecast, FirewallError> {
        if self.back_end() == BackEnd::Nftables {
            return self.nftables.forecast(goal, place).await;
        }
        let mut forecast = self.ufw.forecast(goal, place).await?;
        if let FirewallGoal::On(policy) = goal
            && forecast.why.is_empty()
        {
            let judged = judge_host(self.nftables.nft(), policy, place).await;
            (forecast.cuts_off, forecast.why) = judged.unwrap_or_else(|error| {
                let why = format!("the host's other rules cannot be read: {}", chain(&error));
                (hidps_wire::CutOff::Unknown, why)
            });
        }
        Ok(forecast)
    }

    async fn list_rules(&self) -> Result<RuleList, FirewallError> {
        let listing = self.nftables.nft().list(&["list", "ruleset"]).await;
        match self.back_end() {
            BackEnd::Nftables => Ok(parse_rules(&listing?)),
            // ufw works without nft.
            BackEnd::Ufw => Ok(with_ufw(
                &listing.unwrap_or_default(),
                self.ufw.list_rules().await?,
            )),
        }
    }
}

impl Firewall for HostFirewall {
    async fn ensure(&self, goal: &FirewallGoal) -> FirewallOutcome {
        match self {
            Self::Managed(managed) => managed.ensure(goal).await,
            Self::Observe(observed) => observed.observe(goal.intent()).await,
        }
    }

    async fn is_active(&self) -> Result<bool, FirewallError> {
        match self {
            Self::Managed(managed) => match managed.back_end() {
                BackEnd::Nftables => managed.nftables.nft().has_table().await,
                BackEnd::Ufw => Ok(managed.ufw.is_active().await?),
            },
            Self::Observe(observed) => observed.nft().has_table().await,
        }
    }

    async fn list_rules(&self) -> Result<RuleList, FirewallError> {
        match self {
            Self::Managed(managed) => managed.list_rules().await,
            Self::Observe(observed) => {
                let listing = observed.nft().list(&["list", "ruleset"]).await?;
                Ok(parse_rules(&listing))
            }
        }
    }

    async fn forecast(
        &self,
        goal: &FirewallGoal,
        place: &DaemonPlace,
    ) -> Result<Forecast, FirewallError> {
        match self {
            Self::Managed(managed) => managed.forecast(goal, place).await,
            Self::Observe(_) => Ok(Forecast::unchanged(
                "this agent is configured to observe and never touches the firewall",
            )),
        }
    }
}
