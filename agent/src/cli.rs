//! The command line: what the agent can be asked to do.
//! It takes no secret: arguments are readable by every user of the host.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::DEFAULT_FILE;

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
    Status(ConfigArgs),
    /// Show the desired document the agent has accepted.
    Desired(ConfigArgs),
    /// Check whether this host has what the agent needs, and say how to mend it.
    Doctor(ConfigArgs),
    /// Show the version.
    Version,
}

/// Where the configuration is.
#[derive(Args, Debug)]
pub struct ConfigArgs {
    /// The configuration file; the variables HIDPS_AGENT_ID, HIDPS_BACKEND_URL, HIDPS_STATE_DIR,
    /// HIDPS_TOKEN_FILE and HIDPS_TOKEN go before it.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
    pub config: PathBuf,
}
