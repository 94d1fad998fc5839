//! `cargo x bench [name…] [--json]`: runs benchmarks and prints their figures.
//! It never measures anything itself.
#![expect(clippy::print_stdout, reason = "the figures are the program's output")]

use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use clap::{Parser, ValueEnum};
use hidps_lab::bench::agent::AgentOptions;
use hidps_lab::bench::fleet::{FeedPath, FleetOptions};
use hidps_lab::bench::process::raise_open_files;
use hidps_lab::bench::resync::ResyncOptions;
use hidps_lab::bench::storm::StormOptions;
use hidps_lab::bench::{Figure, agent, desired, fleet, resync, storm};

/// Changes measured; enough for a 99th percentile that is not the worst one.
const CHANGES: usize = 220;

/// Most changes of one host, which are a second apart.
const MOST_ON_ONE_HOST: usize = 100;

/// Agents a process of ours can hold sockets for, beside everything else it has open.
const SPARE_FILES: u64 = 500;

/// The benchmarks, in the order they run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Name {
    /// A batch from its text to rules and viewers.
    HotPath,
    /// From a row to a real host that confirmed it.
    Desired,
    /// From a row to the agent, beside 1, 100 and 1,000 connected ones, by each path of the feed.
    Fleet,
    /// A full comparison with 100,000 agents in the database.
    Resync,
    /// 5,000 connected agents come back after the daemon was killed.
    Storm,
    /// What the agent costs its host, beside others who follow the same lines.
    Agent,
}

/// Run benchmarks and print their figures.
#[derive(Parser)]
#[command(name = "cargo x bench", bin_name = "cargo x bench")]
struct Arguments {
    /// The benchmarks to run; all of them when none is named.
    names: Vec<Name>,
    /// Agents, instead of the usual number of each benchmark.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    agents: Option<u32>,
    /// Changes, instead of the usual number.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    changes: Option<u32>,
    /// Measure the agent briefly: one short round.
    #[arg(long)]
    quick: bool,
    /// Print one JSON array instead of a table.
    #[arg(long)]
    json: bool,
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
    let n_files = raise_open_files().context("the limit of open files cannot be raised")?;
    let mut figures = Vec::new();
    for name in Name::value_variants() {
        if arguments.names.is_empty() || arguments.names.contains(name) {
            figures.extend(measure(*name, arguments, n_files).await?);
        }
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
        return Ok(());
    }
    for figure in &figures {
        print(figure);
    }
    Ok(())
}

async fn measure(name: Name, arguments: &Arguments, n_files: u64) -> anyhow::Result<Vec<Figure>> {
    let n_agents = arguments.agents.map(|count| count as usize);
    let n_changes = arguments.changes.map_or(CHANGES, |count| count as usize);
    let connected = |count: usize| {
        if count as u64 + SPARE_FILES > n_files {
            bail!("{count} agents need as many open files, and {n_files} are allowed here");
        }
        Ok(count)
    };
    match name {
        Name::HotPath => measure_hot_path(),
        Name::Desired => desired::measure(n_changes.min(MOST_ON_ONE_HOST)).await,
        Name::Fleet => {
            let sizes = n_agents.map_or_else(|| vec![1, 100, 1_000], |count| vec![count]);
            connected(sizes.iter().copied().max().unwrap_or_default())?;
            let options = FleetOptions {
                sizes,
                n_changes,
                paths: vec![FeedPath::Broadcast, FeedPath::Changes, FeedPath::Dead],
                resync_secs: 5,
            };
            fleet::measure(&options).await
        }
        Name::Resync => {
            let options = ResyncOptions {
                n_agents: n_agents.unwrap_or(100_000),
                n_connected: 5,
                n_rounds: 5,
            };
            resync::measure(options).await
        }
        Name::Storm => {
            let n_agents = connected(n_agents.unwrap_or(5_000))?;
            storm::measure(StormOptions { n_agents }).await
        }
        Name::Agent => measure_agent(arguments).await,
    }
}

fn print(figure: &Figure) {
    let Figure {
        bench,
        metric,
        value,
        unit,
        peer,
        ratio,
    } = figure;
    println!("{bench:<9} {metric:<68} {value:>12.3} {unit:<9} x{ratio:<8.3} of {peer}");
}

/// Prints everybody's figures too: who reads a table wants to see the peers.
async fn measure_agent(arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    let options = if arguments.quick {
        AgentOptions::quick()
    } else {
        AgentOptions::full()
    };
    let measuring = tokio::task::spawn_blocking(move || agent::measure(&options));
    let report = measuring.await.context("the agent's bench failed")??;
    if !arguments.json {
        for note in &report.notes {
            println!("note: {note}");
        }
        println!("{}", report.table);
    }
    Ok(report.figures)
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
