//! Keys that are to be given up, against a daemon in memory that takes requests and nothing else.

use hidps_wire::{Apply, ContentHash, DesiredDocument, Generation, RotateRequest, decode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::*;
use crate::backend::Backend;
use crate::identity::SUCCESSOR;
use crate::shutdown::{ShutdownSwitch, shutdown};

/// Beyond every pause; the clock moves only when everybody waits.
const PATIENCE: Duration = Duration::from_secs(3_600);

fn agent_id() -> AgentId {
    AgentId::new(uuid::Uuid::nil())
}

/// A state directory with a key in it.
fn disk() -> (tempfile::TempDir, StateDir, String) {
    let parent = tempfile::tempdir().unwrap();
    let state = StateDir::open(&parent.path().join("state")).unwrap();
    let key = Identity::load_or_create(&state).unwrap().public_key();
    (parent, state, key)
}

fn key_on(state: &StateDir) -> String {
    Identity::load(state).unwrap().unwrap().public_key()
}

fn naming(key: Option<&str>) -> Arc<LedgerRecord> {
    Arc::new(LedgerRecord {
        agent_id: agent_id(),
        accepted: Apply {
            generation: Generation(1),
            hash: ContentHash("a".to_owned()),
            document: DesiredDocument {
                retired_key: key.map(str::to_owned),
                ..DesiredDocument::default()
            },
        },
        trial: None,
    })
}

fn up() -> LinkState {
    LinkState::Connected {
        backend: "test".to_owned(),
    }
}

/// An agent's part that runs, and all that it is joined to.
struct Rig {
    visits: mpsc::Receiver<DuplexStream>,
    record: watch::Sender<Option<Arc<LedgerRecord>>>,
    link: watch::Sender<LinkState>,
    told: watch::Receiver<Option<Retirement>>,
    _switch: ShutdownSwitch,
    _tasks: JoinSet<()>,
}

impl Rig {
    fn start(state: &StateDir, key: Option<&str>, link: LinkState) -> Self {
        Self::start_with(state, key, link, Chance::new(|| 0))
    }

    fn start_with(state: &StateDir, key: Option<&str>, link: LinkState, chance: Chance) -> Self {
        let backend = Backend::parse("http://127.0.0.1:9", false).unwrap();
        let (dialer, visits) = Dialer::in_memory(backend);
        let (record, records) = watch::channel(Some(naming(key)));
        let (link, links) = watch::channel(link);
        let (told_tx, told) = watch::channel(None);
        let (switch, shutdown) = shutdown();
        let part = KeyRetirement {
            agent_id: agent_id(),
            dialer: Arc::new(dialer),
            state: state.clone(),
            record: records,
            link: links,
            chance,
            told: told_tx,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(part.run(shutdown));
        Self {
            visits,
            record,
            link,
            told,
            _switch: switch,
            _tasks: tasks,
        }
    }

    /// The key that is asked for next, and where the answer goes.
    async fn asked(&mut self) -> (String, DuplexStream) {
        let visit = tokio::time::timeout(PATIENCE, self.visits.recv()).await;
        let mut stream = visit.expect("the daemon is asked").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap();
        let length = length.split("\r\n").next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let body = String::from_utf8(body).unwrap();
        let request: RotateRequest = decode(&body, 16_384).unwrap();
        (request.public_key, stream)
    }

    async fn becomes(&mut self, wanted: impl Fn(&Standing) -> bool) {
        let told = self.told.wait_for(|told| {
            let standing = told.as_ref().map(|told| &told.standing);
            standing.is_some_and(&wanted)
        });
        let told = tokio::time::timeout(PATIENCE, told).await;
        told.expect("it is told").unwrap();
    }
}

async fn answer(mut stream: DuplexStream, head: &str, body: &str) {
    let length = body.len();
    let text = format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).await.unwrap();
}

async fn agree(stream: DuplexStream, key: &str) {
    answer(stream, "200 X", &format!(r#"{{"public_key":"{key}"}}"#)).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_named_is_replaced_once_the_daemon_can_be_asked() {
    let (_parent, state, key) = disk();
    let mut rig = Rig::start(&state, Some(&key), LinkState::Starting);
    rig.becomes(|standing| *standing == Standing::Waiting).await;
    assert!(
        rig.visits.try_recv().is_err(),
        "who cannot connect asks nobody"
    );

    rig.link.send_replace(up());
    let (successor, stream) = rig.asked().await;
    assert_eq!(
        key_on(&state),
        key,
        "it is the agent's until the daemon agrees"
    );
    agree(stream, &successor).await;
    rig.becomes(|standing| *standing == Standing::Done).await;

    assert_eq!(key_on(&state), successor);
    assert!(!state.has(SUCCESSOR));
    assert_eq!(rig.told.borrow().as_ref().unwrap().key, key);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_not_the_agents_is_left_alone_also_after_a_restart() {
    let (_parent, state, key) = disk();
    for link in [up(), LinkState::Starting] {
        let mut rig = Rig::start(&state, Some("another"), link);
        rig.becomes(|standing| *standing == Standing::Done).await;
        tokio::time::sleep(PATIENCE).await;
        assert!(rig.visits.try_recv().is_err());
    }
    assert_eq!(key_on(&state), key);
    assert!(!state.has(SUCCESSOR), "no key was made");
}

#[tokio::test(start_paused = true)]
async fn power_that_fails_before_the_answer_makes_no_second_key() {
    let (_parent, state, key) = disk();
    let mut first = Rig::start(&state, Some(&key), up());
    let (asked_first, _unanswered) = first.asked().await;
    drop(first);

    let mut second = Rig::start(&state, Some(&key), up());
    let (asked_again, stream) = second.asked().await;
    agree(stream, &asked_again).await;
    second.becomes(|standing| *standing == Standing::Done).await;

    assert_eq!(asked_again, asked_first);
    assert_eq!(key_on(&state), asked_first);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_and_tried_again_when_the_daemon_said() {
    let (_parent, state, key) = disk();
    let mut rig = Rig::start(&state, Some(&key), up());
    let (_, stream) = rig.asked().await;

    answer(stream, "429 X\r\nRetry-After: 60", "too many").await;
    rig.becomes(|standing| matches!(standing, Standing::Failed(_)))
        .await;
    let failed_at = Instant::now();
    // Links that come and go are no reason to ask sooner.
    rig.link.send_replace(LinkState::Starting);
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.link.send_replace(up());
    let (successor, stream) = rig.asked().await;
    assert!(failed_at.elapsed() >= Duration::from_secs(60));
    agree(stream, &successor).await;
    rig.becomes(|standing| *standing == Standing::Done).await;

    assert_eq!(key_on(&state), successor);
}

#[tokio::test(start_paused = true)]
async fn what_another_process_replaced_meanwhile_is_done() {
    let (_parent, state, key) = disk();
    let mut rig = Rig::start(&state, Some(&key), LinkState::Starting);
    rig.becomes(|standing| *standing == Standing::Waiting).await;
    let successor = Identity::create(&state, SUCCESSOR).unwrap().public_key();
    state.rename(SUCCESSOR, crate::identity::PRESENT).unwrap();

    rig.link.send_replace(up());
    rig.becomes(|standing| *standing == Standing::Done).await;

    assert!(rig.visits.try_recv().is_err());
    assert_eq!(key_on(&state), successor);
}

#[tokio::test(start_paused = true)]
async fn a_later_document_names_the_key_of_then_or_none() {
    let (_parent, state, key) = disk();
    let mut rig = Rig::start(&state, Some("another"), up());
    rig.becomes(|standing| *standing == Standing::Done).await;

    rig.record.send_replace(Some(naming(Some(&key))));
    let (successor, stream) = rig.asked().await;
    agree(stream, &successor).await;
    let of_it = |told: &Option<Retirement>| {
        told.as_ref()
            .is_some_and(|told| told.key == key && told.standing == Standing::Done)
    };
    rig.told.wait_for(of_it).await.unwrap();
    rig.record.send_replace(Some(naming(None)));

    rig.told.wait_for(Option::is_none).await.unwrap();
    assert_eq!(key_on(&state), successor);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_replaced_while_the_lock_was_waited_for_is_not_replaced_again() {
    let (_parent, state, key) = disk();
    let backend = Backend::parse("http://127.0.0.1:9", false).unwrap();
    let (dialer, mut visits) = Dialer::in_memory(backend);

    let replaced = replace_key(&state, &dialer, agent_id(), Some("the former one")).await;

    assert_eq!(replaced.unwrap(), None);
    assert!(visits.try_recv().is_err());
    assert_eq!(key_on(&state), key);
    assert!(!state.has(SUCCESSOR));
}

/// When a key is asked for first, and again after a refusal, from the moment it is named.
async fn asked_at(draw: u32) -> (Duration, Duration) {
    let (_parent, state, key) = disk();
    let begun = Instant::now();
    let mut rig = Rig::start_with(&state, Some(&key), up(), Chance::new(move || draw));
    let (_, stream) = rig.asked().await;
    let first = begun.elapsed();
    answer(stream, "503 X", "later").await;
    rig.becomes(|standing| matches!(standing, Standing::Failed(_)))
        .await;
    let refused = Instant::now();
    let (_, _stream) = rig.asked().await;
    (first, refused.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_fleet_whose_keys_are_named_at_once_asks_at_many_times_and_again_at_many() {
    let (early, early_again) = asked_at(0).await;
    let (late, late_again) = asked_at(u32::MAX).await;

    assert!(early + Duration::from_secs(4) < late, "{early:?} {late:?}");
    assert!(early_again >= SHORTEST_PAUSE, "{early_again:?}");
    assert!(
        early_again + Duration::from_secs(4) < late_again,
        "{early_again:?} {late_again:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_was_asked_for_outlives_the_name() {
    let (_parent, state, key) = disk();
    let mut rig = Rig::start(&state, Some(&key), up());
    let (_, stream) = rig.asked().await;
    answer(stream, "429 X\r\nRetry-After: 600", "too many").await;
    rig.becomes(|standing| matches!(standing, Standing::Failed(_)))
        .await;
    let refused = Instant::now();

    rig.record.send_replace(Some(naming(None)));
    rig.told.wait_for(Option::is_none).await.unwrap();
    rig.record.send_replace(Some(naming(Some(&key))));
    let (_, _stream) = rig.asked().await;

    let waited = refused.elapsed();
    assert!(waited >= Duration::from_secs(600), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_news_is_told_once() {
    let (_parent, state, _) = disk();
    let mut rig = Rig::start(&state, None, up());

    for _ in 0..3 {
        rig.link.send_replace(up());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    assert!(!rig.told.has_changed().unwrap());
    assert!(rig.visits.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_another_process_is_replacing_is_told_and_waited_for() {
    let (_parent, state, key) = disk();
    let held = state.lock_key().unwrap().expect("nobody has it");
    let mut rig = Rig::start(&state, Some(&key), up());
    let is_busy = |standing: &Standing| matches!(standing, Standing::Failed(why) if why.contains("another process"));
    rig.becomes(is_busy).await;
    assert!(rig.visits.try_recv().is_err(), "the daemon is not asked");

    drop(held);
    let (successor, stream) = rig.asked().await;
    agree(stream, &successor).await;
    rig.becomes(|standing| *standing == Standing::Done).await;

    assert_eq!(key_on(&state), successor);
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_file_cannot_be_read_is_neither_given_up_nor_asked_for() {
    let (_parent, state, key) = disk();
    let content = state.read(crate::identity::PRESENT).unwrap().unwrap();
    state.write(crate::identity::PRESENT, b"damaged").unwrap();
    let mut rig = Rig::start(&state, Some(&key), up());

    let is_unread = |standing: &Standing| matches!(standing, Standing::Failed(why) if why.contains("not a key"));
    rig.becomes(is_unread).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(rig.visits.try_recv().is_err());
    state.write(crate::identity::PRESENT, &content).unwrap();
    let (successor, stream) = rig.asked().await;
    agree(stream, &successor).await;
    rig.becomes(|standing| *standing == Standing::Done).await;

    assert_eq!(key_on(&state), successor);
}

#[tokio::test(start_paused = true)]
async fn a_new_key_that_was_in_use_before_is_forgotten_and_another_is_made() {
    let (_parent, state, key) = disk();
    let mut rig = Rig::start(&state, Some(&key), up());
    let (used, stream) = rig.asked().await;

    answer(stream, "409 X", "in use before").await;
    let (fresh, stream) = rig.asked().await;
    agree(stream, &fresh).await;
    rig.becomes(|standing| *standing == Standing::Done).await;

    assert_ne!(used, fresh);
    assert_eq!(key_on(&state), fresh);
    assert!(!state.has(SUCCESSOR));
}
