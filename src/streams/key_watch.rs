//! Ends the connections of agents whose key was revoked or replaced, or whose row is gone: when told, and by looking.
//! It never ends one because it could not ask.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hidps_wire::AgentId;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::model::{KeyStatus, PublicKey};
use crate::ports::{Directory, StoreError};
use crate::streams::key_hints::{Changed, KeyHints};
use crate::streams::mailbox::ToAgent;
use crate::streams::registry::{ConnectionId, Registry};
use crate::telemetry::{self, Chain};

/// Longest time a revoked agent may stay connected when nobody tells of it.
const EVERY: Duration = Duration::from_secs(20);

/// Agents per question: their ids go into one address, which may have 8 KiB.
const PER_QUESTION: usize = 100;

/// How long an agent may be on its way in: it signed before its key changed, and has not said hello.
const ON_THE_WAY: Duration = Duration::from_secs(30);

/// Pause between two looks whether one of these came in.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Most agents that are awaited.
const MAX_AWAITED: usize = 1_000;

/// Looks when told and again and again, until it is told to stop.
pub async fn watch_keys(
    registry: Arc<Registry>,
    directory: Arc<dyn Directory>,
    hints: Arc<KeyHints>,
    stop: CancellationToken,
) {
    let mut timer = interval(EVERY);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut awaited = Awaited::default();
    loop {
        let changed = tokio::select! {
            _ = timer.tick() => Changed::All,
            changed = hints.heard() => changed,
            () = sleep(LOOK_EVERY), if !awaited.0.is_empty() => Changed::default(),
            () = stop.cancelled() => return,
        };
        let questions = plan_questions(&registry, &changed, &mut awaited, Instant::now());
        if let Err(error) = end_revoked(&registry, directory.as_ref(), &questions).await {
            tracing::warn!(error = %Chain(&error), "the keys of connected agents were not checked");
        }
    }
}

/// Agents whose key changed a moment ago: until when whoever comes in is looked at, and which of their
/// connections was.
#[derive(Default)]
struct Awaited(BTreeMap<AgentId, (Instant, Option<ConnectionId>)>);

impl Awaited {
    /// Waits for these agents too; how many of them it has no room for.
    fn expect(&mut self, named: &BTreeSet<AgentId>, now: Instant) -> usize {
        self.0.retain(|_, (until, _)| *until > now);
        let mut n_left_out = 0;
        for agent in named {
            if self.0.len() < MAX_AWAITED || self.0.contains_key(agent) {
                self.0.insert(*agent, (now + ON_THE_WAY, None));
            } else {
                n_left_out += 1;
            }
        }
        n_left_out
    }

    /// Their connections that were not looked at.
    fn take_new(&mut self, registry: &Registry, now: Instant) -> Vec<(AgentId, ConnectionId)> {
        self.0.retain(|_, (until, _)| *until > now);
        let mut new = Vec::new();
        for (agent, (_, looked_at)) in &mut self.0 {
            let connection = registry.connection(*agent);
            if let Some(connection) = connection.filter(|found| Some(*found) != *looked_at) {
                *looked_at = Some(connection);
                new.push((*agent, connection));
            }
        }
        new
    }
}

/// The connections of agents whose keys may have changed.
fn plan_questions(
    registry: &Registry,
    changed: &Changed,
    awaited: &mut Awaited,
    now: Instant,
) -> Vec<(AgentId, ConnectionId)> {
    let n_left_out = match changed {
        Changed::Of(named) => awaited.expect(named, now),
        Changed::All => 0,
    };
    let new = awaited.take_new(registry, now);
    if n_left_out > 0 {
        // Who is connected is looked at now; who of them is on the way in, at the next look.
        metrics::counter!(telemetry::KEY_HINTS_LEFT_OUT).increment(n_left_out as u64);
    }
    match changed {
        Changed::Of(_) if n_left_out == 0 => new,
        Changed::Of(_) | Changed::All => registry.connections(),
    }
}

/// Ends these connections where their keys are not good any more. One that was opened since was let
/// in by a newer answer than this one may be.
async fn end_revoked(
    registry: &Registry,
    directory: &dyn Directory,
    connections: &[(AgentId, ConnectionId)],
) -> Result<(), StoreError> {
    for connections in connections.chunks(PER_QUESTION) {
        let agents = connections.iter().map(|(agent, _)| *agent).collect();
        let found = directory.credentials(agents).await?;
        let mut keys: BTreeMap<_, _> = found.into_iter().collect();
        for (agent, meant) in connections.iter().copied() {
            match keys.remove(&agent) {
                Some(credential) if credential.status == KeyStatus::Admitted => {
                    let present = credential.public_key;
                    let is_meant = |found, key: &PublicKey| found == meant && *key != present;
                    registry.end_if(agent, is_meant, ToAgent::Rekeyed);
                }
                Some(_) | None => {
                    tracing::warn!(%agent, "the key of a connected agent is not admitted any more");
                    registry.end_if(agent, |found, _| found == meant, ToAgent::Revoked);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;
    use crate::ports::{KeyChanges as _, StoreErrorKind};
    use crate::streams::fakes::{AGENT, FakeDirectory, NEIGHBOUR, OTHER, key};

    #[tokio::test]
    async fn only_a_key_that_is_not_admitted_ends_a_connection() {
        let registry = Registry::default();
        let (_, kept) = registry.enter(AGENT, key().verifying_key().to_bytes(), || {});
        let (_, ended) = registry.enter(OTHER, [8; 32], || {});
        let directory = FakeDirectory::with_status(KeyStatus::Admitted);

        end_revoked(&registry, &directory, &registry.connections())
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

        end_revoked(&registry, &directory, &registry.connections())
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

        let error = end_revoked(&registry, &directory, &registry.connections())
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

    #[tokio::test]
    async fn an_answer_ends_no_connection_that_was_opened_after_the_question() {
        let registry = Registry::default();
        let (_, older) = registry.enter(AGENT, [8; 32], || {});
        let asked = registry.connections();
        let (_, newer) = registry.enter(AGENT, [9; 32], || {});
        assert!(matches!(older.next().await, ToAgent::Superseded));

        // Neither key is the one that this answer has, and no agent is unknown to the other.
        for directory in [
            FakeDirectory::with_status(KeyStatus::Admitted),
            FakeDirectory::with_status(KeyStatus::Revoked),
        ] {
            let ended = end_revoked(&registry, &directory, &asked).await;
            ended.expect("the directory answers");
        }

        assert!(newer.is_empty());
    }

    #[test]
    fn a_hint_there_is_no_room_for_is_a_reason_to_look_at_everybody() {
        let registry = Registry::default();
        let (mut awaited, now) = (Awaited::default(), Instant::now());
        let absent = |n: usize| AgentId::new(uuid::Uuid::from_u128(1 << 64 | n as u128));
        let hint = |agents: Vec<AgentId>| Changed::Of(agents.into_iter().collect());
        let (connection, _mailbox) = registry.enter(AGENT, [8; 32], || {});
        let mut plan = |changed, now| plan_questions(&registry, &changed, &mut awaited, now);

        assert_eq!(plan(hint((0..MAX_AWAITED).map(absent).collect()), now), []);
        assert_eq!(plan(hint(vec![AGENT]), now), [(AGENT, connection)]);
        assert_eq!(
            plan(hint(vec![absent(MAX_AWAITED)]), now),
            [(AGENT, connection)]
        );
        let later = now + ON_THE_WAY;
        assert_eq!(plan(hint(vec![absent(MAX_AWAITED)]), later), []);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_signed_before_the_hint_and_comes_in_after_it_is_looked_at_too() {
        let registry = Arc::new(Registry::default());
        let hints = Arc::new(KeyHints::default());
        let stop = CancellationToken::new();
        let directory = Arc::new(FakeDirectory::with_status(KeyStatus::Admitted));
        let (entered, told) = (Arc::clone(&registry), Arc::clone(&hints));
        let mut tasks = JoinSet::new();
        tasks.spawn(watch_keys(entered, directory, told, stop.clone()));
        tokio::time::sleep(Duration::from_millis(1)).await;

        hints.changed(Some(&[AGENT, OTHER]));
        tokio::time::sleep(Duration::from_millis(1)).await;
        let begun = Instant::now();
        let (_, of_the_present) = registry.enter(AGENT, key().verifying_key().to_bytes(), || {});
        let (_, of_a_former) = registry.enter(OTHER, [8; 32], || {});
        let ended = timeout(Duration::from_secs(60), of_a_former.next()).await;

        assert!(matches!(ended, Ok(ToAgent::Revoked)));
        assert!(
            begun.elapsed() < EVERY / 2,
            "nobody waited for the next look"
        );
        assert!(of_the_present.is_empty());
        stop.cancel();
        let ended = tasks.join_next().await.expect("a task");
        ended.expect("the watch ends");
    }
}
