//! `cargo x dev`: the whole product on this machine until Ctrl-C, with what to try first.
//! It never needs an account and leaves nothing behind but the caches below `target`.

mod welcome;

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use hidps_lab::world::{World, WorldOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::interval;

/// How often the mail catcher is looked into.
const MAIL_INTERVAL: Duration = Duration::from_secs(1);

/// Runs HIDPS on this machine until Ctrl-C.
#[derive(Parser)]
#[command(name = "cargo x dev")]
struct Arguments {
    /// Port of the Supabase-compatible stack; another one is taken when it is in use.
    #[arg(long, default_value_t = 18_000)]
    supabase_port: u16,
    /// Port of the daemon; another one is taken when it is in use.
    #[arg(long, default_value_t = 18_443)]
    daemon_port: u16,
}

#[tokio::main]
async fn main() -> ExitCode {
    hidps_lab::show_warnings();
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed standard error leaves the exit code.
            writeln!(std::io::stderr(), "cargo x dev: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let options = WorldOptions {
        supabase_port: port_if_free(arguments.supabase_port),
        daemon_port: port_if_free(arguments.daemon_port),
    };
    say("starting: database, REST, Auth, Realtime, mail, daemon, agent …")?;
    // An interrupted start is dropped, and with it everything it had started.
    let world = tokio::select! {
        world = World::start(options) => world.context("the start failed")?,
        _ = interrupt.recv() => return say("stopped before everything was up"),
        _ = terminate.recv() => return say("stopped before everything was up"),
    };
    say(&welcome::text(&world).await?)?;
    tokio::select! {
        shown = show_mails(&world) => shown?,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    say("\nstopping …")?;
    world.stop().await.context("the end was not clean")?;
    say("everything has stopped")
}

/// The port, or 0 for any other when somebody listens there.
fn port_if_free(port: u16) -> u16 {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).map_or(0, |_| port)
}

/// Prints one line for each mail that the product sends, for as long as nobody stops it.
async fn show_mails(world: &World) -> Result<()> {
    let mut ticks = interval(MAIL_INTERVAL);
    let mut n_shown = 0;
    loop {
        ticks.tick().await;
        let mails = world.stack.mails().await?;
        for mail in mails.iter().skip(n_shown) {
            say(&format!("mail to {}: {}", mail.to.join(", "), mail.subject))?;
        }
        n_shown = mails.len();
    }
}

fn say(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}").context("standard output is closed")
}
