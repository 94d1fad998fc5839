//! The command line: what the agent can be asked to do.
//! It takes no secret: arguments are readable by every user of the host.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::DEFAULT_FILE;
use crate::service_unit::Extra;

/// The HIDPS agent.
#[derive(Parser, Debug)]
#[command(name = "hidps-agent", version, about, long_about = None)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the agent can be asked to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Watch this host and keep it as desired, until SIGTERM.
    Run(ConfigArgs),
    /// Show what the agent last knew of itself and the host.
    Status(StatusArgs),
    /// Show the desired document the agent has accepted.
    Desired(ShowArgs),
    /// Check whether this host has what the agent needs, and say how to mend it.
    Doctor(ShowArgs),
    /// Show what the agent tells of this host.
    Facts(FormArgs),
    /// Show the version.
    Version(FormArgs),
    /// Show the systemd unit that belongs to this program.
    Unit(UnitArgs),
    /// Replace the agent's key by a new one, also while it runs; the old one is refused from then on.
    RotateKey(ConfigArgs),
    /// Take back what the agent changed on this host; only while it does not run.
    Withdraw(ConfigArgs),
}

/// Where the configuration is.
#[derive(Args, Debug)]
pub struct ConfigArgs {
    /// The configuration file; the variables HIDPS_AGENT_ID, HIDPS_BACKEND_URL, HIDPS_STATE_DIR,
    /// HIDPS_TOKEN_FILE and HIDPS_TOKEN go before it.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
    pub config: PathBuf,
}

/// In which form something is shown.
#[derive(Args, Clone, Copy, Debug)]
pub struct FormArgs {
    /// One JSON object for programs instead of text for people.
    #[arg(long)]
    pub json: bool,
}

/// What is shown, and in which form.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The form.
    #[command(flatten)]
    pub form: FormArgs,
}

/// How the status is shown.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// What is shown.
    #[command(flatten)]
    pub show: ShowArgs,
    /// Exit with 0 only if the agent is connected; 3: it does not run, 4: it has no connection,
    /// 5: it waits for an admin's approval, 6: the daemon refuses it.
    #[arg(long)]
    pub check: bool,
}

/// For where a unit is printed.
#[derive(Args, Debug)]
pub struct UnitArgs {
    /// Where the program is going to be.
    #[arg(long, value_name = "FILE", default_value = "/usr/bin/hidps-agent")]
    pub program: PathBuf,
    /// In the words of this version of systemd, 219 or newer; without it, as 247 and later say it.
    #[arg(long, value_name = "VERSION", conflicts_with = "with",
          value_parser = clap::value_parser!(u32).range(219..))]
    pub for_systemd: Option<u32>,
    /// The drop-in that allows the agent this beyond its unit, instead of the unit.
    #[arg(long, value_name = "WHAT", conflicts_with = "program")]
    pub with: Option<Extra>,
}
