//! Whether a set of rules may come into force: compiles it, runs its tests, tells every fault.
//! It never reads files and never replaces anything.

use std::path::Path;
use std::sync::Arc;

use hidps_rules::tests::{TEST_SUFFIX, TestFailure, TestFile, run_tests};
use hidps_rules::{RuleError, RuleFile, RuleSet};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::detection::rule_files::{ReadFault, SourceFile, read_files};
use crate::detection::rule_probe::list_dear;
use crate::health::RuleFault;
use crate::telemetry::Chain;

/// A set of rules whose tests pass.
#[derive(Debug, Clone)]
pub struct LoadedRules {
    /// The rules.
    pub set: RuleSet,
    /// The rule files it was compiled from, for whoever compiles them with more.
    pub sources: Arc<[SourceFile]>,
    /// How many test files ran.
    pub tests: usize,
    /// When it was loaded.
    pub loaded_at: Timestamp,
    /// What tells the content it was loaded from apart from others, tests included.
    pub(super) digest: [u8; 32],
}

/// Where workers find the rules in force; a new set is taken between two batches.
pub type RulesInForce = watch::Receiver<Arc<LoadedRules>>;

/// Why a set of rules cannot come into force.
#[derive(Debug, thiserror::Error)]
pub enum RuleFilesError {
    /// The directory cannot be read as rules.
    #[error(transparent)]
    Read(ReadFault),
    /// There is no rule.
    #[error("the directory holds no rule; name a folder with .yml files")]
    Empty,
    /// Rules do not compile.
    #[error("{} faults in rules:\n{}", .0.len(), lines(.0))]
    Rules(Vec<RuleError>),
    /// The validation itself failed.
    #[error("validating the rules broke down; please report it together with the rules")]
    Crashed,
    /// Tests fail.
    #[error("{} tests of rules failed:\n{}", .0.len(), lines(.0))]
    Tests(Vec<TestFailure>),
}

fn lines<T: std::fmt::Display>(faults: &[T]) -> String {
    faults
        .iter()
        .map(|fault| format!("  {fault}"))
        .collect::<Vec<_>>()
        .join("\n")
}

impl RuleFilesError {
    /// One word for it.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Read(ReadFault::Changing { .. }) => "StillChanging",
            Self::Read(_) => "NotReadable",
            Self::Empty => "NoRules",
            Self::Rules(_) => "NotCompiled",
            Self::Tests(_) => "TestsFailed",
            Self::Crashed => "ValidationCrashed",
        }
    }

    /// Every fault with its place; paths are told as below the directory.
    #[must_use]
    pub fn faults(&self, directory: &Path) -> Vec<RuleFault> {
        let whole = |file: String, problem| RuleFault {
            file,
            place: None,
            problem,
        };
        match self {
            Self::Read(fault) => {
                let path = fault.path();
                let below = path.strip_prefix(directory).unwrap_or(path);
                // The directory's own path is the daemon's affair.
                let shown = format!("{}/", directory.display());
                let text = Chain(fault).to_string().replace(&shown, "");
                let text = text.replace(&directory.display().to_string(), "the directory");
                vec![whole(below.display().to_string(), text)]
            }
            Self::Empty | Self::Crashed => vec![whole(String::new(), self.to_string())],
            Self::Rules(errors) => errors.iter().map(located).collect(),
            Self::Tests(failures) => failures
                .iter()
                .map(|failure| {
                    let text = failure.to_string();
                    let (file, problem) = text.split_once(": ").unwrap_or(("", &text));
                    whole(file.to_owned(), problem.to_owned())
                })
                .collect(),
        }
    }
}

fn located(error: &RuleError) -> RuleFault {
    RuleFault {
        file: error.file.clone(),
        place: Some((error.line, error.column)),
        problem: format!("{}; {}", error.problem, error.instead),
    }
}

/// Loads a directory: every `.yml` below it is a rule, every `.test.yml` a test.
///
/// # Errors
/// Names each file, line and column, or each test that failed.
pub fn load_rules(directory: &Path) -> Result<LoadedRules, RuleFilesError> {
    check_rules(read_files(directory).map_err(RuleFilesError::Read)?)
}

/// Compiles the rules of a directory without running their tests.
///
/// # Errors
/// Names each file, line and column.
pub fn compile_rules(directory: &Path) -> Result<RuleSet, RuleFilesError> {
    let files = read_files(directory).map_err(RuleFilesError::Read)?;
    compile(&split(files).0)
}

/// Reads the tests of a directory without running them.
///
/// # Errors
/// Names each file, line and column.
pub fn read_tests(directory: &Path) -> Result<Vec<TestFile>, RuleFilesError> {
    let files = read_files(directory).map_err(RuleFilesError::Read)?;
    parse_tests(&split(files).1).map_err(RuleFilesError::Rules)
}

/// Rule files, and the tests beside them.
fn split(files: Vec<SourceFile>) -> (Vec<SourceFile>, Vec<SourceFile>) {
    files
        .into_iter()
        .partition(|file| !file.name.ends_with(TEST_SUFFIX))
}

fn compile(sources: &[SourceFile]) -> Result<RuleSet, RuleFilesError> {
    let rule_files: Vec<RuleFile<'_>> = sources
        .iter()
        .map(|file| RuleFile {
            name: &file.name,
            text: &file.text,
        })
        .collect();
    let set = RuleSet::compile(&rule_files).map_err(RuleFilesError::Rules)?;
    if set.rules().len() == 0 {
        return Err(RuleFilesError::Empty);
    }
    let dear = list_dear(&set);
    if dear.is_empty() {
        Ok(set)
    } else {
        Err(RuleFilesError::Rules(dear))
    }
}

/// Compiles rules and runs the tests that stand beside them.
///
/// # Errors
/// Names each file, line and column, or each test that failed.
pub(super) fn check_rules(files: Vec<SourceFile>) -> Result<LoadedRules, RuleFilesError> {
    let digest = digest(&files);
    let (sources, tests) = split(files);
    let set = compile(&sources)?;
    let tests = parse_tests(&tests).map_err(RuleFilesError::Rules)?;
    let failures = run_tests(&set, &tests);
    if !failures.is_empty() {
        return Err(RuleFilesError::Tests(failures));
    }
    Ok(LoadedRules {
        set,
        sources: sources.into(),
        tests: tests.len(),
        loaded_at: Timestamp::now(),
        digest,
    })
}

/// What tells one content of a directory from another, tests included.
pub(super) fn digest(files: &[SourceFile]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for file in files {
        for text in [&file.name, &file.text] {
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text);
        }
    }
    digest.finalize().into()
}

/// Parses every test file, or names every one that cannot be read.
fn parse_tests(files: &[SourceFile]) -> Result<Vec<TestFile>, Vec<RuleError>> {
    let (mut tests, mut faults) = (Vec::new(), Vec::new());
    for SourceFile { name, text } in files {
        match TestFile::parse(name, text) {
            Ok(test) => tests.push(test),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() {
        Ok(tests)
    } else {
        Err(faults)
    }
}
