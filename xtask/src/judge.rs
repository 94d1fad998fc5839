//! `cargo x judge`: the rule engine before its judges, an oracle from PyPI and another engine.
//! It never keeps anything outside the build directory, and never says that a judge agreed who was
//! not asked.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::program::{build_directory, capture, cargo, program, repository_root, succeed};
use crate::report::Report;

/// How much is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    events: u32,
    streams: u32,
    seed: u32,
}

/// What `cargo x test` has time for.
const SMALL: Scale = Scale {
    events: 6,
    streams: 2,
    seed: 1,
};

/// Judges at length; a judge who cannot be had is a failure.
pub(crate) fn run(events: u32, streams: u32, seed: u32) -> ExitCode {
    let mut report = Report::default();
    let scale = Scale {
        events,
        streams,
        seed,
    };
    report.step("judges", || {
        prepare_oracle()?;
        judge(scale)
    });
    report.finish()
}

/// Judges briefly, or tells why it cannot be done here.
pub(crate) fn run_briefly(report: &mut Report) {
    if let Err(error) = prepare_oracle() {
        let why = format!("the oracle cannot be had here: {error:#}");
        report.skip("judges of rules", &why);
        return;
    }
    report.step("judges of rules", || judge(SMALL));
}

/// Where everything is kept: `target/judges`.
fn directory() -> Result<PathBuf> {
    let built = build_directory()?;
    let target = built
        .parent()
        .context("programs are built below a directory")?;
    Ok(target.join("judges"))
}

/// Installs the oracle into an environment of its own, unless just that is there already.
fn prepare_oracle() -> Result<()> {
    let directory = directory()?;
    let environment = directory.join("venv");
    let wanted = repository_root().join("judges/oracle/requirements.txt");
    let wanted_text = std::fs::read_to_string(&wanted).context("cannot read what it needs")?;
    let mark = environment.join("installed.txt");
    if std::fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted_text) {
        return Ok(());
    }
    std::fs::create_dir_all(&directory).context("cannot make target/judges")?;
    capture(
        program("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment),
    )?;
    let mut install = program(environment.join("bin/pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check"]);
    install.args(["--require-hashes", "--requirement"]);
    capture(install.arg(&wanted))?;
    std::fs::write(&mark, wanted_text).context("cannot note what is installed")
}

/// Makes cases and brings our engine before both judges.
fn judge(scale: Scale) -> Result<()> {
    let directory = directory()?;
    let cases = directory.join("cases");
    if cases.exists() {
        std::fs::remove_dir_all(&cases).context("cannot remove the cases made before")?;
    }
    succeed(&mut make_cases(&directory, &cases, scale))?;
    let mut run = cargo();
    run.args(["run", "--quiet", "--manifest-path"]);
    run.arg("judges/Cargo.toml");
    // The other engine asks for a newer compiler than it needs.
    run.args(["--ignore-rust-version", "--target-dir"]);
    succeed(run.arg(directory.join("build")).arg("--").arg(&cases))
}

/// The oracle's command line.
fn make_cases(directory: &Path, cases: &Path, scale: Scale) -> Command {
    let mut make = program(directory.join("venv/bin/python"));
    make.arg("judges/oracle").arg("--out").arg(cases);
    make.args(["--own", "detection-rules"]);
    for (name, number) in [
        ("--events", scale.events),
        ("--streams", scale.streams),
        ("--seed", scale.seed),
    ] {
        make.arg(name).arg(number.to_string());
    }
    match find_community() {
        Some(rules) => {
            make.arg("--community").arg(rules);
        }
        None => println!("SKIPPED: no community rules; set HIDPS_SIGMA_RULES to a copy of them"),
    }
    // Bytecode would lie in the tree.
    make.env("PYTHONDONTWRITEBYTECODE", "1");
    make
}

/// The folder of community rules, if there is one.
fn find_community() -> Option<OsString> {
    let given = std::env::var_os("HIDPS_SIGMA_RULES");
    let beside = repository_root().join("../shared/data/sigma");
    let folder = given.unwrap_or_else(|| beside.into_os_string());
    Path::new(&folder).is_dir().then_some(folder)
}
