//! A rule that one agent's events make too dear is not tried for that agent, which is told, and goes on
//! for everybody else.

use std::cell::Cell;

use hidps_rules::Budget;

use super::*;
use crate::health::Health;

const RULE: &str = "\
title: Root
id: root
logsource: {product: linux}
detection: {s: {user: root}, condition: s}
level: high
";

/// The agents of one organization.
const MATE: AgentId = AgentId::new(Uuid::from_u128(2));

thread_local! {
    /// The time of this test's clock, and how far every reading moves it.
    static TIME: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

fn clock() -> u64 {
    TIME.with(|time| {
        let (now, step) = time.get();
        time.set((now + step, step));
        now
    })
}

/// Hands over a batch of matching events of an agent, at a time that goes on by itself.
fn feed(pipeline: &mut Pipeline, recorder: &Arc<Recorder>, agent_id: AgentId, n_events: usize) {
    pipeline.on_batch(&RawBatch {
        agent_id,
        org: OrgId(Uuid::from_u128(10)),
        text: batch((0..n_events).map(|_| failed_login()).collect()).into(),
        progress: Arc::clone(recorder) as _,
    });
}

/// How often the rule was raised for an agent, repeats included.
fn n_raised(pipeline: &mut Pipeline, recorder: &Recorder, agent: AgentId) -> u32 {
    pipeline.raise_due(true);
    let alerts = recorder.of_rule("root").into_iter();
    let own = alerts.filter(|alert| alert.agent_id == agent);
    own.map(|alert| alert.count).sum()
}

#[tokio::test]
async fn an_agent_that_floods_a_rule_loses_it_alone_and_is_told() {
    let recorder = Arc::new(Recorder::default());
    let (health, rules) = (Arc::new(Health::default()), loaded(RULE));
    let costs = RuleCosts::new(Arc::clone(&health));
    let mut pipeline = Pipeline::new(&rules, &TenantFeed::none(), outlets(&recorder));
    let budget = Budget {
        every_events: 1,
        samples: 4,
        ..Budget::default()
    };
    pipeline.measure_by(clock, budget);

    // Each try takes a third of what one agent may use up.
    TIME.with(|time| time.set((0, budget.rule_nanos / 3)));
    feed(&mut pipeline, &recorder, AGENT, 20);
    TIME.with(|time| time.set((time.get().0, 1)));
    feed(&mut pipeline, &recorder, MATE, 20);
    pipeline.report_costs(&costs, 0);

    assert_eq!(n_raised(&mut pipeline, &recorder, AGENT), 4);
    assert_eq!(n_raised(&mut pipeline, &recorder, MATE), 20);
    let told = recorder.of_rule("hidps-rule-suspended");
    let [only] = told.as_slice() else {
        panic!("{told:#?}");
    };
    assert_eq!(only.agent_id, AGENT);
    assert_eq!(only.explanation["suspended_for"], "agent");
    assert!(only.message.contains("'Root'"), "{}", only.message);
    let suspended = health.suspended();
    assert_eq!((suspended[0].workers, suspended[0].agents), (0, 1));

    TIME.with(|time| time.set((time.get().0 + 61_000_000_000, 1)));
    pipeline.report_costs(&costs, 0);
    feed(&mut pipeline, &recorder, AGENT, 3);
    assert_eq!(n_raised(&mut pipeline, &recorder, AGENT), 7);
    assert_eq!(health.suspended(), []);
}
