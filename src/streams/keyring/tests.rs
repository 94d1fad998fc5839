//! Keys that rotate, lists that cannot be read, and floods of unknown keys, on paused time.

use std::collections::VecDeque;
use std::sync::Mutex;

use serde_json::json;
use tokio::task::JoinSet;

use super::*;
use crate::ports::StoreResult;

/// Answers with scripted lists, the last one again and again; none is an outage.
#[derive(Debug, Default)]
struct Scripted {
    answers: Mutex<VecDeque<Option<String>>>,
    n_reads: Mutex<u32>,
}

impl Scripted {
    fn n_reads(&self) -> u32 {
        *self.n_reads.lock().expect("unpoisoned")
    }

    fn set(&self, answer: Option<String>) {
        *self.answers.lock().expect("unpoisoned") = [answer].into();
    }
}

impl SigningKeys for Scripted {
    fn read_keys(&self) -> StoreResult<'_, Vec<u8>> {
        *self.n_reads.lock().expect("unpoisoned") += 1;
        let mut answers = self.answers.lock().expect("unpoisoned");
        let answer = match answers.len() {
            0 | 1 => answers.front().cloned().flatten(),
            _ => answers.pop_front().flatten(),
        };
        Box::pin(async move {
            answer.map(String::into_bytes).ok_or_else(|| StoreError {
                operation: "test",
                kind: StoreErrorKind::Unavailable,
                source: "scripted".into(),
            })
        })
    }
}

fn list(ids: &[&str]) -> String {
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let key = |id: &&str| json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": x});
    let keys: Vec<_> = ids.iter().map(key).collect();
    json!({ "keys": keys }).to_string()
}

struct World {
    source: Arc<Scripted>,
    health: Arc<Health>,
    keyring: Keyring,
    _tasks: JoinSet<()>,
}

fn world(first: String) -> World {
    let (source, health) = (Arc::new(Scripted::default()), Arc::new(Health::default()));
    source.set(Some(first));
    let (keyring, reads) = Keyring::new(Arc::clone(&source) as _, Arc::clone(&health));
    let mut tasks = JoinSet::new();
    tasks.spawn(reads.run(CancellationToken::new()));
    World {
        source,
        health,
        keyring,
        _tasks: tasks,
    }
}

impl World {
    async fn ids(&self) -> Vec<String> {
        let known = self.keyring.known();
        let known = match known.n_reads {
            0 => self.keyring.read_again(&known).await,
            _ => known,
        };
        known.keys.key_ids().map(str::to_owned).collect()
    }

    fn fault(&self) -> Option<&'static str> {
        self.health.keys_unread().map(|fault| fault.reason)
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_rotated_in_is_found_when_somebody_names_it() {
    let world = world(list(&["old"]));
    assert_eq!(world.ids().await, ["old"]);
    world.source.set(Some(list(&["old", "new"])));

    let known = world.keyring.read_again(&world.keyring.known()).await;

    assert_eq!(known.keys.key_ids().collect::<Vec<_>>(), ["old", "new"]);
    assert!(known.is_current);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_revoked_is_gone_within_minutes_without_being_asked_for() {
    let world = world(list(&["good", "stolen"]));
    assert_eq!(world.ids().await.len(), 2);
    world.source.set(Some(list(&["good"])));

    sleep(REFRESH_EVERY * 2).await;

    assert_eq!(world.ids().await, ["good"]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_and_a_broken_list_keep_the_keys_and_say_so_until_it_is_over() {
    let world = world(list(&["good"]));
    assert_eq!(world.ids().await, ["good"]);
    assert_eq!(world.fault(), None);

    for (answer, reason) in [
        (None, "KeysUnread"),
        (Some("<html>".to_owned()), "KeysMalformed"),
        (Some("{}".to_owned()), "KeysMalformed"),
    ] {
        world.source.set(answer);
        let known = world.keyring.read_again(&world.keyring.known()).await;
        assert!(!known.is_current, "{reason}");
        assert_eq!(world.ids().await, ["good"]);
        assert_eq!(world.fault(), Some(reason));
    }
    world.source.set(Some(list(&["good"])));
    sleep(RETRY_AFTER * 2).await;

    assert_eq!(world.fault(), None);
    assert!(world.keyring.known().is_current);
}

#[tokio::test(start_paused = true)]
async fn a_project_that_publishes_no_key_any_more_has_none() {
    let world = world(list(&["good"]));
    assert_eq!(world.ids().await, ["good"]);
    world.source.set(Some(list(&[])));

    let known = world.keyring.read_again(&world.keyring.known()).await;

    assert_eq!(known.keys.key_ids().count(), 0);
    assert!(known.is_current);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_unknown_keys_costs_one_read_in_five_seconds() {
    let world = world(list(&["good"]));
    world.ids().await;
    let (before, begun) = (world.source.n_reads(), Instant::now());

    for _ in 0..4 {
        let known = world.keyring.known();
        let asked = (0..100).map(|_| world.keyring.read_again(&known));
        futures_util::future::join_all(asked).await;
    }

    let allowed = begun.elapsed().as_secs() / MIN_PAUSE.as_secs() + 1;
    let n_reads = u64::from(world.source.n_reads() - before);
    assert!(
        n_reads <= allowed,
        "{n_reads} reads in {:?}",
        begun.elapsed()
    );
}
