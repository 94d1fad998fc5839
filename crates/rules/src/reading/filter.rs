//! Filters: exceptions to rules, kept apart from the rules they narrow.
//! It never narrows a rule whose log source lies outside the filter's own.

use sha2::{Digest, Sha256};

use crate::fault::{Fault, Location, RuleError};
use crate::pipeline::run::RuleFacts;
use crate::reading::compilation::Compilation;
use crate::reading::document::{Body, Document, hex};
use crate::reading::metadata::{RuleInfo, read_texts};
use crate::reading::yaml::{Kind, Node};
use crate::rule_set::{Logic, Rule};
use crate::search::routing::WantedSource;
use crate::selecting::detection::Detection;

/// A filter with what it says of itself.
#[derive(Debug)]
pub(crate) struct Filter {
    /// What it does.
    pub(crate) draft: FilterDraft,
    /// What it says of itself.
    pub(crate) info: RuleInfo,
    /// Hash of its content.
    pub(crate) fingerprint: String,
}

/// Narrows the rules that filters mean, among documents and among rules that are compiled already.
pub(crate) fn apply_filters(
    filters: &[Filter],
    base: &mut [Rule],
    documents: &mut [Document],
    errors: &mut Vec<RuleError>,
) {
    for filter in filters {
        errors.extend(filter.refuse_names(base, documents));
        for rule in base.iter_mut() {
            if let Logic::Detection(detection) = &mut rule.logic
                && filter.draft.applies_to(&rule.info, detection)
            {
                detection.narrow(&filter.draft.detection);
                filter.mark(&mut rule.fingerprint);
            }
        }
        for document in documents.iter_mut() {
            let Document {
                info,
                fingerprint,
                body,
                ..
            } = document;
            if let Body::Detection(rule) = body
                && filter.draft.applies_to(info, rule)
            {
                rule.narrow(&filter.draft.detection);
                filter.mark(fingerprint);
            }
        }
    }
}

impl Filter {
    /// Makes a narrowed rule's hash another one.
    fn mark(&self, fingerprint: &mut String) {
        fingerprint.push_str(&self.fingerprint);
        *fingerprint = hex(&Sha256::digest(fingerprint.as_bytes()));
    }

    /// The refusals of names that mean no rule, or a correlation.
    fn refuse_names(&self, base: &[Rule], documents: &[Document]) -> Vec<RuleError> {
        let FilterTarget::Named(names) = &self.draft.target else {
            return Vec::new();
        };
        let refuse = |(at, name): &(Location, String)| {
            let document = documents.iter().find(|one| one.info.is_called(name));
            let rule = base.iter().find(|one| one.info.is_called(name));
            let is_detection = match (rule, document) {
                (Some(rule), _) => Some(rule.detection().is_some()),
                (None, Some(document)) => Some(matches!(document.body, Body::Detection(_))),
                (None, None) => None,
            };
            let problem = match is_detection {
                Some(true) => return None,
                Some(false) => format!("'{name}' is a correlation"),
                None => format!("there is no rule with the id or name '{name}'"),
            };
            let instead = "write the id or name of a rule with a 'detection'";
            Some(Fault::new(*at, problem, instead).in_file(&self.info.file))
        };
        names.iter().filter_map(refuse).collect()
    }
}

/// A filter whose rules are still names.
#[derive(Clone, Debug)]
pub(crate) struct FilterDraft {
    /// The rules it narrows.
    pub(crate) target: FilterTarget,
    /// What must hold besides.
    pub(crate) detection: Detection,
}

/// Which rules a filter narrows.
#[derive(Clone, Debug)]
pub(crate) enum FilterTarget {
    /// Every rule within its log source.
    Any,
    /// These, by id or name.
    Named(Vec<(Location, String)>),
}

impl FilterDraft {
    /// Reads the `logsource` and `filter` of a document.
    pub(crate) fn read(
        document: &Node,
        filter: &Node,
        compilation: &mut Compilation,
    ) -> Result<Self, Fault> {
        let source = WantedSource::read(document)?;
        let target = read_target(filter)?;
        let change = compilation.pipes.begin_rule(RuleFacts {
            at: document.at,
            tags: &[],
            source: Some(&source),
            members: &[],
        })?;
        let source = change.source.unwrap_or(source);
        let detection = Detection::read(source, filter, &["rules", "condition"], compilation)?;
        Ok(Self { target, detection })
    }

    /// Whether it narrows a rule over single events.
    pub(crate) fn applies_to(&self, info: &RuleInfo, rule: &Detection) -> bool {
        let is_meant = match &self.target {
            FilterTarget::Any => true,
            FilterTarget::Named(names) => names.iter().any(|(_, name)| info.is_called(name)),
        };
        is_meant && rule.source.is_within(&self.detection.source)
    }
}

/// Reads which rules are meant.
fn read_target(filter: &Node) -> Result<FilterTarget, Fault> {
    let missing = |at| {
        Fault::new(
            at,
            "the filter names no rules",
            "add 'rules: [id or name]' or 'rules: any'",
        )
    };
    let rules = filter.get("rules").ok_or_else(|| missing(filter.at))?;
    let names = read_texts(filter, "rules")?;
    match &rules.kind {
        Kind::Scalar { text, .. } if text.eq_ignore_ascii_case("any") => Ok(FilterTarget::Any),
        Kind::Scalar { .. } | Kind::List(_) if !names.is_empty() => {
            let places: Vec<Location> = match &rules.kind {
                Kind::List(items) => items.iter().map(|item| item.at).collect(),
                Kind::Scalar { .. } | Kind::Map(_) => vec![rules.at],
            };
            Ok(FilterTarget::Named(places.into_iter().zip(names).collect()))
        }
        Kind::Scalar { .. } | Kind::List(_) | Kind::Map(_) => Err(missing(rules.at)),
    }
}
