//! What came of reading a message: the fields it states, or why it states none.
//! It knows no program; each family of programs has a file of its own.

use hidps_wire::{FieldValue, Fields, Text};

/// What came of reading a message.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Reading<'a> {
    /// It was read from end to end.
    Stated(Facts<'a>),
    /// It can be read in two ways, one of them forged.
    Ambiguous,
    /// It is a known companion of another line that says the same; telling it again would count
    /// one thing twice.
    Companion,
    /// It says something else.
    Other,
}

impl<'a> Reading<'a> {
    /// The same with more facts, where facts are stated.
    pub(super) fn map(self, more: impl FnOnce(Facts<'a>) -> Facts<'a>) -> Self {
        match self {
            Self::Stated(facts) => Self::Stated(more(facts)),
            Self::Ambiguous | Self::Companion | Self::Other => self,
        }
    }

    /// The same with a truth more, if it holds.
    pub(super) fn and_flag(self, name: &'static str, holds: bool) -> Self {
        self.map(|facts| if holds { facts.flag(name, true) } else { facts })
    }
}

impl<'a> From<Facts<'a>> for Reading<'a> {
    fn from(facts: Facts<'a>) -> Self {
        Self::Stated(facts)
    }
}

impl<'a> From<Option<Facts<'a>>> for Reading<'a> {
    fn from(facts: Option<Facts<'a>>) -> Self {
        facts.map_or(Self::Other, Self::Stated)
    }
}

/// Room that holds the facts of most lines at once.
const USUAL_FIELDS: usize = 12;

/// Typed facts under the names that rules use.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Facts<'a>(Fields<'a>);

impl<'a> Facts<'a> {
    /// No fact yet.
    pub(super) fn none() -> Self {
        Self::with_room(USUAL_FIELDS)
    }

    /// No fact yet, and room for so many.
    pub(super) fn with_room(n_fields: usize) -> Self {
        Self(Fields::with_capacity(n_fields))
    }

    /// That something was done.
    pub(super) fn action(action: &'static str) -> Self {
        Self::none().text("action", action)
    }

    /// A text.
    pub(super) fn text(mut self, name: &'static str, value: impl Into<Text<'a>>) -> Self {
        self.0.push(name, FieldValue::Text(value.into()));
        self
    }

    /// A text, where there is one.
    pub(super) fn text_if(self, name: &'static str, value: Option<&'a str>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    /// A number.
    pub(super) fn number(mut self, name: &'static str, value: impl Into<i64>) -> Self {
        self.0.push(name, FieldValue::Integer(value.into()));
        self
    }

    /// A number, where there is one.
    pub(super) fn number_if(self, name: &'static str, value: Option<u32>) -> Self {
        match value {
            Some(value) => self.number(name, value),
            None => self,
        }
    }

    /// A number, where there is one and the message has not told its own.
    pub(super) fn number_unless_told(self, name: &'static str, value: Option<u32>) -> Self {
        if self.0.get(name).is_some() {
            return self;
        }
        self.number_if(name, value)
    }

    /// A truth value.
    pub(super) fn flag(mut self, name: &'static str, value: bool) -> Self {
        self.0.push(name, FieldValue::Bool(value));
        self
    }

    /// The fields.
    pub(super) fn into_fields(self) -> Fields<'a> {
        self.0
    }
}

/// Whether a text can be the name of a user or group: nothing that separates words or quotes.
pub(super) fn is_name(text: &str) -> bool {
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || "'\"(),:".contains(c);
    !text.is_empty() && !text.contains(is_odd)
}

/// What stands between a beginning and an end, both of which must be there.
pub(super) fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    text.strip_prefix(begin)?.strip_suffix(end)
}

/// The only way to split at a separator; none when there are several.
pub(super) fn split_only<'a>(text: &'a str, separator: &str) -> Option<(&'a str, &'a str)> {
    let (before, after) = text.split_once(separator)?;
    // Overlapping occurrences count: the last one must be the first.
    let (last, _) = text.rsplit_once(separator)?;
    (last.len() == before.len()).then_some((before, after))
}
