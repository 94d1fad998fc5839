//! Reads a directory of rules with their tests and refuses a set whose tests fail.
//! It never watches the directory and never follows a link out of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hidps_rules::tests::{TEST_SUFFIX, TestFailure, TestFile, run_tests};
use hidps_rules::{RuleError, RuleFile, RuleSet};
use jiff::Timestamp;
use tokio::sync::watch;

/// Largest rule file in bytes; the longest community rule has 20 KiB.
const MAX_FILE: u64 = 256 * 1024;

/// Most files of one set.
const MAX_FILES: usize = 20_000;

/// Deepest folder below the directory.
const MAX_DEPTH: usize = 8;

/// One file of a rule directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SourceFile {
    /// Path below the directory.
    pub name: String,
    /// Its text.
    pub text: String,
}

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
}

/// Where workers find the rules in force; a new set is taken between two batches.
pub type RulesInForce = watch::Receiver<Arc<LoadedRules>>;

/// Why a directory of rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuleFilesError {
    /// A file or folder cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file is larger than rules are.
    #[error("{path} is larger than {MAX_FILE} bytes; it cannot be a rule")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// There are too many files, or too deep.
    #[error(
        "{path} holds more than {MAX_FILES} files or {MAX_DEPTH} levels; name the rules' own folder"
    )]
    TooMany {
        /// The directory.
        path: PathBuf,
    },
    /// There is no rule.
    #[error("{path} holds no rule; name a folder with .yml files")]
    Empty {
        /// The directory.
        path: PathBuf,
    },
    /// Rules do not compile.
    #[error("{} rules were refused:\n{}", .0.len(), lines(.0))]
    Rules(Vec<RuleError>),
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

/// Loads a directory: every `.yml` below it is a rule, every `.test.yml` a test.
///
/// # Errors
/// Names each file, line and column, or each test that failed.
pub fn load_rules(directory: &Path) -> Result<LoadedRules, RuleFilesError> {
    let mut files = Vec::new();
    list_files(directory, directory, 0, &mut files)?;
    files.sort();
    let (tests, sources): (Vec<_>, Vec<_>) = files
        .into_iter()
        .partition(|file| file.name.ends_with(TEST_SUFFIX));
    if sources.is_empty() {
        return Err(RuleFilesError::Empty {
            path: directory.to_owned(),
        });
    }
    let rule_files: Vec<RuleFile<'_>> = sources
        .iter()
        .map(|file| RuleFile {
            name: &file.name,
            text: &file.text,
        })
        .collect();
    let set = RuleSet::compile(&rule_files).map_err(RuleFilesError::Rules)?;
    let tests = parse_tests(&tests).map_err(RuleFilesError::Rules)?;
    let failures = run_tests(&set, &tests);
    if failures.is_empty() {
        Ok(LoadedRules {
            set,
            sources: sources.into(),
            tests: tests.len(),
            loaded_at: Timestamp::now(),
        })
    } else {
        Err(RuleFilesError::Tests(failures))
    }
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

fn list_files(
    root: &Path,
    folder: &Path,
    depth: usize,
    files: &mut Vec<SourceFile>,
) -> Result<(), RuleFilesError> {
    let fault = |path: &Path| {
        let path = path.to_owned();
        move |source| RuleFilesError::Read { path, source }
    };
    for entry in fs::read_dir(folder).map_err(fault(folder))? {
        let entry = entry.map_err(fault(folder))?;
        let path = entry.path();
        let metadata = entry.metadata().map_err(fault(&path))?;
        if files.len() >= MAX_FILES || depth > MAX_DEPTH {
            return Err(RuleFilesError::TooMany {
                path: root.to_owned(),
            });
        }
        if metadata.is_dir() {
            list_files(root, &path, depth + 1, files)?;
        } else if metadata.is_file() && path.extension().is_some_and(|end| end == "yml") {
            if metadata.len() > MAX_FILE {
                return Err(RuleFilesError::TooLarge { path });
            }
            let text = fs::read_to_string(&path).map_err(fault(&path))?;
            let name = path
                .strip_prefix(root)
                .unwrap_or(&path)
                .display()
                .to_string();
            files.push(SourceFile { name, text });
        }
    }
    Ok(())
}
