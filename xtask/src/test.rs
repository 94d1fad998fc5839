//! `cargo x test`: the one test command; sets up what is missing and runs every kind of test.
//! It never passes over a kind silently: what cannot run here is listed with the reason.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::judge;
use crate::private_postgres::PrivatePostgres;
use crate::program::{build_directory, capture, cargo, program, repository_root, succeed};
use crate::report::Report;
use crate::setup;
use crate::test_programs;

/// Runs all tests, or `cargo test` with the given arguments.
pub(crate) fn run(args: &[String]) -> ExitCode {
    let mut report = Report::default();
    report.step("set-up", setup::ensure);
    report.step("programs", build_programs);
    if !args.is_empty() {
        report.step("cargo test", || succeed(cargo().arg("test").args(args)));
        return report.finish();
    }
    let mut skipped = Vec::new();
    report.step("workspace", || test_programs::run_all(&mut skipped));
    for told in skipped {
        let (test, why) = told.split_once(": ").unwrap_or((&told, "it does not say why"));
        report.skip(test, why);
    }
    run_sql_tests(&mut report);
    run_rule_tests(&mut report);
    report.step("fuzz corpora", replay_corpora);
    judge::run_briefly(&mut report);
    report.finish()
}

/// Tests of the whole start these programs, so they must be as new as the tests.
fn build_programs() -> Result<()> {
    succeed(cargo().args(["build", "--quiet", "--workspace", "--bins"]))
}

fn run_sql_tests(report: &mut Report) {
    let script = repository_root().join("supabase/tests/run.sh");
    if !script.exists() {
        report.skip("database", "supabase/tests/run.sh is not there");
        return;
    }
    for (version, programs) in setup::find_postgres() {
        report.step(&format!("database, PostgreSQL {version}"), || {
            test_database(&script, &programs)
        });
    }
}

/// Projects made before 2026 hand out everything in `public` by default; the policies must hold
/// with and without that.
fn test_database(script: &Path, programs: &Path) -> Result<()> {
    let server = PrivatePostgres::start(programs)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(programs.to_owned()).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(path)?;
    for (name, old_grants) in [("today", ""), ("before_2026", "1")] {
        let address = server.create_database(name)?;
        let mut tests = program(script);
        tests.arg(address).env("PATH", &path);
        succeed(tests.env("HIDPS_OLD_DEFAULT_GRANTS", old_grants))?;
    }
    Ok(())
}

fn run_rule_tests(report: &mut Report) {
    let daemon = build_directory().map(|directory| directory.join("hidpsd"));
    let Ok(daemon) = daemon else {
        report.skip("rules", "hidpsd was not built");
        return;
    };
    if capture(program(&daemon).args(["rules", "--help"])).is_err() {
        report.skip("rules", "hidpsd has no subcommand rules");
        return;
    }
    report.step("rules", || {
        succeed(program(&daemon).args(["rules", "test", "detection-rules"]))
    });
}

/// The corpora live outside the workspace, with the fuzz targets; replaying them needs no nightly,
/// and in the workspace's own target directory most of what it takes is built already.
fn replay_corpora() -> Result<()> {
    let directory = build_directory()?;
    let directory = directory
        .parent()
        .context("programs are built below a directory")?;
    let mut replay = cargo();
    replay.args(["test", "--quiet", "--manifest-path", "fuzz/Cargo.toml"]);
    succeed(replay.arg("--target-dir").arg(directory))
}
