//! Ends the connections of agents whose key was revoked or replaced, or whose row is gone: when told, and by looking.
//! It never ends one because it could not ask.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hidps_wire::AgentId;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::model::KeyStatus;
use crate::ports::{Directory, StoreError};
use crate::streams::key_hints::{Changed, KeyHints};
use crate::streams::mailbox::ToAgent;
use crate::streams::registry::Registry;
use crate::telemetry::Chain;

/// Longest time a revoked agent may stay connected when nobody tells of it.
const EVERY: Duration = Duration::from_secs(20);

/// Agents per question: their ids go into one address, which may have 8 KiB.
const PER_QUESTION: usize = 100;

/// Looks when told and again and again, until it is told to stop.
pub async fn watch_keys(
    registry: Arc<Registry>,
    directory: Arc<dyn Directory>,
    hints: Arc<KeyHints>,
    stop: CancellationToken,
) {
    let mut timer = interval(EVERY);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let changed = tokio::select! {
            _ = timer.tick() => Changed::All,
            changed = hints.heard() => changed,
            () = stop.cancelled() => return,
        };
        let agents = plan_questions(&registry, &changed);
        if let Err(error) = end_revoked(&registry, directory.as_ref(), &agents).await {
            tracing::warn!(error = %Chain(&error), "the keys of connected agents were not checked");
        }
    }
}

/// The connected agents whose keys may have changed.
fn plan_questions(registry: &Registry, changed: &Changed) -> Vec<AgentId> {
    match changed {
        Changed::All => registry.agents(),
        Changed::Of(named) => {
            let is_connected = |agent: &AgentId| registry.mailbox(*agent).is_some();
            named.iter().copied().filter(is_connected).collect()
        }
    }
}

async fn end_revoked(
    registry: &Registry,
    directory: &dyn Directory,
    agents: &[AgentId],
) -> Result<(), StoreError> {
    for agents in agents.chunks(PER_QUESTION) {
        let found = directory.credentials(agents.to_vec()).await?;
        let mut keys: BTreeMap<_, _> = found.into_iter().collect();
        for agent in agents.iter().copied() {
            match keys.remove(&agent) {
                Some(credential) if credential.status == KeyStatus::Admitted => {
                    registry.end_rekeyed(agent, credential.public_key);
                }
                Some(_) | None => end_one(registry, agent),
            }
        }
    }
    Ok(())
}

fn end_one(registry: &Registry, agent: AgentId) {
    tracing::warn!(%agent, "the key of a connected agent is not admitted any more");
    if let Some(mailbox) = registry.mailbox(agent) {
        mailbox.push(ToAgent::Revoked);
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::ports::{KeyChanges as _, StoreErrorKind};
    use crate::streams::fakes::{AGENT, FakeDirectory, NEIGHBOUR, OTHER, key};

    #[tokio::test]
    async fn only_a_key_that_is_not_admitted_ends_a_connection() {
        let registry = Registry::default();
        let (_, kept) = registry.enter(AGENT, key().verifying_key().to_bytes(), || {});
        let (_, ended) = registry.enter(OTHER, [8; 32], || {});
        let directory = FakeDirectory::with_status(KeyStatus::Admitted);

        end_revoked(&registry, &directory, &registry.agents())
            .await
            .expect("the directory answers");

        assert!(matches!(ended.next().await, ToAgent::Revoked));
        assert!(kept.is_empty());
    }

    #[tokio::test]
    async fn a_key_that_was_replaced_ends_what_the_former_one_opened() {
        let registry = Registry::default();
        let (_, kept) = registry.enter(AGENT, key().verifying_key().to_bytes(), || {});
        let (_, ended) = registry.enter(NEIGHBOUR, [8; 32], || {});
        let directory = FakeDirectory::with_status(KeyStatus::Admitted);

        end_revoked(&registry, &directory, &registry.agents())
            .await
            .expect("the directory answers");

        assert!(matches!(ended.next().await, ToAgent::Rekeyed));
        assert!(kept.is_empty());
    }

    #[tokio::test]
    async fn a_directory_that_does_not_answer_ends_nothing() {
        let registry = Registry::default();
        let (_, kept) = registry.enter(AGENT, key().verifying_key().to_bytes(), || {});
        let directory = FakeDirectory::down();

        let error = end_revoked(&registry, &directory, &registry.agents())
            .await
            .expect_err("it is down");

        assert_eq!(error.kind, StoreErrorKind::Unavailable);
        assert!(kept.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_hint_ends_a_connection_at_once_and_asks_about_nobody_else() {
        let registry = Arc::new(Registry::default());
        let hints = Arc::new(KeyHints::default());
        let stop = CancellationToken::new();
        let directory = Arc::new(FakeDirectory::with_status(KeyStatus::Admitted));
        let watch = watch_keys(
            Arc::clone(&registry),
            directory,
            Arc::clone(&hints),
            stop.clone(),
        );
        let mut tasks = JoinSet::new();
        tasks.spawn(watch);
        // The first look is over once the paused clock moves on.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let (_, ended) = registry.enter(OTHER, [8; 32], || {});
        let begun = Instant::now();

        hints.changed(Some(&[AGENT]));
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(ended.is_empty(), "the hint was about somebody else");
        hints.changed(Some(&[OTHER]));
        let told = timeout(Duration::from_secs(60), ended.next()).await;

        assert!(matches!(told, Ok(ToAgent::Revoked)));
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "nobody waited for the next look"
        );
        stop.cancel();
        let ended = tasks.join_next().await.expect("a task");
        ended.expect("the watch ends");
    }
}
