//! The daemon's program: arguments, configuration, logging, runtime, run, drain.
//! It never holds logic of a part; each phase is one call.

use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use hidps::config::{Config, Fault, SETTINGS, Source};
use hidps::daemon::Daemon;
use hidps::rules_cli::{self, Outcome, RulesCliError, RulesCommand};
use hidps::telemetry;
use tokio::signal::unix::{SignalKind, signal};

/// The HIDPS daemon: mediates between Linux hosts and a Supabase project.
#[derive(Parser)]
#[command(name = "hidpsd", version)]
struct Arguments {
    /// TOML file with settings; the environment goes before it.
    #[arg(long, env = "HIDPS_CONFIG", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon (the default).
    Serve,
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look at detection rules.
    #[command(subcommand)]
    Rules(Box<RulesCommand>),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Print the effective settings, secrets masked, and every fault.
    Check,
    /// Print every setting with its default and purpose.
    List,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            // Standard error may be closed; there is nowhere left to say so.
            writeln!(std::io::stderr(), "hidpsd: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    match &arguments.command {
        None | Some(Command::Serve) => serve(&read_source(arguments)?),
        Some(Command::Config(ConfigCommand::List)) => {
            for setting in SETTINGS {
                let default = setting
                    .default
                    .map(|text| format!(" [{text}]"))
                    .unwrap_or_default();
                writeln!(out, "{}{default}\n    {}", setting.name, setting.purpose)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Config(ConfigCommand::Check)) => {
            let source = read_source(arguments)?;
            for (name, value) in source.effective() {
                writeln!(out, "{name} = {value}")?;
            }
            Config::load(&source).map_err(all_faults)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Rules(command)) => {
            let outcome = rules_cli::answer(command, &mut out);
            match outcome {
                Ok(Outcome::Good) => Ok(ExitCode::SUCCESS),
                Ok(Outcome::Bad) => Ok(ExitCode::FAILURE),
                // Whoever reads only the beginning, as `head` does, has what they wanted.
                Err(RulesCliError::Write(error)) if error.kind() == ErrorKind::BrokenPipe => {
                    Ok(ExitCode::SUCCESS)
                }
                Err(error) => Err(error.into()),
            }
        }
    }
}

fn read_source(arguments: &Arguments) -> anyhow::Result<Source> {
    Source::new(std::env::vars(), arguments.config.as_deref())
        .map_err(|fault| anyhow::anyhow!("{fault}"))
}

fn all_faults(faults: Vec<Fault>) -> anyhow::Error {
    let lines: String = faults.iter().map(|fault| format!("\n  {fault}")).collect();
    anyhow::anyhow!("the configuration has {} faults:{lines}", faults.len())
}

fn serve(source: &Source) -> anyhow::Result<ExitCode> {
    let config = Config::load(source).map_err(all_faults)?;
    telemetry::start_logging(&config.log);
    let metrics = telemetry::start_metrics().context("metrics cannot be collected")?;
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        anyhow::bail!("another TLS provider is installed in this process");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let graceful = runtime.block_on(async {
        // Before anything else: a SIGHUP that comes early must not end the process.
        let mut hangup = signal(SignalKind::hangup())?;
        let daemon = Daemon::build(&config, metrics).await?;
        let (mut terminate, mut interrupt) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        let reload_asked = daemon.rule_reload_asked();
        let shutdown = async {
            loop {
                tokio::select! {
                    _ = terminate.recv() => return,
                    _ = interrupt.recv() => return,
                    Some(()) = hangup.recv() => reload_asked.notify_one(),
                }
            }
        };
        anyhow::Ok(daemon.run(shutdown).await)
    })?;
    Ok(if graceful {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
