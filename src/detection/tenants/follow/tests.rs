//! What is read comes into force, and what cannot be read changes nothing.

use std::sync::Mutex;

use uuid::Uuid;

use super::*;
use crate::detection::tests::loaded;
use crate::model::{
    DetectionVerdict, IntentRow, OwnRule, RiskReport, ShadowReport, SuppressedReport, VerdictStatus,
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
    verdicts: Mutex<Vec<DetectionVerdict>>,
    reads: Mutex<usize>,
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
            *self.reads.lock().expect("unpoisoned") += 1;
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
    };
    TenantRules::new(Arc::clone(database), settings)
}

fn put(database: &FakeDatabase, intent: DetectionIntent) {
    let mut orgs = database.orgs.lock().expect("unpoisoned");
    orgs.insert(intent.org, intent);
}

/// The ids of the agent's own rules in force.
fn in_force(feed: &TenantFeed) -> Vec<String> {
    let layers = feed.layers.borrow();
    let set = layers.of(AGENT).and_then(|layer| layer.set());
    let rules = set.map(|set| set.rules().map(|rule| rule.id.clone()).collect());
    rules.unwrap_or_default()
}

#[tokio::test]
async fn a_failed_read_changes_nothing_and_is_tried_again_soon() {
    let database = Arc::new(FakeDatabase::default());
    put(&database, intent(ORG, 1, "first"));
    let (mut task, feed) = task(&database);
    task.compare().await;
    put(&database, intent(ORG, 2, "second"));

    *database.fails_to_list.lock().expect("unpoisoned") = true;
    assert_eq!(task.compare().await, PAUSE);
    assert_eq!(in_force(&feed), ["first"]);
    *database.fails_to_list.lock().expect("unpoisoned") = false;
    *database.fails_to_read.lock().expect("unpoisoned") = Some(ORG);
    assert_eq!(task.compare().await, PAUSE);
    assert_eq!(in_force(&feed), ["first"]);
    *database.fails_to_read.lock().expect("unpoisoned") = None;
    assert!(task.compare().await > PAUSE);
    assert_eq!(in_force(&feed), ["second"]);
}

#[tokio::test]
async fn what_fails_for_one_organization_does_not_hold_up_another() {
    let database = Arc::new(FakeDatabase::default());
    put(&database, intent(ORG, 1, "first"));
    put(
        &database,
        DetectionIntent {
            agents: Vec::new(),
            ..intent(OTHER, 1, "other")
        },
    );
    *database.fails_to_read.lock().expect("unpoisoned") = Some(OTHER);
    let (mut task, feed) = task(&database);

    task.compare().await;

    assert_eq!(in_force(&feed), ["first"]);
}

#[tokio::test]
async fn only_what_changed_is_read_and_a_number_that_went_back_is_a_change() {
    let database = Arc::new(FakeDatabase::default());
    put(&database, intent(ORG, 5, "first"));
    let (mut task, feed) = task(&database);

    for _ in 0..3 {
        task.compare().await;
    }
    assert_eq!(*database.reads.lock().expect("unpoisoned"), 1);
    put(&database, intent(ORG, 4, "restored"));
    task.compare().await;

    assert_eq!(in_force(&feed), ["restored"]);
}

#[tokio::test]
async fn an_organization_that_is_gone_takes_its_rules_along() {
    let database = Arc::new(FakeDatabase::default());
    put(&database, intent(ORG, 1, "first"));
    let (mut task, feed) = task(&database);
    task.compare().await;

    database.orgs.lock().expect("unpoisoned").clear();
    task.compare().await;

    assert_eq!(in_force(&feed), Vec::<String>::new());
    assert!(!feed.layers.borrow().has(ORG));
}

#[tokio::test]
async fn rules_that_cost_too_much_are_suspended_until_they_are_others() {
    let database = Arc::new(FakeDatabase::default());
    put(&database, intent(ORG, 1, "slow"));
    let (mut task, feed) = task(&database);
    task.compare().await;
    let hash = {
        let layers = feed.layers.borrow();
        let set = layers.of(AGENT).and_then(|layer| layer.set());
        set.expect("it is in force").hash().to_owned()
    };

    task.suspend(CostReport {
        org: ORG,
        rule_set: hash,
        reason: "too slow".into(),
    })
    .await;
    assert_eq!(in_force(&feed), Vec::<String>::new());
    let said = database
        .verdicts
        .lock()
        .expect("unpoisoned")
        .last()
        .cloned();
    assert_eq!(said.expect("it is told").status, VerdictStatus::Suspended);
    put(&database, intent(ORG, 2, "quick"));
    task.compare().await;

    assert_eq!(in_force(&feed), ["quick"]);
}

#[tokio::test(start_paused = true)]
async fn other_built_in_rules_give_every_organization_another_layer() {
    let database = Arc::new(FakeDatabase::default());
    put(&database, intent(ORG, 1, "first"));
    let (mut task, mut feed) = task(&database);
    let (built_in, rules) = watch::channel(Arc::new(loaded(&rule("built-in"))));
    task.settings.rules = rules;
    let stop = CancellationToken::new();
    let mut running = tokio::task::JoinSet::new();
    running.spawn(task.run(stop.clone()));
    feed.compared().await;
    assert_eq!(in_force(&feed), ["first"]);
    feed.layers.mark_unchanged();

    // The organization's rule now has the id of a built-in one, and is refused.
    built_in.send_replace(Arc::new(loaded(&rule("first"))));
    let heard = tokio::time::timeout(Duration::from_secs(5), feed.layers.changed()).await;
    heard.expect("sooner than the timer").expect("it runs");

    assert_eq!(in_force(&feed), Vec::<String>::new());
    stop.cancel();
    running.join_all().await;
}

#[tokio::test(start_paused = true)]
async fn a_hint_is_enough_to_look_again() {
    let database = Arc::new(FakeDatabase::default());
    let (task, mut feed) = task(&database);
    let hint = Arc::clone(&task.settings.hint);
    let stop = CancellationToken::new();
    let mut running = tokio::task::JoinSet::new();
    running.spawn(task.run(stop.clone()));
    feed.compared().await;
    feed.layers.mark_unchanged();

    put(&database, intent(ORG, 1, "first"));
    hint.notify_one();
    let heard = tokio::time::timeout(Duration::from_secs(5), feed.layers.changed()).await;
    heard.expect("sooner than the timer").expect("it runs");

    assert_eq!(in_force(&feed), ["first"]);
    stop.cancel();
    running.join_all().await;
}
