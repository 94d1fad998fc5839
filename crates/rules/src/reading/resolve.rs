//! References between documents: correlations find the rules they join, wherever those stand.
//! It never compiles a document; it orders and links compiled ones.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::correlation::{Alias, CorrelationDraft, FieldName};
use crate::fault::{Fault, Location, RuleError};
use crate::reading::document::{Body, Document, hex};
use crate::reading::filter::{Filter, apply_filters};
use crate::reading::rearm::{list_rearms, resolve_rearms};
use crate::rule_set::{Correlation, Feed, Logic, Member, Rule};

/// Links documents into rules, correlations behind the rules they join.
pub(crate) fn resolve(
    documents: Vec<Document>,
    filters: &[Filter],
    errors: &mut Vec<RuleError>,
) -> Vec<Rule> {
    resolve_onto(Vec::new(), documents, filters, errors)
}

/// The same behind rules that are linked already, which documents and filters may name.
pub(crate) fn resolve_onto(
    base: Vec<Rule>,
    mut documents: Vec<Document>,
    filters: &[Filter],
    errors: &mut Vec<RuleError>,
) -> Vec<Rule> {
    let mut rules = base;
    apply_filters(filters, &mut rules, &mut documents, errors);
    let rearms = list_rearms(&documents);
    let names = index_names(&documents, errors);
    let Some(order) = order_documents(&documents, &names, errors) else {
        return Vec::new();
    };
    let mut numbers = vec![0; documents.len()];
    for (number, document) in order.iter().enumerate() {
        if let Some(slot) = numbers.get_mut(*document) {
            *slot = rules.len() + number;
        }
    }
    let mut numbers: HashMap<String, usize> = names
        .into_iter()
        .filter_map(|(name, document)| Some((name, *numbers.get(document)?)))
        .collect();
    for (number, rule) in rules.iter().enumerate() {
        let own = std::iter::once(&rule.info.id).chain(&rule.info.name);
        numbers.extend(own.map(|name| (name.clone(), number)));
    }
    let mut documents: Vec<Option<Document>> = documents.into_iter().map(Some).collect();
    for document in order
        .into_iter()
        .filter_map(|index| documents.get_mut(index)?.take())
    {
        let rule = link(document, &numbers, &mut rules, errors);
        rules.push(rule);
    }
    silence_joined_rules(&mut rules);
    resolve_rearms(&rearms, &mut rules, errors);
    rules
}

/// A joined rule reports its own matches only when a correlation says `generate: true`.
fn silence_joined_rules(rules: &mut [Rule]) {
    let generates: Vec<bool> = rules
        .iter()
        .map(|rule| matches!(&rule.logic, Logic::Correlation(one) if one.plan.generate))
        .collect();
    for rule in rules.iter_mut().filter(|rule| !rule.feeds.is_empty()) {
        rule.is_reported = rule
            .feeds
            .iter()
            .any(|feed| generates.get(feed.correlation).copied().unwrap_or(false));
    }
}

/// Every id and name with the index of its document.
fn index_names(documents: &[Document], errors: &mut Vec<RuleError>) -> HashMap<String, usize> {
    let mut names: HashMap<String, usize> = HashMap::new();
    for (index, document) in documents.iter().enumerate() {
        let info = &document.info;
        let own = std::iter::once(&info.id).chain(&info.name);
        for name in own {
            let first = *names.entry(name.clone()).or_insert(index);
            let other = documents.get(first).filter(|_| first != index);
            if let Some(other) = other {
                let fault = Fault::new(
                    document.at,
                    format!(
                        "'{name}' is also the id or name of a rule in {}",
                        other.info.file
                    ),
                    "give every rule an id of its own",
                );
                errors.push(fault.in_file(&info.file));
            }
        }
    }
    names
}

/// An order in which every correlation stands behind the rules it joins.
fn order_documents(
    documents: &[Document],
    names: &HashMap<String, usize>,
    errors: &mut Vec<RuleError>,
) -> Option<Vec<usize>> {
    let is_detection = |index: &usize| {
        documents
            .get(*index)
            .is_some_and(|one| matches!(one.body, Body::Detection(_)))
    };
    let (mut order, mut waiting): (Vec<usize>, Vec<usize>) =
        (0..documents.len()).partition(is_detection);
    let n_errors = errors.len();
    while !waiting.is_empty() {
        let is_ready = |index: &usize| {
            let members = documents.get(*index).map(list_members).unwrap_or_default();
            members
                .iter()
                .all(|(_, name)| names.get(name).is_none_or(|member| order.contains(member)))
        };
        let (ready, rest): (Vec<usize>, Vec<usize>) = waiting.into_iter().partition(is_ready);
        if ready.is_empty() {
            errors.extend(
                rest.iter()
                    .filter_map(|index| documents.get(*index))
                    .map(refuse_cycle),
            );
            break;
        }
        order.extend(ready);
        waiting = rest;
    }
    (errors.len() == n_errors).then_some(order)
}

/// The refusal of a correlation that waits for itself.
fn refuse_cycle(document: &Document) -> RuleError {
    let fault = Fault::new(
        document.at,
        "this correlation joins itself, directly or through others",
        "break the circle",
    );
    fault.in_file(&document.info.file)
}

/// The names a document refers to.
fn list_members(document: &Document) -> Vec<(Location, String)> {
    match &document.body {
        Body::Correlation(draft) => draft.members.clone(),
        Body::Detection(_) => Vec::new(),
    }
}

/// Turns one document into a rule and tells the rules it joins.
fn link(
    document: Document,
    numbers: &HashMap<String, usize>,
    rules: &mut [Rule],
    errors: &mut Vec<RuleError>,
) -> Rule {
    let Document {
        info,
        mut fingerprint,
        body,
        ..
    } = document;
    let logic = match body {
        Body::Detection(detection) => Logic::Detection(detection),
        Body::Correlation(draft) => {
            let faults = refuse_strangers(&draft, numbers);
            errors.extend(faults.into_iter().map(|fault| fault.in_file(&info.file)));
            for (_, name) in &draft.members {
                let joined = numbers.get(name).and_then(|number| rules.get(*number));
                fingerprint.push_str(joined.map_or("", |rule| rule.fingerprint.as_str()));
            }
            fingerprint = hex(&Sha256::digest(fingerprint.as_bytes()));
            Logic::Correlation(join(draft, numbers, rules))
        }
    };
    Rule {
        info,
        fingerprint,
        is_reported: true,
        feeds: Vec::new(),
        logic,
    }
}

/// Joins the rules of a correlation, whose own number is the next free one.
fn join(
    draft: CorrelationDraft,
    numbers: &HashMap<String, usize>,
    rules: &mut [Rule],
) -> Correlation {
    let correlation = rules.len();
    let mut members = Vec::new();
    for (member, (_, name)) in draft.members.iter().enumerate() {
        let number = numbers.get(name).copied();
        let is_this = |alias: &&Alias| numbers.get(&alias.rule).copied() == number;
        let rename = |field: &FieldName| {
            let mut aliases = draft.aliases.iter().filter(is_this);
            let own = aliases.find(|alias| alias.name == field.name);
            own.map_or_else(|| field.clone(), |alias| alias.field.clone())
        };
        let values = draft.plan.measure.fields().iter().map(rename).collect();
        let group_by = draft.plan.group_by.iter().map(rename).collect();
        members.push(Member { group_by, values });
        if let Some(joined) = number.and_then(|number| rules.get_mut(number)) {
            joined.feeds.push(Feed {
                correlation,
                member,
            });
        }
    }
    Correlation {
        plan: draft.plan,
        members,
    }
}

/// The refusals of references that lead nowhere.
fn refuse_strangers(draft: &CorrelationDraft, numbers: &HashMap<String, usize>) -> Vec<Fault> {
    let members = draft.members.iter().map(|(at, name)| (at, name));
    let aliased = draft.aliases.iter().map(|alias| (&alias.at, &alias.rule));
    let strangers = members
        .chain(aliased)
        .filter(|(_, name)| !numbers.contains_key(*name));
    strangers
        .map(|(at, name)| {
            Fault::new(
                *at,
                format!("there is no rule with the id or name '{name}'"),
                "write the id or name of a rule in one of the loaded files",
            )
        })
        .collect()
}
