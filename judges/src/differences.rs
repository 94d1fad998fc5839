//! The table of known differences between judges, and whether a difference is in it.
//! It never excuses a difference without a reason.

use std::cell::Cell;

use regex::Regex;

/// The table, as people read it.
const TABLE: &str = include_str!("../DIFFERENCES.md");

/// Known differences.
#[derive(Debug)]
pub struct Differences {
    rows: Vec<Row>,
}

/// One row: which judge differs from our engine, on which rules and events, and which way.
#[derive(Debug)]
struct Row {
    judge: String,
    case: String,
    rule: String,
    way: String,
    /// What the event is like, as a regular expression on its JSON.
    event: Regex,
    n_seen: Cell<usize>,
}

/// What a judge differs on.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'d> {
    /// The judge.
    pub judge: &'d str,
    /// The case.
    pub case: &'d str,
    /// The rule.
    pub rule: &'d str,
    /// `extra` or `missing`, seen from our engine.
    pub way: &'d str,
}

impl Default for Differences {
    fn default() -> Self {
        Self::parse(TABLE)
    }
}

impl Differences {
    /// Reads the rows of a Markdown table: judge, case, rule, way, event, reason.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let rows = text.lines().filter_map(Row::parse).collect();
        Self { rows }
    }

    /// Whether a difference on an event, given as JSON, is known.
    #[must_use]
    pub fn knows(&self, subject: Subject<'_>, event: &str) -> bool {
        let fits = |row: &&Row| {
            row.judge == subject.judge
                && is_meant(&row.case, subject.case)
                && is_meant(&row.rule, subject.rule)
                && (row.way == subject.way || row.way == "both")
                && row.event.is_match(event)
        };
        let found = self.rows.iter().find(fits);
        if let Some(row) = found {
            row.n_seen.set(row.n_seen.get() + 1);
        }
        found.is_some()
    }

    /// Every row with how many differences it excused.
    pub fn seen(&self) -> impl Iterator<Item = (usize, String)> {
        let tell = |row: &Row| {
            format!(
                "{} on {} of {} ({})",
                row.judge, row.rule, row.case, row.way
            )
        };
        self.rows
            .iter()
            .map(move |row| (row.n_seen.get(), tell(row)))
    }
}

impl Row {
    /// Reads one row; heads, rules and other lines are none.
    fn parse(line: &str) -> Option<Self> {
        let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
        let cells: Vec<&str> = inner.split(" | ").map(str::trim).collect();
        let [judge, case, rule, way, event, reason] = cells.as_slice() else {
            return None;
        };
        let event = event.trim_matches('`').replace("\\|", "|");
        let is_row = matches!(*judge, "oracle" | "rsigma") && !reason.is_empty();
        is_row.then(|| Self {
            judge: (*judge).to_owned(),
            case: (*case).to_owned(),
            rule: (*rule).to_owned(),
            way: (*way).to_owned(),
            event: Regex::new(&event).expect("what a row says of events is a regular expression"),
            n_seen: Cell::new(0),
        })
    }
}

/// Whether a pattern means a name: the same, but for what a `*` at either end stands for.
fn is_meant(pattern: &str, name: &str) -> bool {
    let middle = pattern.trim_matches('*');
    match (pattern.starts_with('*'), pattern.ends_with('*')) {
        (true, true) => name.contains(middle),
        (true, false) => name.ends_with(middle),
        (false, true) => name.starts_with(middle),
        (false, false) => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::{Differences, Subject};

    const SOME: &str = "| judge | case | rule | way | event | reason |\n|---|---|---|---|---|---|\n\
        | oracle | stream_* | a | extra | `\"00\"` | because |\n| oracle | b | b | both | `` | |\n";

    fn knows(known: &Differences, judge: &str, case: &str, way: &str, event: &str) -> bool {
        let rule = if case == "b" { "b" } else { "a" };
        let subject = Subject {
            judge,
            case,
            rule,
            way,
        };
        known.knows(subject, event)
    }

    #[test]
    fn a_difference_is_known_in_its_own_way_on_its_own_events_only() {
        let known = Differences::parse(SOME);
        let event = r#"{"a":"00"}"#;

        assert!(knows(&known, "oracle", "stream_1", "extra", event));
        assert!(!knows(
            &known,
            "oracle",
            "stream_1",
            "extra",
            r#"{"a":"0"}"#
        ));
        assert!(!knows(&known, "oracle", "stream_1", "missing", event));
        assert!(!knows(&known, "rsigma", "stream_1", "extra", event));
        assert!(!knows(&known, "oracle", "other", "extra", event));
    }

    #[test]
    fn a_row_without_a_reason_excuses_nothing() {
        assert!(!knows(
            &Differences::parse(SOME),
            "oracle",
            "b",
            "extra",
            "{}"
        ));
    }

    #[test]
    fn what_each_row_excused_is_counted() {
        let known = Differences::parse(SOME);
        let counts =
            |known: &Differences| known.seen().map(|(n_seen, _)| n_seen).collect::<Vec<_>>();

        assert_eq!(counts(&known), [0]);
        assert!(knows(&known, "oracle", "stream_1", "extra", r#""00""#));
        assert_eq!(counts(&known), [1]);
    }
}
