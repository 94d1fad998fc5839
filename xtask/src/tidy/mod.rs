//! `cargo x tidy`: the rules of the house that no lint knows, as code.
//! It never changes a file, and a rule without a test on a made-up tree does not count.

mod borders;
mod code;
mod documents;
mod manifests;
mod sources;
mod tree;

use std::fmt;
use std::process::ExitCode;

use anyhow::Result;

use tree::Tree;

/// One place that breaks a rule.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Finding {
    file: String,
    line: Option<usize>,
    message: String,
}

impl Finding {
    fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            message: message.into(),
        }
    }

    fn at(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            line: Some(line),
            ..Self::of_file(file, message)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

/// Prints every finding and fails if there is one.
pub(crate) fn run() -> Result<ExitCode> {
    let findings = findings()?;
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: nothing to say");
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "tidy: {} findings; CONTRIBUTING.md has the rules",
        findings.len()
    );
    Ok(ExitCode::FAILURE)
}

/// Every finding in this repository, in the order of files and lines.
pub(crate) fn findings() -> Result<Vec<Finding>> {
    let tree = Tree::read()?;
    let mut findings = of_tree(&tree);
    findings.extend(manifests::check(&manifests::read()?));
    findings.extend(manifests::check_agent_tree(&manifests::read_agent_tree()?));
    findings.sort();
    findings.dedup();
    Ok(findings)
}

fn of_tree(tree: &Tree) -> Vec<Finding> {
    let rules: [fn(&Tree) -> Vec<Finding>; 3] = [sources::check, borders::check, documents::check];
    rules.iter().flat_map(|rule| rule(tree)).collect()
}
