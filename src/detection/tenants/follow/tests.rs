//! What is read comes into force, and what cannot be read changes nothing.

use std::sync::Mutex;

use hidps_wire::AgentId;
use uuid::Uuid;

use super::*;
use crate::detection::tenants::turns;
use crate::detection::tests::loaded;
use crate::model::{
    DetectionVerdict, IntentKind, IntentRow, OwnRule, RiskReport, ShadowReport, SuppressedReport,
    VerdictStatus,
};
use crate::ports::{StoreErrorKind, StoreResult};

const AGENT: AgentId = AgentId::new(Uuid::from_u128(1));
const ORG: OrgId = OrgId(Uuid::from_u128(10));
const OTHER: OrgId = OrgId(Uuid::from_u128(20));

/// Rows in memory, and whether reading them fails.
#[derive(Debug, Default)]
struct FakeDatabase {
    orgs: Mutex<BTreeMap<OrgId, DetectionIntent>>,
    fails_to_list: Mutex<bool>,
    fails_to_read: Mutex<Option<OrgId>>,
    /// One organization whose reads never end.
    hangs: Mutex<Option<OrgId>>,
    verdicts: Mutex<Vec<DetectionVerdict>>,
    reads: Mutex<Vec<OrgId>>,
}

fn failure() -> StoreError {
    StoreError {
        operation: "test",
        kind: StoreErrorKind::Unavailable,
        source: "scripted".into(),
    }
}

impl DetectionReader for Arc<FakeDatabase> {
    fn list_detection(&self) -> StoreResult<'_, Vec<(OrgId, u64)>> {
        Box::pin(async {
            if *self.fails_to_list.lock().expect("unpoisoned") {
                return Err(failure());
            }
            let orgs = self.orgs.lock().expect("unpoisoned");
            Ok(orgs
                .iter()
                .map(|(org, one)| (*org, one.generation))
                .collect())
        })
    }

    fn read_detection(&self, org: OrgId) -> StoreResult<'_, Option<DetectionIntent>> {
        Box::pin(async move {
            if *self.fails_to_read.lock().expect("unpoisoned") == Some(org) {
                return Err(failure());
            }
            if *self.hangs.lock().expect("unpoisoned") == Some(org) {
                std::future::pending::<()>().await;
            }
            self.reads.lock().expect("unpoisoned").push(org);
            Ok(self.orgs.lock().expect("unpoisoned").get(&org).cloned())
        })
    }
}

impl DetectionRecords for FakeDatabase {
    fn verdicts(&self, verdicts: Vec<DetectionVerdict>) {
        self.verdicts.lock().expect("unpoisoned").extend(verdicts);
    }

    fn shadow_matches(&self, _: Vec<ShadowReport>) {}
    fn suppressed(&self, _: Vec<SuppressedReport>) {}
    fn risk(&self, _: Vec<RiskReport>) {}
}

fn rule(id: &str) -> String {
    format!(
        "title: T\nid: {id}\nlogsource: {{product: linux}}\ndetection: {{s: {{a: b}}, condition: s}}\n"
    )
}

fn intent(org: OrgId, generation: u64, id: &str) -> DetectionIntent {
    let row = IntentRow {
        id: org.0,
        version: 1,
    };
    let rule = OwnRule {
        row,
        body: rule(id),
        enabled: true,
        shadow: false,
    };
    DetectionIntent {
        org,
        generation,
        agents: vec![AGENT],
        rules: vec![rule],
        overrides: Vec::new(),
        suppressions: Vec::new(),
    }
}

fn task(database: &Arc<FakeDatabase>) -> (TenantRules<Arc<FakeDatabase>>, TenantFeed) {
    let loaded = loaded(&rule("built-in"));
    let settings = TenantSettings {
        rules: watch::channel(Arc::new(loaded)).1,
        hint: Arc::default(),
        resync_every: Duration::from_secs(60),
        records: Arc::clone(database) as _,
        health: Arc::default(),
    };
    TenantRules::new(Arc::clone(database), settings)
}

fn put(database: &FakeDatabase, intent: DetectionIntent) {
    let mut orgs = database.orgs.lock().expect("unpoisoned");
    orgs.insert(intent.org, intent);
}

/// Another agent, of [`OTHER`].
const AGENT_OF_OTHER: AgentId = AgentId::new(Uuid::from_u128(2));

/// A running task, and what it is run with.
struct Rig {
    database: Arc<FakeDatabase>,
    feed: TenantFeed,
    hint: Arc<Notify>,
    health: Arc<Health>,
    built_in: watch::Sender<Arc<crate::detection::LoadedRules>>,
    _running: tokio::task::JoinSet<()>,
}

/// Begins with these wishes in force.
async fn rig(intents: Vec<DetectionIntent>) -> Rig {
    let database = Arc::new(FakeDatabase::default());
    for intent in intents {
        put(&database, intent);
    }
    let (mut task, feed) = task(&database);
    let (built_in, rules) = watch::channel(Arc::new(loaded(&rule("built-in"))));
    task.settings.rules = rules;
    let (hint, health) = (
        Arc::clone(&task.settings.hint),
        Arc::clone(&task.settings.health),
    );
    let mut running = tokio::task::JoinSet::new();
    running.spawn(task.run(CancellationToken::new()));
    let mut rig = Rig {
        database,
        feed,
        hint,
        health,
        built_in,
        _running: running,
    };
    rig.feed.compared().await;
    rig
}

impl Rig {
    /// Waits until an agent has exactly these own rules; time that is waited for passes by itself.
    async fn has(&mut self, agent: AgentId, expected: &[&str]) {
        let own = |feed: &TenantFeed| -> Vec<String> {
            let layers = feed.layers.borrow();
            let set = layers.of(agent).and_then(|layer| layer.set());
            let rules = set.map(|set| set.rules().map(|rule| rule.id.clone()).collect());
            rules.unwrap_or_default()
        };
        let reached = async {
            while own(&self.feed) != expected {
                self.feed.layers.changed().await.expect("it runs");
            }
        };
        let result = tokio::time::timeout(Duration::from_secs(300), reached).await;
        result.unwrap_or_else(|_| panic!("not {expected:?}"));
    }

    /// Changes what an organization wants, and says so.
    fn change(&self, intent: DetectionIntent) {
        put(&self.database, intent);
        self.hint.notify_one();
    }

    /// Waits until something was told of an organization as a whole.
    async fn told(&self, org: OrgId, status: VerdictStatus) -> DetectionVerdict {
        let told = |verdict: &&DetectionVerdict| {
            verdict.kind == IntentKind::Organization && verdict.row.id == org.0
        };
        let reached = async {
            loop {
                let verdicts = self.database.verdicts.lock().expect("unpoisoned").clone();
                let last = verdicts.iter().rfind(told);
                if let Some(last) = last.filter(|last| last.status == status) {
                    return last.clone();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let result = tokio::time::timeout(Duration::from_secs(300), reached).await;
        result.unwrap_or_else(|_| panic!("never {status:?}"))
    }

    fn set_failing(&self, org: Option<OrgId>) {
        *self.database.fails_to_read.lock().expect("unpoisoned") = org;
    }
}

/// The wishes of the other organization.
fn others(generation: u64, id: &str) -> DetectionIntent {
    DetectionIntent {
        agents: vec![AGENT_OF_OTHER],
        ..intent(OTHER, generation, id)
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_cannot_be_read_changes_nothing_and_is_told() {
    let mut rig = rig(vec![intent(ORG, 1, "first")]).await;
    rig.has(AGENT, &["first"]).await;

    *rig.database.fails_to_list.lock().expect("unpoisoned") = true;
    rig.change(intent(ORG, 2, "second"));
    while rig.health.tenants_unread().is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    rig.has(AGENT, &["first"]).await;
    *rig.database.fails_to_list.lock().expect("unpoisoned") = false;

    rig.has(AGENT, &["second"]).await;
    assert_eq!(rig.health.tenants_unread(), None);
}

#[tokio::test(start_paused = true)]
async fn an_organization_that_cannot_be_read_keeps_what_it_has_and_is_told_why() {
    let mut rig = rig(vec![intent(ORG, 1, "first"), others(1, "theirs")]).await;
    rig.told(ORG, VerdictStatus::Accepted).await;

    rig.set_failing(Some(ORG));
    rig.change(intent(ORG, 2, "second"));
    rig.change(others(2, "new"));

    let told = rig.told(ORG, VerdictStatus::NotRead).await;
    assert!(told.reason.contains("what was in force stays"), "{told:?}");
    assert_eq!(told.row.version, 1);
    rig.has(AGENT_OF_OTHER, &["new"]).await;
    rig.has(AGENT, &["first"]).await;
    rig.set_failing(None);
    rig.has(AGENT, &["second"]).await;
    assert_eq!(rig.told(ORG, VerdictStatus::Accepted).await.row.version, 2);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_never_ends_delays_no_other_organization() {
    let mut rig = rig(vec![intent(ORG, 1, "first"), others(1, "theirs")]).await;

    *rig.database.hangs.lock().expect("unpoisoned") = Some(ORG);
    rig.change(intent(ORG, 2, "second"));
    rig.change(others(2, "new"));

    rig.has(AGENT_OF_OTHER, &["new"]).await;
    rig.has(AGENT, &["first"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_organization_that_changes_all_the_time_is_read_now_and_then() {
    let mut rig = rig(vec![intent(ORG, 1, "first"), others(1, "theirs")]).await;
    let reads = |rig: &Rig| {
        let reads = rig.database.reads.lock().expect("unpoisoned");
        reads.iter().filter(|org| **org == ORG).count()
    };
    let before = reads(&rig);

    for generation in 2..102 {
        rig.change(intent(ORG, generation, "busy"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    rig.change(others(2, "new"));
    rig.has(AGENT_OF_OTHER, &["new"]).await;

    let n_reads = reads(&rig) - before;
    let most = Duration::from_millis(50 * 101).as_secs() / turns::PAUSE.as_secs() + 2;
    assert!(n_reads as u64 <= most, "{n_reads} reads, {most} at most");
    rig.has(AGENT, &["busy"]).await;
}

#[tokio::test(start_paused = true)]
async fn only_what_changed_is_read_and_a_number_that_went_back_is_a_change() {
    let mut rig = rig(vec![intent(ORG, 5, "first")]).await;

    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(*rig.database.reads.lock().expect("unpoisoned"), [ORG]);
    rig.change(intent(ORG, 4, "restored"));

    rig.has(AGENT, &["restored"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_organization_that_is_gone_takes_its_rules_along() {
    let mut rig = rig(vec![intent(ORG, 1, "first")]).await;

    rig.database.orgs.lock().expect("unpoisoned").clear();
    rig.hint.notify_one();

    rig.has(AGENT, &[]).await;
    assert!(!rig.feed.layers.borrow().has(ORG));
}

#[tokio::test(start_paused = true)]
async fn an_organization_without_agents_holds_no_engine() {
    let mut rig = rig(vec![intent(ORG, 1, "first")]).await;
    assert!(rig.feed.layers.borrow().has(ORG));

    let mut empty = intent(ORG, 2, "first");
    empty.agents.clear();
    rig.change(empty);

    rig.has(AGENT, &[]).await;
    assert!(!rig.feed.layers.borrow().has(ORG));
}

#[tokio::test(start_paused = true)]
async fn rules_that_cost_too_much_are_suspended_and_come_back_by_themselves() {
    let mut rig = rig(vec![intent(ORG, 1, "slow")]).await;
    let hash = {
        let layers = rig.feed.layers.borrow();
        let set = layers.of(AGENT).and_then(|layer| layer.set());
        set.expect("it is in force").hash().to_owned()
    };

    let report = CostReport {
        org: ORG,
        rule_set: hash,
        reason: "too slow".into(),
    };
    rig.feed.costs.send(report.clone()).await.expect("it runs");
    rig.has(AGENT, &[]).await;
    let told = rig.told(ORG, VerdictStatus::Suspended).await;
    assert!(told.reason.contains("after 60 s"), "{told:?}");
    assert!(!rig.feed.layers.borrow().has(ORG), "its engine is released");
    rig.has(AGENT, &["slow"]).await;

    rig.feed.costs.send(report).await.expect("it runs");
    rig.has(AGENT, &[]).await;
    rig.change(intent(ORG, 2, "quick"));
    rig.has(AGENT, &["quick"]).await;
    rig.told(ORG, VerdictStatus::Accepted).await;
}

#[tokio::test(start_paused = true)]
async fn other_built_in_rules_give_every_organization_another_layer() {
    let mut rig = rig(vec![intent(ORG, 1, "first")]).await;
    rig.has(AGENT, &["first"]).await;

    // The organization's rule now has the id of a built-in one, and is refused.
    rig.built_in.send_replace(Arc::new(loaded(&rule("first"))));

    rig.has(AGENT, &[]).await;
}
