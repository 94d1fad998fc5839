//! What rules cost, and the breaker for those that cost too much, on a clock made up by the test.
//! It never depends on the speed of a machine.

use std::cell::Cell;

use crate::support::{engine, observe, rule};
use hidps_rules::{Account, Breadth, Budget, Engine, Event, LogSource, Scope, Value};

thread_local! {
    /// The time of this test's clock, and how far every reading moves it.
    static TIME: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// The clock of a test.
fn clock() -> u64 {
    TIME.with(|time| {
        let (now, step) = time.get();
        time.set((now + step, step));
        now
    })
}

/// A clock that moves at every fourth reading only: behind the one correlation of a measured event,
/// after its beginning, its one rule, and the beginning of correlations.
fn clock_of_correlations() -> u64 {
    TIME.with(|time| {
        let (reading, step) = time.get();
        time.set((reading + 1, step));
        reading / 4 * step
    })
}

/// Lets every reading move the clock so far.
fn tick(step: u64) {
    TIME.with(|time| time.set((time.get().0, step)));
}

/// Lets time pass.
fn pass(nanos: u64) {
    TIME.with(|time| time.set((time.get().0 + nanos, time.get().1)));
}

/// Every second event is measured; a rule may take 1,000 ns of a window of 10,000 for one scope.
const BUDGET: Budget = Budget {
    every_events: 2,
    window_nanos: 10_000,
    rule_nanos: 1_000,
    try_nanos: 100,
    samples: 3,
};

/// The first pause of a rule that was too dear.
const PAUSE: u64 = 60_000_000_000;

/// An engine with one rule that asks for `a: b`, measured.
fn measured() -> Engine {
    let mut engine = engine(&[&rule("  s: {a: b}\n  condition: s\n")]);
    engine.measure(clock, BUDGET);
    engine
}

/// Hands over so many events and counts the matches.
fn feed(engine: &mut Engine, n_events: usize) -> usize {
    let mut n_matches = 0;
    for _ in 0..n_events {
        observe(engine, "", &[("a", Value::Str("b"))], &mut |_| {
            n_matches += 1;
        });
    }
    n_matches
}

#[test]
fn a_rule_over_its_budget_is_suspended_and_reported_once() {
    let mut engine = measured();
    tick(200);

    let n_matches = feed(&mut engine, 20);

    // Two of three measured tries cost 400 each by the sample, the third is one too many.
    assert_eq!(n_matches, 5);
    let suspensions = engine.take_suspensions();
    let [only] = suspensions.as_slice() else {
        panic!("{suspensions:?}");
    };
    assert_eq!((only.id.as_str(), only.spent_nanos), ("rule", 1_200));
    assert_eq!(engine.take_suspensions(), []);
    let counters = engine.counters();
    let holds: Vec<_> = counters.holds.iter().map(|hold| &hold.reason).collect();
    assert_eq!(holds, [&only.reason]);
    assert_eq!(
        (
            counters.rules["rule"].tries,
            counters.rules["rule"].spent_nanos
        ),
        (5, 1_200)
    );
}

#[test]
fn a_rule_within_its_budget_in_every_window_goes_on() {
    let mut engine = measured();
    tick(100);

    let n_matches: usize = (0..50)
        .map(|_| {
            pass(BUDGET.window_nanos);
            feed(&mut engine, 8)
        })
        .sum();

    assert_eq!(n_matches, 400);
    assert_eq!(engine.take_suspensions(), []);
    assert_eq!(engine.counters().rules["rule"].spent_nanos, 200 * 200);
}

#[test]
fn one_long_pause_suspends_nothing() {
    let mut engine = measured();
    tick(1_000_000);
    feed(&mut engine, 1);
    tick(1);

    assert_eq!(feed(&mut engine, 3), 3);
    assert_eq!(engine.take_suspensions(), []);
}

#[test]
fn a_correlation_over_its_budget_is_suspended_under_its_own_id() {
    let base = rule("  s: {a: b}\n  condition: s\n");
    let many = "title: Many\nid: many\ncorrelation: {type: event_count, rules: [rule], \
                timespan: 1h, condition: {gte: 1000}, generate: true}\n";
    let mut engine = engine(&[&base, many]);
    tick(200);
    engine.measure(clock_of_correlations, BUDGET);

    assert_eq!(feed(&mut engine, 6), 6);

    let suspensions = engine.take_suspensions();
    let [only] = suspensions.as_slice() else {
        panic!("{suspensions:?}");
    };
    assert_eq!((only.id.as_str(), only.spent_nanos), ("many", 1_200));
    let counters = engine.counters();
    assert_eq!(counters.rules["many"].spent_nanos, 1_200);
    assert_eq!(counters.rules["rule"].spent_nanos, 0);
    tick(0);
    assert_eq!(feed(&mut engine, 20), 20, "the rule it joins goes on");
    assert!(engine.resume("many"));
}

#[test]
fn what_becomes_of_a_match_is_not_held_against_a_correlation() {
    let base = rule("  s: {a: b}\n  condition: s\n");
    let many = |n: u32| {
        format!(
            "title: Many {n}\nid: many{n}\ncorrelation: {{type: event_count, rules: [rule], \
             timespan: 1h, condition: {{gte: 1}}}}\n"
        )
    };
    let mut engine = engine(&[&base, &many(1), &many(2)]);
    engine.measure(clock, BUDGET);
    let mut n_matches = 0;

    for _ in 0..20 {
        observe(&mut engine, "", &[("a", Value::Str("b"))], &mut |_| {
            n_matches += 1;
            pass(1_000);
        });
    }

    assert_eq!(n_matches, 40);
    assert_eq!(engine.take_suspensions(), []);
}

#[test]
fn a_resumed_rule_begins_anew() {
    let mut engine = measured();
    tick(200);
    feed(&mut engine, 20);
    assert_eq!(engine.take_suspensions().len(), 1);

    assert!(engine.resume("rule"));
    tick(1);

    assert_eq!(feed(&mut engine, 20), 20);
    assert_eq!(engine.take_suspensions(), []);
}

#[test]
fn without_a_clock_nothing_is_measured() {
    let mut engine = engine(&[&rule("  s: {a: b}\n  condition: s\n")]);
    tick(1_000_000);

    assert_eq!(feed(&mut engine, 100), 100);
    assert_eq!(engine.counters().rules["rule"].spent_nanos, 0);
}

#[test]
fn values_too_long_to_be_read_whole_are_counted() {
    let mut engine = engine(&[&rule("  s: {a|re: 'x+y'}\n  condition: s\n")]);
    let long = "z".repeat(32 * 1024 + 1);

    for text in ["short", long.as_str()] {
        observe(
            &mut engine,
            "",
            &[("a", Value::Str(text)), ("b", Value::Str(text))],
            &mut |_| {},
        );
    }

    assert_eq!(engine.counters().long_values, 1);
}

#[test]
fn one_long_pause_of_the_machine_says_nothing_about_a_rule() {
    let mut engine = measured();
    tick(4_000);
    feed(&mut engine, 1);
    tick(1);

    feed(&mut engine, 10);

    assert_eq!(engine.take_suspensions(), []);
}

/// Hands over so many events of a scope and account, and counts the matches.
fn feed_as(engine: &mut Engine, (scope, account): (u128, u128), n_events: usize) -> usize {
    let event = Event {
        logsource: LogSource {
            product: Some("linux"),
            ..LogSource::default()
        },
        message: "",
        fields: &[("a", Value::Str("b"))],
    };
    let mut n_matches = 0;
    engine.bill(Account(account));
    for _ in 0..n_events {
        engine.observe(Scope(scope), &event, 0, &mut |_| n_matches += 1);
    }
    n_matches
}

/// For whom rules were suspended since the last call.
fn breadths(engine: &mut Engine) -> Vec<Breadth> {
    let suspensions = engine.take_suspensions().into_iter();
    suspensions.map(|suspension| suspension.breadth).collect()
}

#[test]
fn whoever_floods_a_rule_loses_it_alone() {
    let mut engine = measured();
    tick(200);

    feed_as(&mut engine, (1, 10), 20);
    assert_eq!(breadths(&mut engine), [Breadth::Scope(Scope(1))]);

    tick(1);
    assert_eq!(feed_as(&mut engine, (1, 10), 20), 0);
    assert_eq!(feed_as(&mut engine, (2, 10), 20), 20);
    assert_eq!(feed_as(&mut engine, (3, 11), 20), 20);
    assert!(engine.counters().suspended().next().is_none());
}

#[test]
fn an_organization_whose_agents_flood_a_rule_together_loses_it_alone() {
    let mut engine = measured();
    tick(100);

    // Four measured tries a scope, 200 each: no scope is over 1,000, and three are over 2,000.
    for scope in 1..=3 {
        feed_as(&mut engine, (scope, 10), 8);
    }
    assert_eq!(breadths(&mut engine), [Breadth::Account(Account(10))]);

    tick(1);
    assert_eq!(feed_as(&mut engine, (4, 10), 20), 0);
    assert_eq!(feed_as(&mut engine, (5, 11), 20), 20);
}

#[test]
fn a_rule_that_is_dear_for_many_is_suspended_for_all() {
    let mut engine = measured();
    tick(100);

    for scope in 1..=6 {
        feed_as(&mut engine, (scope, scope), 8);
    }
    assert_eq!(breadths(&mut engine), [Breadth::All]);

    tick(1);
    assert_eq!(feed_as(&mut engine, (7, 7), 20), 0);
    let counters = engine.counters();
    assert_eq!(counters.suspended().count(), 1);
}

#[test]
fn a_suspension_ends_by_itself_and_lasts_twice_as_long_when_it_comes_again() {
    let mut engine = measured();
    tick(200);
    feed_as(&mut engine, (1, 10), 20);
    assert_eq!(engine.take_suspensions()[0].pause_nanos, PAUSE);

    pass(PAUSE);
    assert_eq!(engine.take_suspensions(), [], "the clock is read here");
    // On trial with half the budget: two measured tries would be enough, and three are asked for.
    assert_eq!(feed_as(&mut engine, (1, 10), 20), 5);
    let again = engine.take_suspensions();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].pause_nanos, 2 * PAUSE);

    pass(2 * PAUSE);
    tick(1);
    assert_eq!(engine.take_suspensions(), []);
    assert_eq!(feed_as(&mut engine, (1, 10), 20), 20);
    pass(2 * PAUSE);
    assert_eq!(engine.take_suspensions(), []);
    tick(200);
    feed_as(&mut engine, (1, 10), 20);
    assert_eq!(engine.take_suspensions()[0].pause_nanos, PAUSE);
}

#[test]
fn many_cheap_events_suspend_nothing() {
    let mut engine = measured();
    tick(99);

    // All of the time goes into the rule, and no try takes long.
    assert_eq!(feed_as(&mut engine, (1, 10), 10_000), 10_000);
    assert_eq!(engine.take_suspensions(), []);
}

#[test]
fn a_match_says_which_values_were_read_only_in_part() {
    let base = rule(
        "  s: {a|re: 'x+y'}\n  n: {b|re: 'z+y'}\n  _o: {c|re: 'z+y'}\n  w: {d|startswith: x}\n  \
         condition: s and not n and w\n",
    );
    let many = "title: Many\nid: many\ncorrelation: {type: event_count, rules: [rule], \
                timespan: 1h, condition: {gte: 1}, generate: true}\n";
    let mut engine = engine(&[&base, many]);
    let long = format!("xxy{}", " ".repeat(32 * 1024));
    let mut told = |a: &str, b: &str| {
        let mut told: Vec<(String, Vec<String>)> = Vec::new();
        let fields = [
            ("a", a),
            ("b", b),
            ("c", long.as_str()),
            ("d", long.as_str()),
        ];
        let fields = fields.map(|(name, text)| (name, Value::Str(text)));
        observe(&mut engine, "", &fields, &mut |found| {
            let fields = found.partly_read.into_iter().collect();
            told.push((found.rule.id.clone(), fields));
        });
        told
    };
    let both = |fields: &[&str]| -> Vec<(String, Vec<String>)> {
        let fields: Vec<String> = fields.iter().map(ToString::to_string).collect();
        ["rule", "many"]
            .map(|id| (id.to_owned(), fields.clone()))
            .into()
    };

    assert_eq!(
        told("xy", "b"),
        both(&[]),
        "what is not asked for, or is no expression, is whole"
    );
    assert_eq!(told(&long, "b"), both(&["a"]));
    assert_eq!(
        told("xy", &long),
        both(&["b"]),
        "what would have ruled it out"
    );
    assert_eq!(told(&long, &long), both(&["a", "b"]));
}
