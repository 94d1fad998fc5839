//! What one organization wants reaches its own agents' events, and nobody else's.

use super::*;
use crate::detection::tenants::layers_of;
use crate::model::{
    DetectionIntent, IntentRow, Observation, OwnRule, RuleOverride, SilenceMatch, Suppression,
};

const OTHER: AgentId = AgentId::new(Uuid::from_u128(2));

const ORG: OrgId = OrgId(Uuid::from_u128(10));
const OTHER_ORG: OrgId = OrgId(Uuid::from_u128(20));

/// Built in: root at all, and three failures of one address.
const BUILT_IN: &str = "\
title: Root
id: root
logsource: {product: linux}
detection: {s: {user: root}, condition: s}
level: medium
---
title: Failure
id: failure
logsource: {product: linux}
detection: {s: {outcome: failure}, condition: s}
level: low
---
title: Burst
id: burst
correlation: {type: event_count, rules: [failure], group-by: [src_ip], timespan: 1m, condition: {gte: 3}}
level: high
";

const OWN: &str = "\
title: Ours
id: ours
logsource: {product: linux}
detection: {s: {user|startswith: ro}, condition: s}
level: critical
";

fn row(n: u128) -> IntentRow {
    IntentRow {
        id: Uuid::from_u128(n),
        version: 1,
    }
}

fn nothing(org: OrgId, agent: AgentId) -> DetectionIntent {
    DetectionIntent {
        org,
        generation: 1,
        agents: vec![agent],
        rules: Vec::new(),
        overrides: Vec::new(),
        suppressions: Vec::new(),
    }
}

fn own_rule(body: &str) -> OwnRule {
    OwnRule {
        row: row(1),
        body: body.to_owned(),
        enabled: true,
        shadow: false,
    }
}

fn settings(rule_id: &str) -> RuleOverride {
    RuleOverride {
        row: row(2),
        rule_id: rule_id.to_owned(),
        enabled: None,
        level: None,
        threshold: None,
        shadow: None,
    }
}

fn suppression(rule_id: &str) -> Suppression {
    Suppression {
        row: row(3),
        rule_id: Some(rule_id.to_owned()),
        agent: None,
        field: None,
        until: None,
    }
}

fn built_in() -> LoadedRules {
    loaded(BUILT_IN)
}

/// A pipeline under these wishes, and what it tells.
fn pipeline(intents: &[DetectionIntent]) -> (Pipeline, Arc<Recorder>) {
    let (recorder, rules) = (Arc::new(Recorder::default()), built_in());
    let mut pipeline = Pipeline::new(&rules, &TenantFeed::none(), outlets(&recorder));
    pipeline.use_layers(Arc::new(layers_of(intents, &rules.set)));
    (pipeline, recorder)
}

fn take(pipeline: &mut Pipeline, recorder: &Arc<Recorder>, agent_id: AgentId, n: usize) {
    let text = batch((0..n).map(|_| failed_login()).collect());
    pipeline.on_batch(&RawBatch {
        agent_id,
        org: OrgId(Uuid::from_u128(10)),
        text: text.as_str().into(),
        progress: Arc::clone(recorder) as _,
    });
}

/// The rules that raised something for an agent, each once.
fn raised(recorder: &Recorder, agent: AgentId) -> Vec<String> {
    let alerts = recorder.alerts.lock().expect("unpoisoned");
    let mut rules: Vec<String> = alerts
        .iter()
        .filter(|alert| alert.agent_id == agent)
        .map(|alert| alert.rule_id.clone())
        .collect();
    rules.sort();
    rules.dedup();
    rules
}

/// What both agents raise from so many failed logins, if the first one's organization wants this.
fn raised_under(intent: DetectionIntent, n: usize) -> (Vec<String>, Vec<String>, Arc<Recorder>) {
    let other = nothing(OTHER_ORG, OTHER);
    let (mut pipeline, recorder) = pipeline(&[intent, other]);
    take(&mut pipeline, &recorder, AGENT, n);
    take(&mut pipeline, &recorder, OTHER, n);
    pipeline.raise_due(true);
    (raised(&recorder, AGENT), raised(&recorder, OTHER), recorder)
}

#[tokio::test]
async fn an_organizations_rule_raises_alerts_of_its_own_agents_only() {
    let mut intent = nothing(ORG, AGENT);
    intent.rules = vec![own_rule(OWN)];

    let (own, others, recorder) = raised_under(intent, 1);

    assert_eq!(own, ["ours", "root"]);
    assert_eq!(others, ["root"]);
    let alert = recorder.of_rule("ours").remove(0);
    assert_eq!(alert.severity, 4);
    assert_ne!(alert.explanation["rule_set"], built_in().set.hash());
}

#[tokio::test]
async fn other_settings_hold_for_their_organization_only() {
    let with = |change: &dyn Fn(&mut RuleOverride)| {
        let mut intent = nothing(ORG, AGENT);
        let mut wanted = settings("root");
        change(&mut wanted);
        intent.overrides = vec![wanted];
        intent
    };

    let (own, others, _) = raised_under(with(&|own| own.enabled = Some(false)), 1);
    assert_eq!((own.len(), others.len()), (0, 1));

    let (own, others, recorder) = raised_under(with(&|own| own.shadow = Some(true)), 1);
    assert_eq!((own.len(), others.len()), (0, 1));
    let shadow = recorder.shadow.lock().expect("unpoisoned");
    assert_eq!((shadow.len(), shadow[0].matches), (1, 1));
    assert_eq!(
        (shadow[0].agent_id, shadow[0].rule_id.as_str()),
        (AGENT, "root")
    );

    let (.., recorder) = raised_under(with(&|own| own.level = Some("critical".into())), 1);
    let weights = recorder.of_rule("root");
    let weights: Vec<_> = weights
        .iter()
        .map(|alert| (alert.severity, alert.risk))
        .collect();
    assert_eq!(weights, [(4, 90), (2, 50)]);
}

#[tokio::test]
async fn another_threshold_counts_for_its_organization_only() {
    let mut intent = nothing(ORG, AGENT);
    let mut wanted = settings("burst");
    wanted.threshold = Some(2);
    intent.overrides = vec![wanted];

    let (own, others, recorder) = raised_under(intent.clone(), 2);
    assert_eq!(
        (own, others),
        (
            vec!["burst".to_owned(), "root".to_owned()],
            vec!["root".to_owned()]
        )
    );
    assert_eq!(
        recorder.of_rule("burst")[0].explanation["window"]["count"],
        2
    );

    intent.overrides[0].threshold = Some(4);
    let (own, others, _) = raised_under(intent, 3);
    assert_eq!((own.len(), others.len()), (1, 2));
}

#[tokio::test]
async fn an_exception_narrows_a_built_in_rule_for_its_organization_only() {
    let mut intent = nothing(ORG, AGENT);
    let filter = "title: F\nlogsource: {product: linux}\nfilter: {rules: [failure], s: {src_ip|cidr: \
                  192.0.2.0/24}, condition: not s}\n";
    intent.rules = vec![own_rule(filter)];

    let (own, others, _) = raised_under(intent, 3);

    assert_eq!(
        own,
        ["root"],
        "neither the rule nor what counts its matches"
    );
    assert_eq!(others, ["burst", "root"]);
}

#[tokio::test]
async fn what_is_kept_quiet_about_is_counted() {
    let mut intent = nothing(ORG, AGENT);
    let mut wanted = suppression("root");
    wanted.field = Some(("src_ip".into(), SilenceMatch::Cidr("192.0.2.0/29".into())));
    intent.suppressions = vec![wanted];

    let (own, others, recorder) = raised_under(intent, 5);

    assert_eq!(own, ["burst"], "another rule is not meant");
    assert_eq!(others, ["burst", "root"]);
    let suppressed = recorder.suppressed.lock().expect("unpoisoned");
    assert_eq!(suppressed.len(), 1);
    assert_eq!(
        (suppressed[0].suppression, suppressed[0].matches),
        (row(3).id, 5)
    );
}

#[tokio::test]
async fn a_suppression_that_is_over_keeps_nothing_quiet() {
    let mut intent = nothing(ORG, AGENT);
    let mut wanted = suppression("root");
    wanted.until = Some(jiff::Timestamp::UNIX_EPOCH);
    intent.suppressions = vec![wanted];

    let (own, ..) = raised_under(intent, 1);

    assert_eq!(own, ["root"]);
}

/// Built in: a full disk, told once until there was room again.
const DISK: &str = "\
title: Full
id: full
logsource: {product: hidps, service: usage}
detection: {s: {storage|gte: 90}, condition: s}
level: medium
hidps: {rearm: room}
---
title: Room
id: room
logsource: {product: hidps, service: usage}
detection: {s: {storage|lt: 80}, condition: s}
level: low
";

/// How often a disk is said to be full that is, has room, and is full again.
fn said_to_be_full(intent: &DetectionIntent) -> u32 {
    let (recorder, rules) = (Arc::new(Recorder::default()), loaded(DISK));
    let mut pipeline = Pipeline::new(&rules, &TenantFeed::none(), outlets(&recorder));
    pipeline.use_layers(Arc::new(layers_of(
        std::slice::from_ref(intent),
        &rules.set,
    )));
    for storage in [95.0, 95.0, 10.0, 95.0] {
        let usage = Observation::Usage {
            cpu: 0.0,
            ram: 0.0,
            storage,
            load: None,
            celsius: None,
        };
        pipeline.on_observation(AGENT, usage);
    }
    pipeline.raise_due(true);
    let alerts = recorder.of_rule("full");
    alerts.iter().map(|alert| alert.count).sum()
}

#[tokio::test]
async fn whoever_does_not_want_to_hear_that_it_is_over_hears_of_the_next_time() {
    let mut quiet = nothing(ORG, AGENT);
    quiet.suppressions = vec![suppression("room")];
    let (mut trial, mut off) = (nothing(ORG, AGENT), nothing(ORG, AGENT));
    trial.overrides = vec![RuleOverride {
        shadow: Some(true),
        ..settings("room")
    }];
    off.overrides = vec![RuleOverride {
        enabled: Some(false),
        ..settings("room")
    }];

    for intent in [nothing(ORG, AGENT), quiet, trial, off] {
        assert_eq!(said_to_be_full(&intent), 2, "{intent:?}");
    }
}

#[tokio::test]
async fn windows_of_a_rule_that_stays_survive_a_change_of_another() {
    let burst = "title: Ours\nid: own-burst\ncorrelation: {type: event_count, rules: [failure], group-by: \
                 [src_ip], timespan: 1m, condition: {gte: 3}}\nlevel: high\n";
    let mut before = nothing(ORG, AGENT);
    before.rules = vec![own_rule(burst)];
    let mut after = before.clone();
    let mut second = own_rule(OWN);
    second.row = row(9);
    after.rules.push(second);
    let (mut pipeline, recorder) = pipeline(&[before]);

    take(&mut pipeline, &recorder, AGENT, 2);
    pipeline.use_layers(Arc::new(layers_of(&[after], &built_in().set)));
    take(&mut pipeline, &recorder, AGENT, 1);

    assert!(raised(&recorder, AGENT).contains(&"own-burst".to_owned()));
}

#[tokio::test]
async fn what_was_seen_makes_the_risk_of_an_agent() {
    let (.., recorder) = raised_under(nothing(ORG, AGENT), 3);

    let risk = recorder.risk.lock().expect("unpoisoned");
    let own = risk
        .iter()
        .find(|risk| risk.agent_id == AGENT)
        .expect("it is told");
    // Root weighs 50 and the burst 70; a failure is joined by the burst and silent.
    assert_eq!(own.score, 85);
    assert_eq!(own.contributions[0].rule_id, "burst");
}

#[tokio::test]
async fn the_engine_of_an_organization_is_released_with_its_rules() {
    let mut intent = nothing(ORG, AGENT);
    intent.rules = vec![own_rule(OWN)];
    let (mut pipeline, recorder) = pipeline(&[intent.clone()]);
    take(&mut pipeline, &recorder, AGENT, 1);
    assert_eq!(pipeline.n_own_engines(), 1);

    // As when they are suspended; its other wishes stay.
    intent.rules.clear();
    pipeline.use_layers(Arc::new(layers_of(&[intent], &built_in().set)));

    assert_eq!(pipeline.n_own_engines(), 0);
}
