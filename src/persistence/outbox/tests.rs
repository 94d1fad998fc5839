//! Alerts are never lost, never doubled by a retry of ours, and never held up by telemetry.

use hidps_wire::ConditionStatus;
use jiff::Timestamp;
use uuid::Uuid;

use super::*;
use crate::model::DetectionReports;
use crate::ports::{StoreError, StoreErrorKind, StoreResult};

/// An alert of this occurrence.
pub(in crate::persistence) fn sample_alert(occurrence_id: Uuid) -> Alert {
    Alert {
        occurrence_id,
        agent_id: AgentId::new(Uuid::nil()),
        fingerprint: "f".into(),
        rule_id: "r".into(),
        title: "t".into(),
        message: "m".into(),
        alert_type: "security".into(),
        severity: 3,
        risk: 70,
        evidence: serde_json::json!([]),
        explanation: serde_json::json!({}),
        occurred_at: Timestamp::UNIX_EPOCH,
        count: 1,
    }
}

/// Refuses the first writes as told, then remembers the rest.
#[derive(Debug, Default)]
struct ScriptedWriter {
    failures: Mutex<VecDeque<StoreErrorKind>>,
    hangs: bool,
    alerts: Mutex<Vec<Uuid>>,
    conditions: Mutex<Vec<ConditionReport>>,
    presence: Mutex<Vec<PresenceReport>>,
    /// How many were in each request.
    snapshots: Mutex<Vec<usize>>,
}

impl ScriptedWriter {
    fn failing(kinds: &[StoreErrorKind]) -> Arc<Self> {
        let failures = Mutex::new(kinds.iter().copied().collect());
        Arc::new(Self {
            failures,
            ..Self::default()
        })
    }

    fn verdict(&self) -> Result<(), StoreError> {
        match self
            .failures
            .lock()
            .expect("no test panics with it")
            .pop_front()
        {
            None => Ok(()),
            Some(kind) => Err(StoreError {
                operation: "test",
                kind,
                source: "scripted".into(),
            }),
        }
    }
}

impl RecordWriter for Arc<ScriptedWriter> {
    fn write_alert(&self, alert: Alert) -> StoreResult<'_, ()> {
        Box::pin(async move {
            if self.hangs {
                std::future::pending::<()>().await;
            }
            self.verdict()?;
            self.alerts
                .lock()
                .expect("no test panics with it")
                .push(alert.occurrence_id);
            Ok(())
        })
    }

    fn write_conditions(&self, reports: Vec<ConditionReport>) -> StoreResult<'_, ()> {
        Box::pin(async move {
            self.verdict()?;
            self.conditions
                .lock()
                .expect("no test panics with it")
                .extend(reports);
            Ok(())
        })
    }

    fn write_presence(&self, reports: Vec<PresenceReport>) -> StoreResult<'_, ()> {
        Box::pin(async move {
            self.verdict()?;
            self.presence
                .lock()
                .expect("no test panics with it")
                .extend(reports);
            Ok(())
        })
    }

    fn write_changes(&self, _: Vec<ChangeReport>) -> StoreResult<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn write_detection(&self, _: DetectionReports) -> StoreResult<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn write_usage(&self, _: Vec<UsageReport>) -> StoreResult<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn write_processes(&self, reports: Vec<ProcessesReport>) -> StoreResult<'_, ()> {
        Box::pin(async move {
            self.verdict()?;
            let mut snapshots = self.snapshots.lock().expect("no test panics with it");
            snapshots.push(reports.len());
            Ok(())
        })
    }

    fn write_facts(&self, _: Vec<FactsReport>) -> StoreResult<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// Runs an outbox over what `act` puts in, until everything settled.
async fn settle(writer: &Arc<ScriptedWriter>, act: impl FnOnce(&OutboxHandle)) -> Vec<Alert> {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let spool = Spool::open(folder.path()).expect("the spool opens");
    let (outbox, handle) = Outbox::new(Arc::clone(writer), spool, Arc::default());
    let stop = CancellationToken::new();
    act(&handle);

    tokio::join!(outbox.run(stop.clone()), async {
        tokio::time::sleep(Duration::from_secs(300)).await;
        stop.cancel();
    });

    Spool::open(folder.path()).expect("the spool opens again").1
}

fn raise_all(outbox: &OutboxHandle, ids: &[Uuid]) {
    for id in ids {
        outbox.raise(sample_alert(*id));
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_delays_alerts_and_loses_none() {
    let writer = ScriptedWriter::failing(&[StoreErrorKind::Unavailable; 5]);
    let ids = [Uuid::from_u128(1), Uuid::from_u128(2)];

    let left = settle(&writer, |outbox| raise_all(outbox, &ids)).await;

    assert_eq!(*writer.alerts.lock().expect("unpoisoned"), ids);
    assert!(left.is_empty(), "written alerts leave the disk");
}

#[tokio::test(start_paused = true)]
async fn a_poisonous_alert_does_not_block_the_next() {
    let writer = ScriptedWriter::failing(&[StoreErrorKind::Rejected]);
    let ids = [Uuid::from_u128(1), Uuid::from_u128(2)];

    settle(&writer, |outbox| raise_all(outbox, &ids)).await;

    assert_eq!(*writer.alerts.lock().expect("unpoisoned"), ids[1..]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_record_costs_its_neighbours_nothing() {
    // The whole chunk of four, then its first half, then the first row alone.
    let writer = ScriptedWriter::failing(&[StoreErrorKind::Rejected; 3]);
    let report = |agent: u128| PresenceReport {
        agent_id: AgentId::new(Uuid::from_u128(agent)),
        online: true,
        at: Timestamp::UNIX_EPOCH,
        host: None,
    };

    settle(&writer, |outbox| {
        (0..4).for_each(|agent| outbox.presence(report(agent)));
    })
    .await;

    let written = writer.presence.lock().expect("unpoisoned");
    let mut agents: Vec<u128> = written
        .iter()
        .map(|report| report.agent_id.uuid().as_u128())
        .collect();
    agents.sort_unstable();
    assert_eq!(agents, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn alerts_raised_while_a_write_hangs_are_on_disk_when_the_daemon_stops() {
    let writer = Arc::new(ScriptedWriter {
        hangs: true,
        ..ScriptedWriter::default()
    });
    let ids = [Uuid::from_u128(1), Uuid::from_u128(2)];

    let left = settle(&writer, |outbox| raise_all(outbox, &ids)).await;

    assert_eq!(
        left.iter()
            .map(|alert| alert.occurrence_id)
            .collect::<Vec<_>>(),
        ids
    );
}

#[tokio::test(start_paused = true)]
async fn only_the_newest_condition_is_written() {
    let writer = ScriptedWriter::failing(&[]);
    let report = |reason: &str| ConditionReport {
        agent_id: AgentId::new(Uuid::nil()),
        kind: ConditionKind::Connected,
        status: ConditionStatus::True,
        reason: reason.into(),
        message: String::new(),
        observed_generation: None,
        subjects: Vec::new(),
        transition_at: None,
    };

    settle(&writer, |outbox| {
        outbox.conditions(vec![report("Older")]);
        outbox.conditions(vec![report("Newer")]);
    })
    .await;

    let written = writer.conditions.lock().expect("unpoisoned");
    assert_eq!(written.len(), 1);
    assert_eq!(written[0].reason, "Newer");
}

#[tokio::test(start_paused = true)]
async fn a_newer_presence_keeps_the_facts_of_the_older() {
    let writer = ScriptedWriter::failing(&[StoreErrorKind::Unavailable]);
    let facts = crate::model::HostFacts {
        hostname: "web".into(),
        os: "linux".into(),
        arch: "x86_64".into(),
        agent_version: "1".into(),
        retires_keys: true,
    };
    let report = |online, host| PresenceReport {
        agent_id: AgentId::new(Uuid::nil()),
        online,
        at: Timestamp::UNIX_EPOCH,
        host,
    };

    settle(&writer, |outbox| {
        outbox.presence(report(true, Some(facts.clone())));
        outbox.presence(report(false, None));
    })
    .await;

    assert_eq!(
        *writer.presence.lock().expect("unpoisoned"),
        [report(false, Some(facts))]
    );
}

/// Takes a second for each request, and remembers who was in one at which time.
#[derive(Debug, Default)]
struct SlowWriter {
    under_way: Mutex<Vec<AgentId>>,
    requests: Mutex<usize>,
    most_requests: Mutex<usize>,
    written: Mutex<Vec<PresenceReport>>,
}

impl RecordWriter for Arc<SlowWriter> {
    fn write_presence(&self, reports: Vec<PresenceReport>) -> StoreResult<'_, ()> {
        Box::pin(async move {
            let agents: Vec<AgentId> = reports.iter().map(|report| report.agent_id).collect();
            {
                let mut under_way = self.under_way.lock().expect("unpoisoned");
                let is_under_way = |agent: &AgentId| under_way.contains(agent);
                assert!(!agents.iter().any(is_under_way), "two requests about one");
                under_way.extend(&agents);
                let mut requests = self.requests.lock().expect("unpoisoned");
                *requests += 1;
                let mut most = self.most_requests.lock().expect("unpoisoned");
                *most = requests.max(*most);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            let mut under_way = self.under_way.lock().expect("unpoisoned");
            under_way.retain(|agent| !agents.contains(agent));
            *self.requests.lock().expect("unpoisoned") -= 1;
            self.written.lock().expect("unpoisoned").extend(reports);
            Ok(())
        })
    }

    fn write_alert(&self, _: Alert) -> StoreResult<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn write_conditions(&self, _: Vec<ConditionReport>) -> StoreResult<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn write_changes(&self, _: Vec<ChangeReport>) -> StoreResult<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn write_detection(&self, _: DetectionReports) -> StoreResult<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn write_usage(&self, _: Vec<UsageReport>) -> StoreResult<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn write_processes(&self, _: Vec<ProcessesReport>) -> StoreResult<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn write_facts(&self, _: Vec<FactsReport>) -> StoreResult<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test(start_paused = true)]
async fn many_records_are_written_at_once_and_the_newest_of_an_agent_last() {
    let writer = Arc::new(SlowWriter::default());
    let folder = tempfile::tempdir().expect("a folder can be made");
    let spool = Spool::open(folder.path()).expect("the spool opens");
    let (outbox, handle) = Outbox::new(Arc::clone(&writer), spool, Arc::default());
    let stop = CancellationToken::new();
    let report_all = |online| {
        for agent in 0..450 {
            handle.presence(PresenceReport {
                agent_id: AgentId::new(Uuid::from_u128(agent)),
                online,
                at: Timestamp::UNIX_EPOCH,
                host: None,
            });
        }
    };
    report_all(true);

    tokio::join!(outbox.run(stop.clone()), async {
        // The first requests are under way by now.
        tokio::time::sleep(Duration::from_millis(500)).await;
        report_all(false);
        tokio::time::sleep(Duration::from_secs(300)).await;
        stop.cancel();
    });

    assert_eq!(*writer.most_requests.lock().expect("unpoisoned"), 4);
    let written = writer.written.lock().expect("unpoisoned");
    for agent in 0..450 {
        let id = AgentId::new(Uuid::from_u128(agent));
        let last = written.iter().rfind(|report| report.agent_id == id);
        assert_eq!(last.map(|report| report.online), Some(false), "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn snapshots_go_in_small_requests_and_no_more_wait_than_fit() {
    let writer = Arc::new(ScriptedWriter::default());

    settle(&writer, |handle| {
        for agent in 0..500 {
            handle.processes(ProcessesReport {
                agent_id: AgentId::new(Uuid::from_u128(agent)),
                org: OrgId(Uuid::nil()),
                at: Timestamp::UNIX_EPOCH,
                processes: hidps_wire::Processes::default(),
            });
        }
    })
    .await;

    let snapshots = writer.snapshots.lock().expect("unpoisoned");
    assert_eq!(snapshots.as_slice(), [10; 40]);
}

#[test]
fn a_large_organization_leaves_room_for_the_snapshots_of_others() {
    let mut waiting = BTreeMap::new();
    let mut n_kept = BTreeMap::<u128, usize>::new();
    let told = [(1, 1_000), (2, 300), (3, 20), (1, 1_000)];

    let mut agent = 0;
    for (org, n) in told {
        for _ in 0..n {
            agent += 1;
            let report = ProcessesReport {
                agent_id: AgentId::new(Uuid::from_u128(agent)),
                org: OrgId(Uuid::from_u128(org)),
                at: Timestamp::UNIX_EPOCH,
                processes: hidps_wire::Processes::default(),
            };
            if make_room(&mut waiting, report.org) {
                waiting.insert(report.agent_id, report);
            }
        }
    }

    for report in waiting.values() {
        *n_kept.entry(report.org.0.as_u128()).or_default() += 1;
    }
    assert_eq!(waiting.len(), MAX_SNAPSHOTS);
    assert_eq!(n_kept, BTreeMap::from([(1, 190), (2, 190), (3, 20)]));
}
