//! Repository tasks behind `cargo x`: checks, tests, set-up, and the doors to the local stack.
//! It never links what it starts: `dev`, `demo` and `bench` are programs of `hidps-lab`, built
//! when asked for, so that `cargo x check` is ready within seconds of a clone.
#![expect(
    clippy::print_stdout,
    reason = "a task's report is its output; there is no log to write to"
)]

mod check;
mod dist;
mod fetched_postgres;
mod frame_types;
mod judge;
mod lab;
mod private_postgres;
mod program;
mod report;
mod setup;
mod test;
mod test_programs;
mod tidy;
mod watched;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks of this repository.
#[derive(Parser)]
#[command(name = "cargo x", bin_name = "cargo x")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check format, lints, documentation, dependencies and the rules of the house.
    Check,
    /// Check the rules of the house only: import table, file length, names, reasons.
    Tidy,
    /// Run every test; with arguments, run `cargo test` with them and nothing else.
    Test {
        /// Arguments for `cargo test`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Compare the rule engine with pySigma over SQLite and with rsigma, on many rules and events.
    Judge {
        /// Events made from each rule.
        #[arg(long, default_value_t = 60)]
        events: u32,
        /// Streams made for each kind of correlation.
        #[arg(long, default_value_t = 20)]
        streams: u32,
        /// What the events are drawn by.
        #[arg(long, default_value_t = 1)]
        seed: u32,
    },
    /// Build the agent as hosts get it, with its checksum and its Debian package.
    Dist {
        /// Architectures to build for, also those whose standard library has to be built first.
        #[arg(long)]
        target: Vec<String>,
    },
    /// Write the frames' types for TypeScript anew, from their JSON Schema.
    Types,
    /// Find or install the programs that tests and the local stack need.
    Setup,
    /// Run the whole product on this machine until Ctrl-C.
    Dev {
        /// Arguments for the program.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run the main story without a person and print what was observed (`--json` for machines).
    Demo {
        /// Arguments for the program.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run random schedules of changes and faults on simulated time (`--seeds N`, `--seed N`).
    Simulate {
        /// Arguments for the program.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run all benchmarks, or those named (`--json` for machines); `rules` is the rule engine's,
    /// `agent` what the agent costs its host.
    Bench {
        /// Arguments for the program.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Check => Ok(check::run()),
        Task::Tidy => tidy::run(),
        Task::Test { args } => Ok(test::run(&args)),
        Task::Judge {
            events,
            streams,
            seed,
        } => Ok(judge::run(events, streams, seed)),
        Task::Dist { target } => Ok(dist::run(&target)),
        Task::Types => frame_types::run(),
        Task::Setup => setup::run(),
        Task::Dev { args } => lab::run("dev", lab::Profile::Debug, &args),
        Task::Demo { args } => lab::run("demo", lab::Profile::Debug, &args),
        Task::Simulate { args } => lab::simulate(&args),
        Task::Bench { args } if args.first().is_some_and(|name| name == "rules") => {
            lab::bench_rules(args.get(1..).unwrap_or_default())
        }
        Task::Bench { args } if args.first().is_some_and(|name| name == "agent") => {
            lab::bench_agent(&args)
        }
        Task::Bench { args } => lab::run("bench", lab::Profile::Release, &args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            println!("cargo x: {error:#}");
            ExitCode::FAILURE
        }
    }
}
