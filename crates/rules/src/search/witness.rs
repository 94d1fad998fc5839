//! Witnesses: the cheapest set of clues of which one must be in an event that a rule matches.
//! It never decides a match; without its clues a rule cannot match, with them it is tried.

use hashbrown::HashMap;

use crate::search::view::Slot;
use crate::selecting::detection::Detection;
use crate::selecting::expression::{Expression, Item, Target};
use crate::values::fold::fold;
use crate::values::matcher::{Matcher, Place};
use crate::values::pattern::Pattern;

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

/// How many rules of a bucket ask for the same whole value of the same field.
///
/// What many rules ask for, such as the type of a record, is what many events have.
#[derive(Clone, Default, Debug)]
pub(crate) struct Commonness {
    rules: HashMap<(Option<Slot>, String), u32>,
}

impl Commonness {
    /// Counts the whole values that a rule asks for.
    pub(crate) fn count(&mut self, rule: &Detection) {
        for selection in &rule.selections {
            self.count_in(selection);
        }
    }

    /// Counts the whole values that a selection asks for.
    fn count_in(&mut self, expression: &Expression) {
        match expression {
            Expression::All(parts) | Expression::Any(parts) => {
                parts.iter().for_each(|part| self.count_in(part));
            }
            Expression::Not(part) => self.count_in(part),
            Expression::Selection(_) => {}
            Expression::Item(item) => {
                for text in item.matchers.iter().filter_map(whole_text) {
                    *self.rules.entry((field_of(item), text)).or_default() += 1;
                }
            }
        }
    }

    /// What a whole value costs beyond the cheapest.
    fn surcharge(&self, field: Option<Slot>, text: &str) -> u32 {
        let rules = self.rules.get(&(field, text.to_owned())).copied();
        rules
            .unwrap_or_default()
            .saturating_sub(1)
            .saturating_mul(10)
    }
}

/// The whole value a matcher asks for, in caseless form.
fn whole_text(matcher: &Matcher) -> Option<String> {
    let (Matcher::Text(pattern) | Matcher::CasedText(pattern)) = matcher else {
        return None;
    };
    if let Pattern::Exact(text) = pattern {
        return Some(fold(text));
    }
    None
}

/// The field an item looks at.
fn field_of(item: &Item) -> Option<Slot> {
    match &item.target {
        Target::Field(slot, _) => Some(*slot),
        Target::Keywords => None,
    }
}

/// Finds the witness of a rule; without one the rule must be tried on every event.
pub(crate) fn find_witness(rule: &Detection, common: &Commonness) -> Option<Witness> {
    of_expression(&rule.condition, &rule.selections, common)
}

/// The witness of an expression.
fn of_expression(
    expression: &Expression,
    selections: &[Expression],
    common: &Commonness,
) -> Option<Witness> {
    match expression {
        Expression::All(parts) => cheapest(
            parts
                .iter()
                .map(|part| of_expression(part, selections, common)),
        ),
        Expression::Any(parts) => union(
            parts
                .iter()
                .map(|part| of_expression(part, selections, common)),
        ),
        Expression::Not(_) => None,
        Expression::Selection(index) => of_expression(selections.get(*index)?, &[], common),
        Expression::Item(item) => of_item(item, common),
    }
}

/// The witness of one line of a selection.
fn of_item(item: &Item, common: &Commonness) -> Option<Witness> {
    if item.negated {
        return None;
    }
    let field = field_of(item);
    let matchers = item
        .matchers
        .iter()
        .map(|matcher| of_matcher(matcher, field, common));
    if item.all {
        cheapest(matchers)
    } else {
        union(matchers)
    }
}

/// The witness of one value.
fn of_matcher(matcher: &Matcher, field: Option<Slot>, common: &Commonness) -> Option<Witness> {
    let text = match matcher {
        Matcher::Text(pattern) => clue_of(pattern),
        Matcher::CasedText(pattern) => clue_of(pattern).map(|(place, text)| (place, fold(&text))),
        Matcher::AnyOf(spellings) => {
            return union(
                spellings
                    .iter()
                    .map(|spelling| of_matcher(spelling, field, common)),
            );
        }
        Matcher::Regex(regular) if regular.needed().is_some() => {
            let needed = regular.needed()?;
            let literals = needed.literals.iter();
            return union(literals.map(|text| Some(at_place(field, needed.place, text))));
        }
        Matcher::Exists(false) | Matcher::Null => return None,
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
    let cost = match &text {
        None => PRESENCE_COST,
        Some((Place::Whole, text)) => 1 + common.surcharge(field, text),
        Some((place, text)) => cost_of(*place, text),
    };
    Some(Witness {
        clues: vec![Clue { field, text }],
        cost,
    })
}

/// The witness of a literal at a place; keywords are looked for anywhere.
fn at_place(field: Option<Slot>, place: Place, text: &str) -> Witness {
    let place = if field.is_some() {
        place
    } else {
        Place::Anywhere
    };
    Witness {
        cost: cost_of(place, text),
        clues: vec![Clue {
            field,
            text: Some((place, text.to_owned())),
        }],
    }
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

/// How the paths of most programs and files begin: such a beginning says no more than presence.
const USUAL_STARTS: [&str; 4] = ["/usr/bin/", "/usr/sbin/", "/usr/lib/", "/bin/"];

/// A literal is found in vain the less the longer it is, and the less at a fixed place.
fn cost_of(place: Place, text: &str) -> u32 {
    let mut starts = USUAL_STARTS.iter();
    if text == "/" || (place == Place::Start && starts.any(|start| start.starts_with(text))) {
        return PRESENCE_COST;
    }
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
