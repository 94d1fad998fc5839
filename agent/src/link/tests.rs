//! The link against a daemon in memory, under a clock that only moves when everybody waits.

mod rotation;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{SinkExt as _, StreamExt as _};
use hidps_wire::{
    AgentFrame, DaemonFrame, EventBatch, EventKind, Fields, LogEvent, MAX_AGENT_FRAME_BYTES,
    PROTOCOL_VERSION, RetryAdvice, Status, Welcome, decode, encode, frame_type,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

use super::*;
use crate::backend::Backend;
use crate::collect::cadence::Cadence;
use crate::collect::positions::{Position, Positions};
use crate::collect::readings::HostReader;
use crate::collect::source_board::SourceBoard;
use crate::firewall::{
    DaemonPlace, FirewallError, FirewallGoal, FirewallOutcome, FirewallSync, Forecast, RuleList,
};
use crate::identity::Identity;
use crate::shutdown::{ShutdownSwitch, shutdown};
use crate::state_dir::StateDir;

/// There is nothing to filter.
struct NoFirewall;

impl Firewall for NoFirewall {
    async fn ensure(&self, _: &FirewallGoal) -> FirewallOutcome {
        FirewallOutcome {
            back_end: crate::firewall::BackEnd::Nftables,
            active: Some(false),
            change: None,
            tampering: None,
            sync: FirewallSync::Unmanaged,
        }
    }

    async fn is_active(&self) -> Result<bool, FirewallError> {
        Ok(false)
    }

    async fn forecast(&self, _: &FirewallGoal, _: &DaemonPlace) -> Result<Forecast, FirewallError> {
        Err(FirewallError::Missing)
    }

    async fn list_rules(&self) -> Result<RuleList, FirewallError> {
        Ok(RuleList::default())
    }
}

/// A link that runs, and all that it is joined to.
struct Rig {
    visits: mpsc::Receiver<DuplexStream>,
    events: Arc<EventQueue>,
    statuses: Arc<StatusQueue>,
    state: watch::Receiver<LinkState>,
    state_dir: StateDir,
    _switch: ShutdownSwitch,
    _applies: mpsc::Receiver<Apply>,
    tasks: JoinSet<()>,
    _directory: Option<tempfile::TempDir>,
}

fn status() -> Status {
    Status {
        applied: None,
        conditions: Vec::new(),
        firewall_active: None,
    }
}

fn start_link(chance: Chance) -> Rig {
    let directory = tempfile::tempdir().unwrap();
    let state_dir = StateDir::open(&directory.path().join("state")).unwrap();
    Identity::load_or_create(&state_dir).unwrap();
    Rig {
        _directory: Some(directory),
        ..start_link_with(state_dir, chance)
    }
}

/// A link with what an earlier run left in its directory.
fn start_link_with(state_dir: StateDir, chance: Chance) -> Rig {
    let (mut rig, link) = make_link(state_dir, chance);
    rig.tasks.spawn(link.run());
    rig
}

/// A link that does not run yet.
fn make_link(state_dir: StateDir, chance: Chance) -> (Rig, Link<NoFirewall>) {
    let backend = Backend::parse("http://127.0.0.1:9", false).unwrap();
    let (dialer, visits) = Dialer::in_memory(backend);
    let (applies, applies_rx) = mpsc::channel(4);
    let (switch, shutdown) = shutdown();
    let (state_tx, state) = watch::channel(LinkState::default());
    let minute = Duration::from_secs(60);
    let cadence = Cadence::every(minute);
    let cadence = watch::channel(cadence).1;
    let (_, readings) = HostReader::new(PathBuf::from("/"), cadence, SourceBoard::new().0);
    let events = Arc::new(EventQueue::default());
    let statuses = Arc::new(StatusQueue::default());
    statuses.push(status());
    let link = Link {
        agent_id: "7d444840-9dc0-11d1-b245-5ffdce74fad2".parse().unwrap(),
        dialer: Arc::new(dialer),
        pulse: LinkPulse::default(),
        chance,
        // Its key was admitted by an earlier run.
        keys: Keys::load_or_create(state_dir.clone()).unwrap(),
        facts: HostFacts::read(),
        token: TokenSource::default(),
        firewall: Arc::new(NoFirewall),
        events: Arc::clone(&events),
        applies,
        statuses: Arc::clone(&statuses),
        readings,
        record: watch::channel(None).1,
        state: state_tx,
        shutdown,
    };
    let rig = Rig {
        visits,
        events,
        statuses,
        state,
        state_dir,
        _switch: switch,
        _applies: applies_rx,
        tasks: JoinSet::new(),
        _directory: None,
    };
    (rig, link)
}

/// Always the same share of the longest wait.
fn always(random: u32) -> Chance {
    Chance::new(move || random)
}

/// The same numbers for the same seed.
fn seeded(seed: u64) -> Chance {
    let state = AtomicU64::new(seed);
    Chance::new(move || {
        let mut x = state.load(Ordering::Relaxed);
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        state.store(x, Ordering::Relaxed);
        u32::try_from(x >> 32).unwrap()
    })
}

impl Rig {
    async fn visit(&mut self) -> DuplexStream {
        let visit = tokio::time::timeout(Duration::from_secs(3_700), self.visits.recv()).await;
        visit.expect("the link tries again").unwrap()
    }

    /// Takes a connect and says welcome.
    async fn greet(&mut self, credit: u32) -> WebSocketStream<DuplexStream> {
        let mut socket = accept_async(self.visit().await).await.unwrap();
        let hello = socket.next().await.unwrap().unwrap();
        assert!(hello.to_text().unwrap().contains("hello"));
        let welcome = DaemonFrame::Welcome(Welcome {
            protocol: PROTOCOL_VERSION,
            credit,
            heartbeat_secs: 15,
        });
        send(&mut socket, &welcome).await;
        socket
    }

    /// How long after now the next connect comes.
    async fn next_visit_after(&mut self) -> Duration {
        let from = Instant::now();
        self.visit().await;
        from.elapsed()
    }

    /// Takes in all events, and says how many came and how many are said to be lost.
    async fn take_all(&mut self, n_pushed: u64) -> (u64, u64) {
        let mut socket = self.greet(32).await;
        let (mut n_taken, mut told) = (0, 0);
        while self.events.settled() < n_pushed {
            let Message::Text(text) = socket.next().await.unwrap().unwrap() else {
                continue;
            };
            if frame_type(&text).is_none_or(|name| &*name != EventBatch::TYPE) {
                decode::<AgentFrame>(&text, MAX_AGENT_FRAME_BYTES).unwrap();
                continue;
            }
            let batch: EventBatch<'_> = decode(&text, MAX_AGENT_FRAME_BYTES).unwrap();
            n_taken += batch.events.len() as u64;
            told = told.max(batch.dropped);
            let ack = DaemonFrame::Ack {
                seq: batch.seq,
                credit: 32,
            };
            send(&mut socket, &ack).await;
        }
        (n_taken, told)
    }

    fn phase(&self) -> String {
        self.state.borrow().to_string()
    }
}

async fn send(socket: &mut WebSocketStream<DuplexStream>, frame: &DaemonFrame) {
    socket.send(Message::text(encode(frame))).await.unwrap();
}

/// Answers a request that was sent over a stream by these bytes.
async fn answer(mut stream: DuplexStream, bytes: &str) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
}

/// Whether two times are the same for a timer of milliseconds.
fn is_about(one: Duration, other: Duration) -> bool {
    one.abs_diff(other) <= Duration::from_millis(2)
}

#[tokio::test(start_paused = true)]
async fn retries_keep_the_law_of_full_jitter_for_any_seed() {
    for seed in 1..=8 {
        let mut rig = start_link(seeded(seed));
        let (expected, mut backoff) = (seeded(seed), Backoff::default());
        drop(rig.visit().await);
        for _ in 0..12 {
            let wait = backoff.next_wait(expected.draw());

            let waited = rig.next_visit_after().await;

            assert!(is_about(waited, wait), "seed {seed}: {waited:?} {wait:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_with_retry_after_is_waited_out() {
    let mut rig = start_link(always(0));
    let visit = rig.visit().await;

    answer(
        visit,
        "HTTP/1.1 503 X\r\nRetry-After: 30\r\nContent-Length: 4\r\n\r\nbusy",
    )
    .await;
    let waited = rig.next_visit_after().await;

    assert!(
        is_about(waited, Duration::from_millis(30_100)),
        "{waited:?}"
    );
    assert!(rig.phase().contains("HTTP status 503"), "{}", rig.phase());
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_is_waited_out_and_makes_no_later_wait_longer() {
    let mut rig = start_link(always(u32::MAX));
    let goodbye = DaemonFrame::Goodbye(RetryAdvice {
        reason: "restarting".to_owned(),
        retry_ms: 90_000,
    });

    let mut socket = rig.greet(8).await;
    send(&mut socket, &goodbye).await;
    let waited = rig.next_visit_after().await;
    let after_failure = rig.next_visit_after().await;

    assert!(is_about(waited, Duration::from_secs(91)), "{waited:?}");
    assert!(
        is_about(after_failure, Duration::from_secs(5)),
        "{after_failure:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_cannot_silence_an_agent_for_longer_than_ten_minutes() {
    let mut rig = start_link(always(u32::MAX));
    let goodbye = DaemonFrame::Goodbye(RetryAdvice {
        reason: "for ever".to_owned(),
        retry_ms: u32::MAX,
    });

    let mut socket = rig.greet(8).await;
    send(&mut socket, &goodbye).await;
    let waited = rig.next_visit_after().await;

    assert!(is_about(waited, Duration::from_secs(601)), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn only_a_minute_of_health_makes_waits_short_again() {
    let mut rig = start_link(always(u32::MAX));
    for _ in 0..4 {
        drop(rig.visit().await);
    }

    let mut waits = Vec::new();
    for held in [59, 61] {
        let mut socket = rig.greet(8).await;
        let reads = async { while socket.next().await.is_some() {} };
        let held = tokio::time::timeout(Duration::from_secs(held), reads).await;
        assert!(held.is_err(), "the link holds");
        drop(socket);
        waits.push(rig.next_visit_after().await.as_secs());
    }

    // Between the two is one more failure: the visit that was only counted.
    assert_eq!(waits, [16, 5]);
}

fn event(kind: EventKind, message: String) -> LogEvent<'static> {
    LogEvent {
        timestamp: "2026-11-21T01:02:03Z".into(),
        kind,
        service: "test".into(),
        message: message.into(),
        fields: Fields::default(),
    }
}

/// What a daemon that reads slowly was sent, one word for each frame, up to the first status.
async fn read_up_to_status(socket: &mut WebSocketStream<DuplexStream>) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let Message::Text(text) = socket.next().await.unwrap().unwrap() else {
            continue;
        };
        let word = frame_type(&text).unwrap().to_string();
        seen.push(word.clone());
        if word == "status" {
            return seen;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_never_waits_behind_the_logs_of_a_full_queue() {
    let mut rig = start_link(always(0));
    for number in 0..4_000 {
        let line = format!("{number} {}", "x".repeat(900));
        rig.events.push(event(EventKind::Process, line));
    }
    let mut socket = rig.greet(1_000).await;
    // The line is as full of logs as it gets.
    read_up_to_status(&mut socket).await;
    tokio::time::sleep(Duration::from_secs(5)).await;

    rig.statuses.push(status());
    let seen = read_up_to_status(&mut socket).await;

    assert!(
        seen.len() <= 4,
        "two batches on the line and one begun: {seen:?}"
    );
    assert!(
        seen.iter().any(|word| word == "events"),
        "logs were on the line"
    );
}

/// Six hours, which is what an outage may cost nothing but old events.
const OUTAGE: Duration = Duration::from_secs(6 * 3_600);

/// The kinds of one host, more than its ring can hold for hours.
const MIX: [EventKind; 5] = [
    EventKind::Process,
    EventKind::Login,
    EventKind::Process,
    EventKind::SystemUsage,
    EventKind::FileMonitoring,
];

#[tokio::test(start_paused = true)]
async fn six_hours_without_a_daemon_cost_no_memory_beyond_the_cap() {
    let mut rig = start_link(seeded(7));
    let positions = Positions::load(rig.state_dir.clone(), Arc::clone(&rig.events));
    let positions = Arc::new(positions);
    let (_keep, keep) = shutdown();
    rig.tasks.spawn(Arc::clone(&positions).keep(keep));
    drop(rig.visit().await);
    let limits = crate::event_queue::RingLimits::default();
    let begun = Instant::now();
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let (n_tasks, mut n_pushed, mut n_visits) = (tasks(), 0_u64, 0);

    while begun.elapsed() < OUTAGE {
        for _ in 0..5 {
            let kind = MIX[usize::try_from(n_pushed % 5).unwrap()];
            rig.events
                .push(event(kind, "a line of about the usual length".repeat(8)));
            n_pushed += 1;
        }
        positions.reached("a log", Position::File(None));
        rig.statuses.push(status());
        while rig.visits.try_recv().is_ok() {
            n_visits += 1;
        }
        let held = rig.events.held();
        assert!(
            held.events <= limits.events && held.bytes <= limits.bytes,
            "{held:?}"
        );
        assert!(tasks() <= n_tasks, "no task is left behind by an attempt");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let (held, dropped) = (rig.events.held(), rig.events.dropped());
    let settled_before = rig.events.settled();

    // An attempt each minute or so, and each event is held or counted, the dearest held longest.
    assert!((180..700).contains(&n_visits), "{n_visits} attempts");
    assert_eq!(held.events as u64 + dropped.total(), n_pushed);
    assert!(
        dropped.telemetry > 0 && held.events > limits.events / 2,
        "{held:?}"
    );
    assert!(settled_before < n_pushed, "what is held is not settled");
    assert_eq!(rig.statuses.n_left_out(), 0, "no status waits for nobody");

    // When the daemon is back it takes in all that is held, in order, and hears of the rest.
    let (n_taken, told) = rig.take_all(n_pushed).await;
    assert_eq!(told, dropped.total());
    assert_eq!(
        n_taken,
        held.events as u64 + 1,
        "and one note of the losses"
    );
    assert_eq!(rig.events.held().bytes, 0);
}
