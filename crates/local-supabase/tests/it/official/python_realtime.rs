//! The official Python client `realtime`, in a virtual environment of the test's own; it speaks protocol version 1.
//! Never passes silently where Python is missing: it says that it was skipped, and why.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use serde_json::json;
use tokio::process::Command;

use hidps_local_supabase::{Options, Stack};

use super::{check_steps, parse_steps};
use crate::shared::{ADMIN, SHARED};

/// The version the stand-in was compared with.
const PACKAGE: &str = "realtime==2.34.1";

/// Makes the environment, or says why it cannot be made.
async fn ensure_environment() -> anyhow::Result<PathBuf> {
    let environment = Options::default().cache.join("python-realtime-2.34.1");
    let python = environment.join("bin/python");
    if environment.join(".complete").exists() {
        return Ok(python);
    }
    run(
        Path::new("python3"),
        &["-m", "venv", "--clear", &environment.to_string_lossy()],
    )
    .await
    .context("python3 with venv (Debian: apt-get install python3-venv)")?;
    run(
        &python,
        &[
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            PACKAGE,
        ],
    )
    .await
    .context("the package realtime")?;
    std::fs::write(environment.join(".complete"), "")?;
    Ok(python)
}

async fn run(program: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program).args(arguments).output().await?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{}", complaints.trim());
    Ok(())
}

async fn run_script(stack: &Stack, python: &Path) -> anyhow::Result<String> {
    let query = format!("select id from auth.users where email = '{ADMIN}'");
    let owner = stack.sql(&query).await?;
    let surroundings =
        json!({ "url": stack.url(), "secret": stack.secret_key(), "owner": owner[0]["id"] });
    let output = Command::new(python)
        .args(["-c", include_str!("client.py")])
        .env("STACK", surroundings.to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(
        output.status.success(),
        "the script ended early: {complaints}"
    );
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn python_realtime_hears_changes_and_broadcasts() -> anyhow::Result<()> {
    SHARED.run(async |stack| {
        let python = match ensure_environment().await {
            Ok(python) => python,
            Err(missing) => {
                let missing = format!("{missing:#}").replace('\n', " ");
                let line = format!("SKIPPED the official Python client: {missing}\n");
                // Past the capture of the test runner.
                std::io::stderr().write_all(line.as_bytes()).ok();
                return Ok(());
            }
        };

        let steps = parse_steps(&run_script(stack, &python).await?)?;

        check_steps(&steps, 4);
        Ok(())
    })
}
