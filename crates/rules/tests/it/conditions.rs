//! Conditions and selections as rules use them, against plain boolean logic.
//! It never looks at how they are compiled.

use crate::support::{matches, refusal, rule};
use proptest::prelude::{Strategy, any, prop_oneof, proptest};

/// A condition with its reading.
#[derive(Clone, Debug)]
enum Logic {
    Name(usize),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
}

const NAMES: [&str; 4] = ["selection_a", "selection_b", "filter_c", "_hidden"];

impl Logic {
    fn holds(&self, truth: [bool; 4]) -> bool {
        match self {
            Self::Name(index) => truth[*index],
            Self::Not(part) => !part.holds(truth),
            Self::And(left, right) => left.holds(truth) && right.holds(truth),
            Self::Or(left, right) => left.holds(truth) || right.holds(truth),
        }
    }

    /// Writes it with no more parentheses than precedence needs.
    fn write(&self, strength: u8) -> String {
        let (own, text) = match self {
            Self::Name(index) => (4, NAMES[*index].to_owned()),
            Self::Not(part) => (3, format!("not {}", part.write(3))),
            Self::And(left, right) => (2, format!("{} and {}", left.write(2), right.write(2))),
            Self::Or(left, right) => (1, format!("{} or {}", left.write(1), right.write(1))),
        };
        if own < strength {
            format!("({text})")
        } else {
            text
        }
    }
}

/// Any condition of a few parts.
fn any_logic() -> impl Strategy<Value = Logic> {
    let leaf = (0..4_usize).prop_map(Logic::Name);
    leaf.prop_recursive(5, 24, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|part| Logic::Not(Box::new(part))),
            (inner.clone(), inner.clone())
                .prop_map(|(left, right)| Logic::And(Box::new(left), Box::new(right))),
            (inner.clone(), inner)
                .prop_map(|(left, right)| Logic::Or(Box::new(left), Box::new(right))),
        ]
    })
}

/// Whether a condition holds when the selections do or do not.
fn holds(condition: &str, truth: [bool; 4]) -> bool {
    let selections: String = NAMES
        .iter()
        .map(|name| format!("  {name}: {{{name}: 'on'}}\n"))
        .collect();
    let text = rule(&format!("{selections}  condition: {condition}\n"));
    let fields: Vec<_> = NAMES
        .iter()
        .zip(truth)
        .filter(|(_, on)| *on)
        .map(|(name, _)| (*name, "on"))
        .collect();
    matches(&text, "", &fields)
}

proptest! {
    #[test]
    fn conditions_are_read_with_the_usual_precedence(
        logic in any_logic(),
        truth in any::<[bool; 4]>(),
    ) {
        let condition = logic.write(0);

        assert_eq!(holds(&condition, truth), logic.holds(truth), "{condition}");
    }

    #[test]
    fn quantifiers_are_or_and_and_over_the_names_they_mean(truth in any::<[bool; 4]>()) {
        let [a, b, c, hidden] = truth;
        let table = [
            ("1 of selection_*", a || b),
            ("any of selection_*", a || b),
            ("all of selection_*", a && b),
            ("1 of them", a || b || c),
            ("all of them", a && b && c),
            ("all of *", a && b && c),
            ("1 of *_c", c),
            ("1 of filter_c", c),
            ("not 1 of selection_*", !(a || b)),
            ("all of selection_* and not 1 of filter_*", a && b && !c),
            ("1 of _*", hidden),
        ];

        for (condition, expected) in table {
            assert_eq!(holds(condition, truth), expected, "{condition} with {truth:?}");
        }
    }
}

#[test]
fn a_list_of_conditions_holds_when_one_does() {
    let text = rule("  a: {x: 1}\n  b: {y: 1}\n  condition:\n    - a\n    - b\n");

    assert!(matches(&text, "", &[("y", "1")]));
    assert!(!matches(&text, "", &[("z", "1")]));
}

#[test]
fn conditions_that_mean_nothing_are_refused_at_their_place() {
    let table = [
        ("selection and", "and", "ends where a selection is needed"),
        (
            "selection or missing",
            "missing",
            "there is no selection 'missing'",
        ),
        ("selection AND selection", "AND", "'AND' is in capitals"),
        ("NOT selection", "NOT", "'NOT' is in capitals"),
        ("2 of selection*", "2", "'2 of' is not a quantifier"),
        (
            "1 of nothing_*",
            "nothing_*",
            "no selection is meant by 'nothing_*'",
        ),
        ("1 of", "of", "nothing follows 'of'"),
        ("(selection", "selection", "a parenthesis is not closed"),
        ("selection)", ")", "')' is not expected here"),
        ("and selection", "and", "'and' is not expected here"),
        (
            "selection | count() > 5",
            "|",
            "the old form of correlation",
        ),
        ("selection other", "other", "there is no selection 'other'"),
        (
            "selection selection_b",
            "selection_b",
            "'selection_b' is not expected here",
        ),
    ];

    for (condition, place, problem) in table {
        let selections = "  selection: {a: b}\n  selection_b: {a: b}\n";
        let text = rule(&format!("{selections}  condition: {condition}\n"));
        let error = refusal(&text);

        assert!(error.problem.contains(problem), "{condition}: {error}");
        let offset = condition.find(place).unwrap();
        assert_eq!(
            (error.line, error.column),
            (7, 14 + offset),
            "{condition}: {error}"
        );
        assert!(!error.instead.is_empty());
    }
}

#[test]
fn a_condition_that_would_exhaust_the_stack_is_refused() {
    for condition in [
        format!("{}s", "not ".repeat(900)),
        format!("{}s", "(".repeat(3000)),
    ] {
        let error = refusal(&rule(&format!("  s: {{a: b}}\n  condition: {condition}\n")));

        assert!(error.problem.contains("nested deeper"), "{error}");
    }
    let long = "s or ".repeat(2000);
    let error = refusal(&rule(&format!("  s: {{a: b}}\n  condition: {long}s\n")));
    assert!(
        error.problem.contains("more than 4096 characters"),
        "{error}"
    );
}

#[test]
fn conditions_up_to_the_bounds_are_taken() {
    let taken = |condition: &str| {
        let text = rule(&format!("  s: {{a: b}}\n  condition: {condition}\n"));
        assert!(matches(&text, "", &[("a", "b")]), "{condition}");
    };

    taken(&format!("{}s", "not ".repeat(32)));
    taken(&format!("{}s{}", "(".repeat(32), ")".repeat(32)));
    taken(&format!("{}s", "not not s and ".repeat(100)));
    taken(&format!("{}s", "(s) and ".repeat(100)));
    let longest = format!("{}s", "s and ".repeat(682));
    taken(&format!("'{longest:<4096}'"));
}
