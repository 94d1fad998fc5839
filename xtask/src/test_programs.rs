//! The programs of the workspace's tests: found as cargo built them, and run in two lanes.
//! It never decides what a test is; that is cargo's.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::program::{capture, cargo, program, repository_root, succeed};
use crate::watched::{self, Ended};

/// Far more than any test program takes, so that a test that hangs is named before CI gives up.
const LIMIT: Duration = Duration::from_secs(25 * 60);

/// Tests of the whole at a time: three that have a turn, and one that needs none.
const WHOLE_THREADS: u32 = 4;

/// A program with tests in it.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct TestProgram {
    name: String,
    path: PathBuf,
    /// Its package, in which cargo would start it.
    directory: PathBuf,
    /// Whether it tests the product from outside, which takes longest and mostly waits.
    is_of_whole: bool,
    /// Whether it tests its package from outside.
    is_integration: bool,
}

/// What came of all test programs.
#[derive(Default)]
struct Outcome {
    /// The tests that said they cannot run here, each with the reason.
    skipped: Vec<String>,
    failed: Vec<String>,
}

/// Runs all tests of the workspace: those of the whole, beside them all others, in which whoever is
/// done first helps, and those in comments; notes the tests that cannot run here.
///
/// # Errors
/// When it names the programs in which a test failed, or tests in comments did.
pub(crate) fn run_all(programs: Vec<TestProgram>, skipped: &mut Vec<String>) -> Result<()> {
    let (whole, mut parts): (Vec<_>, Vec<_>) = programs.into_iter().partition(|it| it.is_of_whole);
    // Whoever begins the longest last keeps everybody waiting.
    parts.sort_by_key(|it| !it.is_integration);
    let parts = Mutex::new(parts.into_iter());
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    let mut all = thread::scope(|scope| {
        let beside = scope.spawn(|| run_each("the parts", next, run_and_print));
        let mut whole = whole.into_iter();
        let mut all = run_each("the whole", || whole.next(), run_aloud);
        all.add(run_each("the rest of the parts", next, run_and_print));
        match beside.join() {
            Ok(parts) => all.add(parts),
            Err(_) => all.failed.push("a lane".to_owned()),
        }
        all
    });
    skipped.append(&mut all.skipped);
    if let Err(error) = succeed(cargo().args(["test", "--quiet", "--workspace", "--doc"])) {
        all.failed.push(format!("{error:#}"));
    }
    if all.failed.is_empty() {
        return Ok(());
    }
    bail!("tests failed in {}", all.failed.join(", "))
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.skipped.extend(other.skipped);
        self.failed.extend(other.failed);
    }
}

/// Builds the tests of the workspace, and says which programs they are.
///
/// # Errors
/// When something does not build, or there is nothing.
pub(crate) fn build() -> Result<Vec<TestProgram>> {
    let format = "--message-format=json-render-diagnostics";
    let said = capture(cargo().args(["test", "--quiet", "--workspace", "--no-run", format]))?;
    let found = parse_programs(&said);
    if found.is_empty() {
        bail!("cargo built no tests");
    }
    Ok(found)
}

/// The test programs among what cargo says it built, a JSON text a line.
fn parse_programs(said: &str) -> Vec<TestProgram> {
    let messages = said
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages
        .filter_map(|message| parse_program(&message))
        .collect()
}

fn parse_program(message: &Value) -> Option<TestProgram> {
    if message["profile"]["test"] != true {
        return None;
    }
    let manifest = PathBuf::from(message["manifest_path"].as_str()?);
    let directory = manifest.parent()?.to_owned();
    let package = directory.file_name()?.to_string_lossy();
    let (kind, target) = (
        message["target"]["kind"][0].as_str()?,
        message["target"]["name"].as_str()?,
    );
    Some(TestProgram {
        name: format!("{package}: {kind} {target}"),
        path: message["executable"].as_str()?.into(),
        is_of_whole: kind == "test" && directory == repository_root(),
        is_integration: kind == "test",
        directory,
    })
}

/// Runs these one after another, whatever comes of each; prints how long all took.
fn run_each(
    lane: &str,
    mut next: impl FnMut() -> Option<TestProgram>,
    run: impl Fn(&TestProgram, &mut Command) -> Result<Ended>,
) -> Outcome {
    let begun = Instant::now();
    let mut outcome = Outcome::default();
    while let Some(it) = next() {
        let mut command = program(&it.path);
        command.arg("--quiet").current_dir(&it.directory);
        let failure = match run(&it, &mut command) {
            Ok(ended) => {
                outcome.skipped.extend(ended.skipped());
                ended.failure
            }
            Err(error) => Some(format!("{error:#}")),
        };
        if let Some(failure) = failure {
            outcome.failed.push(format!("{}: {failure}", it.name));
        }
    }
    println!("{lane} took {:.1} s", begun.elapsed().as_secs_f64());
    outcome
}

/// Lets it print as it goes. Most of its tests wait for a turn, and some need none.
fn run_aloud(it: &TestProgram, command: &mut Command) -> Result<Ended> {
    println!("{}", it.name);
    command.arg(format!("--test-threads={WHOLE_THREADS}"));
    watched::run(command, LIMIT, true)
}

/// Prints what it said when it has ended, in one piece.
fn run_and_print(it: &TestProgram, command: &mut Command) -> Result<Ended> {
    let begun = Instant::now();
    let ended = watched::run(command, LIMIT, false)?;
    let secs = begun.elapsed().as_secs_f64();
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{}, {secs:.1} s", it.name)?;
    out.write_all(&ended.said)?;
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(kind: &str, is_test: bool, manifest: &str) -> String {
        json!({
            "reason": "compiler-artifact",
            "manifest_path": manifest,
            "target": {"kind": [kind], "name": "it"},
            "profile": {"test": is_test},
            "executable": "/built/it-0123",
        })
        .to_string()
    }

    #[test]
    fn programs_with_tests_are_found_and_those_of_the_whole_are_known() {
        let root = repository_root().join("Cargo.toml");
        let said = [
            message("test", true, root.to_str().unwrap()),
            message("bin", false, root.to_str().unwrap()),
            "not JSON".to_owned(),
            json!({"reason": "build-finished", "success": true}).to_string(),
            message("lib", true, "/elsewhere/agent/Cargo.toml"),
            message("test", true, "/elsewhere/agent/Cargo.toml"),
        ];

        let found = parse_programs(&said.join("\n"));

        let seen: Vec<_> = found
            .iter()
            .map(|it| (it.name.as_str(), it.is_of_whole))
            .collect();
        let of_root = format!(
            "{}: test it",
            repository_root().file_name().unwrap().display()
        );
        let wanted = [
            (of_root.as_str(), true),
            ("agent: lib it", false),
            ("agent: test it", false),
        ];
        assert_eq!(seen, wanted);
    }

    #[test]
    fn a_program_that_fails_is_named_and_the_next_one_runs() {
        let at = |path: &str| TestProgram {
            name: path.to_owned(),
            path: path.into(),
            directory: "/".into(),
            is_of_whole: false,
            is_integration: false,
        };
        let programs = [at("/bin/false"), at("/nowhere/at-all"), at("/bin/true")];

        let mut programs = programs.into_iter();
        let failed = run_each("these", || programs.next(), run_and_print).failed;

        assert_eq!(failed.len(), 2, "{failed:?}");
        assert_eq!(failed[0], "/bin/false: exit status: 1");
        assert!(failed[1].starts_with("/nowhere/at-all: "), "{failed:?}");
    }
}
