//! `rules lint`: findings, one a line, each with its place and what to write instead.
//! It never runs tests; `rules test` does.

use std::io::Write;

use hidps_rules::tests::TEST_SUFFIX;
use hidps_rules::{Finding, RuleFile, Severity, lint_with};
use serde_json::{Value, json};

use super::{Outcome, RulesArguments, RulesCliError, refused, write_json, write_text};
use crate::detection::{RuleFilesError, RuleTexts, SourceFile};

/// Looks through the rules of a directory.
pub(super) fn lint(
    arguments: &RulesArguments,
    strict: bool,
    as_json: bool,
    out: &mut dyn Write,
) -> Result<Outcome, RulesCliError> {
    let directory = &arguments.directory;
    let texts = RuleTexts::read(&arguments.paths())
        .map_err(|fault| refused(directory)(RuleFilesError::Read(fault)))?;
    let is_rule = |file: &&SourceFile| !file.name.ends_with(TEST_SUFFIX);
    let rules: Vec<RuleFile<'_>> = texts
        .files
        .iter()
        .filter(is_rule)
        .map(|file| RuleFile {
            name: &file.name,
            text: &file.text,
        })
        .collect();
    if rules.is_empty() {
        return Err(refused(directory)(RuleFilesError::Empty));
    }
    let findings = match texts.options() {
        Ok(options) => lint_with(&rules, &options),
        // Whatever is said of rules would be said of others.
        Err(faults) => faults.into_iter().map(Finding::from).collect(),
    };
    if as_json {
        let shown: Vec<Value> = findings.iter().map(show).collect();
        write_json(out, &json!({ "files": rules.len(), "findings": shown }))?;
    } else {
        let lines: String = findings
            .iter()
            .map(|finding| format!("{finding}\n"))
            .collect();
        write_text(out, &lines)?;
        write_text(out, &summarize(rules.len(), &findings))?;
    }
    let worst = if strict {
        Severity::Warning
    } else {
        Severity::Error
    };
    let is_bad = findings.iter().any(|finding| finding.severity <= worst);
    Ok(if is_bad { Outcome::Bad } else { Outcome::Good })
}

fn show(finding: &Finding) -> Value {
    json!({
        "file": finding.file, "line": finding.line, "column": finding.column,
        "severity": finding.severity.as_str(), "what": finding.what, "instead": finding.instead,
    })
}

fn summarize(n_files: usize, findings: &[Finding]) -> String {
    let count = |severity| {
        let of_it = findings
            .iter()
            .filter(|finding| finding.severity == severity);
        of_it.count()
    };
    format!(
        "{n_files} files: {} errors, {} warnings, {} pieces of advice\n",
        count(Severity::Error),
        count(Severity::Warning),
        count(Severity::Advice),
    )
}
