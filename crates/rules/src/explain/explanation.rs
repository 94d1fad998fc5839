//! Why a rule matched an event or did not, as plain data and as text for people.
//! It never holds more of an event than the limits allow.

use std::fmt;

/// Why one rule matched an event or did not.
#[derive(Clone, PartialEq, Debug)]
pub struct Explanation {
    /// Id of the rule.
    pub rule: String,
    /// Its title.
    pub title: String,
    /// The outcome.
    pub verdict: Verdict,
    /// Its condition, as written; filters and pipelines are joined to it.
    pub condition: String,
    /// Its selections, each with what became of it; empty for correlations and where the rule
    /// was not tried.
    pub selections: Vec<SelectionTruth>,
    /// The window of a correlation; none for other rules.
    pub window: Option<WindowState>,
}

/// What became of a rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It matches.
    Matched,
    /// It was tried and does not match.
    NotMatched,
    /// Its log source is not the event's.
    NotRouted {
        /// Which part differs: `category`, `product` or `service`.
        part: &'static str,
        /// What the rule asks for.
        wanted: String,
        /// What the event says.
        seen: Option<String>,
    },
    /// It is not tried any more, for this reason.
    Suspended(String),
}

/// What became of a selection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SelectionTruth {
    /// Its name.
    pub name: String,
    /// Whether it holds.
    pub holds: bool,
    /// Its lines, of every alternative.
    pub items: Vec<ItemTruth>,
}

/// What became of one line of a selection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ItemTruth {
    /// The field with its modifiers; only modifiers, or nothing, for keywords.
    pub field: String,
    /// Whether it holds.
    pub holds: bool,
    /// The patterns it asks for; where all must match, those that do not.
    pub patterns: Vec<String>,
    /// The values of the field in the event, cut to the limits.
    pub seen: Vec<String>,
}

/// What the window of a correlation holds after the event.
#[derive(Clone, PartialEq, Debug)]
pub struct WindowState {
    /// The joined rules that matched the event.
    pub fed_by: Vec<String>,
    /// A field of `group-by` that the event lacks, which is why nothing was counted.
    pub missing: Option<String>,
    /// The fields that keep windows apart, and their values here.
    pub group: Vec<(String, String)>,
    /// The number the condition is tried on, if there is one.
    pub number: Option<f64>,
    /// How many entries it holds.
    pub entries: usize,
    /// Time of its newest entry.
    pub last_ms: Option<i64>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{} ({}): {}", self.title, self.rule, self.verdict)?;
        if self.selections.is_empty() && self.window.is_none() {
            return Ok(());
        }
        writeln!(out, "  condition: {}", self.condition)?;
        for selection in &self.selections {
            write!(out, "{selection}")?;
        }
        self.window
            .as_ref()
            .map_or(Ok(()), |window| window.fmt(out))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Matched => write!(out, "matches"),
            Self::NotMatched => write!(out, "does not match"),
            Self::NotRouted { part, wanted, seen } => {
                let seen = seen.as_deref().unwrap_or("none");
                write!(out, "is not tried: {part} is {seen}, not {wanted}")
            }
            Self::Suspended(reason) => write!(out, "is suspended: {reason}"),
        }
    }
}

impl fmt::Display for SelectionTruth {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let truth = |holds| if holds { "holds" } else { "does not hold" };
        writeln!(out, "  {} {}", self.name, truth(self.holds))?;
        for item in &self.items {
            let field = if item.field.is_empty() {
                "keywords"
            } else {
                &item.field
            };
            let patterns = item.patterns.join("', '");
            writeln!(out, "    {field}: '{patterns}' {}", truth(item.holds))?;
            match item.seen.as_slice() {
                [] => writeln!(out, "      the event has no such field")?,
                seen => writeln!(out, "      seen: '{}'", seen.join("', '"))?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for WindowState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.fed_by.is_empty() {
            return writeln!(out, "  no joined rule matches this event");
        }
        writeln!(out, "  joined rules that match: {}", self.fed_by.join(", "))?;
        if let Some(field) = &self.missing {
            return writeln!(out, "  nothing is counted: the event has no {field}");
        }
        let pairs = self.group.iter();
        let group: Vec<String> = pairs
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let group = group.join(" ");
        let number = self
            .number
            .map_or("none".to_owned(), |number| number.to_string());
        writeln!(
            out,
            "  window [{group}]: {number}, entries: {}",
            self.entries
        )
    }
}
