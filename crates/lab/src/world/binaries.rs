//! Where the daemon's and the agent's programs are: built beside the program that asks.
//! It never builds them; `cargo x` does before it starts anything here.

use std::path::{Path, PathBuf};

/// A program is not built.
#[derive(Debug, thiserror::Error)]
#[error("{name} is not built; cargo build --workspace --bins")]
pub struct NotBuilt {
    /// The program.
    pub name: &'static str,
}

/// Finds `hidpsd`.
///
/// # Errors
/// When it is not built.
pub fn find_daemon() -> Result<PathBuf, NotBuilt> {
    find("hidpsd")
}

/// Finds `hidps-agent`.
///
/// # Errors
/// When it is not built.
pub fn find_agent() -> Result<PathBuf, NotBuilt> {
    find("hidps-agent")
}

/// Finds `minimal_tail`, with which the agent is compared.
///
/// # Errors
/// When it is not built.
pub fn find_minimal_tail() -> Result<PathBuf, NotBuilt> {
    find("minimal_tail")
}

fn find(name: &'static str) -> Result<PathBuf, NotBuilt> {
    let this = std::env::current_exe().unwrap_or_default();
    // Programs lie in target/debug, tests and benches one directory deeper.
    this.ancestors()
        .skip(1)
        .take(2)
        .map(|directory: &Path| directory.join(name))
        .find(|path| path.is_file())
        .ok_or(NotBuilt { name })
}
