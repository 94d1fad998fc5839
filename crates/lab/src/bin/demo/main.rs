//! `cargo x demo`: the main story without a person, every step observed from outside.
//! It never asks a part of the product whether it did well where the outside can be looked at.

mod report;
mod steps;
mod story;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use hidps_lab::world::{World, WorldOptions};

use report::Report;
use story::Story;

/// Runs the main story on this machine and says what was observed.
#[derive(Parser)]
#[command(name = "cargo x demo")]
struct Arguments {
    /// Print one JSON document instead of a table.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    hidps_lab::show_warnings();
    let arguments = Arguments::parse();
    let report = Box::pin(tell()).await;
    let text = if arguments.json {
        report.json()
    } else {
        report.table()
    };
    // A closed standard output leaves the exit code.
    writeln!(std::io::stdout(), "{text}").ok();
    if report.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn tell() -> Report {
    let mut report = Report::default();
    let world = report
        .step(
            "the stack, the daemon and an agent on a host of its own start",
            async {
                let world = World::start(WorldOptions::default()).await?;
                let observed = story::observe_start(&world);
                Ok((observed, world))
            },
        )
        .await;
    let Some(world) = world else {
        return report;
    };
    let mut story = Story::new(world);
    steps::tell_all(&mut story, &mut report).await;
    let directory = story.world.directory().to_owned();
    let world = story.end();
    report
        .step("everything stops and leaves nothing behind", async {
            Box::pin(world.stop()).await?;
            Ok((story::observe_end(&directory)?, ()))
        })
        .await;
    report
}
