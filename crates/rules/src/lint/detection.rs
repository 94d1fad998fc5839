//! What lint has to say about selections and the condition that joins them.
//! It never looks at other documents.

use crate::lint::Notes;
use crate::lint::vocabulary::{fields_of, resembling};
use crate::reading::yaml::{Entry, Kind, Node};
use crate::selecting::condition::parse_condition;
use crate::selecting::expression::Expression;
use crate::values::modifier::{Modifiers, Test};

/// Most selections whose truth table is written out: 4,096 lines.
const MAX_TABLE: usize = 12;

/// Looks at the selections of a rule or a filter.
pub(crate) fn lint_detection(document: &Node, has_own_names: bool, notes: &mut Notes) {
    let parts = document.get("detection").or_else(|| document.get("filter"));
    let Some((parts, entries)) = parts.and_then(|node| Some((node, node.entries()?))) else {
        return;
    };
    let is_selection = |entry: &&Entry| !matches!(entry.key.as_str(), "condition" | "rules");
    let selections: Vec<&Entry> = entries.iter().filter(is_selection).collect();
    let known = if has_own_names {
        None
    } else {
        fields_of(document)
    };
    for selection in &selections {
        lint_name(selection, notes);
        lint_selection(&selection.value, known.as_deref(), notes);
    }
    let names: Vec<&str> = selections.iter().map(|entry| entry.key.as_str()).collect();
    let Some(condition) = parts.get("condition") else {
        return;
    };
    let conditions = match &condition.kind {
        Kind::List(items) => items.as_slice(),
        Kind::Scalar { .. } | Kind::Map(_) => std::slice::from_ref(condition),
    };
    let parsed: Result<Vec<Expression>, _> = conditions
        .iter()
        .map(|node| parse_condition(node.text().unwrap_or_default(), node.at, &names))
        .collect();
    if let Ok(parsed) = parsed {
        let joined = Expression::Any(parsed);
        lint_use(&joined, &selections, notes);
        lint_truth(&joined, condition, names.len(), notes);
    }
}

/// Finds names that readers of YAML 1.1, in which other tools are written, take for truth values.
fn lint_name(selection: &Entry, notes: &mut Notes) {
    let lower = selection.key.to_ascii_lowercase();
    if matches!(
        lower.as_str(),
        "yes" | "no" | "on" | "off" | "true" | "false"
    ) {
        let at = Node {
            at: selection.at,
            kind: selection.value.kind.clone(),
        };
        notes.warn(
            &at,
            format!(
                "tools that read YAML 1.1 take '{}' for a truth value",
                selection.key
            ),
            "give the selection another name",
        );
    }
}

/// Finds selections that the condition does not ask for.
fn lint_use(condition: &Expression, selections: &[&Entry], notes: &mut Notes) {
    let mut used = Vec::new();
    condition.list_selections(&mut used);
    for (index, selection) in selections.iter().enumerate() {
        if !used.contains(&index) {
            let at = Node {
                at: selection.at,
                kind: selection.value.kind.clone(),
            };
            notes.warn(
                &at,
                format!(
                    "the condition does not use the selection '{}'",
                    selection.key
                ),
                "use it, or remove it",
            );
        }
    }
}

/// Finds conditions that hold never or always.
fn lint_truth(condition: &Expression, at: &Node, n_selections: usize, notes: &mut Notes) {
    if n_selections > MAX_TABLE {
        return;
    }
    let holds = |line: usize| condition.decide(&|selection| line >> selection & 1 == 1);
    let mut lines = (0..1_usize << n_selections).map(holds);
    let Some(first) = lines.next() else {
        return;
    };
    if lines.any(|other| other != first) {
        return;
    }
    let what = match first {
        true => "the condition holds for every event",
        false => "the condition holds for no event",
    };
    notes.warn(at, what, "correct the condition");
}

/// Looks at one selection.
fn lint_selection(node: &Node, known: Option<&[&str]>, notes: &mut Notes) {
    match &node.kind {
        Kind::Scalar { .. } => {}
        Kind::List(items) => {
            let maps = items.iter().filter(|item| item.entries().is_some());
            maps.for_each(|item| lint_selection(item, known, notes));
        }
        Kind::Map(entries) => entries
            .iter()
            .for_each(|entry| lint_line(entry, known, notes)),
    }
}

/// Looks at one line of a selection.
fn lint_line(entry: &Entry, known: Option<&[&str]>, notes: &mut Notes) {
    let at = Node {
        at: entry.at,
        kind: entry.value.kind.clone(),
    };
    let Ok((field, modifiers)) = Modifiers::parse(&entry.key, entry.at) else {
        return;
    };
    let values = match &entry.value.kind {
        Kind::List(items) => items.as_slice(),
        Kind::Scalar { .. } | Kind::Map(_) => std::slice::from_ref(&entry.value),
    };
    if modifiers.all && values.len() == 1 {
        notes.warn(
            &at,
            "'all' stands before a single value",
            "remove 'all', or add the other values",
        );
    }
    if values.len() > 1 {
        for value in values.iter().filter(|value| value.is_null()) {
            notes.warn(
                value,
                "null stands in a list",
                "write a second selection with the field and null, and join them with 'or'",
            );
        }
    }
    if let Test::Regex(_) = modifiers.test {
        for value in values
            .iter()
            .filter(|value| value.text().is_some_and(is_plain))
        {
            notes.advise(
                value,
                "this regular expression is plain text",
                "write it with 'contains' and 'cased', which are faster",
            );
        }
    }
    if let Some(known) = known
        && !field.is_empty()
        && !known.contains(&field)
    {
        let instead = match resembling(field, known) {
            Some(other) => format!("write '{other}'"),
            None => format!("use one of {}", known.join(", ")),
        };
        notes.warn(
            &at,
            format!("no event of this log source has the field '{field}'"),
            &instead,
        );
    }
}

/// Whether a regular expression has no special characters.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.contains(|sign: char| r"\.+*?()|[]{}^$".contains(sign))
}
