//! `hidpsd rules …`: looks at a directory of rules for whoever writes them.
//! It never changes a rule, never talks to a running daemon and needs no configuration.
//!
//! Results go to standard output, for people or, with `--json`, as one JSON value for programs.

mod bench;
mod explain;
mod journal_lines;
mod lint;
mod list;
mod replay;
mod samples;
mod table;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use hidps_rules::RuleSet;
use serde_json::{Value, json};

use crate::detection::{LoadedRules, RuleFilesError, RulePaths, compile_rules, load_rules};
use crate::telemetry::Chain;

/// What can be asked about rules.
#[derive(Subcommand, Debug)]
pub enum RulesCommand {
    /// Say what is wrong, doubtful or missing in the rules of a directory.
    #[command(
        after_help = "Exit code: 0 nothing that keeps the set from being loaded, 1 something \
                            does (with --strict: any warning), 2 wrong arguments."
    )]
    Lint {
        /// Where the rules are.
        #[command(flatten)]
        rules: RulesArguments,
        /// Fail for warnings too.
        #[arg(long)]
        strict: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Compile the rules of a directory and run the tests beside them, as the daemon does.
    #[command(
        after_help = "Exit code: 0 the daemon would load them, 1 it would not, 2 wrong \
                            arguments."
    )]
    Test {
        /// Where the rules are.
        #[command(flatten)]
        rules: RulesArguments,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say why each rule matches one event, or does not.
    #[command(after_help = explain::HELP)]
    Explain(explain::ExplainArguments),
    /// Play a stream of events through the rules and print each match.
    #[command(after_help = replay::HELP)]
    Match(replay::MatchArguments),
    /// List the rules of a directory.
    #[command(
        after_help = "Exit code: 0 listed, 1 the rules cannot be read or compiled, 2 wrong \
                            arguments."
    )]
    List {
        /// Where the rules are.
        #[command(flatten)]
        rules: RulesArguments,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Measure what each rule costs, the most expensive first.
    #[command(after_help = bench::HELP)]
    Bench(bench::BenchArguments),
}

/// Where rules are, and what they are compiled with.
#[derive(Args, Debug)]
pub struct RulesArguments {
    /// The directory of the rules.
    directory: PathBuf,
    /// Directory of pipelines, as the daemon has it in HIDPS_RULE_PIPELINES_DIR.
    #[arg(long, value_name = "DIR")]
    pipelines: Option<PathBuf>,
    /// File of placeholders, as the daemon has it in HIDPS_RULE_PLACEHOLDERS.
    #[arg(long, value_name = "FILE")]
    placeholders: Option<PathBuf>,
}

impl RulesArguments {
    fn paths(&self) -> RulePaths {
        RulePaths {
            directory: self.directory.clone(),
            pipelines: self.pipelines.clone(),
            placeholders: self.placeholders.clone(),
        }
    }
}

/// Why a question about rules has no answer.
#[derive(Debug, thiserror::Error)]
pub enum RulesCliError {
    /// The rules cannot be used.
    #[error("the rules in {directory} cannot be used: {}", Chain(cause))]
    Rules {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        cause: RuleFilesError,
    },
    /// The events cannot be read.
    #[error("{0}")]
    Events(String),
    /// The answer cannot be written.
    #[error("the answer cannot be written")]
    Write(#[source] io::Error),
}

/// Whether what was asked for is as it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is.
    Good,
    /// Something has to be done; the answer says what.
    Bad,
}

/// Answers a question about rules.
///
/// # Errors
/// When there is no answer, with what to do.
pub fn answer(command: &RulesCommand, out: &mut dyn Write) -> Result<Outcome, RulesCliError> {
    match command {
        RulesCommand::Lint {
            rules,
            strict,
            json,
        } => lint::lint(rules, *strict, *json, out),
        RulesCommand::Test { rules, json } => test(rules, *json, out),
        RulesCommand::Explain(arguments) => explain::explain(arguments, out),
        RulesCommand::Match(arguments) => replay::replay(arguments, out),
        RulesCommand::List { rules, json } => list::list(rules, *json, out),
        RulesCommand::Bench(arguments) => bench::bench(arguments, out),
    }
}

fn load(rules: &RulesArguments) -> Result<LoadedRules, RulesCliError> {
    load_rules(rules.paths()).map_err(refused(&rules.directory))
}

/// Compiles rules without running their tests.
fn compile(rules: &RulesArguments) -> Result<RuleSet, RulesCliError> {
    compile_rules(rules.paths()).map_err(refused(&rules.directory))
}

/// Names the directory whose rules cannot be used.
fn refused(directory: &Path) -> impl FnOnce(RuleFilesError) -> RulesCliError {
    move |cause| RulesCliError::Rules {
        directory: directory.to_owned(),
        cause,
    }
}

fn test(
    rules: &RulesArguments,
    as_json: bool,
    out: &mut dyn Write,
) -> Result<Outcome, RulesCliError> {
    let directory = &rules.directory;
    match load_rules(rules.paths()) {
        Ok(rules) => {
            let (count, tests, hash) = (rules.set.rules().len(), rules.tests, rules.set.hash());
            if as_json {
                write_json(
                    out,
                    &json!({
                        "loads": true, "rules": count, "tests": tests, "hash": hash,
                        "reason": null, "faults": [],
                    }),
                )?;
            } else {
                let line =
                    format!("{count} rules compiled, {tests} test files passed, set {hash}\n");
                write_text(out, &line)?;
            }
            Ok(Outcome::Good)
        }
        Err(source) if as_json => {
            let faults = source.faults(directory);
            let faults = faults.iter().map(|fault| {
                json!({
                    "file": fault.file, "problem": fault.problem,
                    "line": fault.place.map(|(line, _)| line),
                    "column": fault.place.map(|(_, column)| column),
                })
            });
            let faults: Vec<Value> = faults.collect();
            write_json(
                out,
                &json!({
                    "loads": false, "reason": source.reason(), "faults": faults,
                    "rules": null, "tests": null, "hash": null,
                }),
            )?;
            Ok(Outcome::Bad)
        }
        Err(source) => Err(refused(directory)(source)),
    }
}

fn write_text(out: &mut dyn Write, text: &str) -> Result<(), RulesCliError> {
    let written = out.write_all(text.as_bytes());
    written.map_err(RulesCliError::Write)
}

fn write_json(out: &mut dyn Write, value: &Value) -> Result<(), RulesCliError> {
    write_text(out, &format!("{value:#}\n"))
}
