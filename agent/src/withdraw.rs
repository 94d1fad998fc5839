//! Takes back what the agent changed on its host, before the agent is uninstalled.
//! It leaves alone what it only looked at, and keeps what the agent remembers.

use crate::config::{Config, FirewallMode};
use crate::error_chain::chain;
use crate::firewall::{
    Firewall as _, FirewallChange, FirewallError, FirewallGoal, FirewallSync, HostFirewall,
};
use crate::state_dir::{StateError, StateView};

/// Why nothing, or not all, was taken back.
#[derive(Debug, thiserror::Error)]
pub enum WithdrawError {
    /// The agent would put it back at once.
    #[error("the agent runs; stop it first: systemctl stop hidps-agent")]
    Running,
    /// It may be running, and would put it back at once.
    #[error("it cannot be told whether the agent runs, so nothing was taken back")]
    Untold(#[source] StateError),
    /// The firewall stays as it is.
    #[error("the firewall could not be put back: {0}")]
    Firewall(String),
}

/// Takes back what was changed, and says in one line each what that was.
///
/// # Errors
/// Fails while the agent runs, and when something stays.
pub async fn withdraw(config: &Config) -> Result<String, WithdrawError> {
    if is_running(config).map_err(WithdrawError::Untold)? {
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

/// Whether an agent runs; one that never ran here has no directory.
fn is_running(config: &Config) -> Result<bool, StateError> {
    match StateView::open(&config.state_dir) {
        Err(error) if error.is_absence() => Ok(false),
        opened => opened?.is_in_use(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_dir::StateDir;

    #[tokio::test]
    async fn nothing_is_taken_back_while_it_cannot_be_told_whether_the_agent_runs() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        let text = format!(
            "agent_id = \"7d444840-9dc0-11d1-b245-5ffdce74fad2\"\n\
             backend_url = \"http://127.0.0.1:9\"\nfirewall = \"observe\"\nstate_dir = {path:?}\n"
        );
        let config = Config::parse(&text, |_| None).unwrap();

        let without_directory = withdraw(&config).await;
        let state = StateDir::open(&path).unwrap();
        let never_ran = withdraw(&config).await;
        std::fs::create_dir(state.path().join("lock")).unwrap();
        let untold = withdraw(&config).await;
        std::fs::remove_dir(state.path().join("lock")).unwrap();
        let _lock = state.lock().unwrap();
        let running = withdraw(&config).await;

        assert!(without_directory.is_ok() && never_ran.is_ok());
        assert!(
            matches!(untold, Err(WithdrawError::Untold(_))),
            "{untold:?}"
        );
        assert!(
            matches!(running, Err(WithdrawError::Running)),
            "{running:?}"
        );
    }
}
