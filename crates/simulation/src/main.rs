//! `cargo x simulate`: more schedules than the tests run, or one again with everything that happens.
//! It never hides a seed: what failed can be seen again.

use std::io;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use hidps_simulation::{Summary, run};

/// Runs random schedules of changes and faults on simulated time.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
struct Arguments {
    /// How many schedules, from the first seed on.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Only this schedule.
    #[arg(long, conflicts_with_all = ["seeds", "first"])]
    seed: Option<u64>,
    /// Print everything that happens.
    #[arg(long)]
    trace: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match simulate(&arguments, &mut io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // A closed standard output leaves nobody to tell.
        Err(_) => ExitCode::FAILURE,
    }
}

fn simulate(arguments: &Arguments, out: &mut impl io::Write) -> io::Result<bool> {
    let seeds = match arguments.seed {
        Some(seed) => seed..seed + 1,
        None => arguments.first..arguments.first + arguments.seeds,
    };
    let (begun, mut total, mut failed) = (Instant::now(), Summary::default(), 0_u64);
    for seed in seeds.clone() {
        let mut lines = Vec::new();
        let mut trace = |at, event: &dyn std::fmt::Debug| {
            if arguments.trace {
                lines.push(format!("{at:>9} {event:?}"));
            }
        };
        let result = run(seed, &mut trace);
        for line in lines {
            writeln!(out, "{line}")?;
        }
        match result {
            Ok(summary) => total = total.plus(summary),
            Err(failure) => {
                failed += 1;
                writeln!(out, "{failure}")?;
            }
        }
    }
    writeln!(
        out,
        "{} schedules, {failed} failed; {} events, {} changes, {} commands; {:.1} s",
        seeds.end - seeds.start,
        total.events,
        total.changes,
        total.commands,
        begun.elapsed().as_secs_f64()
    )?;
    Ok(failed == 0)
}
