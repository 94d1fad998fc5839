//! Laws of the score: bounded, monotone, independent of order and of repeats, and it fades.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const AGENT: AgentId = AgentId::new(Uuid::from_u128(1));

/// Rule, group, risk, time.
type Given = (u8, u8, u8, i64);

fn window(given: &[Given]) -> RiskWindow {
    let mut window = RiskWindow::default();
    for (rule, group, risk, at) in given {
        // A rule has one risk, whoever it matches for.
        window.add(&format!("r{rule}"), &group.to_string(), "t", *risk, *at);
    }
    window
}

fn given() -> impl Strategy<Value = Vec<Given>> {
    prop::collection::vec((0..12u8, 0..12u8, 0..=100u8, 0..1000i64), 0..120)
}

proptest! {
    #[test]
    fn the_score_stays_within_bounds_and_never_sinks_by_more(given in given()) {
        let mut last = 0;
        for n in 0..=given.len() {
            let score = window(&given[..n]).score();
            prop_assert!(score <= 100);
            prop_assert!(score >= last, "{} after {}", score, last);
            last = score;
        }
    }

    #[test]
    fn the_order_does_not_matter(
        (given, shuffled) in given().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
    ) {
        let (one, other) = (window(&given), window(&shuffled));

        prop_assert_eq!(one.score(), other.score());
        prop_assert_eq!(one.valid_until_ms(), other.valid_until_ms());
        prop_assert_eq!(one.contributions(), other.contributions());
    }

    #[test]
    fn a_repeat_adds_nothing(given in given()) {
        let twice = [given.as_slice(), given.as_slice()].concat();

        prop_assert_eq!(window(&given).score(), window(&twice).score());
    }

    #[test]
    fn one_hint_scores_its_own_risk(risk in 0..=100u8) {
        prop_assert_eq!(window(&[(1, 1, risk, 0)]).score(), risk);
    }

    #[test]
    fn there_are_never_more_hints_than_fit(given in given()) {
        prop_assert!(window(&given).hints.len() <= MAX_HINTS);
    }
}

#[test]
fn different_hints_weigh_together_and_groups_of_one_rule_too() {
    assert_eq!(window(&[(1, 1, 50, 0), (2, 1, 50, 0)]).score(), 75);
    assert_eq!(window(&[(1, 1, 50, 0), (1, 2, 50, 0)]).score(), 75);
    assert_eq!(window(&[(1, 1, 90, 0), (2, 1, 70, 0)]).score(), 97);
}

#[test]
fn a_score_is_told_when_it_changes_and_once_more_when_it_is_gone() {
    let mut book = RiskBook::default();
    let seen = Seen {
        rule_id: "r",
        group: "g",
        title: "T",
        risk: 70,
    };
    let scores = |told: &[RiskReport]| told.iter().map(|one| one.score).collect::<Vec<_>>();
    let hour = window_ms();

    book.add(AGENT, &seen, 0);
    assert_eq!(scores(&book.poll_changed(1)), [70]);
    book.add(AGENT, &seen, 1_000);
    assert!(book.poll_changed(1_000).is_empty());
    book.add(AGENT, &seen, hour / 2);
    assert_eq!(
        scores(&book.poll_changed(hour / 2)),
        [70],
        "it lasts longer"
    );
    assert!(book.poll_changed(hour).is_empty());
    assert_eq!(scores(&book.poll_changed(hour / 2 + hour)), [0]);
    assert!(book.poll_changed(hour * 3).is_empty());
    assert!(book.agents.is_empty());
}

#[test]
fn what_is_told_names_the_heaviest_rules_first() {
    let told =
        window(&[(1, 1, 20, 0), (2, 1, 90, 0), (2, 2, 90, 0), (3, 1, 50, 0)]).contributions();

    let risks: Vec<_> = told
        .iter()
        .map(|part| (part.rule_id.as_str(), part.risk))
        .collect();
    assert_eq!(risks, [("r2", 90), ("r3", 50), ("r1", 20)]);
}
