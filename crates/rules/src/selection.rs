//! Selections of a rule: maps, lists of maps and keyword lists to expressions.
//! It never looks at the condition that joins them.

use crate::compilation::Compilation;
use crate::expression::{Expression, Item, Target};
use crate::fault::{Fault, Location};
use crate::modifier::Modifiers;
use crate::value::compile_value;
use crate::yaml::{Entry, Kind, Node};

/// Compiles one selection.
pub(crate) fn compile_selection(
    node: &Node,
    compilation: &mut Compilation,
) -> Result<Expression, Fault> {
    match &node.kind {
        Kind::Map(entries) => compile_map(node.at, entries, compilation),
        Kind::List(items) => compile_list(node.at, items, compilation),
        Kind::Scalar { .. } => compile_keywords(node, &[node], "", compilation),
    }
}

/// A map holds when all its items do.
fn compile_map(
    at: Location,
    entries: &[Entry],
    compilation: &mut Compilation,
) -> Result<Expression, Fault> {
    if entries.is_empty() {
        return Err(empty(at));
    }
    let items: Result<Vec<_>, _> = entries
        .iter()
        .map(|entry| compile_item(entry, compilation))
        .collect();
    Ok(Expression::All(items?))
}

/// A list holds when one of its maps or keywords does.
fn compile_list(
    at: Location,
    items: &[Node],
    compilation: &mut Compilation,
) -> Result<Expression, Fault> {
    if items.is_empty() {
        return Err(empty(at));
    }
    let mut parts = Vec::new();
    let mut keywords = Vec::new();
    for item in items {
        match &item.kind {
            Kind::Map(entries) => parts.push(compile_map(item.at, entries, compilation)?),
            Kind::Scalar { .. } => keywords.push(item),
            Kind::List(_) => {
                return Err(Fault::new(
                    item.at,
                    "a list stands inside a list",
                    "write its items into the outer list, or a map instead",
                ));
            }
        }
    }
    if let Some(first) = keywords.first() {
        parts.push(compile_keywords(first, &keywords, "", compilation)?);
    }
    Ok(Expression::Any(parts))
}

/// Compiles one line of a map: field, modifiers, values.
fn compile_item(entry: &Entry, compilation: &mut Compilation) -> Result<Expression, Fault> {
    let values: Vec<&Node> = match &entry.value.kind {
        Kind::Scalar { .. } => vec![&entry.value],
        Kind::List(items) if items.is_empty() => return Err(empty(entry.value.at)),
        Kind::List(items) => items.iter().collect(),
        Kind::Map(_) => {
            return Err(Fault::new(
                entry.value.at,
                "a field holds a map",
                "write a value or a list of values",
            ));
        }
    };
    if entry.key.starts_with('|') || entry.key.is_empty() {
        let at = Node {
            at: entry.at,
            kind: entry.value.kind.clone(),
        };
        return compile_keywords(&at, &values, &entry.key, compilation);
    }
    let (field, modifiers) = Modifiers::parse(&entry.key, entry.at)?;
    let slot = compilation.slot(field);
    compile(
        &values,
        Target::Field(slot, field.to_owned()),
        &modifiers,
        compilation,
    )
}

/// Compiles texts that may stand anywhere in the event.
fn compile_keywords(
    node: &Node,
    values: &[&Node],
    key: &str,
    compilation: &mut Compilation,
) -> Result<Expression, Fault> {
    let (_, modifiers) = Modifiers::parse(key, node.at)?;
    compile(values, Target::Keywords, &modifiers, compilation)
}

/// Compiles the values of one item.
fn compile(
    values: &[&Node],
    target: Target,
    modifiers: &Modifiers,
    compilation: &mut Compilation,
) -> Result<Expression, Fault> {
    let keyword = matches!(target, Target::Keywords);
    let matchers: Result<Vec<_>, _> = values
        .iter()
        .map(|value| compile_value(value, modifiers, keyword, compilation))
        .collect();
    Ok(Expression::Item(Item {
        target,
        all: modifiers.all,
        negated: modifiers.negated,
        matchers: matchers?,
    }))
}

/// The refusal of a selection that selects nothing.
fn empty(at: Location) -> Fault {
    Fault::new(
        at,
        "this list or map is empty",
        "write at least one value, or remove it",
    )
}
