//! The agent's phases: arguments, configuration, log, runtime, run; and what the exit code says.
//! It holds no logic of its own.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use hidps_agent::cli::{Cli, Command, ConfigArgs, FormArgs, StatusArgs, UnitArgs};
use hidps_agent::collect::facts::{FactsReader, print_facts};
use hidps_agent::config::{Config, ConfigFaults};
use hidps_agent::version::Version;
use hidps_agent::{agent, doctor, report, rotate_key, service_unit, telemetry, withdraw};
use serde::Serialize;

/// What the agent exits with when its configuration is faulty: `EX_CONFIG`, for which its unit does
/// not start it again.
const FAULTY_CONFIG: u8 = 78;

/// Whatever is done beside the loop ends within milliseconds, where the disk answers.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Longest line of an error that is printed.
const MAX_LINE_CHARS: usize = 4 * 1024;

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            // A closed standard error leaves nobody to tell.
            writeln!(std::io::stderr(), "hidps-agent: {}", told(&error)).ok();
            if error.is::<ConfigFaults>() {
                ExitCode::from(FAULTY_CONFIG)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// An error as text, line by line; it may quote a file that is not root's, to root at a terminal.
fn told(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let lines: Vec<_> = text
        .lines()
        .map(|line| hidps_wire::printable(line, MAX_LINE_CHARS))
        .collect();
    lines.join("\n")
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(arguments) => {
            let config = load(&arguments)?;
            telemetry::start_log(config.log_format);
            let runtime = runtime()?;
            let ran = runtime.block_on(agent::run(config));
            // A thread that waits for a disk that hangs would be waited for without end.
            runtime.shutdown_timeout(LAST_WAIT);
            ran?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Status(arguments) => show_status(&arguments),
        Command::Desired(arguments) => {
            let shown = report::read_desired(&load(&arguments.config)?)?;
            show(arguments.form, &shown, || shown.text())
        }
        Command::Doctor(arguments) => {
            let config = load(&arguments.config)?;
            let diagnosis = runtime()?.block_on(doctor::examine(&config));
            show(arguments.form, &diagnosis, || diagnosis.text())?;
            Ok(ExitCode::from(u8::from(!diagnosis.well)))
        }
        Command::Facts(form) => {
            let facts = FactsReader::new(PathBuf::from("/")).read();
            show(form, &facts, || print_facts(&facts))
        }
        Command::Version(form) => {
            let version = Version::this();
            show(form, &version, || version.text())
        }
        Command::Unit(UnitArgs {
            with: Some(extra), ..
        }) => print(extra.drop_in()),
        Command::Unit(arguments) => {
            let unit = service_unit::unit_for(&arguments.program);
            let unit =
                unit.context("a unit cannot name this program; use a plain absolute path")?;
            print(&match arguments.for_systemd {
                Some(systemd) => service_unit::unit_in_words_of(systemd, &unit),
                None => unit,
            })
        }
        Command::RotateKey(arguments) => {
            let config = load(&arguments)?;
            print(&runtime()?.block_on(rotate_key::rotate_key(&config))?)
        }
        Command::Withdraw(arguments) => {
            let config = load(&arguments)?;
            print(&runtime()?.block_on(withdraw::withdraw(&config))?)
        }
    }
}

fn show_status(arguments: &StatusArgs) -> anyhow::Result<ExitCode> {
    let status = report::read_status(&load(&arguments.show.config)?)?;
    show(arguments.show.form, &status, || status.text())?;
    Ok(ExitCode::from(if arguments.check {
        status.exit_code()
    } else {
        0
    }))
}

fn show(
    form: FormArgs,
    value: &impl Serialize,
    text: impl FnOnce() -> String,
) -> anyhow::Result<ExitCode> {
    if form.json {
        let json = serde_json::to_string(value).context("could not print as JSON")?;
        print(&(json + "\n"))
    } else {
        print(&text())
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
