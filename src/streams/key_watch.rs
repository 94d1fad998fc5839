//! Ends the connections of agents whose key was revoked or replaced, or whose row is gone.
//! It never ends one because it could not ask.

use std::sync::Arc;
use std::time::Duration;

use hidps_wire::AgentId;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::ports::{Directory, StoreError};
use crate::streams::mailbox::ToAgent;
use crate::streams::registry::Registry;
use crate::telemetry::Chain;

/// Longest time a revoked agent may stay connected.
const EVERY: Duration = Duration::from_secs(20);

/// Agents per question: their ids go into one address, which may have 8 KiB.
const PER_QUESTION: usize = 100;

/// Looks again and again until it is told to stop.
pub async fn watch_keys(
    registry: Arc<Registry>,
    directory: Arc<dyn Directory>,
    stop: CancellationToken,
) {
    let mut timer = interval(EVERY);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = timer.tick() => {}
            () = stop.cancelled() => return,
        }
        if let Err(error) = end_revoked(&registry, directory.as_ref()).await {
            tracing::warn!(error = %Chain(&error), "the keys of connected agents were not checked");
        }
    }
}

async fn end_revoked(registry: &Registry, directory: &dyn Directory) -> Result<(), StoreError> {
    for agents in registry.agents().chunks(PER_QUESTION) {
        let admitted = directory.admitted(agents.to_vec()).await?;
        let is_revoked = |agent: &&AgentId| !admitted.contains(agent);
        for agent in agents.iter().filter(is_revoked) {
            tracing::warn!(%agent, "the key of a connected agent is not admitted any more");
            if let Some(mailbox) = registry.mailbox(*agent) {
                mailbox.push(ToAgent::Revoked);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::KeyStatus;
    use crate::ports::StoreErrorKind;
    use crate::streams::fakes::{AGENT, FakeDirectory, OTHER};

    #[tokio::test]
    async fn only_a_key_that_is_not_admitted_ends_a_connection() {
        let registry = Registry::default();
        let (_, kept) = registry.enter(AGENT, || {});
        let (_, ended) = registry.enter(OTHER, || {});
        let directory = FakeDirectory::with_status(KeyStatus::Admitted);

        end_revoked(&registry, &directory)
            .await
            .expect("the directory answers");

        assert!(matches!(ended.next().await, ToAgent::Revoked));
        assert!(kept.is_empty());
    }

    #[tokio::test]
    async fn a_directory_that_does_not_answer_ends_nothing() {
        let registry = Registry::default();
        let (_, kept) = registry.enter(AGENT, || {});
        let directory = FakeDirectory::down();

        let error = end_revoked(&registry, &directory)
            .await
            .expect_err("it is down");

        assert_eq!(error.kind, StoreErrorKind::Unavailable);
        assert!(kept.is_empty());
    }
}
