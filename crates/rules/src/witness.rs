//! Witnesses: the cheapest set of clues of which one must be in an event that a rule matches.
//! It never decides a match; without its clues a rule cannot match, with them it is tried.

use crate::detection::Detection;
use crate::expression::{Expression, Item, Target};
use crate::fold::fold;
use crate::matcher::{Matcher, Place};
use crate::pattern::Pattern;
use crate::view::Slot;

/// Something that is in every event a rule matches, or one of several such things.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Clue {
    /// The field it is in; none means any text of the event.
    pub(crate) field: Option<Slot>,
    /// What is in it; none means that the field is there.
    pub(crate) text: Option<(Place, String)>,
}

/// Clues of which one must be there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Witness {
    /// The clues.
    pub(crate) clues: Vec<Clue>,
    /// How often the rule would be tried in vain: only the order of costs has a meaning.
    cost: u32,
}

/// Finds the witness of a rule; without one the rule must be tried on every event.
pub(crate) fn find_witness(rule: &Detection) -> Option<Witness> {
    of_expression(&rule.condition, &rule.selections)
}

/// The witness of an expression.
fn of_expression(expression: &Expression, selections: &[Expression]) -> Option<Witness> {
    match expression {
        Expression::All(parts) => {
            cheapest(parts.iter().map(|part| of_expression(part, selections)))
        }
        Expression::Any(parts) => union(parts.iter().map(|part| of_expression(part, selections))),
        Expression::Not(_) => None,
        Expression::Selection(index) => of_expression(selections.get(*index)?, &[]),
        Expression::Item(item) => of_item(item),
    }
}

/// The witness of one line of a selection.
fn of_item(item: &Item) -> Option<Witness> {
    if item.negated {
        return None;
    }
    let field = match &item.target {
        Target::Field(slot, _) => Some(*slot),
        Target::Keywords => None,
    };
    let matchers = item
        .matchers
        .iter()
        .map(|matcher| of_matcher(matcher, field));
    if item.all {
        cheapest(matchers)
    } else {
        union(matchers)
    }
}

/// The witness of one value.
fn of_matcher(matcher: &Matcher, field: Option<Slot>) -> Option<Witness> {
    let text = match matcher {
        Matcher::Text(pattern) => clue_of(pattern),
        Matcher::CasedText(pattern) => clue_of(pattern).map(|(place, text)| (place, fold(&text))),
        Matcher::AnyOf(spellings) => {
            return union(spellings.iter().map(|spelling| of_matcher(spelling, field)));
        }
        Matcher::Exists(false) => return None,
        Matcher::Regex(_)
        | Matcher::Network(_)
        | Matcher::Number(..)
        | Matcher::Flag(_)
        | Matcher::Compare(..)
        | Matcher::Part(..)
        | Matcher::FieldRef(..)
        | Matcher::Exists(true) => None,
    };
    if text.is_none() && field.is_none() {
        return None;
    }
    let cost = text
        .as_ref()
        .map_or(PRESENCE_COST, |(place, text)| cost_of(*place, text));
    Some(Witness {
        clues: vec![Clue { field, text }],
        cost,
    })
}

/// The literal a pattern cannot match without, and where it stands.
fn clue_of(pattern: &Pattern) -> Option<(Place, String)> {
    let (place, text) = match pattern {
        Pattern::Any => return None,
        Pattern::Exact(text) => (Place::Whole, text.clone()),
        Pattern::Prefix(text) => (Place::Start, text.clone()),
        Pattern::Suffix(text) => (Place::End, text.clone()),
        Pattern::Contains(finder) => (
            Place::Anywhere,
            String::from_utf8(finder.needle().to_vec()).ok()?,
        ),
        Pattern::Glob(glob) => (Place::Anywhere, glob.longest_literal()?.to_owned()),
    };
    Some((place, text))
}

/// Presence of a field says little: most events of a kind have the same fields.
const PRESENCE_COST: u32 = 1_000;

/// A literal is found in vain the less the longer it is, and the less at a fixed place.
fn cost_of(place: Place, text: &str) -> u32 {
    let by_length = match text.len() {
        0..=2 => 200,
        3 => 80,
        4 => 40,
        5..=6 => 20,
        7..=9 => 10,
        _ => 5,
    };
    match place {
        Place::Whole => 1,
        Place::Start | Place::End => 1 + by_length / 4,
        Place::Anywhere => by_length,
    }
}

/// Of witnesses that must all be there, the cheapest is enough.
fn cheapest(witnesses: impl Iterator<Item = Option<Witness>>) -> Option<Witness> {
    witnesses.flatten().min_by_key(|witness| witness.cost)
}

/// Of alternatives, each must have a witness, and each clue may be the one.
fn union(witnesses: impl Iterator<Item = Option<Witness>>) -> Option<Witness> {
    let mut union = Witness {
        clues: Vec::new(),
        cost: 0,
    };
    for witness in witnesses {
        let witness = witness?;
        union.cost = union.cost.saturating_add(witness.cost);
        union.clues.extend(witness.clues);
    }
    Some(union)
}
