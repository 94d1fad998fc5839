//! Selections of a rule: maps, lists of maps and keyword lists to expressions.
//! It never looks at the condition that joins them.

use crate::fault::{Fault, Location};
use crate::pipeline::run::Alternative;
use crate::reading::compilation::Compilation;
use crate::reading::placeholder::expand_values;
use crate::reading::yaml::{Entry, Kind, Node};
use crate::selecting::expression::{Expression, Item, Target, Written};
use crate::values::modifier::Modifiers;
use crate::values::value::compile_value;

/// Compiles one selection; nothing is left of one that pipelines dropped.
pub(crate) fn compile_selection(
    node: &Node,
    compilation: &mut Compilation,
) -> Result<Option<Expression>, Fault> {
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
) -> Result<Option<Expression>, Fault> {
    if entries.is_empty() {
        return Err(empty(at));
    }
    let mut items = Vec::new();
    for entry in entries {
        items.extend(compile_item(entry, compilation)?);
    }
    Ok((!items.is_empty()).then_some(Expression::All(items)))
}

/// A list holds when one of its maps or keywords does.
fn compile_list(
    at: Location,
    items: &[Node],
    compilation: &mut Compilation,
) -> Result<Option<Expression>, Fault> {
    if items.is_empty() {
        return Err(empty(at));
    }
    let mut parts = Vec::new();
    let mut keywords = Vec::new();
    for item in items {
        match &item.kind {
            Kind::Map(entries) => parts.extend(compile_map(item.at, entries, compilation)?),
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
        parts.extend(compile_keywords(first, &keywords, "", compilation)?);
    }
    Ok((!parts.is_empty()).then_some(Expression::Any(parts)))
}

/// Compiles one line of a map: field, modifiers, values.
fn compile_item(entry: &Entry, compilation: &mut Compilation) -> Result<Option<Expression>, Fault> {
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
    let line = Line {
        at: entry.at,
        field: Some(field),
        key: &entry.key,
        modifiers: &modifiers,
    };
    line.compile(&values, compilation)
}

/// Compiles texts that may stand anywhere in the event.
fn compile_keywords(
    node: &Node,
    values: &[&Node],
    key: &str,
    compilation: &mut Compilation,
) -> Result<Option<Expression>, Fault> {
    let (_, modifiers) = Modifiers::parse(key, node.at)?;
    let line = Line {
        at: node.at,
        field: None,
        key,
        modifiers: &modifiers,
    };
    line.compile(values, compilation)
}

/// One line of a selection before its values are compiled.
struct Line<'n> {
    at: Location,
    field: Option<&'n str>,
    key: &'n str,
    modifiers: &'n Modifiers,
}

impl Line<'_> {
    /// Compiles it under every name that pipelines give its field; one of them is enough.
    fn compile(
        &self,
        values: &[&Node],
        compilation: &mut Compilation,
    ) -> Result<Option<Expression>, Fault> {
        let ways = compilation.pipes.route_item(self.field, values, self.at)?;
        let mut items: Vec<Expression> = ways
            .iter()
            .map(|way| self.compile_way(way, values, compilation))
            .collect::<Result<_, _>>()?;
        Ok(match items.len() {
            0 | 1 => items.pop(),
            _ => Some(Expression::Any(items)),
        })
    }

    /// Compiles it under one name.
    fn compile_way(
        &self,
        way: &Alternative,
        values: &[&Node],
        compilation: &mut Compilation,
    ) -> Result<Expression, Fault> {
        let values = expand_values(values, self.modifiers, &compilation.pipes, way)?;
        let (target, mut key) = match &way.field {
            None => (Target::Keywords, String::new()),
            Some(field) => {
                let slot = compilation.slot(field);
                (Target::Field(slot, field.clone()), field.clone())
            }
        };
        let chain = self.key.split_once('|').map(|(_, chain)| chain);
        if let Some(chain) = chain {
            key.push('|');
            key.push_str(chain);
        }
        let is_keyword = matches!(target, Target::Keywords);
        let mut matchers = Vec::new();
        let mut texts = Vec::new();
        for value in &values {
            matchers.push(compile_value(
                value,
                self.modifiers,
                is_keyword,
                compilation,
            )?);
            texts.push(show(value));
        }
        let written = Written { key, values: texts };
        Ok(Expression::Item(Item {
            target,
            all: self.modifiers.all,
            negated: self.modifiers.negated,
            matchers,
            written: Box::new(written),
        }))
    }
}

/// A value as the rule writes it.
fn show(value: &Node) -> String {
    match &value.kind {
        Kind::Scalar { text, .. } if !value.is_null() => text.clone(),
        Kind::Scalar { .. } | Kind::List(_) | Kind::Map(_) => "null".to_owned(),
    }
}

/// The refusal of a selection that selects nothing.
fn empty(at: Location) -> Fault {
    Fault::new(
        at,
        "this list or map is empty",
        "write at least one value, or remove it",
    )
}
