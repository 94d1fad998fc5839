//! The table of known differences between judges, and whether a difference is in it.
//! It never excuses a difference without a reason.

use std::cell::Cell;

/// The table, as people read it.
const TABLE: &str = include_str!("../DIFFERENCES.md");

/// Known differences.
#[derive(Debug)]
pub struct Differences {
    rows: Vec<Row>,
}

/// One row: which judge differs from our engine, on what, and which way.
#[derive(Debug)]
struct Row {
    judge: String,
    case: String,
    rule: String,
    way: String,
    is_seen: Cell<bool>,
}

impl Default for Differences {
    fn default() -> Self {
        Self::parse(TABLE)
    }
}

impl Differences {
    /// Reads the rows of a Markdown table: judge, case, rule, way, reason.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let rows = text.lines().filter_map(Row::parse).collect();
        Self { rows }
    }

    /// Whether a difference is known; `way` is `extra` or `missing`, seen from our engine.
    #[must_use]
    pub fn knows(&self, judge: &str, case: &str, rule: &str, way: &str) -> bool {
        let fits = |row: &&Row| {
            row.judge == judge
                && is_meant(&row.case, case)
                && is_meant(&row.rule, rule)
                && (row.way == way || row.way == "both")
        };
        let found = self.rows.iter().find(fits);
        if let Some(row) = found {
            row.is_seen.set(true);
        }
        found.is_some()
    }

    /// The rows that excused nothing.
    #[must_use]
    pub fn unseen(&self) -> Vec<String> {
        let unseen = self.rows.iter().filter(|row| !row.is_seen.get());
        unseen
            .map(|row| {
                format!(
                    "{} on {} of {} ({})",
                    row.judge, row.rule, row.case, row.way
                )
            })
            .collect()
    }
}

impl Row {
    /// Reads one row; heads, rules and other lines are none.
    fn parse(line: &str) -> Option<Self> {
        let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
        let cells: Vec<&str> = inner.split('|').map(str::trim).collect();
        let [judge, case, rule, way, reason] = cells.as_slice() else {
            return None;
        };
        let is_row = matches!(*judge, "oracle" | "rsigma") && !reason.is_empty();
        is_row.then(|| Self {
            judge: (*judge).to_owned(),
            case: (*case).to_owned(),
            rule: (*rule).to_owned(),
            way: (*way).to_owned(),
            is_seen: Cell::new(false),
        })
    }
}

/// Whether a pattern means a name: the same, or with the same beginning before a `*`.
fn is_meant(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::Differences;

    const SOME: &str = "| judge | case | rule | way | reason |\n|---|---|---|---|---|\n\
        | oracle | stream_* | a | extra | because |\n| oracle | b | b | both | |\n";

    #[test]
    fn a_difference_is_known_in_its_own_way_only() {
        let known = Differences::parse(SOME);

        assert!(known.knows("oracle", "stream_1", "a", "extra"));
        assert!(!known.knows("oracle", "stream_1", "a", "missing"));
        assert!(!known.knows("rsigma", "stream_1", "a", "extra"));
        assert!(!known.knows("oracle", "other", "a", "extra"));
    }

    #[test]
    fn a_row_without_a_reason_excuses_nothing() {
        assert!(!Differences::parse(SOME).knows("oracle", "b", "b", "extra"));
    }

    #[test]
    fn rows_that_excused_nothing_are_told() {
        let known = Differences::parse(SOME);

        assert_eq!(known.unseen().len(), 1);
        assert!(known.knows("oracle", "stream_1", "a", "extra"));
        assert!(known.unseen().is_empty());
    }
}
