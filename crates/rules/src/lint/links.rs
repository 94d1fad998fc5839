//! What lint has to say about references between documents.
//! It never refuses one; references that lead nowhere are refused by the compiler.

use crate::correlation::CorrelationDraft;
use crate::lint::Notes;
use crate::reading::compilation::Compilation;
use crate::reading::metadata::read_texts;
use crate::reading::yaml::Node;
use crate::search::routing::WantedSource;
use crate::values::number::{Comparison, Number};

/// Looks at correlations and filters; answers notes by file.
pub(crate) fn lint_links<'f>(documents: &[(&'f str, Node)]) -> Vec<(&'f str, Notes)> {
    let sources: Vec<WantedSource> = documents
        .iter()
        .filter(|(_, node)| node.get("detection").is_some())
        .filter_map(|(_, node)| WantedSource::read(node).ok())
        .collect();
    let look = |(file, node): &(&'f str, Node)| {
        let mut notes = Notes::default();
        if let Some(correlation) = node.get("correlation") {
            lint_correlation(node, correlation, &mut notes);
        }
        if let Some(filter) = node.get("filter") {
            lint_filter(node, filter, &sources, &mut notes);
        }
        (*file, notes)
    };
    documents.iter().map(look).collect()
}

/// Looks at a correlation.
fn lint_correlation(document: &Node, node: &Node, notes: &mut Notes) {
    let mut compilation = Compilation::default();
    let Ok(draft) = CorrelationDraft::read(document, node, &mut compilation) else {
        return;
    };
    if node.get("group-by").is_none() {
        notes.advise(
            node,
            "without 'group-by' all events of an agent share one window",
            "add the fields that tell one case from another",
        );
    }
    let plan = &draft.plan;
    let at = node.get("condition").unwrap_or(node);
    let is_temporal = plan.measure.is_temporal();
    let most = is_temporal.then(|| i64::try_from(draft.members.len()).unwrap_or(i64::MAX));
    if plan.formula.is_none() && is_empty(&plan.bounds, most) {
        notes.warn(
            at,
            "no number satisfies the condition",
            "correct the bounds",
        );
    }
    lint_aliases(node, &draft, notes);
}

/// Whether no number satisfies all bounds.
fn is_empty(bounds: &[(Comparison, Number)], most: Option<i64>) -> bool {
    let ends = bounds.iter().map(|(_, number)| number.as_f64());
    let mut candidates: Vec<f64> = ends
        .flat_map(|end| [end - 0.5, end, end + 0.5, end + 1.0, end - 1.0])
        .collect();
    candidates.extend(most.map(|most| Number::Int(most).as_f64()));
    let fits = |number: &f64| {
        most.is_none_or(|most| *number <= Number::Int(most).as_f64())
            && bounds
                .iter()
                .all(|(relation, bound)| relation.holds(Number::Float(*number), *bound))
    };
    !candidates.iter().any(fits)
}

/// Finds aliases that are not used, or that leave a joined rule without the field.
fn lint_aliases(node: &Node, draft: &CorrelationDraft, notes: &mut Notes) {
    let Some(aliases) = node.get("aliases").and_then(Node::entries) else {
        return;
    };
    let condition = node.get("condition");
    let mut used = read_texts(node, "group-by").unwrap_or_default();
    used.extend(
        condition
            .and_then(|node| read_texts(node, "field").ok())
            .unwrap_or_default(),
    );
    for alias in aliases {
        let at = Node {
            at: alias.at,
            kind: alias.value.kind.clone(),
        };
        if !used.contains(&alias.key) {
            notes.warn(
                &at,
                format!("nothing uses the alias '{}'", alias.key),
                "name it in 'group-by', or remove it",
            );
        }
        let n_rules = alias.value.entries().map_or(0, <[_]>::len);
        if n_rules < draft.members.len() {
            notes.warn(
                &at,
                format!(
                    "the alias '{}' says nothing for some of the joined rules",
                    alias.key
                ),
                "add each of them with the name of its field",
            );
        }
    }
}

/// Finds filters that narrow no rule.
fn lint_filter(document: &Node, filter: &Node, sources: &[WantedSource], notes: &mut Notes) {
    let is_any = filter.get("rules").and_then(Node::text) == Some("any");
    let Ok(own) = WantedSource::read(document) else {
        return;
    };
    if is_any && !sources.iter().any(|source| source.is_within(&own)) {
        notes.warn(
            filter,
            "no rule lies within the log source of this filter",
            "widen its log source, or remove it",
        );
    }
}
