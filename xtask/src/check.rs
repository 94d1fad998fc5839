//! `cargo x check`: everything that can be said about the tree without running the product.
//! It never changes a file.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::program::{capture, cargo, succeed};
use crate::report::Report;
use crate::tidy;

/// Runs all checks and reports every failure.
pub(crate) fn run() -> ExitCode {
    let mut report = Report::default();
    report.step("format", check_format);
    report.step("house rules", check_tidy);
    report.step("lints", check_lints);
    report.step("documentation", check_documentation);
    check_dependencies(&mut report);
    report.finish()
}

fn check_format() -> Result<()> {
    succeed(cargo().args(["fmt", "--all", "--check"]))?;
    succeed(cargo().args(["fmt", "--check", "--manifest-path", "fuzz/Cargo.toml"]))?;
    succeed(cargo().args(["fmt", "--check", "--manifest-path", "judges/Cargo.toml"]))
}

fn check_tidy() -> Result<()> {
    let findings = tidy::findings()?;
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} against the rules of the house", findings.len());
    }
    Ok(())
}

fn check_lints() -> Result<()> {
    let mut clippy = cargo();
    clippy.args([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--locked",
    ]);
    succeed(clippy.args(["--", "-D", "warnings"]))
}

fn check_documentation() -> Result<()> {
    let mut doc = cargo();
    doc.args(["doc", "--quiet", "--workspace", "--no-deps", "--locked"]);
    doc.args(["--document-private-items"]);
    succeed(doc.env("RUSTDOCFLAGS", "-D warnings"))
}

/// cargo-deny takes minutes to build, so a newcomer is told about it rather than made to wait.
fn check_dependencies(report: &mut Report) {
    if capture(cargo().args(["deny", "--version"])).is_err() {
        let remedy = "cargo-deny is not installed; cargo install --locked cargo-deny";
        report.skip("dependencies", remedy);
        return;
    }
    report.step("dependencies", || {
        succeed(cargo().args(["deny", "--locked", "check", "bans", "licenses", "sources"]))
    });
    // Only a failed download is excused: once the database is here, its findings count.
    if capture(cargo().args(["deny", "fetch", "db"])).is_err() {
        report.skip(
            "advisories",
            "the advisory database cannot be fetched from here",
        );
        return;
    }
    report.step("advisories", || {
        succeed(cargo().args(["deny", "--locked", "check", "advisories"]))
    });
}
