//! Lint: what is wrong, doubtful or missing in rule files, beyond what makes them refused.
//! It never changes what a rule means; a finding says what to write instead.

pub(crate) mod attributes;
pub(crate) mod detection;
pub(crate) mod links;
pub(crate) mod vocabulary;

use std::collections::HashMap;
use std::fmt;

use crate::fault::{Fault, RuleError};
use crate::lint::attributes::lint_attributes;
use crate::lint::detection::lint_detection;
use crate::lint::links::lint_links;
use crate::reading::options::Options;
use crate::reading::yaml::Node;
use crate::rule_set::{RuleFile, RuleSet, read_files};

/// How much a finding matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Severity {
    /// The set is not loaded.
    Error,
    /// The rule does not do what its author most likely wanted.
    Warning,
    /// The rule is harder to work with than it has to be.
    Advice,
}

impl Severity {
    /// One word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Advice => "advice",
        }
    }
}

/// Something that lint found.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Finding {
    /// Name of the file, as the caller gave it.
    pub file: String,
    /// Line, counted from one.
    pub line: usize,
    /// Column in characters, counted from one.
    pub column: usize,
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub instead: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            severity,
            what,
            instead,
        } = self;
        let severity = severity.as_str();
        write!(out, "{file}:{line}:{column}: {severity}: {what}; {instead}")
    }
}

impl Finding {
    /// A refusal as a finding.
    fn of(error: RuleError, severity: Severity) -> Self {
        Self {
            file: error.file,
            line: error.line,
            column: error.column,
            severity,
            what: error.problem,
            instead: error.instead,
        }
    }
}

impl From<RuleError> for Finding {
    fn from(error: RuleError) -> Self {
        Self::of(error, Severity::Error)
    }
}

/// Looks through rule files; answers findings in the order of files and lines.
///
/// ```
/// use hidps_rules::{RuleFile, Severity, lint};
///
/// let text = "title: Root
/// id: 8f0ad2d5-1a63-4bb5-9f8a-9a6b3ac0f6f4
/// status: test
/// description: Root did something.
/// author: Somebody
/// date: 2026-11-21
/// level: low
/// logsource: {product: linux}
/// detection:
///   root: {user|all: root}
///   other: {user: alice}
///   condition: root
/// ";
///
/// let findings = lint(&[RuleFile { name: "root.yml", text }]);
///
/// let lines: Vec<usize> = findings.iter().map(|finding| finding.line).collect();
/// assert_eq!(lines, [10, 11]);
/// assert!(findings.iter().all(|finding| finding.severity == Severity::Warning));
/// ```
#[must_use]
pub fn lint(files: &[RuleFile<'_>]) -> Vec<Finding> {
    lint_with(files, &Options::default())
}

/// Looks through rule files that are compiled with pipelines and placeholders.
#[must_use]
pub fn lint_with(files: &[RuleFile<'_>], options: &Options) -> Vec<Finding> {
    let mut findings: Vec<Finding> = RuleSet::compile_with(files, options)
        .err()
        .unwrap_or_default()
        .into_iter()
        .map(|error| Finding::of(error, Severity::Error))
        .collect();
    let documents = read_files(files, &mut Vec::new());
    let has_own_names = !options.pipelines.is_empty();
    for (file, node) in &documents {
        let mut notes = Notes::default();
        lint_attributes(node, &mut notes);
        lint_detection(node, has_own_names, &mut notes);
        notes.finish(file, &mut findings);
    }
    lint_titles(&documents, &mut findings);
    for (file, notes) in lint_links(&documents) {
        notes.finish(file, &mut findings);
    }
    findings.sort();
    findings.dedup();
    findings
}

/// Findings of one file before its name is added.
#[derive(Default)]
pub(crate) struct Notes(Vec<(Severity, Fault)>);

impl Notes {
    /// Adds a warning.
    pub(crate) fn warn(&mut self, node: &Node, what: impl Into<String>, instead: &str) {
        let fault = Fault::new(node.at, what, instead);
        self.0.push((Severity::Warning, fault));
    }

    /// Adds a piece of advice.
    pub(crate) fn advise(&mut self, node: &Node, what: impl Into<String>, instead: &str) {
        let fault = Fault::new(node.at, what, instead);
        self.0.push((Severity::Advice, fault));
    }

    /// Adds the name of the file.
    fn finish(self, file: &str, findings: &mut Vec<Finding>) {
        let notes = self.0.into_iter();
        findings.extend(notes.map(|(severity, fault)| Finding::of(fault.in_file(file), severity)));
    }
}

/// Finds titles that two rules share: nobody can tell their alerts apart.
fn lint_titles(documents: &[(&str, Node)], findings: &mut Vec<Finding>) {
    let mut first: HashMap<&str, &str> = HashMap::new();
    for (file, node) in documents {
        let Some(title) = node.get("title") else {
            continue;
        };
        let Some(other) = title.text().and_then(|text| first.insert(text, file)) else {
            continue;
        };
        let mut notes = Notes::default();
        notes.warn(
            title,
            format!("a rule in {other} has the same title"),
            "say in the title what is different here",
        );
        notes.finish(file, findings);
    }
}
