//! Hosts in network namespaces and the processes of a whole HIDPS world, for dev, demo, tests and benches.
//! It never touches the machine's own network, configuration or processes beyond what it made.

mod address_block;
pub mod command;
pub mod netns;
pub mod ports;
pub mod ssh_server;

use std::io::Write as _;

/// Says on the real standard error, past the capture of the test runner, that a test cannot run
/// here and what is missing.
pub fn say_skipped(test: &str, missing: &dyn std::fmt::Display) {
    // A closed standard error leaves nobody to tell.
    writeln!(std::io::stderr(), "SKIPPED {test}: {missing}").ok();
}
