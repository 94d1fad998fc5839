//! Hosts in network namespaces and the processes of a whole HIDPS world, for dev, demo, tests and benches.
//! It never touches the machine's own network, configuration or processes beyond what it made.

mod address_block;
pub mod bench;
pub mod command;
pub mod fresh_host;
pub mod journal_host;
pub mod netns;
pub mod ports;
pub mod ssh_server;
pub mod swarm;
pub mod world;

use std::io::Write as _;

/// Prints what the stack has to say of itself on standard error: warnings, or more when
/// `RUST_LOG` asks for it.
pub fn show_warnings() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let shown = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // Somebody else in this process may already listen.
    shown.try_init().ok();
}

/// Says on the real standard error, past the capture of the test runner, that a test cannot run
/// here and what is missing.
pub fn say_skipped(test: &str, missing: &dyn std::fmt::Display) {
    let missing = missing.to_string().replace('\n', " ");
    // In one piece, since others print at the same time.
    let line = format!("SKIPPED {test}: {}\n", missing.trim_end());
    // A closed standard error leaves nobody to tell.
    std::io::stderr().write_all(line.as_bytes()).ok();
}
