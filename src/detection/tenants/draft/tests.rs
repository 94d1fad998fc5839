//! Every row gets its verdict, and one that cannot be honoured costs no other.

use hidps_wire::AgentId;
use uuid::Uuid;

use super::*;
use crate::model::{OrgId, SilenceMatch, Suppression};

/// All the room there is.
const ALL: Room = Room::all();

const BASE: &str = "\
title: Root
id: root
logsource: {product: linux}
detection: {s: {user: root}, condition: s}
---
title: Burst
id: burst
correlation: {type: event_count, rules: [root], timespan: 1m, condition: {gte: 3}, generate: true}
";

fn base() -> RuleSet {
    let file = RuleFile {
        name: "base.yml",
        text: BASE,
    };
    RuleSet::compile(&[file]).expect("it compiles")
}

fn row(n: usize) -> IntentRow {
    IntentRow {
        id: Uuid::from_u128(n as u128 + 1),
        version: 7,
    }
}

fn intent(bodies: &[&str]) -> DetectionIntent {
    let rule = |(n, body): (usize, &&str)| OwnRule {
        row: row(n),
        body: (*body).to_owned(),
        enabled: true,
        shadow: false,
    };
    DetectionIntent {
        org: OrgId(Uuid::nil()),
        generation: 1,
        agents: vec![AgentId::new(Uuid::nil())],
        rules: bodies.iter().enumerate().map(rule).collect(),
        overrides: Vec::new(),
        suppressions: Vec::new(),
    }
}

fn rule(id: &str) -> String {
    format!(
        "title: T\nid: {id}\nlogsource: {{product: linux}}\ndetection: {{s: {{a: b}}, condition: s}}\n"
    )
}

fn statuses(draft: &Draft) -> Vec<VerdictStatus> {
    draft
        .verdicts
        .iter()
        .map(|verdict| verdict.status)
        .collect()
}

#[test]
fn a_bad_rule_is_refused_with_its_place_and_the_rest_is_in_force() {
    use VerdictStatus::{Accepted, Refused};
    let (good, broken, chained, last) = (
        rule("good"),
        "title: T\nid: broken\ndetection: {}\n".to_owned(),
        "title: C\ncorrelation: {type: temporal, rules: [broken, good], timespan: 1m}\n".to_owned(),
        rule("last"),
    );

    let draft = draft(
        &intent(&[&good, &broken, &chained, &last]),
        &base(),
        None,
        ALL,
    );

    assert_eq!(statuses(&draft), [Accepted, Refused, Refused, Accepted]);
    let fault = &draft.verdicts[1];
    assert_eq!((fault.row, fault.place), (row(1), Some((1, 1))));
    assert!(fault.reason.contains("log source"), "{}", fault.reason);
    assert!(draft.verdicts[2].reason.contains("'broken'"));
    let set = draft.layer.set().expect("the rest is in force");
    assert_eq!(set.rules().len(), 2);
    assert_eq!(draft.verdicts[0].rule_set.as_deref(), Some(set.hash()));
}

#[test]
fn of_two_rules_with_one_id_the_older_stays() {
    let draft = draft(&intent(&[&rule("x"), &rule("x")]), &base(), None, ALL);

    assert_eq!(
        statuses(&draft),
        [VerdictStatus::Accepted, VerdictStatus::Refused]
    );
}

#[test]
fn a_rule_nobody_wants_is_not_even_read() {
    let mut intent = intent(&["nonsense ["]);
    intent.rules[0].enabled = false;

    let draft = draft(&intent, &base(), None, ALL);

    assert_eq!(statuses(&draft), [VerdictStatus::Disabled]);
    assert!(draft.layer.set().is_none());
}

#[test]
fn settings_that_mean_nothing_are_refused() {
    let wanted = |n, rule_id: &str, threshold, level: &str| RuleOverride {
        row: row(n),
        rule_id: rule_id.to_owned(),
        enabled: None,
        level: Some(level.to_owned()),
        threshold,
        shadow: None,
    };
    let mut intent = intent(&[]);
    intent.overrides = vec![
        wanted(0, "nobody", None, "high"),
        wanted(1, "root", Some(5), "high"),
        wanted(2, "root", None, "severe"),
        wanted(3, "burst", Some(5), "high"),
    ];

    let draft = draft(&intent, &base(), None, ALL);

    let reasons: Vec<&str> = draft
        .verdicts
        .iter()
        .map(|verdict| verdict.reason.as_str())
        .collect();
    assert!(reasons[0].contains("no built-in rule"), "{reasons:?}");
    assert!(reasons[1].contains("has a threshold"), "{reasons:?}");
    assert!(reasons[2].contains("not a level"), "{reasons:?}");
    assert_eq!(reasons[3], "");
    assert_eq!(
        draft.layer.settings.len(),
        1,
        "a row is honoured whole or not at all"
    );
    assert!(draft.layer.replaces("burst"));
}

#[test]
fn a_suppression_that_cannot_be_honoured_keeps_nothing_quiet() {
    let mut intent = intent(&[]);
    let suppression = |n, network: &str| Suppression {
        row: row(n),
        rule_id: None,
        agent: None,
        field: Some(("src_ip".into(), SilenceMatch::Cidr(network.into()))),
        until: None,
    };
    intent.suppressions = vec![suppression(0, "nowhere"), suppression(1, "192.0.2.0/24")];

    let draft = draft(&intent, &base(), None, ALL);

    assert_eq!(
        statuses(&draft),
        [VerdictStatus::Refused, VerdictStatus::Accepted]
    );
    assert!(!draft.layer.silences.is_empty());
}

#[test]
fn suspended_rules_say_why_and_give_back_what_they_replaced() {
    let filter = "title: F\nlogsource: {product: linux}\nfilter: {rules: [root], s: {a: b}, condition: \
                  not s}\n";
    let wanted = intent(&[filter]);
    let before = draft(&wanted, &base(), None, ALL);
    let rule_set = before
        .layer
        .set()
        .expect("it is in force")
        .hash()
        .to_owned();
    let suspension = Suspension {
        rule_set,
        reason: "too slow".into(),
    };

    let after = draft(&wanted, &base(), Some(&suspension), ALL);
    let other = draft(&intent(&[&rule("x")]), &base(), Some(&suspension), ALL);

    assert!(before.layer.replaces("root"));
    assert!(!after.layer.replaces("root"));
    assert_eq!(statuses(&after), [VerdictStatus::Suspended]);
    assert_eq!(after.verdicts[0].reason, "too slow");
    assert_eq!(
        statuses(&other),
        [VerdictStatus::Accepted],
        "other rules are not meant"
    );
}

#[test]
fn a_threshold_that_falls_with_the_own_rules_does_not_pass_for_one_in_force() {
    let mut wanted = intent(&[&rule("own")]);
    wanted.overrides = vec![RuleOverride {
        row: row(100),
        rule_id: "burst".to_owned(),
        enabled: None,
        level: None,
        threshold: Some(5),
        shadow: None,
    }];

    let draft = draft(&wanted, &base(), None, Room::leaving(Weight::default()));

    assert!(!draft.layer.replaces("burst"));
    assert!(draft.layer.settings.is_empty());
    let verdict = &draft.verdicts[0];
    assert_eq!(
        (verdict.row, verdict.status),
        (row(100), VerdictStatus::Refused)
    );
    assert!(
        verdict.reason.contains("not in force"),
        "{}",
        verdict.reason
    );
}

#[test]
fn a_rule_whose_regular_expression_is_dear_costs_only_its_own_row() {
    use VerdictStatus::{Accepted, Refused};
    let dear = rule("dear").replace("{a: b}", "{a|re: '.{400}é.{400}$'}");

    let draft = draft(&intent(&[&rule("good"), &dear]), &base(), None, ALL);

    assert_eq!(statuses(&draft), [Accepted, Refused]);
    let reason = &draft.verdicts[1].reason;
    assert!(reason.contains("per byte of a hostile text"), "{reason}");
}

#[test]
fn a_reason_holds_nothing_that_a_row_cannot() {
    let condition = "title: T\nlogsource: {product: linux}\n\
                     detection: {s: {a: b}, condition: \"1 of x\\0y\"}\n";

    let draft = draft(&intent(&[condition]), &base(), None, ALL);

    let reason = &draft.verdicts[0].reason;
    assert!(reason.contains("1 of") || reason.contains("'x"), "{reason}");
    assert!(!reason.contains('\0'), "{reason:?}");
}

#[test]
fn rules_for_which_all_organizations_leave_no_room_are_refused_for_that_and_the_rest_is_in_force() {
    use VerdictStatus::{Accepted, Refused};
    let wanted = intent(&[&rule("old"), "title: broken", &rule("new")]);
    let all = Weight::of(
        &draft(&intent(&[&rule("x")]), &base(), None, ALL)
            .layer
            .rules
            .expect("it is laid"),
    );
    let room = Room::leaving(all);

    let short = draft(&wanted, &base(), None, room);

    assert_eq!(statuses(&short), [Accepted, Refused, Refused]);
    assert!(!short.verdicts[1].reason.contains("all organizations"));
    assert!(
        short.verdicts[2].reason.contains("all organizations"),
        "{:?}",
        short.verdicts[2]
    );
    assert!(short.is_crowded);
    assert_eq!(short.weight, all);
    assert!(!draft(&wanted, &base(), None, ALL).is_crowded);
}

#[test]
fn a_long_chain_of_rules_that_need_a_bad_one_falls_alone() {
    use VerdictStatus::{Accepted, Refused};
    let mut bodies = vec![rule("good"), "title: T\nid: c0\ndetection: {}\n".to_owned()];
    bodies.extend((1..30).map(|n| {
        let joined = n - 1;
        format!(
            "title: C\nid: c{n}\ncorrelation: {{type: temporal, rules: [c{joined}, good], \
             timespan: 1m}}\n"
        )
    }));
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();

    let draft = draft(&intent(&bodies), &base(), None, ALL);

    let statuses = statuses(&draft);
    assert_eq!(statuses[0], Accepted);
    assert!(statuses[1..].iter().all(|status| *status == Refused));
    assert!(
        draft.verdicts[30].reason.contains("'c28'"),
        "{:?}",
        draft.verdicts[30]
    );
}

#[test]
fn a_rule_that_no_row_could_tell_of_is_refused() {
    for body in [
        "title: \"T\\0\"\nid: x\nlogsource: {product: linux}\ndetection: {s: {a: b}, condition: s}\n",
        "title: T\nid: \"x\\0\"\nlogsource: {product: linux}\ndetection: {s: {a: b}, condition: s}\n",
        "title: T\nid: x\ntags: [\"a\\0\"]\nlogsource: {product: linux}\ndetection: {s: {a: b}, condition: s}\n",
    ] {
        let draft = draft(&intent(&[body]), &base(), None, ALL);

        assert_eq!(statuses(&draft), [VerdictStatus::Refused], "{body}");
        assert!(draft.verdicts[0].reason.contains("U+0000"), "{body}");
    }
}
