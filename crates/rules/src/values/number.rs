//! Numbers as rules and events write them, and how they compare.
//! It never rounds a whole number to compare it with another whole number.

use std::cmp::Ordering;

/// A number of a rule or an event.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Number {
    /// A whole number.
    Int(i64),
    /// Any other finite number.
    Float(f64),
}

impl Number {
    /// Reads a decimal number, with or without fraction or exponent; nothing else is a number.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if !text.ends_with(|last: char| last.is_ascii_digit() || last == '.') {
            return None;
        }
        if let Ok(whole) = text.parse() {
            return Some(Self::Int(whole));
        }
        text.parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .map(Self::Float)
    }

    /// Orders two numbers; a fraction that is not a number has no order.
    pub(crate) fn order(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(left), Self::Int(right)) => Some(left.cmp(&right)),
            (left, right) => left.as_f64().partial_cmp(&right.as_f64()),
        }
    }

    /// The number as a fraction.
    #[expect(
        clippy::cast_precision_loss,
        reason = "only mixed comparisons and means come here"
    )]
    pub(crate) fn as_f64(self) -> f64 {
        match self {
            Self::Int(whole) => whole as f64,
            Self::Float(fraction) => fraction,
        }
    }
}

/// The six relations rules may ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Comparison {
    /// Equal.
    Eq,
    /// Not equal.
    Neq,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
}

impl Comparison {
    /// The relation under Sigma's name for it.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "eq" => Self::Eq,
            "neq" => Self::Neq,
            "lt" => Self::Lt,
            "lte" => Self::Lte,
            "gt" => Self::Gt,
            "gte" => Self::Gte,
            _ => return None,
        })
    }

    /// Whether `left` stands in this relation to `right`.
    pub(crate) fn holds(self, left: Number, right: Number) -> bool {
        let Some(order) = left.order(right) else {
            return self == Self::Neq;
        };
        match self {
            Self::Eq => order.is_eq(),
            Self::Neq => order.is_ne(),
            Self::Lt => order.is_lt(),
            Self::Lte => order.is_le(),
            Self::Gt => order.is_gt(),
            Self::Gte => order.is_ge(),
        }
    }
}
