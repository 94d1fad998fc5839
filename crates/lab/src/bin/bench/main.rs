//! `cargo x bench [name…] [--json]`: each figure beside a peer or a limit measured in the same run.
//! It never asserts a time; machines differ, and ratios are what may be compared.
#![expect(clippy::print_stdout, reason = "the figures are the program's output")]

mod desired;

use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use clap::Parser;
use serde::{Deserialize, Serialize};

/// The benchmarks, in the order they run.
const BENCHES: [&str; 2] = ["hot_path", "desired"];

/// Run benchmarks and print their figures.
#[derive(Parser)]
#[command(name = "cargo x bench", bin_name = "cargo x bench")]
struct Arguments {
    /// The benchmarks to run; all of them when none is named.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(BENCHES))]
    names: Vec<String>,
    /// Print one JSON array instead of a table.
    #[arg(long)]
    json: bool,
}

/// One figure.
#[derive(Debug, Serialize, Deserialize)]
struct Figure {
    bench: String,
    metric: String,
    value: f64,
    unit: String,
    /// What the ratio compares with, measured in the same run.
    peer: String,
    ratio: f64,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo x bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let is_wanted =
        |name: &str| arguments.names.is_empty() || arguments.names.iter().any(|it| it == name);
    let mut figures = Vec::new();
    if is_wanted("hot_path") {
        figures.extend(measure_hot_path()?);
    }
    if is_wanted("desired") {
        figures.extend(desired::measure().await?);
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
        return Ok(());
    }
    for figure in &figures {
        let Figure {
            bench,
            metric,
            value,
            unit,
            peer,
            ratio,
        } = figure;
        println!("{bench:<9} {metric:<52} {value:>12.3} {unit:<9} x{ratio:<8.3} of {peer}");
    }
    Ok(())
}

/// The hot path has no part in a world of processes, so that it is a bench of the daemon's crate.
fn measure_hot_path() -> anyhow::Result<Vec<Figure>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args([
            "bench",
            "--quiet",
            "--package",
            "hidps",
            "--bench",
            "hot_path",
        ])
        .output()
        .context("cargo cannot be started")?;
    if !output.status.success() {
        bail!(
            "hot_path failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    serde_json::from_slice(&output.stdout).context("hot_path did not print its figures")
}
