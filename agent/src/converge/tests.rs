//! The loop with a firewall and a watcher that behave, fail or are stuck on demand.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hidps_wire::{
    AgentId, Apply, ConditionStatus, ContentHash, DesiredDocument, FacetCondition, FirewallIntent,
    Generation, Status, WatchSet,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::*;
use crate::collect::source_board::{SourceBoard, Standing};
use crate::conditions::SourcesAsked;
use crate::config::Config;
use crate::event_queue::EventQueue;
use crate::file_watch::{FileKind, FileWatch, PathState, WatchOutcome};
use crate::firewall::{
    DaemonPlace, Drift, Firewall, FirewallChange, FirewallError, FirewallGoal, FirewallOutcome,
    FirewallSync, Forecast, InForce, RuleList,
};
use crate::ledger::Ledger;
use crate::probe::Probe;
use crate::state_dir::StateDir;
use crate::status_queue::StatusQueue;

const DEADLINE: Duration = Duration::from_secs(30);

/// A firewall that is a flag.
#[derive(Debug, Default)]
struct FakeFirewall {
    state: Mutex<FakeState>,
}

#[derive(Debug, Default)]
struct FakeState {
    loaded: bool,
    is_denied: bool,
    n_changes: usize,
    n_asked: usize,
}

impl FakeFirewall {
    fn set(&self, change: impl FnOnce(&mut FakeState)) {
        change(&mut self.state.lock().unwrap());
    }

    fn n_changes(&self) -> usize {
        self.state.lock().unwrap().n_changes
    }
}

impl Firewall for FakeFirewall {
    async fn ensure(&self, goal: &FirewallGoal) -> FirewallOutcome {
        let mut state = self.state.lock().unwrap();
        state.n_asked += 1;
        if state.is_denied {
            return FirewallOutcome {
                back_end: crate::firewall::BackEnd::Nftables,
                active: None,
                change: None,
                tampering: None,
                sync: FirewallSync::Failed(FirewallError::Privilege),
            };
        }
        let wanted = goal.intent() == FirewallIntent::On;
        let change = (state.loaded != wanted).then_some(FirewallChange::Loaded);
        state.n_changes += usize::from(change.is_some());
        state.loaded = wanted;
        let sync = match goal {
            FirewallGoal::Unmanaged => FirewallSync::Unmanaged,
            FirewallGoal::Off => FirewallSync::Disabled,
            FirewallGoal::On(_) => FirewallSync::Enabled(InForce::default()),
        };
        FirewallOutcome {
            back_end: crate::firewall::BackEnd::Nftables,
            active: Some(wanted),
            change,
            tampering: None,
            sync,
        }
    }

    async fn is_active(&self) -> Result<bool, FirewallError> {
        Ok(self.state.lock().unwrap().loaded)
    }

    async fn forecast(&self, _: &FirewallGoal, _: &DaemonPlace) -> Result<Forecast, FirewallError> {
        Err(FirewallError::Missing)
    }

    async fn list_rules(&self) -> Result<RuleList, FirewallError> {
        Ok(RuleList::default())
    }
}

/// A watcher that watches everything, and can be stuck.
struct FakeWatch {
    is_stuck: bool,
    n_asked: Arc<AtomicUsize>,
}

impl FileWatch for FakeWatch {
    async fn ensure(&mut self, paths: WatchSet) -> Option<WatchOutcome> {
        self.n_asked.fetch_add(1, Ordering::SeqCst);
        let watched = PathState::Watched(FileKind::File);
        (!self.is_stuck).then(|| WatchOutcome {
            states: paths.into_keys().map(|p| (p, watched.clone())).collect(),
            ..WatchOutcome::default()
        })
    }

    async fn changed(&mut self) {
        std::future::pending::<()>().await;
    }
}

/// Nothing is on trial here.
struct NoProbe;

impl Probe for NoProbe {
    async fn probe(&self) -> Result<(), String> {
        Err("nobody asked".to_owned())
    }
}

struct Host {
    directory: tempfile::TempDir,
    state: StateDir,
    firewall: Arc<FakeFirewall>,
    n_watch_asked: Arc<AtomicUsize>,
    board: Arc<SourceBoard>,
    applies: mpsc::Sender<Apply>,
    drift: watch::Sender<Drift>,
    status: watch::Receiver<Option<Status>>,
    tasks: JoinSet<()>,
}

impl Host {
    fn start(is_watcher_stuck: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(&directory.path().join("state")).unwrap();
        Self::start_again(directory, state, is_watcher_stuck)
    }

    fn start_again(directory: tempfile::TempDir, state: StateDir, is_stuck: bool) -> Self {
        let ledger = Ledger::new(state.clone(), AgentId::new(uuid::Uuid::nil()));
        let firewall = Arc::new(FakeFirewall::default());
        let n_watch_asked = Arc::new(AtomicUsize::new(0));
        let (applies, applies_rx) = mpsc::channel(4);
        let (drift, drift_rx) = watch::channel(Drift::default());
        let statuses = Arc::new(StatusQueue::default());
        let status = statuses.latest();
        let (board, sources) = SourceBoard::new();
        let converge = Converge {
            ledger,
            firewall: Arc::clone(&firewall),
            files: FakeWatch {
                is_stuck,
                n_asked: Arc::clone(&n_watch_asked),
            },
            applies: applies_rx,
            drift: drift_rx,
            statuses,
            record: watch::channel(None).0,
            events: Arc::new(EventQueue::default()),
            probe: Arc::new(NoProbe),
            link: watch::channel(None).1,
            sources: (sources, SourcesAsked::of(&config())),
            retirement: watch::channel(None).1,
            confirm_within: None,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(converge.run());
        Self {
            directory,
            state,
            firewall,
            n_watch_asked,
            board,
            applies,
            drift,
            status,
            tasks,
        }
    }

    async fn next_status(&mut self) -> Status {
        let changed = tokio::time::timeout(DEADLINE, self.status.changed()).await;
        changed.expect("a status comes").unwrap();
        self.status.borrow_and_update().clone().unwrap()
    }

    /// How often the firewall and the watcher were asked to do anything.
    fn n_asked(&self) -> (usize, usize) {
        let firewall = self.firewall.state.lock().unwrap().n_asked;
        (firewall, self.n_watch_asked.load(Ordering::SeqCst))
    }

    async fn apply(&self, generation: u64, firewall: Option<bool>) {
        let apply = Apply {
            generation: Generation(generation),
            hash: ContentHash(format!("{firewall:?}")),
            document: DesiredDocument {
                firewall_enabled: firewall,
                monitored_files: vec!["/etc/passwd".to_owned()],
                ..DesiredDocument::default()
            },
        };
        self.applies.send(apply).await.unwrap();
    }
}

/// A configuration that asks for the journal.
fn config() -> Config {
    let text = "agent_id = \"7d444840-9dc0-11d1-b245-5ffdce74fad2\"\n\
                backend_url = \"http://127.0.0.1:9\"\n";
    Config::parse(text, |_| None).unwrap()
}

fn reasons(status: &Status) -> Vec<(FacetCondition, ConditionStatus, &str)> {
    status
        .conditions
        .iter()
        .map(|c| (c.facet, c.status, c.reason.as_str()))
        .collect()
}

#[tokio::test]
async fn a_document_is_applied_read_back_and_answered_even_when_known() {
    let mut host = Host::start(false);
    host.next_status().await;

    host.apply(1, Some(true)).await;
    let first = host.next_status().await;
    host.apply(1, Some(true)).await;
    let second = host.next_status().await;

    let expected = [
        (
            FacetCondition::FirewallSynced,
            ConditionStatus::True,
            "Enabled",
        ),
        (
            FacetCondition::FilesWatched,
            ConditionStatus::True,
            "AllWatched",
        ),
    ];
    assert_eq!(reasons(&first), expected);
    assert_eq!(first, second);
    assert_eq!(host.firewall.n_changes(), 1);
}

#[tokio::test]
async fn a_source_that_cannot_be_read_is_told_as_soon_as_it_says_so() {
    let mut host = Host::start(false);
    let first = host.next_status().await;

    host.board.tell("journal", Standing::Failed, "no", "x");
    let second = host.next_status().await;
    host.board.tell("journal", Standing::Read, "so", "x");
    let third = host.next_status().await;

    let told = |status: &Status| {
        let conditions = &status.conditions;
        let facet = FacetCondition::SourcesRead;
        let found = conditions.iter().find(|told| told.facet == facet);
        found.map(|told| (told.status, told.reason.clone()))
    };
    let unread = (ConditionStatus::False, "SourceUnread".to_owned());
    assert_eq!(told(&first), None, "nothing has been said yet");
    assert_eq!(told(&second), Some(unread));
    let reading = (ConditionStatus::True, "Reading".to_owned());
    assert_eq!(told(&third), Some(reading));
}

#[tokio::test]
async fn one_facet_that_fails_does_not_keep_the_other_from_being_applied() {
    let mut host = Host::start(false);
    host.next_status().await;
    host.firewall.set(|state| state.is_denied = true);

    host.apply(1, Some(true)).await;
    let status = host.next_status().await;

    let expected = [
        (
            FacetCondition::FirewallSynced,
            ConditionStatus::False,
            "MissingPrivilege",
        ),
        (
            FacetCondition::FilesWatched,
            ConditionStatus::True,
            "AllWatched",
        ),
    ];
    assert_eq!(reasons(&status), expected);
    assert_eq!(status.firewall_active, None);
}

#[tokio::test]
async fn a_stuck_watcher_is_unknown_and_the_firewall_is_applied() {
    let mut host = Host::start(true);
    host.next_status().await;

    host.apply(1, Some(true)).await;
    let status = host.next_status().await;

    assert_eq!(reasons(&status)[0].2, "Enabled");
    assert_eq!(reasons(&status)[1].1, ConditionStatus::Unknown);
}

#[tokio::test]
async fn drift_is_repaired_when_it_is_told() {
    let mut host = Host::start(false);
    host.next_status().await;
    host.apply(1, Some(true)).await;
    host.next_status().await;

    host.firewall.set(|state| state.loaded = false);
    host.drift.send_replace(Drift::default());

    let repaired = async {
        while host.firewall.n_changes() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, repaired)
        .await
        .expect("it is repaired");
}

#[tokio::test(start_paused = true)]
async fn drift_that_nobody_tells_is_found_by_the_audit() {
    let mut host = Host::start(false);
    host.next_status().await;
    host.apply(1, Some(true)).await;
    host.next_status().await;

    host.firewall.set(|state| state.loaded = false);
    tokio::time::sleep(AUDIT_INTERVAL + Duration::from_secs(1)).await;

    assert_eq!(host.firewall.n_changes(), 2);
}

#[tokio::test]
async fn the_ledger_is_applied_at_the_start_without_a_daemon() {
    let mut host = Host::start(false);
    host.apply(7, Some(true)).await;
    host.status
        .wait_for(|s| s.as_ref().is_some_and(|s| s.applied.is_some()))
        .await
        .unwrap();
    let Host {
        directory,
        state,
        tasks,
        ..
    } = host;
    drop(tasks);

    let mut again = Host::start_again(directory, state, false);
    let status = again.next_status().await;

    assert_eq!(status.applied.map(|a| a.generation), Some(Generation(7)));
    assert_eq!(again.firewall.n_changes(), 1);
}

#[tokio::test]
async fn an_older_document_is_answered_with_what_is_held() {
    let mut host = Host::start(false);
    host.next_status().await;
    host.apply(5, Some(true)).await;
    host.next_status().await;

    host.apply(4, Some(false)).await;
    let status = host.next_status().await;

    assert_eq!(status.applied.map(|a| a.generation), Some(Generation(5)));
    assert_eq!(status.firewall_active, Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_host_without_a_document_is_only_looked_at() {
    let mut host = Host::start(false);
    host.next_status().await;

    host.firewall.set(|state| state.loaded = true);
    host.drift.send_replace(Drift::default());
    let status = host.next_status().await;
    // Rounds without a document change nothing either.
    tokio::time::sleep(AUDIT_INTERVAL * 3).await;

    let expected = [
        (
            FacetCondition::FirewallSynced,
            ConditionStatus::Unknown,
            "NoDocument",
        ),
        (
            FacetCondition::FilesWatched,
            ConditionStatus::Unknown,
            "NoDocument",
        ),
    ];
    assert_eq!(reasons(&status), expected);
    for condition in &status.conditions {
        let message = &condition.message;
        assert!(
            message.contains("no desired state was received yet"),
            "{message}"
        );
    }
    assert_eq!((status.applied, status.firewall_active), (None, Some(true)));
    assert_eq!(host.n_asked(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_ledger_is_told_read_again_and_then_applied() {
    let mut host = Host::start(false);
    host.next_status().await;
    host.apply(7, Some(true)).await;
    host.next_status().await;
    let Host {
        directory,
        state,
        tasks,
        ..
    } = host;
    drop(tasks);
    let (file, away) = (state.path().join("desired.json"), state.path().join("away"));
    std::fs::rename(&file, &away).unwrap();
    std::os::unix::fs::symlink(&file, &file).unwrap();

    let mut again = Host::start_again(directory, state, false);
    let unknown = again.next_status().await;
    let asked_meanwhile = again.n_asked();
    std::fs::rename(&away, &file).unwrap();
    let applied = again.next_status().await;

    let message = &unknown.conditions[0].message;
    assert_eq!(reasons(&unknown)[0].2, "NoDocument");
    assert!(
        message.contains("could not be read, which is tried again"),
        "{message}"
    );
    assert_eq!(asked_meanwhile, (0, 0));
    assert_eq!(applied.applied.map(|a| a.generation), Some(Generation(7)));
    assert_eq!(applied.firewall_active, Some(true));
}
