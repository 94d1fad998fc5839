//! Hints only cause reads; a failed read never looks like an empty answer.

use std::sync::atomic::{AtomicUsize, Ordering};

use hidps_wire::{ContentHash, DesiredDocument};
use uuid::Uuid;

use super::*;
use crate::ports::{StoreErrorKind, StoreResult};

/// A database of generations that can be told to fail.
#[derive(Debug, Default)]
struct FakeDatabase {
    rows: Mutex<BTreeMap<AgentId, u64>>,
    failures: AtomicUsize,
    poisoned: Mutex<Option<AgentId>>,
    reads: AtomicUsize,
}

impl FakeDatabase {
    fn set(&self, agent: AgentId, generation: u64) {
        self.rows
            .lock()
            .expect("unpoisoned")
            .insert(agent, generation);
    }

    fn verdict(&self) -> Result<(), StoreError> {
        let failing = |left: usize| left.checked_sub(1);
        match self
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, failing)
        {
            Err(_) => Ok(()),
            Ok(_) => Err(StoreError {
                operation: "test",
                kind: StoreErrorKind::Unavailable,
                source: "scripted".into(),
            }),
        }
    }
}

fn state(generation: u64) -> DesiredState {
    DesiredState {
        generation: Generation(generation),
        hash: ContentHash(generation.to_string()),
        document: DesiredDocument::default(),
    }
}

impl DesiredReader for Arc<FakeDatabase> {
    fn list_generations(
        &self,
        after: Option<AgentId>,
        limit: usize,
    ) -> StoreResult<'_, Vec<(AgentId, Generation)>> {
        Box::pin(async move {
            self.verdict()?;
            let rows = self.rows.lock().expect("unpoisoned");
            let later = rows.iter().filter(|(agent, _)| Some(**agent) > after);
            Ok(later
                .take(limit)
                .map(|(agent, n)| (*agent, Generation(*n)))
                .collect())
        })
    }

    fn read_desired(&self, agents: Vec<AgentId>) -> StoreResult<'_, Vec<(AgentId, DesiredState)>> {
        Box::pin(async move {
            self.reads.fetch_add(1, Ordering::SeqCst);
            self.verdict()?;
            if self
                .poisoned
                .lock()
                .expect("unpoisoned")
                .is_some_and(|bad| agents.contains(&bad))
            {
                self.failures.store(1, Ordering::SeqCst);
                self.verdict()?;
            }
            let rows = self.rows.lock().expect("unpoisoned");
            Ok(agents
                .iter()
                .filter_map(|a| rows.get(a).map(|n| (*a, state(*n))))
                .collect())
        })
    }
}

struct World {
    database: Arc<FakeDatabase>,
    handle: MirrorHandle,
    hints: mpsc::Sender<FeedEvent>,
    tasks: tokio::task::JoinSet<()>,
}

fn world() -> World {
    let database = Arc::new(FakeDatabase::default());
    let (mirror, handle) = Mirror::new(
        Arc::clone(&database),
        Duration::from_secs(45),
        Arc::default(),
    );
    let (hints, receiver) = mpsc::channel(8);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(mirror.run(receiver, CancellationToken::new()));
    World {
        database,
        handle,
        hints,
        tasks,
    }
}

const AGENT: AgentId = AgentId::new(Uuid::from_u128(7));

/// Waits until the follower sees this generation.
async fn sees(receiver: &mut watch::Receiver<Option<Arc<DesiredState>>>, generation: u64) {
    let wanted = |held: &Option<Arc<DesiredState>>| {
        held.as_ref()
            .is_some_and(|desired| desired.generation == Generation(generation))
    };
    receiver
        .wait_for(wanted)
        .await
        .expect("the mirror is running");
}

#[tokio::test(start_paused = true)]
async fn a_new_follower_gets_what_is_desired_without_any_hint() {
    let world = world();
    world.database.set(AGENT, 3);

    let mut follower = world.handle.follow(AGENT);

    sees(&mut follower, 3).await;
    assert!(!world.tasks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_hint_leads_to_a_read_and_a_doubled_hint_to_none() {
    let world = world();
    world.database.set(AGENT, 1);
    let mut follower = world.handle.follow(AGENT);
    sees(&mut follower, 1).await;
    world.database.set(AGENT, 2);
    let hint = || FeedEvent::Hint {
        agent: AGENT,
        generation: Some(Generation(2)),
    };

    world.hints.send(hint()).await.expect("the mirror listens");
    sees(&mut follower, 2).await;
    let reads = world.database.reads.load(Ordering::SeqCst);
    world.hints.send(hint()).await.expect("the mirror listens");
    tokio::time::sleep(Duration::from_secs(5)).await;

    assert_eq!(world.database.reads.load(Ordering::SeqCst), reads);
}

#[tokio::test(start_paused = true)]
async fn a_lost_hint_is_made_good_by_the_timer() {
    let world = world();
    world.database.set(AGENT, 1);
    let mut follower = world.handle.follow(AGENT);
    sees(&mut follower, 1).await;

    world.database.set(AGENT, 2);

    tokio::time::timeout(Duration::from_secs(60), sees(&mut follower, 2))
        .await
        .expect("a comparison happens within the interval and its jitter");
}

#[tokio::test(start_paused = true)]
async fn a_failed_read_changes_nothing_and_is_repeated() {
    let world = world();
    world.database.set(AGENT, 1);
    let mut follower = world.handle.follow(AGENT);
    sees(&mut follower, 1).await;
    world.database.set(AGENT, 2);
    world.database.failures.store(3, Ordering::SeqCst);

    world
        .hints
        .send(FeedEvent::Resync)
        .await
        .expect("the mirror listens");

    assert!(
        follower.borrow().is_some(),
        "the old value stays until the new one is read"
    );
    sees(&mut follower, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_row_leaves_the_last_value() {
    let world = world();
    world.database.set(AGENT, 1);
    let mut follower = world.handle.follow(AGENT);
    sees(&mut follower, 1).await;
    world.database.rows.lock().expect("unpoisoned").clear();

    world
        .hints
        .send(FeedEvent::Hint {
            agent: AGENT,
            generation: None,
        })
        .await
        .expect("listens");
    tokio::time::sleep(Duration::from_secs(90)).await;

    assert!(follower.borrow().is_some());
}

#[tokio::test(start_paused = true)]
async fn an_agent_whose_document_cannot_be_read_holds_up_no_other() {
    let world = world();
    let bad = AgentId::new(Uuid::from_u128(1));
    *world.database.poisoned.lock().expect("unpoisoned") = Some(bad);
    for agent in [bad, AGENT] {
        world.database.set(agent, 1);
    }

    let _unread = world.handle.follow(bad);
    let mut follower = world.handle.follow(AGENT);

    tokio::time::timeout(Duration::from_secs(30), sees(&mut follower, 1))
        .await
        .expect("the other agent is read");
}
