//! The official clients on the stack: whatever they rely on has to be there.
//! Never imitates a client; each runs as its makers publish it.

mod python_realtime;
mod supabase_js;

use anyhow::Context;
use serde::Deserialize;

/// What a script says of one of its steps.
#[derive(Debug, Deserialize)]
struct Step {
    step: String,
    failure: Option<String>,
}

/// Reads the lines a script printed.
fn parse_steps(output: &str) -> anyhow::Result<Vec<Step>> {
    output
        .lines()
        .map(|line| serde_json::from_str(line).context(line.to_owned()))
        .collect()
}

/// Asserts that all steps were made and none failed.
fn check_steps(steps: &[Step], n_steps: usize) {
    let failed: Vec<String> = steps
        .iter()
        .filter_map(|step| Some(format!("{}: {}", step.step, step.failure.as_ref()?)))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert_eq!(steps.len(), n_steps, "{steps:?}");
}
