//! `local-supabase [folder]`: runs a stack until it is told to stop, and says on one line of JSON where it is.
//! Never seeds anything; the folder, if given, is a Supabase CLI project whose migrations are applied.

use std::io::Write;

use anyhow::Context;
use hidps_local_supabase::{Options, Stack};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = std::env::args_os()
        .nth(1)
        .map_or_else(Options::default, Options::of_project);
    let mut terminate = signal(SignalKind::terminate()).context("listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for signals")?;
    let stack = Stack::start(options).await?;
    announce(&stack).context("print the address")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stack.stop().await.context("stop the stack")
}

fn announce(stack: &Stack) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    let line = json!({
        "url": stack.url(),
        "publishable_key": stack.publishable_key(),
        "secret_key": stack.secret_key(),
        "jwt_secret": stack.jwt_secret(),
        "database_url": stack.database_url(),
        "smtp_address": stack.smtp_address().to_string(),
        "data_dir": stack.data_dir(),
    });
    writeln!(out, "{line}")?;
    out.flush()
}
