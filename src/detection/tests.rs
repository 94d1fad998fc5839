//! The project's own rules on real event shapes: bursts become one counted alert, hostile batches
//! are refused, and a rule set that cannot be trusted is not loaded.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use hidps_rules::{RuleFile, RuleSet};
use hidps_wire::{AgentId, EventKind, Fields, LogEvent, MAX_EVENTS_PER_BATCH, encode};
use uuid::Uuid;

use super::*;
use crate::model::{
    Alert, DetectionVerdict, OrgId, RiskReport, ShadowReport, SuppressedReport, TwinSign,
};
use crate::ports::{AlertQueue, BatchProgress, DetectionRecords, LiveLog};

mod audit;
mod explained;
mod processes;
mod suspension;

/// The rule of five failed logins of one address within a minute.
const BRUTE_FORCE: &str = "5d5280b1-aa92-4ad7-a69a-55251886647f";

const AGENT: AgentId = AgentId::new(Uuid::from_u128(1));

/// Remembers alerts, shown events and what was said of batches.
#[derive(Debug, Default)]
struct Recorder {
    alerts: Mutex<Vec<Alert>>,
    shown: Mutex<usize>,
    taken: Mutex<Vec<u64>>,
    refused: Mutex<Vec<String>>,
    shadow: Mutex<Vec<ShadowReport>>,
    suppressed: Mutex<Vec<SuppressedReport>>,
    risk: Mutex<Vec<RiskReport>>,
}

impl Recorder {
    /// The alerts of one rule; other rules may have something to say of the same events.
    fn of_rule(&self, id: &str) -> Vec<Alert> {
        let alerts = self.alerts.lock().expect("unpoisoned");
        let of_it = alerts.iter().filter(|alert| alert.rule_id == id);
        of_it.cloned().collect()
    }
}

impl DetectionRecords for Recorder {
    fn verdicts(&self, _: Vec<DetectionVerdict>) {}

    fn shadow_matches(&self, reports: Vec<ShadowReport>) {
        self.shadow.lock().expect("unpoisoned").extend(reports);
    }

    fn suppressed(&self, reports: Vec<SuppressedReport>) {
        self.suppressed.lock().expect("unpoisoned").extend(reports);
    }

    fn risk(&self, reports: Vec<RiskReport>) {
        self.risk.lock().expect("unpoisoned").extend(reports);
    }
}

impl AlertQueue for Recorder {
    fn raise(&self, alert: Alert) {
        self.alerts.lock().expect("unpoisoned").push(alert);
    }
}

impl LiveLog for Recorder {
    fn publish(&self, _: AgentId, events: &[LogEvent<'_>]) {
        *self.shown.lock().expect("unpoisoned") += events.len();
    }
}

impl BatchProgress for Recorder {
    fn taken(&self, seq: u64) {
        self.taken.lock().expect("unpoisoned").push(seq);
    }

    fn refused(&self, reason: String) {
        self.refused.lock().expect("unpoisoned").push(reason);
    }
}

fn our_rules() -> LoadedRules {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("detection-rules");
    load_rules(&directory).expect("our own rules compile and their tests pass")
}

/// These rules as if they had been loaded, without tests of their own.
pub(super) fn loaded(text: &str) -> LoadedRules {
    let file = RuleFile {
        name: "r.yml",
        text,
    };
    LoadedRules {
        set: RuleSet::compile(&[file]).expect("the rules of this test compile"),
        sources: Arc::new([]),
        tests: 0,
        loaded_at: jiff::Timestamp::UNIX_EPOCH,
        digest: [0; 32],
    }
}

fn outlets(recorder: &Arc<Recorder>) -> Outlets {
    Outlets {
        live: Arc::clone(recorder) as _,
        alerts: Arc::clone(recorder) as _,
        records: Arc::clone(recorder) as _,
    }
}

/// A pipeline over our rules that has taken these frames in.
fn pipeline_after(frames: &[String]) -> (Pipeline, Arc<Recorder>) {
    run(&our_rules(), frames)
}

/// A pipeline over these rules that has taken these frames in.
fn run(rules: &LoadedRules, frames: &[String]) -> (Pipeline, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let mut pipeline = Pipeline::new(rules, &TenantFeed::none(), outlets(&recorder));
    for frame in frames {
        let progress = Arc::clone(&recorder) as _;
        pipeline.on_batch(&RawBatch {
            agent_id: AGENT,
            org: OrgId(Uuid::from_u128(10)),
            text: frame.as_str().into(),
            progress,
        });
    }
    (pipeline, recorder)
}

fn batch(events: Vec<LogEvent<'_>>) -> String {
    encode(&hidps_wire::EventBatch::new(1, 0, events))
}

fn failed_login() -> LogEvent<'static> {
    let mut fields = Fields::default();
    for (name, value) in [
        ("outcome", "failure"),
        ("method", "password"),
        ("user", "root"),
        ("src_ip", "192.0.2.7"),
    ] {
        assert!(fields.push(name, value), "four fields fit");
    }
    event(
        EventKind::Login,
        "sshd",
        "Failed password for root from 192.0.2.7 port 4 ssh2",
        fields,
    )
}

fn file_change(path: &str) -> LogEvent<'_> {
    let mut fields = Fields::default();
    for (name, value) in [
        ("TargetFilename", path),
        ("action", "modified"),
        ("watched", path),
    ] {
        assert!(fields.push(name, value), "three fields fit");
    }
    event(
        EventKind::FileMonitoring,
        "inotify",
        "a watched file was modified",
        fields,
    )
}

fn event<'a>(
    kind: EventKind,
    service: &'a str,
    message: &'a str,
    fields: Fields<'a>,
) -> LogEvent<'a> {
    let timestamp = "2026-11-21T00:00:00Z".into();
    LogEvent {
        timestamp,
        kind,
        service: service.into(),
        message: message.into(),
        fields,
    }
}

mod tenants;

#[tokio::test(start_paused = true)]
async fn a_burst_of_failed_logins_is_one_alert_that_is_counted_up() {
    let burst = batch((0..12).map(|_| failed_login()).collect());

    let (mut pipeline, recorder) = pipeline_after(&[burst]);
    let first = recorder.of_rule(BRUTE_FORCE);
    tokio::time::advance(Duration::from_secs(6)).await;
    pipeline.raise_due(false);

    let alerts = recorder.of_rule(BRUTE_FORCE);
    assert_eq!(first.len(), 1, "{first:#?}");
    assert_eq!(alerts.len(), 2, "{alerts:#?}");
    assert_eq!(alerts[1].fingerprint, first[0].fingerprint);
    assert_eq!(
        first[0].count + alerts[1].count,
        8,
        "the fifth to the twelfth failure"
    );
    assert_eq!(first[0].severity, 3);
    assert_eq!(
        first[0].explanation["window"]["group"]["src_ip"],
        "192.0.2.7"
    );
}

#[tokio::test]
async fn a_change_of_a_critical_file_is_an_alert_that_explains_itself() {
    let (_, recorder) = pipeline_after(&[batch(vec![file_change("/etc/shadow")])]);

    let alerts = recorder.alerts.lock().expect("unpoisoned");
    let critical = alerts
        .iter()
        .find(|alert| alert.severity >= 3)
        .expect("an alert is raised");
    assert!(
        critical.message.contains("/etc/shadow"),
        "{}",
        critical.message
    );
    assert_eq!(critical.explanation["rule_set"], our_rules().set.hash());
    assert!(critical.explanation["advice"].is_string());
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_different_alerts_ends_in_one_that_counts_the_rest() {
    let changes: Vec<String> = (0..60)
        .map(|n| format!("/home/u{n}/.ssh/authorized_keys"))
        .collect();
    let frames: Vec<String> = changes
        .iter()
        .map(|path| batch(vec![file_change(path)]))
        .collect();

    let (mut pipeline, recorder) = pipeline_after(&frames);
    let raised = recorder.alerts.lock().expect("unpoisoned").len();
    tokio::time::advance(Duration::from_secs(61)).await;
    pipeline.raise_due(false);

    let alerts = recorder.alerts.lock().expect("unpoisoned");
    let storm = alerts
        .iter()
        .find(|alert| alert.title == "Alert storm")
        .expect("said once");
    assert_eq!(raised, 30);
    assert_eq!(storm.count, 30);
}

#[tokio::test]
async fn a_window_survives_that_the_rules_are_loaded_again() {
    let before = batch((0..4).map(|_| failed_login()).collect());
    let (mut pipeline, recorder) = pipeline_after(&[before]);
    assert!(recorder.of_rule(BRUTE_FORCE).is_empty());

    pipeline.use_rules(&our_rules());
    let progress = Arc::clone(&recorder) as _;
    pipeline.on_batch(&RawBatch {
        agent_id: AGENT,
        org: OrgId(Uuid::from_u128(10)),
        text: batch(vec![failed_login()]).into(),
        progress,
    });

    let alerts = recorder.of_rule(BRUTE_FORCE);
    assert_eq!(alerts.len(), 1, "the fifth failure: {alerts:#?}");
}

#[tokio::test]
async fn events_are_shown_whether_or_not_a_rule_matches() {
    let quiet = event(EventKind::AgentInfo, "agent", "started", Fields::default());

    let (_, recorder) = pipeline_after(&[batch(vec![quiet])]);

    assert_eq!(*recorder.shown.lock().expect("unpoisoned"), 1);
    assert_eq!(*recorder.taken.lock().expect("unpoisoned"), [1]);
    assert!(recorder.alerts.lock().expect("unpoisoned").is_empty());
}

#[tokio::test]
async fn hostile_batches_are_refused_with_a_reason_and_the_next_is_served() {
    let long = "x".repeat(hidps_wire::MAX_EVENT_TEXT_BYTES + 1);
    let too_long = batch(vec![event(
        EventKind::Login,
        "sshd",
        &long,
        Fields::default(),
    )]);
    let too_many = batch((0..=MAX_EVENTS_PER_BATCH).map(|_| failed_login()).collect());
    let deep = format!(
        r#"{{"type":"events","seq":1,"events":{}"#,
        "[".repeat(100_000)
    );
    let frames = [
        too_long,
        too_many,
        deep,
        "{}".to_owned(),
        batch(vec![failed_login()]),
    ];

    let (_, recorder) = pipeline_after(&frames);

    assert_eq!(recorder.refused.lock().expect("unpoisoned").len(), 4);
    assert_eq!(*recorder.taken.lock().expect("unpoisoned"), [1]);
}

/// Writes a directory of rules and expects it to be refused with this text.
fn check_refused(files: &[(&str, &str)], expected: &str) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("the file can be written");
    }

    let error = load_rules(folder.path())
        .expect_err("the set is refused")
        .to_string();

    assert!(error.contains(expected), "{error:?} lacks {expected:?}");
}

const RULE: &str = "title: Any login\nid: 5d5280b1-aa92-4ad7-a69a-55251886647f\nstatus: test\n\
    logsource: {product: linux, service: sshd}\ndetection:\n  s: {user: root}\n  condition: s\n\
    level: high\n";

#[test]
fn a_rule_set_whose_tests_fail_is_refused() {
    let test = "logsource: {product: linux, service: sshd}\ncases:\n  - name: root\n    events:\n      \
                - {fields: {user: root}}\n    match: none\n";
    check_refused(
        &[("r.yml", RULE), ("r.test.yml", test)],
        "matched 1 times, expected",
    );
}

#[test]
fn a_rule_that_does_not_compile_is_refused_with_its_place() {
    check_refused(&[("r.yml", "title: x\ndetection: [")], "r.yml");
}

#[test]
fn a_rule_that_hostile_text_makes_dear_is_refused_with_its_place() {
    let dear = RULE.replace("user: root", "user|re: '.{400}é.{400}$'");

    check_refused(
        &[("r.yml", &dear)],
        "r.yml:6:16: the regular expression '.{400}é.{400}$' takes",
    );
}

#[test]
fn an_empty_directory_is_refused() {
    check_refused(&[], "holds no rule");
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let missing = PathBuf::from("/nonexistent/rules");

    let error = load_rules(&missing).expect_err("there is nothing to load");

    assert!(error.to_string().contains("/nonexistent/rules"), "{error}");
}

#[test]
fn what_the_daemon_observes_reaches_rules_and_what_an_agent_claims_does_not() {
    const TWIN: &str = "ba10bd36-2ca1-4f43-a475-76f0afc6f589";
    let claim = |kind| {
        let mut fields = Fields::default();
        assert!(fields.push("event", "twin"), "one field fits");
        event(
            kind,
            "agent",
            "two holders of the agent's key are alive",
            fields,
        )
    };
    let claims = [
        EventKind::AgentInfo,
        EventKind::SystemUsage,
        EventKind::Process,
    ];

    let (mut pipeline, recorder) = pipeline_after(&[batch(claims.map(claim).into())]);
    let of_claims = recorder.of_rule(TWIN).len();
    let twin = Observation::Twin {
        sign: TwinSign::Turns,
        addresses: [Some([203, 0, 113, 9].into()), None],
    };
    pipeline.on_observation(AGENT, twin);

    assert_eq!(of_claims, 0);
    let told = recorder.of_rule(TWIN);
    assert_eq!(told.len(), 1);
    let text = format!("{told:?}");
    assert!(text.contains("one at 203.0.113.9"), "{text}");
}

#[test]
fn a_silence_raises_one_alert_until_its_end() {
    const SILENT: &str = "8eaefe3b-fd2c-45dd-bafc-26d37cf758a0";
    let (mut pipeline, recorder) = pipeline_after(&[]);

    for seconds in [60, 300, 900] {
        pipeline.on_observation(AGENT, Observation::Silent { seconds });
    }
    let first = recorder.of_rule(SILENT).len();
    pipeline.on_observation(AGENT, Observation::Back { seconds: 1_000 });

    assert_eq!(first, 1);
}

#[test]
fn a_wrong_clock_is_told_once_by_a_note_from_the_future() {
    const SKEW: &str = "436ccc27-e592-40b7-a5a7-19654f44fbc9";
    let mut fields = Fields::default();
    assert!(fields.push("event", "started"), "one field fits");
    let mut note = event(EventKind::AgentInfo, "agent", "started", fields);
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(5);
    note.timestamp = soon.to_string().into();
    let frame = batch(vec![note]);

    let (_, recorder) = pipeline_after(&[frame.clone(), frame]);

    assert_eq!(recorder.of_rule(SKEW).len(), 1);
}
