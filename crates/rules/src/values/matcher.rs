//! Tests on one value: text, regular expression, network, number, boolean.
//! It never looks at more than one field, except for the field a `fieldref` names.

use crate::search::view::{Seen, Slot, View};
use crate::values::network::Network;
use crate::values::number::{Comparison, Number};
use crate::values::pattern::Pattern;
use crate::values::regular::Regular;
use crate::values::time_part::TimePart;

/// A test on one value.
#[derive(Clone, Debug)]
pub(crate) enum Matcher {
    /// Wildcard text in caseless form.
    Text(Pattern),
    /// Wildcard text, upper and lower case distinct.
    CasedText(Pattern),
    /// A regular expression somewhere in the text.
    Regex(Regular),
    /// An address in a network.
    Network(Network),
    /// A number, stored as one or written the same way.
    Number(Number, String),
    /// A truth value, stored as one, written as `true` or `false`, or stored or written as 1 or 0.
    Flag(bool),
    /// A relation to a number.
    Compare(Comparison, Number),
    /// A relation of a part of a time to a number.
    Part(TimePart, Comparison, Number),
    /// A relation to another field of the event.
    FieldRef(Slot, Place),
    /// Whether the field is there at all, whatever its value.
    Exists(bool),
    /// No value: the field is not there, or is null.
    Null,
    /// One of several spellings of one value.
    AnyOf(Vec<Self>),
}

/// Which part of the text a value must match.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// All of it.
    Whole,
    /// Its beginning.
    Start,
    /// Its end.
    End,
    /// Any part.
    Anywhere,
}

impl Matcher {
    /// How many values it tries.
    pub(crate) fn size(&self) -> usize {
        if let Self::AnyOf(spellings) = self {
            return spellings.iter().map(Self::size).sum();
        }
        1
    }

    /// Whether a field's values pass: one of them, or their absence where that is asked for.
    pub(crate) fn matches_field(&self, slot: Slot, view: View<'_>) -> bool {
        if let Self::Exists(wanted) = self {
            return view.has(slot) == *wanted;
        }
        if let Self::Null = self {
            return view.first(slot).is_none();
        }
        view.values(slot).any(|seen| self.matches(seen, view))
    }

    /// Whether a value is too long to be read whole.
    pub(crate) fn reads_in_part(&self, seen: Seen<'_>) -> bool {
        if let Self::AnyOf(spellings) = self {
            return spellings.iter().any(|one| one.reads_in_part(seen));
        }
        matches!(self, Self::Regex(regex) if regex.reads_in_part(seen.plain))
    }

    /// Whether one value passes.
    pub(crate) fn matches(&self, seen: Seen<'_>, view: View<'_>) -> bool {
        match self {
            Self::Text(pattern) => pattern.matches(seen.folded),
            Self::CasedText(pattern) => pattern.matches(seen.plain),
            Self::Regex(regex) => regex.is_match(seen.plain, seen.folded),
            Self::Network(network) => network.contains(seen.plain),
            Self::Number(number, written) => match seen.stored {
                Some(stored) => Comparison::Eq.holds(stored, *number),
                None => seen.plain == written,
            },
            Self::Flag(flag) => is_flag(*flag, seen),
            Self::Compare(relation, number) => seen
                .number()
                .is_some_and(|seen| relation.holds(seen, *number)),
            Self::Part(part, relation, number) => part
                .of(seen.plain)
                .is_some_and(|seen| relation.holds(Number::Int(seen), *number)),
            Self::FieldRef(other, place) => view
                .values(*other)
                .any(|other| place.holds(seen.folded, other.folded)),
            Self::Exists(wanted) => *wanted,
            Self::Null => false,
            Self::AnyOf(spellings) => spellings.iter().any(|one| one.matches(seen, view)),
        }
    }
}

impl Place {
    /// Whether `part` stands at this place of `text`.
    fn holds(self, text: &str, part: &str) -> bool {
        match self {
            Self::Whole => text == part,
            Self::Start => text.starts_with(part),
            Self::End => text.ends_with(part),
            Self::Anywhere => text.contains(part),
        }
    }
}

/// Whether a value is this truth value in one of the forms that logs have.
fn is_flag(flag: bool, seen: Seen<'_>) -> bool {
    let (word, digit, number) = if flag {
        ("true", "1", Number::Int(1))
    } else {
        ("false", "0", Number::Int(0))
    };
    match seen.stored {
        Some(stored) => Comparison::Eq.holds(stored, number),
        None => seen.folded == word || seen.plain == digit,
    }
}
