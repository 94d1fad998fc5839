//! What a match tells: the rule, what matched, and the window behind a correlation.
//! It never holds more of an event than the limits allow.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::limits::Limits;
use crate::reading::document::hex;
use crate::reading::metadata::RuleInfo;
use crate::rule_set::{Logic, Rule};
use crate::search::view::{FieldTable, View};

/// A rule that matched.
#[derive(Clone, PartialEq, Debug)]
pub struct Match<'a> {
    /// What the rule says of itself.
    pub rule: &'a RuleInfo,
    /// The fields that matched and their values, cut to the limits; `message` for keywords.
    pub matched: BTreeMap<String, String>,
    /// The fields of which a regular expression of the rule read a value only in part, because it is
    /// very long: the match, or what was to rule it out, was decided by the beginning, the end and
    /// what is around needed literals. Of a correlation, those of the event that made it match.
    pub partly_read: BTreeSet<String>,
    /// What the window held, when the rule is a correlation.
    pub window: Option<Window>,
    /// What tells this match from others of the same rule: equal for the same group of a
    /// correlation, or the same values of the fields under `hidps: {group-by}`; bounded.
    pub group_key: String,
}

/// What the window of a correlation held.
#[derive(Clone, PartialEq, Debug)]
pub struct Window {
    /// How many there were of what is counted: events, values or rules.
    pub count: usize,
    /// What was computed of the values: a sum, an average or a percentile.
    pub value: Option<f64>,
    /// The length of the window.
    pub timespan_secs: i64,
    /// The fields that keep windows apart, and their values here.
    pub group: Vec<(String, String)>,
    /// Time of the oldest entry.
    pub first_ms: i64,
    /// Time of the newest entry.
    pub last_ms: i64,
    /// How many distinct values there were, when values are counted.
    pub distinct: Option<usize>,
}

/// Longest value inside a key, in bytes: a path or address fits, and keys stay small in memory.
const MAX_KEY_VALUE_BYTES: usize = 128;

/// The match of a rule over a single event.
pub(crate) fn collect_match<'r>(
    rule: &'r Rule,
    fields: &FieldTable,
    view: View<'_>,
    limits: &Limits,
) -> Match<'r> {
    let mut matched = BTreeMap::new();
    if let Logic::Detection(detection) = &rule.logic {
        detection
            .condition
            .collect_evidence(&detection.selections, view, &mut |name, value| {
                if matched.len() < limits.excerpts && !matched.contains_key(name) {
                    matched.insert(name.to_owned(), excerpt(value, limits.excerpt_chars));
                }
            });
    }
    let mut group_key = String::new();
    for name in &rule.info.group_by {
        let seen = fields.find(name).and_then(|slot| view.first(slot));
        write_key_part(name, seen.map_or("", |seen| seen.plain), &mut group_key);
    }
    Match {
        rule: &rule.info,
        matched,
        partly_read: list_partly_read(rule, view, limits),
        window: None,
        group_key,
    }
}

/// The fields of which a rule read values only in part.
pub(crate) fn list_partly_read(rule: &Rule, view: View<'_>, limits: &Limits) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if let Logic::Detection(detection) = &rule.logic
        && view.has_long_values()
    {
        detection.visit_items(&mut |item| {
            item.list_partly_read(view, &mut |name| {
                if found.len() < limits.excerpts {
                    found.insert(excerpt(name, limits.excerpt_chars));
                }
            });
        });
    }
    found
}

/// Appends `field="value"` so that no two lists of fields and values give the same text.
pub(crate) fn write_key_part(name: &str, value: &str, key: &mut String) {
    if !key.is_empty() {
        key.push(' ');
    }
    key.push_str(name);
    key.push_str("=\"");
    write_bounded(value, key);
    key.push('"');
}

/// Appends a value, escaped; of a long one the beginning and a hash of the whole.
pub(crate) fn write_bounded(value: &str, out: &mut String) {
    let head = value
        .get(..value.floor_char_boundary(MAX_KEY_VALUE_BYTES))
        .unwrap_or(value);
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\'' | b'\\');
    if head.bytes().all(is_plain) {
        out.push_str(head);
    } else {
        write!(out, "{}", head.escape_debug()).expect("writing to a String cannot fail");
    }
    if head.len() < value.len() {
        out.push('#');
        out.push_str(&hex(&Sha256::digest(value.as_bytes())));
    }
}

/// The beginning of a value, with a mark where it was cut.
pub(crate) fn excerpt(value: &str, max_chars: usize) -> String {
    if value.len() <= max_chars {
        return value.to_owned();
    }
    match value.char_indices().nth(max_chars) {
        None => value.to_owned(),
        Some((end, _)) => format!("{}…", value.get(..end).unwrap_or_default()),
    }
}
