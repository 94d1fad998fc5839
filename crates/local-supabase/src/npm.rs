//! The pinned npm packages: installed once per lock file, shared by every later start.
//! Never resolves a version by itself; `npm ci` takes what the lock file says or fails.

use std::fs::File;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::process::Command;

use crate::error::{StackError, io_failed};
use crate::owned_process::tail;

/// What says which packages there are, so that a built test needs no source tree.
const FILES: [(&str, &str); 3] = [
    ("package.json", include_str!("../npm/package.json")),
    (
        "package-lock.json",
        include_str!("../npm/package-lock.json"),
    ),
    (".npmrc", include_str!("../npm/.npmrc")),
];
/// Oldest Node the packages run on; the one of Debian 12 is older, the one of Debian 13 is not.
const OLDEST_NODE: u32 = 20;
/// Tells that an installation is complete; npm itself leaves no such mark.
const COMPLETE: &str = ".complete";

/// Gives the directory of the packages, after installing them if they are missing.
pub(crate) async fn ensure_packages(cache: &Path) -> Result<PathBuf, StackError> {
    check_node().await?;
    std::fs::create_dir_all(cache).map_err(io_failed(format!("create {}", cache.display())))?;
    let directory = cache.join(format!("npm-{}", fingerprint()));
    if directory.join(COMPLETE).exists() {
        return Ok(directory);
    }
    let _lock = take_lock(cache.join("npm.lock")).await?;
    if !directory.join(COMPLETE).exists() {
        install(&directory).await?;
    }
    Ok(directory)
}

/// Gives the command that runs a module which finds its packages in `directory`.
pub(crate) fn script(directory: &Path, source: &str) -> Command {
    let mut node = Command::new("node");
    // Not from a file, so that a change of the module does not make another installation.
    node.args(["--input-type=module", "--eval", source])
        .current_dir(directory);
    // The official server counts its starts by network unless told not to.
    node.env("DO_NOT_TRACK", "1");
    node
}

/// Fails before anything is started if Node is missing or too old.
async fn check_node() -> Result<(), StackError> {
    find_on_path("node")?;
    let output = Command::new("node").arg("--version").output().await;
    let output = output.map_err(io_failed("ask node for its version"))?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match parse_major(&version) {
        Some(major) if major >= OLDEST_NODE => Ok(()),
        _ => Err(StackError::NodeTooOld { version }),
    }
}

/// Reads the major version out of `v20.20.2`.
fn parse_major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

fn find_on_path(program: &'static str) -> Result<(), StackError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    if found {
        Ok(())
    } else {
        Err(StackError::NodeMissing { program })
    }
}

fn fingerprint() -> String {
    let mut hash = Sha256::new();
    for (name, text) in FILES {
        hash.update(name);
        hash.update(text);
    }
    hash.finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Waits until no other process installs; the lock ends with the file.
async fn take_lock(path: PathBuf) -> Result<File, StackError> {
    let failed = format!("lock {}", path.display());
    let file = File::create(&path).map_err(io_failed(failed.clone()))?;
    tokio::task::spawn_blocking(move || file.lock().map(|()| file))
        .await
        .map_err(|stopped| io_failed(failed.clone())(std::io::Error::other(stopped)))?
        .map_err(io_failed(failed))
}

async fn install(directory: &Path) -> Result<(), StackError> {
    find_on_path("npm")?;
    tracing::info!("installing the pinned npm packages, once");
    std::fs::create_dir_all(directory)
        .map_err(io_failed(format!("create {}", directory.display())))?;
    for (name, text) in FILES {
        let path = directory.join(name);
        std::fs::write(&path, text).map_err(io_failed(format!("write {}", path.display())))?;
    }
    let mut npm = Command::new("npm");
    // None of the packages needs its install script, so none is run.
    npm.args(["ci", "--ignore-scripts", "--no-fund", "--no-audit"])
        .current_dir(directory);
    let output = npm.output().await.map_err(io_failed("start npm"))?;
    if !output.status.success() {
        let last_words = tail(&[output.stdout, output.stderr].concat());
        return Err(StackError::Program {
            program: "npm ci",
            last_words,
        });
    }
    std::fs::write(directory.join(COMPLETE), "").map_err(io_failed("mark the installation"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_of_node_is_read() {
        assert_eq!(parse_major("v20.20.2"), Some(20));
        assert_eq!(parse_major("v8.0.0-pre"), Some(8));
        assert_eq!(parse_major("nonsense"), None);
    }
}
