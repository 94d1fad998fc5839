//! `@supabase/supabase-js`, as pinned in the npm folder.
//! Never looks at more than the outcome of each step.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use hidps_local_supabase::{Pace, Stack};

use super::{Step, check_steps, parse_steps};
use crate::shared::{PASSWORD, SHARED, Shared};

/// Runs one area of the script.
async fn run_area(stack: &Stack, area: &str) -> anyhow::Result<Vec<Step>> {
    let surroundings = json!({
        "url": stack.url(),
        "publishable": stack.publishable_key(),
        "secret": stack.secret_key(),
        "password": PASSWORD,
    });
    // A module on standard input finds its packages from the working directory.
    let mut node = Command::new("node")
        .args(["--input-type=module", "-"])
        .current_dir(stack.node_packages())
        .env("STACK", surroundings.to_string())
        .env("AREA", area)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut script = node.stdin.take().context("standard input is a pipe")?;
    script.write_all(include_bytes!("client.mjs")).await?;
    drop(script);
    let output = node.wait_with_output().await?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(
        output.status.success(),
        "the script ended early: {complaints}"
    );
    parse_steps(&String::from_utf8(output.stdout)?)
}

fn check(area: &str, n_steps: usize) -> anyhow::Result<()> {
    let steps = SHARED.run(async |stack| run_area(stack, area).await)?;

    check_steps(&steps, n_steps);
    Ok(())
}

#[test]
fn supabase_js_signs_people_up_in_and_out() -> anyhow::Result<()> {
    check("auth", 6)
}

#[test]
fn supabase_js_reads_and_writes_what_row_level_security_allows() -> anyhow::Result<()> {
    check("rest", 9)
}

#[test]
fn supabase_js_hears_the_changes_its_person_may_see() -> anyhow::Result<()> {
    check("changes", 5)
}

#[test]
fn supabase_js_broadcasts_on_public_topics() -> anyhow::Result<()> {
    check("broadcast", 6)
}

#[test]
fn supabase_js_joins_only_the_private_topics_of_its_person() -> anyhow::Result<()> {
    check("private", 5)
}

#[test]
fn supabase_js_does_all_of_it_with_the_tokens_of_signing_keys() -> anyhow::Result<()> {
    let own = Shared::start(Pace {
        publication: Duration::from_secs(3600),
        ..Pace::default()
    });
    own.run(async |stack| {
        stack.rotate_signing_key()?;
        for (area, n_steps) in [("auth", 6), ("rest", 9), ("changes", 5), ("private", 5)] {
            check_steps(&run_area(stack, area).await?, n_steps);
        }
        Ok(())
    })
}
