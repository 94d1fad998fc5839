//! `cargo x test`: the one test command; sets up what is missing and runs every kind of test.
//! It never passes over a kind silently: what cannot run here is listed with the reason.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::fetched_postgres;
use crate::judge;
use crate::private_postgres::{PrivatePostgres, Programs};
use crate::program::{build_directory, capture, cargo, program, repository_root, succeed};
use crate::report::Report;
use crate::setup;
use crate::test_programs::{self, TestProgram};
use crate::watched::{self, Ended};

/// Far more than the SQL tests take on a machine that is busy.
const SQL_LIMIT: Duration = Duration::from_secs(15 * 60);

/// Runs all tests, or `cargo test` with the given arguments.
pub(crate) fn run(args: &[String]) -> ExitCode {
    let mut report = Report::default();
    report.step("set-up", setup::ensure);
    report.step("programs", build_programs);
    if !args.is_empty() {
        report.step("cargo test", || succeed(cargo().arg("test").args(args)));
        return report.finish();
    }
    let mut programs = Vec::new();
    report.step("test programs", || {
        programs = test_programs::build()?;
        Ok(())
    });
    let beside = thread::scope(|scope| {
        let beside = scope.spawn(run_beside);
        run_workspace(&mut report, programs);
        beside.join()
    });
    match beside {
        Ok(beside) => report.add(beside),
        Err(_) => report.step("what runs beside", || bail!("it panicked")),
    }
    report.finish()
}

fn run_workspace(report: &mut Report, programs: Vec<TestProgram>) {
    let mut skipped = Vec::new();
    report.step("workspace", || {
        test_programs::run_all(programs, &mut skipped)
    });
    for told in skipped {
        let (test, why) = told
            .split_once(": ")
            .unwrap_or((&told, "it does not say why"));
        report.skip(test, why);
    }
}

/// The kinds of tests that are no programs of the workspace, one after another while those run:
/// many of those wait, and these do not.
fn run_beside() -> Report {
    let mut report = Report::default();
    run_sql_tests(&mut report);
    run_rule_tests(&mut report);
    report.step("fuzz corpora", replay_corpora);
    judge::run_briefly(&mut report);
    report
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
    let found = setup::find_postgres();
    let newest = format!("{}", fetched_postgres::MAJOR);
    let has_newest = found.iter().any(|(version, _)| is_of(version, &newest));
    let client = found.first().map(|(_, programs)| programs.clone());
    for (version, server) in found {
        let (client, is_ours) = (server.clone(), false);
        let programs = Programs {
            server,
            client,
            is_ours,
        };
        report.step(&format!("database, PostgreSQL {version}"), || {
            test_database(&script, &programs)
        });
    }
    if let (false, Some(client)) = (has_newest, client) {
        run_on_fetched(report, &script, client);
    }
}

fn is_of(version: &str, major: &str) -> bool {
    version.split('.').next() == Some(major)
}

/// The same tests on the newest version that a project may have, where this machine has none.
fn run_on_fetched(report: &mut Report, script: &Path, client: PathBuf) {
    let name = format!("database, PostgreSQL {} of npm", fetched_postgres::MAJOR);
    match fetched_postgres::fetch() {
        Ok(directory) => report.step(&name, || {
            let programs = Programs {
                server: directory.join("bin"),
                client,
                is_ours: true,
            };
            test_database(script, &programs)
        }),
        Err(error) => report.skip(&name, &format!("it cannot be had here: {error:#}")),
    }
}

/// Projects made before 2026 hand out everything in `public` by default; the policies must hold
/// with and without that. Both are tried at once, on a server each: roles belong to whole servers.
fn test_database(script: &Path, programs: &Programs) -> Result<()> {
    let outcomes = thread::scope(|scope| {
        let test = |old_grants: &'static str| {
            scope.spawn(move || test_with_grants(script, programs, old_grants))
        };
        ["", "1"].map(test).map(thread::ScopedJoinHandle::join)
    });
    for outcome in outcomes {
        let ended = outcome.map_err(|_| anyhow!("the tests of SQL panicked"))??;
        print!("{}", String::from_utf8_lossy(&ended.said));
        if let Some(failure) = ended.failure {
            bail!("supabase/tests/run.sh: {failure}");
        }
    }
    Ok(())
}

fn test_with_grants(script: &Path, programs: &Programs, old_grants: &str) -> Result<Ended> {
    let server = PrivatePostgres::start(programs)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(programs.client.clone()).chain(std::env::split_paths(&path));
    let mut tests = program(script);
    tests.arg(server.create_database("tested")?);
    tests.env("PATH", std::env::join_paths(path)?);
    tests.env("HIDPS_OLD_DEFAULT_GRANTS", old_grants);
    watched::run(&mut tests, SQL_LIMIT, false)
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
