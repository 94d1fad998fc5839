//! The programs of the workspace's tests: found as cargo built them, and run in two lanes.
//! It never decides what a test is; that is cargo's.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::program::{capture, cargo, program, repository_root, succeed};

/// A program with tests in it.
#[derive(PartialEq, Eq, Debug)]
struct TestProgram {
    name: String,
    path: PathBuf,
    /// Its package, in which cargo would start it.
    directory: PathBuf,
    /// Whether it tests the product from outside, which takes longest and mostly waits.
    is_of_whole: bool,
}

/// Runs all tests of the workspace: those of the whole, beside them all others, and those in comments.
///
/// # Errors
/// When something does not build, or names the programs in which a test failed.
pub(crate) fn run_all() -> Result<()> {
    let (whole, parts): (Vec<_>, Vec<_>) = build()?.into_iter().partition(|it| it.is_of_whole);
    let mut failed = thread::scope(|scope| {
        let beside = scope.spawn(|| run_each(&parts, run_and_print));
        let mut failed = run_each(&whole, run_aloud);
        failed.extend(beside.join().unwrap_or_else(|_| vec!["a lane".to_owned()]));
        failed
    });
    if let Err(error) = succeed(cargo().args(["test", "--quiet", "--workspace", "--doc"])) {
        failed.push(format!("{error:#}"));
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!("tests failed in {}", failed.join(", "))
}

fn build() -> Result<Vec<TestProgram>> {
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
        directory,
    })
}

/// Runs these one after another, whatever comes of each; gives the names of those that failed.
fn run_each(
    programs: &[TestProgram],
    run: impl Fn(&TestProgram, &mut Command) -> Result<bool>,
) -> Vec<String> {
    let mut failed = Vec::new();
    for it in programs {
        let mut command = program(&it.path);
        command.arg("--quiet").current_dir(&it.directory);
        match run(it, &mut command) {
            Ok(true) => {}
            Ok(false) => failed.push(it.name.clone()),
            Err(error) => failed.push(format!("{}: {error:#}", it.name)),
        }
    }
    failed
}

/// Lets it print as it goes.
fn run_aloud(it: &TestProgram, command: &mut Command) -> Result<bool> {
    println!("{}", it.name);
    let status = command.status();
    Ok(status.with_context(|| "it cannot be started")?.success())
}

/// Prints what it said when it has ended, in one piece.
fn run_and_print(it: &TestProgram, command: &mut Command) -> Result<bool> {
    let begun = Instant::now();
    let ended = command.stdin(Stdio::null()).output();
    let ended = ended.with_context(|| "it cannot be started")?;
    let secs = begun.elapsed().as_secs_f64();
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{}, {secs:.1} s", it.name)?;
    out.write_all(&ended.stdout)?;
    out.write_all(&ended.stderr)?;
    Ok(ended.status.success())
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
        };
        let programs = [at("/bin/false"), at("/nowhere/at-all"), at("/bin/true")];

        let failed = run_each(&programs, run_and_print);

        assert_eq!(failed.len(), 2, "{failed:?}");
        assert_eq!(failed[0], "/bin/false");
        assert!(failed[1].starts_with("/nowhere/at-all: "), "{failed:?}");
    }
}
