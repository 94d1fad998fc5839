//! Whether a set of rules may come into force: compiles it, runs its tests, tells every fault.
//! It never reads files and never replaces anything.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hidps_rules::tests::{TEST_SUFFIX, TestFailure, TestFile, run_tests};
use hidps_rules::{Options, Pipeline, RuleError, RuleFile, RuleSet, parse_placeholders};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::detection::rule_files::{ReadFault, SourceFile, read_alone, read_files};
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
                // Where the directories are is the daemon's affair.
                let parent = path.parent().unwrap_or(path);
                let root = match path.starts_with(directory) {
                    true => directory,
                    false => parent,
                };
                let below = path.strip_prefix(root).unwrap_or(path);
                let shown = format!("{}/", root.display());
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

/// Where rules are, and what they are compiled with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RulePaths {
    /// Every `.yml` below it is a rule, every `.test.yml` a test.
    pub directory: PathBuf,
    /// Every `.yml` below it is a pipeline.
    pub pipelines: Option<PathBuf>,
    /// The file that says what placeholders stand for.
    pub placeholders: Option<PathBuf>,
}

impl RulePaths {
    /// Everything that is read.
    pub(super) fn all(&self) -> impl Iterator<Item = &Path> {
        let more = self.pipelines.iter().chain(&self.placeholders);
        std::iter::once(&self.directory)
            .chain(more)
            .map(PathBuf::as_path)
    }
}

impl From<&Path> for RulePaths {
    fn from(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            pipelines: None,
            placeholders: None,
        }
    }
}

impl From<&PathBuf> for RulePaths {
    fn from(directory: &PathBuf) -> Self {
        directory.as_path().into()
    }
}

impl From<&Self> for RulePaths {
    fn from(paths: &Self) -> Self {
        paths.clone()
    }
}

/// The texts that rules are made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleTexts {
    /// Rules and their tests.
    pub files: Vec<SourceFile>,
    pipelines: Vec<SourceFile>,
    placeholders: Option<SourceFile>,
}

impl RuleTexts {
    /// Reads them.
    ///
    /// # Errors
    /// The first file or folder that is not as it has to be.
    pub fn read(paths: &RulePaths) -> Result<Self, ReadFault> {
        let named = |path: &Path, file: SourceFile| {
            let folder = path.file_name().unwrap_or_default().display();
            let name = format!("{folder}/{}", file.name);
            SourceFile { name, ..file }
        };
        let pipelines = paths.pipelines.as_deref().map(|path| {
            let files = read_files(path)?.into_iter();
            Ok(files.map(|file| named(path, file)).collect())
        });
        let placeholders = paths.placeholders.as_deref().map(read_alone);
        Ok(Self {
            files: read_files(&paths.directory)?,
            pipelines: pipelines.transpose()?.unwrap_or_default(),
            placeholders: placeholders.transpose()?,
        })
    }

    /// What the rules are compiled with.
    ///
    /// # Errors
    /// Every fault of a pipeline or of the placeholders, with its place.
    pub fn options(&self) -> Result<Options, Vec<RuleError>> {
        let mut options = Options::default();
        let mut faults = Vec::new();
        for SourceFile { name, text } in &self.pipelines {
            match Pipeline::parse(name, text) {
                Ok(pipeline) => options.pipelines.push(pipeline),
                Err(fault) => faults.push(fault),
            }
        }
        if let Some(SourceFile { name, text }) = &self.placeholders {
            match parse_placeholders(name, text) {
                Ok(placeholders) => options.placeholders = placeholders,
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() {
            Ok(options)
        } else {
            Err(faults)
        }
    }
}

/// Loads the rules of a directory, with the pipelines and placeholders that go with them.
///
/// # Errors
/// Names each file, line and column, or each test that failed.
pub fn load_rules(paths: impl Into<RulePaths>) -> Result<LoadedRules, RuleFilesError> {
    check_rules(RuleTexts::read(&paths.into()).map_err(RuleFilesError::Read)?)
}

/// Compiles the rules of a directory without running their tests.
///
/// # Errors
/// Names each file, line and column.
pub fn compile_rules(paths: impl Into<RulePaths>) -> Result<RuleSet, RuleFilesError> {
    let texts = RuleTexts::read(&paths.into()).map_err(RuleFilesError::Read)?;
    let options = texts.options().map_err(RuleFilesError::Rules)?;
    compile(&split(texts.files).0, &options)
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

fn compile(sources: &[SourceFile], options: &Options) -> Result<RuleSet, RuleFilesError> {
    let rule_files: Vec<RuleFile<'_>> = sources
        .iter()
        .map(|file| RuleFile {
            name: &file.name,
            text: &file.text,
        })
        .collect();
    let set = RuleSet::compile_with(&rule_files, options).map_err(RuleFilesError::Rules)?;
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
pub(super) fn check_rules(texts: RuleTexts) -> Result<LoadedRules, RuleFilesError> {
    let digest = digest(&texts);
    let options = texts.options().map_err(RuleFilesError::Rules)?;
    let (sources, tests) = split(texts.files);
    let set = compile(&sources, &options)?;
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

/// What tells one content from another, tests, pipelines and placeholders included.
pub(super) fn digest(texts: &RuleTexts) -> [u8; 32] {
    let mut digest = Sha256::new();
    let files = texts.files.iter().chain(&texts.pipelines);
    for file in files.chain(&texts.placeholders) {
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
