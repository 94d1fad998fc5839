//! The conditions of a pipeline step: on rules, on lines of selections, on field names.
//! It never applies a step; it answers whether one is to be applied.

use regex::Regex;

use crate::search::routing::WantedSource;
use crate::selecting::expression::Expression;

/// Conditions and what joins them; without conditions everything passes.
#[derive(Clone, Debug)]
pub(crate) struct Gate<T> {
    /// The conditions.
    pub(crate) tests: Vec<T>,
    /// What joins them, over their numbers.
    pub(crate) logic: Expression,
}

impl<T> Gate<T> {
    /// Whether something passes, of which `holds` answers single conditions.
    pub(crate) fn admits(&self, holds: impl Fn(&T) -> bool) -> bool {
        let decide = |index: usize| self.tests.get(index).is_some_and(&holds);
        self.tests.is_empty() || self.logic.decide(&decide)
    }
}

/// A condition that any step may have.
#[derive(Clone, Debug)]
pub(crate) enum PastTest {
    /// A step with this id was applied.
    Applied(String),
    /// A step noted this.
    State(String, String),
}

/// A condition on a rule.
#[derive(Clone, Debug)]
pub(crate) enum RuleTest {
    /// Its log source has these parts.
    Source(WantedSource),
    /// It has a tag.
    Tag(String),
    /// It looks at single events.
    IsDetection,
    /// It looks at matches of other rules.
    IsCorrelation,
    /// What happened before.
    Past(PastTest),
}

/// A condition on a line of a selection.
#[derive(Clone, Debug)]
pub(crate) enum ItemTest {
    /// Its texts match an expression.
    Text {
        /// The expression, from the beginning of the text.
        pattern: Regex,
        /// Whether all values must match, not just one.
        all: bool,
        /// Whether values must not match.
        negated: bool,
    },
    /// Its values are null.
    Null {
        /// Whether all values must be.
        all: bool,
    },
    /// What happened before.
    Past(PastTest),
}

/// A condition on a field name.
#[derive(Clone, Debug)]
pub(crate) enum FieldTest {
    /// It is one of these, or is not.
    Named {
        /// The names.
        names: Vec<String>,
        /// Whether it must not be one of them.
        negated: bool,
    },
    /// It matches one of these expressions, or does not.
    Like {
        /// The expressions, from the beginning of the name.
        patterns: Vec<Regex>,
        /// Whether it must not match.
        negated: bool,
    },
    /// What happened before.
    Past(PastTest),
}

impl FieldTest {
    /// Whether a field name passes; `None` is the name of keywords.
    pub(crate) fn holds(&self, field: Option<&str>, past: &dyn Fn(&PastTest) -> bool) -> bool {
        match self {
            Self::Named { names, negated } => {
                let found = field.is_some_and(|field| names.iter().any(|name| name == field));
                found != *negated
            }
            Self::Like { patterns, negated } => {
                let like = |field| patterns.iter().any(|pattern| pattern.is_match(field));
                field.is_some_and(like) != *negated
            }
            Self::Past(test) => past(test),
        }
    }
}
