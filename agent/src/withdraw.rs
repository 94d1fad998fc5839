//! Takes back what the agent changed on its host, before the agent is uninstalled.
//! It leaves alone what it only looked at, and keeps what the agent remembers.

use crate::config::{Config, FirewallMode};
use crate::error_chain::chain;
use crate::firewall::{
    Firewall as _, FirewallChange, FirewallError, FirewallGoal, FirewallSync, HostFirewall,
};
use crate::state_dir::StateView;

/// Why nothing, or not all, was taken back.
#[derive(Debug, thiserror::Error)]
pub enum WithdrawError {
    /// The agent would put it back at once.
    #[error("the agent runs; stop it first: systemctl stop hidps-agent")]
    Running,
    /// The firewall stays as it is.
    #[error("the firewall could not be put back: {0}")]
    Firewall(String),
}

/// Takes back what was changed, and says in one line each what that was.
///
/// # Errors
/// Fails while the agent runs, and when something stays.
pub async fn withdraw(config: &Config) -> Result<String, WithdrawError> {
    let is_running = StateView::open(&config.state_dir).is_ok_and(|state| state.is_in_use());
    if is_running {
        return Err(WithdrawError::Running);
    }
    if config.firewall == FirewallMode::Observe {
        return Ok("the firewall was only observed\n".to_owned());
    }
    let firewall = HostFirewall::new(config);
    let outcome = firewall.ensure(&FirewallGoal::Off).await;
    if matches!(outcome.sync, FirewallSync::Failed(FirewallError::Missing)) {
        return Ok(
            "nft is not installed, so there are no firewall rules of the agent\n".to_owned(),
        );
    }
    if let FirewallSync::Failed(error) = &outcome.sync {
        return Err(WithdrawError::Firewall(chain(error)));
    }
    let said = match outcome.change {
        Some(FirewallChange::Removed) => "the agent's firewall rules are removed\n",
        Some(FirewallChange::Loaded | FirewallChange::Repaired | FirewallChange::Adjusted)
        | None => "the agent had no firewall rules here\n",
    };
    Ok(said.to_owned())
}
