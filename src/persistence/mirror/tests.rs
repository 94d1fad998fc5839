//! Hints only cause reads; a failed read never looks like an empty answer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use hidps_wire::{ContentHash, DesiredDocument, Generation};
use tokio::sync::watch;
use uuid::Uuid;

use super::*;
use crate::model::{DesiredState, DesiredVersion};
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
        changed_at: jiff::Timestamp::UNIX_EPOCH,
        hold: None,
        released: false,
    }
}

impl DesiredReader for Arc<FakeDatabase> {
    fn list_versions(
        &self,
        after: Option<AgentId>,
        limit: usize,
    ) -> StoreResult<'_, Vec<DesiredVersion>> {
        Box::pin(async move {
            self.verdict()?;
            let rows = self.rows.lock().expect("unpoisoned");
            let later = rows.iter().filter(|(agent, _)| Some(**agent) > after);
            Ok(later
                .take(limit)
                .map(|(agent_id, n)| DesiredVersion {
                    agent_id: *agent_id,
                    generation: Generation(*n),
                    changed_at: jiff::Timestamp::UNIX_EPOCH,
                })
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
async fn a_failed_read_does_not_wait_for_the_next_comparison() {
    let world = world();
    world.database.set(AGENT, 1);
    let mut follower = world.handle.follow(AGENT);
    sees(&mut follower, 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.database.set(AGENT, 2);
    world.database.failures.store(1, Ordering::SeqCst);

    let hint = FeedEvent::Hint {
        agent: AGENT,
        generation: Some(Generation(2)),
    };
    world.hints.send(hint).await.expect("the mirror listens");

    tokio::time::timeout(Duration::from_secs(5), sees(&mut follower, 2))
        .await
        .expect("it is read again long before the timer");
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

/// A core that follows `AGENT`, has read generation 1 of it, and begins a comparison.
fn comparing() -> (Core, Followed, std::time::Instant) {
    let now = std::time::Instant::now();
    let pace = Pace {
        resync_every: Duration::from_secs(45),
        draw: || 0.0,
    };
    let mut core = Core::new(pace, now);
    let follower = core.follow(AGENT);
    assert_eq!(core.want(now), Want::Read(vec![AGENT]));
    core.on_read(vec![AGENT], Ok(vec![(AGENT, state(1))]), now);
    assert!(matches!(core.want(now), Want::List { after: None, .. }));
    (core, follower, now)
}

fn version(agent: u128) -> DesiredVersion {
    DesiredVersion {
        agent_id: AgentId::new(Uuid::from_u128(agent)),
        generation: Generation(1),
        changed_at: jiff::Timestamp::UNIX_EPOCH,
    }
}

#[test]
fn a_comparison_that_leaves_out_a_followed_agent_is_not_believed() {
    for pages in [vec![vec![]], vec![vec![version(3), version(9)], vec![]]] {
        let (mut core, follower, now) = comparing();

        for page in pages {
            core.on_listed(Ok(page), now);
        }
        let want = core.want(now);
        core.on_read(vec![AGENT], Ok(Vec::new()), now);

        assert_eq!(want, Want::Read(vec![AGENT]));
        assert_eq!(core.fault().map(|it| it.reason), Some("ReadPartial"));
        assert!(follower.borrow().is_some(), "what is known stays");
    }
}

#[test]
fn a_complete_comparison_reads_nothing_again() {
    let (mut core, _follower, now) = comparing();

    core.on_listed(Ok(vec![version(3), version(7), version(9)]), now);
    core.on_listed(Ok(Vec::new()), now);

    assert!(matches!(core.want(now), Want::Wait(_)));
    assert_eq!(core.fault(), None);
}

#[test]
fn a_page_that_does_not_go_on_ends_the_comparison_as_failed() {
    let (mut core, _follower, now) = comparing();
    core.on_listed(Ok(vec![version(7), version(9)]), now);

    core.on_listed(Ok(vec![version(7), version(9)]), now);

    assert!(matches!(core.want(now), Want::Wait(_)));
    assert_eq!(core.fault().map(|it| it.reason), Some("ComparisonFailed"));
}

#[test]
fn reasons_to_compare_that_never_end_let_a_comparison_end() {
    let (mut core, _follower, now) = comparing();
    core.on_listed(Ok(vec![version(7)]), now);

    core.on_hint(FeedEvent::Resync);
    let goes_on = core.want(now);
    core.on_listed(Ok(Vec::new()), now);
    let again = core.want(now);

    let after = Some(AGENT);
    assert!(matches!(goes_on, Want::List { after: it, .. } if it == after));
    assert!(matches!(again, Want::List { after: None, .. }));
}

#[test]
fn a_fault_shown_to_every_tenant_names_no_agent_and_no_address() {
    let error = StoreError {
        operation: "list desired_generations",
        kind: StoreErrorKind::Unavailable,
        source: format!("error sending request for url (http://db/?agent_id=gt.{AGENT})").into(),
    };

    let shown = fault("ComparisonFailed", &error).message;

    assert!(shown.starts_with("list desired_generations failed: "));
    assert!(!shown.contains(&AGENT.to_string()) && !shown.contains("http"));
}
