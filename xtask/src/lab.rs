//! The doors to `hidps-lab` and `hidps-simulation`: builds a program and what it starts, then becomes
//! it.
//! It never stays between the terminal and the program: Ctrl-C must reach the one that cleans up.

use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::program::{build_directory, cargo, program, repository_root, succeed};
use crate::setup;

/// How the programs are built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quick to build.
    Debug,
    /// Fit to be measured.
    Release,
}

/// Builds a program of `hidps-lab` with the daemon and the agent, and becomes it.
///
/// # Errors
/// When something needed is missing or the build fails; otherwise it does not return.
pub(crate) fn run(name: &str, profile: Profile, args: &[String]) -> Result<ExitCode> {
    setup::ensure()?;
    // What is measured is built without what the lab turns on in crates that they share.
    let builds: &[&[&str]] = match profile {
        Profile::Debug => &[&["-p", "hidps", "-p", "hidps-agent", "-p", "hidps-lab"]],
        Profile::Release => &[
            &["--release", "-p", "hidps", "-p", "hidps-agent"],
            &["--release", "-p", "hidps-lab"],
        ],
    };
    for packages in builds {
        let mut build = cargo();
        succeed(build.args(["build", "--quiet", "--bins"]).args(*packages))?;
    }
    let directory = match profile {
        Profile::Debug => build_directory()?,
        Profile::Release => build_directory()?.with_file_name("release"),
    };
    let path = directory.join(name);
    if !path.exists() {
        bail!("hidps-lab has no program {name}");
    }
    Err(program(path).args(args).exec().into())
}

/// Builds the simulation for speed and becomes it; it needs nothing of this machine.
///
/// # Errors
/// When the build fails; otherwise it does not return.
pub(crate) fn simulate(args: &[String]) -> Result<ExitCode> {
    let mut build = cargo();
    build.args(["build", "--quiet", "--release", "-p", "hidps-simulation"]);
    succeed(&mut build)?;
    let path = build_directory()?
        .with_file_name("release")
        .join("simulate");
    Err(program(path).args(args).exec().into())
}

/// Builds the agent as hosts get it, and its bench, and becomes the bench; it needs no local stack.
///
/// # Errors
/// When the build fails; otherwise it does not return.
pub(crate) fn bench_agent(args: &[String]) -> Result<ExitCode> {
    // The lab turns on more in crates that they share than hosts get.
    let agent: &[&str] = &["-p", "hidps-agent", "--bins"];
    let bench: &[&str] = &["-p", "hidps-lab", "--bin", "bench", "--bin", "minimal_tail"];
    for programs in [agent, bench] {
        let mut build = cargo();
        build.args(["build", "--quiet", "--profile", "dist"]);
        succeed(build.args(programs))?;
    }
    let path = build_directory()?.with_file_name("dist").join("bench");
    Err(program(path).args(args).exec().into())
}

/// Builds the rule engine's bench for speed and becomes it.
///
/// It lies outside the workspace, and the engine it compares with asks for a newer compiler than
/// it needs.
///
/// # Errors
/// When the build fails; otherwise it does not return.
pub(crate) fn bench_rules(args: &[String]) -> Result<ExitCode> {
    const DIRECTORY: &str = "judges/bench";
    let mut build = cargo();
    build.args(["build", "--quiet", "--release", "--ignore-rust-version"]);
    build.args(["--manifest-path", &format!("{DIRECTORY}/Cargo.toml")]);
    build.args(["--target-dir", &format!("{DIRECTORY}/target")]);
    succeed(&mut build)?;
    let path = repository_root().join(format!("{DIRECTORY}/target/release/hidps-rules-bench"));
    Err(program(path).args(args).exec().into())
}
