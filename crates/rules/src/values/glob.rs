//! Matching with several wildcards: segments between `*`, found from left to right.
//! It never backtracks over a segment already placed, so its time is bounded by text × pattern.

use memchr::memmem::Finder;

use crate::values::pattern::Part;

/// A pattern with wildcards in the middle.
#[derive(Clone, Debug)]
pub(crate) struct Glob {
    /// What the text must begin with; empty when it begins with `*`.
    head: Segment,
    /// What must follow in this order.
    middle: Vec<Segment>,
    /// What the text must end with; absent when there is no `*` at all.
    tail: Option<Segment>,
}

/// Literal text and single-character wildcards between two `*`.
#[derive(Clone, Default, Debug)]
struct Segment {
    units: Vec<Unit>,
    /// Finds the first literal, when the segment begins with one.
    first: Option<Box<Finder<'static>>>,
}

/// One element of a segment.
#[derive(Clone, Debug)]
enum Unit {
    Text(String),
    AnyChar,
}

impl Glob {
    /// Splits parts at `*`.
    pub(crate) fn compile(parts: &[Part]) -> Self {
        let mut segments: Vec<Segment> = parts
            .split(|part| *part == Part::AnyRun)
            .map(Segment::compile)
            .collect();
        let tail = if segments.len() > 1 {
            segments.pop()
        } else {
            None
        };
        let mut segments = segments.into_iter();
        let head = segments.next().unwrap_or_default();
        Self {
            head,
            middle: segments.collect(),
            tail,
        }
    }

    /// The longest literal that every matching text holds.
    pub(crate) fn longest_literal(&self) -> Option<&str> {
        let segments = std::iter::once(&self.head)
            .chain(&self.middle)
            .chain(&self.tail);
        let literals = segments
            .flat_map(|segment| &segment.units)
            .filter_map(|unit| match unit {
                Unit::Text(text) => Some(text.as_str()),
                Unit::AnyChar => None,
            });
        literals.max_by_key(|text| text.len())
    }

    /// Whether the whole of `text` matches.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let Some(mut rest) = self.head.strip(text) else {
            return false;
        };
        let Some(tail) = &self.tail else {
            return rest.is_empty();
        };
        for segment in &self.middle {
            match segment.find(rest) {
                Some(behind) => rest = behind,
                None => return false,
            }
        }
        tail.ends(rest)
    }
}

impl Segment {
    /// Takes the parts between two `*`.
    fn compile(parts: &[Part]) -> Self {
        let unit = |part: &Part| match part {
            Part::Text(text) => Some(Unit::Text(text.clone())),
            Part::AnyChar => Some(Unit::AnyChar),
            Part::AnyRun => None,
        };
        let first = match parts.first() {
            Some(Part::Text(text)) => Some(Box::new(Finder::new(text).into_owned())),
            _ => None,
        };
        Self {
            units: parts.iter().filter_map(unit).collect(),
            first,
        }
    }

    /// What is left of `text` when it begins with this segment.
    fn strip<'t>(&self, text: &'t str) -> Option<&'t str> {
        self.units.iter().try_fold(text, |rest, unit| match unit {
            Unit::Text(literal) => rest.strip_prefix(literal.as_str()),
            Unit::AnyChar => {
                let mut characters = rest.chars();
                characters.next().map(|_| characters.as_str())
            }
        })
    }

    /// What is left behind the first place where this segment occurs.
    fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        let mut rest = text;
        loop {
            if let Some(first) = &self.first {
                rest = rest.get(first.find(rest.as_bytes())?..)?;
            }
            if let Some(behind) = self.strip(rest) {
                return Some(behind);
            }
            let mut characters = rest.chars();
            characters.next()?;
            rest = characters.as_str();
        }
    }

    /// Whether `text` ends with this segment.
    fn ends(&self, text: &str) -> bool {
        let begins = self
            .units
            .iter()
            .rev()
            .try_fold(text, |rest, unit| match unit {
                Unit::Text(literal) => rest.strip_suffix(literal.as_str()),
                Unit::AnyChar => {
                    let mut characters = rest.chars();
                    characters.next_back().map(|_| characters.as_str())
                }
            });
        begins.is_some()
    }
}
