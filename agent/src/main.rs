//! The agent's phases: arguments, configuration, log, runtime, run; and what the exit code says.
//! It holds no logic of its own.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use hidps_agent::cli::{Cli, Command, ConfigArgs};
use hidps_agent::config::Config;
use hidps_agent::{agent, doctor, report, telemetry};

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            // A closed standard error leaves nobody to tell.
            writeln!(std::io::stderr(), "hidps-agent: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(arguments) => {
            let config = load(&arguments)?;
            telemetry::start_log(config.log_format);
            runtime()?.block_on(agent::run(config))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Status(arguments) => print(&report::show_status(&load(&arguments)?)?),
        Command::Desired(arguments) => print(&report::show_desired(&load(&arguments)?)?),
        Command::Doctor(arguments) => {
            let diagnosis = runtime()?.block_on(doctor::examine(&load(&arguments)?));
            print(&diagnosis.text)?;
            Ok(ExitCode::from(u8::from(!diagnosis.is_well)))
        }
        Command::Version => print(concat!("hidps-agent ", env!("CARGO_PKG_VERSION"), "\n")),
    }
}

fn load(arguments: &ConfigArgs) -> anyhow::Result<Config> {
    Ok(Config::load(&arguments.config, |name| {
        std::env::var(name).ok()
    })?)
}

/// One thread is enough for one host, and the least that can go wrong.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("could not print")?;
    Ok(ExitCode::SUCCESS)
}
