//! The law of the way, on a model of ufw: nothing is open on it that was not before and is not after.

use proptest::prelude::*;

use super::*;
use crate::config::{Port, Transport};
use crate::firewall::ufw::rule::service_of;

/// Addresses that rules can tell apart.
const ADDRESSES: [&str; 5] = [
    "10.0.0.1",
    "10.0.0.2",
    "10.9.0.1",
    "192.0.2.1",
    "203.0.113.1",
];

/// Ports that rules can tell apart.
const PORTS: [u16; 3] = [22, 80, 443];

/// A packet that comes in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Visit {
    from: &'static str,
    protocol: &'static str,
    port: u16,
}

fn visits() -> impl Iterator<Item = Visit> {
    ADDRESSES.into_iter().flat_map(|from| {
        ["tcp", "udp"].into_iter().flat_map(move |protocol| {
            PORTS.map(|port| Visit {
                from,
                protocol,
                port,
            })
        })
    })
}

fn matches(rule: &UfwRule, visit: Visit) -> bool {
    let words: Vec<_> = rule.matches.split(' ').collect();
    let [protocol, port, _, _, from, ..] = words.as_slice() else {
        panic!("{rule:?}");
    };
    let from = IpNetwork::parse(from).unwrap();
    (*protocol == "any" || *protocol == visit.protocol)
        && (*port == "any" || *port == visit.port.to_string())
        && from.contains(visit.from.parse().unwrap())
}

fn passes(state: &UfwState, visit: Visit) -> bool {
    if !state.is_enabled {
        return true;
    }
    let rule = state.rules[0].iter().find(|it| matches(it, visit));
    rule.map_or(state.defaults.incoming == FirewallAction::Allow, |it| {
        !it.verdict.is_closing()
    })
}

/// What ufw makes of a step, as its source has it.
fn take(state: &mut UfwState, step: &Step) {
    let rules = &mut state.rules[0];
    let place_of =
        |rules: &[UfwRule], rule: &UfwRule| rules.iter().position(|it| it.matches == rule.matches);
    match step {
        Step::Insert { at, rule, .. } => {
            assert_eq!(place_of(rules, rule), None, "ufw would skip {rule}");
            rules.insert(at.unwrap_or(rules.len()), rule.clone());
        }
        Step::Update(rule) => {
            let place = place_of(rules, rule).expect("it is there");
            assert!(rules[place].is_ours(), "it is not ours");
            rules[place] = rule.clone();
        }
        Step::Delete(rule) => {
            let place = rules.iter().position(|it| it == rule).expect("it is there");
            assert!(rules[place].is_ours(), "it is not ours");
            rules.remove(place);
        }
        Step::Default(Direction::In, action) => state.defaults.incoming = *action,
        Step::Default(Direction::Out, action) => state.defaults.outgoing = *action,
        Step::Log(level) => state.log_level = level.clone(),
        Step::Enable => state.is_enabled = true,
        Step::Disable => state.is_enabled = false,
    }
}

fn ours(number: u32, verdict: Verdict, kind: u8, from: u8, owner: Owner) -> UfwRule {
    let port = |number| {
        service_of(Port {
            transport: Transport::Tcp,
            number,
        })
    };
    let peers = ["10.0.0.1", "10.0.0.0/24", "10.0.0.0/8", "0.0.0.0/1"];
    let comment = match owner {
        Owner::Guard => "guard daemon".to_owned(),
        Owner::Shield | Owner::Desired | Owner::Foreign => format!("rule {number}"),
    };
    let intent = Intent {
        verdict,
        direction: Direction::In,
        service: match kind {
            0 => Service::Any,
            1 => Service::Tcp(None),
            2 => port(22),
            _ => port(80),
        },
        peer: peers
            .get(usize::from(from))
            .map(|it| IpNetwork::parse(it).unwrap()),
        is_logged: false,
        comment: &comment,
    };
    UfwRule::new(&intent, Family::Four)
}

fn foreign(rule: &UfwRule) -> UfwRule {
    UfwRule {
        matches: rule.matches.replace("_+", ""),
        comment: String::new(),
        owner: Owner::Foreign,
        ..rule.clone()
    }
}

fn without_doubles(rules: Vec<UfwRule>) -> Vec<UfwRule> {
    let mut seen = std::collections::BTreeSet::new();
    let is_new = |rule: &UfwRule| seen.insert(rule.matches.clone());
    rules.into_iter().filter(is_new).collect()
}

prop_compose! {
    fn rule()(number in 0_u32..4, verdict in 0_usize..3, kind in 0_u8..4, from in 0_u8..6) -> UfwRule {
        let verdict = [Verdict::Allow, Verdict::Deny, Verdict::Reject][verdict];
        ours(number, verdict, kind, from, Owner::Desired)
    }
}

prop_compose! {
    fn wanted()(guards in prop::collection::vec((2_u8..4, 0_u8..6), 0..2),
                rules in prop::collection::vec(rule(), 0..7)) -> Vec<UfwRule> {
        let guard = |(kind, from)| ours(0, Verdict::Allow, kind, from, Owner::Guard);
        let guards = guards.into_iter().map(guard);
        without_doubles(guards.chain(rules).collect())
    }
}

prop_compose! {
    fn action()(at in 0_usize..3) -> FirewallAction {
        [FirewallAction::Allow, FirewallAction::Deny, FirewallAction::Reject][at]
    }
}

prop_compose! {
    fn goal()(rules in wanted(), incoming in action(), is_enabled in prop::bool::weighted(0.9)) -> UfwGoal {
        UfwGoal {
            rules: [rules, Vec::new()],
            defaults: Defaults { incoming, outgoing: FirewallAction::Allow },
            is_enabled,
            log_level: "low".to_owned(),
        }
    }
}

prop_compose! {
    fn state()(goal in goal(), others in prop::collection::vec((rule(), 0_usize..8), 0..3),
               log_level in "(low|off)") -> UfwState {
        let [mut rules, _] = goal.rules;
        for (other, at) in others {
            rules.insert(at.min(rules.len()), foreign(&other));
        }
        UfwState {
            rules: [without_doubles(rules), Vec::new()],
            has_ipv6: false,
            defaults: goal.defaults,
            is_enabled: goal.is_enabled,
            log_level,
        }
    }
}

fn foreigners(state: &UfwState) -> Vec<UfwRule> {
    let mut rules = state.rules[0].clone();
    rules.retain(|it| !it.is_ours());
    rules
}

/// What is so when all steps are done.
fn end_of(state: &UfwState, goal: &UfwGoal) -> UfwState {
    let [wanted, _] = &goal.rules;
    UfwState {
        rules: [
            wanted.iter().cloned().chain(foreigners(state)).collect(),
            Vec::new(),
        ],
        defaults: goal.defaults,
        is_enabled: goal.is_enabled,
        log_level: goal.log_level.clone(),
        ..state.clone()
    }
}

fn check_way(before: &UfwState, goal: &UfwGoal) {
    let end = end_of(before, goal);
    let mut now = before.clone();
    for _ in 0..goal.most_steps(before) {
        let Some(step) = next_step(&now, goal) else {
            assert_eq!(now, end);
            return;
        };
        take(&mut now, &step);
        assert_eq!(foreigners(&now), foreigners(before), "{step}");
        for visit in visits() {
            assert!(
                !passes(&now, visit) || passes(before, visit) || passes(&end, visit),
                "{step} lets {visit:?} in: {now:#?}"
            );
        }
    }
    panic!("it does not end: {now:#?}");
}

/// The plain case: somebody else's rules, and ours in front of them.
fn plain(rules: Vec<UfwRule>, incoming: FirewallAction) -> (UfwState, UfwGoal) {
    let defaults = Defaults {
        incoming: FirewallAction::Deny,
        outgoing: FirewallAction::Allow,
    };
    let theirs = foreign(&ours(9, Verdict::Allow, 2, 5, Owner::Desired));
    let state = UfwState {
        rules: [vec![theirs], Vec::new()],
        has_ipv6: true,
        defaults,
        is_enabled: true,
        log_level: "low".to_owned(),
    };
    let goal = UfwGoal {
        rules: [rules, Vec::new()],
        defaults: Defaults {
            incoming,
            ..defaults
        },
        is_enabled: true,
        log_level: "low".to_owned(),
    };
    (state, goal)
}

#[test]
fn guards_come_first_and_what_opens_last() {
    let rules = vec![
        ours(0, Verdict::Allow, 2, 0, Owner::Guard),
        ours(1, Verdict::Allow, 3, 5, Owner::Desired),
        ours(2, Verdict::Deny, 0, 1, Owner::Desired),
    ];
    let (mut state, goal) = plain(rules, FirewallAction::Allow);
    let mut said = Vec::new();

    while let Some(step) = next_step(&state, &goal) {
        said.push(step.arguments(&state).join(" "));
        take(&mut state, &step);
    }

    assert_eq!(
        said,
        [
            "insert 1 allow in on + proto tcp from 10.0.0.1 to 0.0.0.0/0 port 22 comment \
             hidps:guard daemon",
            "insert 2 deny in on + from 10.0.0.0/24 to 0.0.0.0/0 comment hidps:rule 2",
            "insert 2 allow in on + proto tcp from 0.0.0.0/0 to 0.0.0.0/0 port 80 comment \
             hidps:rule 1",
            "default allow incoming",
        ]
    );
}

#[test]
fn one_rule_more_is_one_call() {
    let rules: Vec<_> = (0..4)
        .map(|from| ours(1, Verdict::Deny, 3, from, Owner::Desired))
        .collect();
    let (mut state, mut goal) = plain(rules, FirewallAction::Deny);
    state = end_of(&state, &goal);
    assert_eq!(next_step(&state, &goal), None);
    goal.rules[0].insert(2, ours(7, Verdict::Reject, 2, 5, Owner::Desired));

    let step = next_step(&state, &goal).unwrap();
    take(&mut state, &step);

    assert_eq!(next_step(&state, &goal), None);
}

#[test]
fn what_stands_in_for_a_rule_that_moves_never_takes_its_place() {
    let half = ours(1, Verdict::Deny, 0, 3, Owner::Desired);
    let theirs = foreign(&ours(2, Verdict::Allow, 1, 0, Owner::Desired));
    let (mut state, goal) = plain(vec![half.clone()], FirewallAction::Allow);
    state.defaults = goal.defaults;
    state.rules[0] = vec![theirs, half];

    check_way(&state, &goal);
}

#[test]
fn rules_of_ipv6_are_numbered_behind_those_of_ipv4_and_an_application_counts_once() {
    let (mut state, mut goal) = plain(Vec::new(), FirewallAction::Deny);
    let application = |matches: &str| UfwRule {
        matches: matches.to_owned(),
        ..foreign(&ours(0, Verdict::Allow, 0, 5, Owner::Desired))
    };
    state.rules[0].extend([
        application("tcp 80 0.0.0.0/0 any 0.0.0.0/0 Samba - in"),
        application("udp 80 0.0.0.0/0 any 0.0.0.0/0 Samba - in"),
    ]);
    state.rules[1].push(application("tcp 22 ::/0 any ::/0 in"));
    let intent = Intent {
        verdict: Verdict::Deny,
        direction: Direction::In,
        service: Service::Any,
        peer: None,
        is_logged: false,
        comment: "rule 1",
    };
    goal.rules[1].push(UfwRule::new(&intent, Family::Six));

    let step = next_step(&state, &goal).unwrap();

    assert_eq!(
        step.arguments(&state).join(" "),
        "insert 3 deny in on + from ::/0 to ::/0 comment hidps:rule 1"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_way_ends_and_opens_nothing_on_it(state in state(), goal in goal()) {
        check_way(&state, &goal);
    }

    #[test]
    fn every_way_back_ends_and_opens_nothing_on_it(state in state(), is_enabled: bool, incoming in action()) {
        let goal = UfwGoal {
            rules: [Vec::new(), Vec::new()],
            defaults: Defaults { incoming, ..state.defaults },
            is_enabled,
            log_level: "low".to_owned(),
        };

        check_way(&state, &goal);
    }
}
