//! `rules lint`: findings, one a line, each with its place and what to write instead.
//! It never runs tests; `rules test` does.

use std::io::Write;
use std::path::Path;

use hidps_rules::tests::TEST_SUFFIX;
use hidps_rules::{Finding, RuleFile, Severity};
use serde_json::{Value, json};

use super::{Outcome, RulesCliError, refused, write_json, write_text};
use crate::detection::{RuleFilesError, SourceFile, read_files};

/// Looks through the rules of a directory.
pub(super) fn lint(
    directory: &Path,
    strict: bool,
    as_json: bool,
    out: &mut dyn Write,
) -> Result<Outcome, RulesCliError> {
    let files =
        read_files(directory).map_err(|fault| refused(directory)(RuleFilesError::Read(fault)))?;
    let is_rule = |file: &&SourceFile| !file.name.ends_with(TEST_SUFFIX);
    let rules: Vec<RuleFile<'_>> = files
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
    let findings = hidps_rules::lint(&rules);
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
