//! The program `nft`, run with fixed arguments and a deadline; its answers as JSON.
//! It never builds a shell string and never passes on a text from the network.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::{TABLE_FAMILY, TABLE_NAME};
use crate::text::printable;

/// Where distributions put the program; an inherited `PATH` decides nothing that root runs.
const PLACES: [&str; 5] = [
    "/usr/sbin/nft",
    "/sbin/nft",
    "/usr/bin/nft",
    "/bin/nft",
    "/usr/local/sbin/nft",
];

/// A change takes 3 ms, a listing of 50,000 elements less than a second.
const DEADLINE: Duration = Duration::from_secs(10);

/// A listing beyond this would cost the host more memory than the answer is worth.
const MAX_OUTPUT_BYTES: u64 = 16 * 1024 * 1024;

/// Why the firewall could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// There is no `nft`.
    #[error("nft is not installed; install the package nftables")]
    Missing,
    /// The kernel refuses this process.
    #[error("the agent may not use nftables; run it as root or with CAP_NET_ADMIN")]
    Privilege,
    /// It could not be started or talked to.
    #[error("could not run nft")]
    Run(#[source] io::Error),
    /// It hung.
    #[error("nft did not answer within {} s", DEADLINE.as_secs())]
    Deadline,
    /// It refused.
    #[error("nft failed: {0}")]
    Refused(String),
    /// It printed more than is worth reading.
    #[error("the host's ruleset is longer than {} MiB", MAX_OUTPUT_BYTES >> 20)]
    TooLong,
    /// It printed something else than JSON.
    #[error("nft printed something else than JSON")]
    NotJson(#[source] serde_json::Error),
    /// A change was accepted and is not there.
    #[error("the table read back is not the one that was loaded: {0}")]
    ReadBack(String),
}

impl FirewallError {
    /// The word for machines.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "NftMissing",
            Self::Privilege => "MissingPrivilege",
            Self::ReadBack(_) => "NotApplied",
            Self::Run(_) | Self::Deadline | Self::Refused(_) | Self::TooLong | Self::NotJson(_) => {
                "NftFailed"
            }
        }
    }
}

/// The program.
#[derive(Debug)]
pub struct Nft {
    path: Option<PathBuf>,
}

impl Nft {
    /// Looks for the program.
    #[must_use]
    pub fn find() -> Self {
        let path = PLACES.iter().map(PathBuf::from).find(|path| path.is_file());
        Self { path }
    }

    /// Runs a script as one transaction: all of it or nothing.
    ///
    /// # Errors
    /// Fails when nothing was changed.
    pub async fn apply(&self, script: &str) -> Result<(), FirewallError> {
        self.run(&["-f", "-"], script).await.map(drop)
    }

    /// Lets the kernel judge a script without doing any of it.
    ///
    /// # Errors
    /// Fails when it would refuse it.
    pub async fn check(&self, script: &str) -> Result<(), FirewallError> {
        self.run(&["-c", "-f", "-"], script).await.map(drop)
    }

    /// Runs a listing.
    ///
    /// # Errors
    /// Fails when it cannot be read, which is never the same as an empty one.
    pub async fn list(&self, arguments: &[&'static str]) -> Result<Value, FirewallError> {
        let output = self.run(&[&["-j"], arguments].concat(), "").await?;
        serde_json::from_slice(&output).map_err(FirewallError::NotJson)
    }

    /// The agent's table as text for people, without what it counts.
    ///
    /// # Errors
    /// Fails when it cannot be read, or is absent.
    pub async fn print_table(&self) -> Result<String, FirewallError> {
        let arguments = ["-s", "list", "table", TABLE_FAMILY, TABLE_NAME];
        let output = self.run(&arguments, "").await?;
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    /// Whether the agent's table is loaded.
    ///
    /// # Errors
    /// Fails when that cannot be read.
    pub async fn has_table(&self) -> Result<bool, FirewallError> {
        // Asking for the one table would fail on its absence with a text for people.
        let listing = self.list(&["list", "tables", TABLE_FAMILY]).await?;
        Ok(objects(&listing, "table")
            .any(|table| table["family"] == TABLE_FAMILY && table["name"] == TABLE_NAME))
    }

    async fn run(&self, arguments: &[&str], input: &str) -> Result<Vec<u8>, FirewallError> {
        let path = self.path.as_ref().ok_or(FirewallError::Missing)?;
        let mut child = Command::new(path)
            .args(arguments)
            .env_clear()
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(FirewallError::Run)?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let talk = async {
            let write = async {
                if let Some(mut stdin) = stdin {
                    // nft that ended early says why in its error output.
                    stdin.write_all(input.as_bytes()).await.ok();
                }
            };
            let ((), output, errors) = tokio::join!(write, read_all(stdout), read_all(stderr));
            let status = child.wait().await.map_err(FirewallError::Run)?;
            Ok((status, output?, errors?))
        };
        let (status, output, errors) = tokio::time::timeout(DEADLINE, talk)
            .await
            .map_err(|_| FirewallError::Deadline)??;
        if status.success() {
            return Ok(output);
        }
        let text = String::from_utf8_lossy(&errors);
        if text.contains("Operation not permitted") {
            return Err(FirewallError::Privilege);
        }
        Err(FirewallError::Refused(printable(&text, 300)))
    }
}

async fn read_all(pipe: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, FirewallError> {
    let mut content = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(MAX_OUTPUT_BYTES)
            .read_to_end(&mut content)
            .await
            .map_err(FirewallError::Run)?;
    }
    if content.len() as u64 == MAX_OUTPUT_BYTES {
        return Err(FirewallError::TooLong);
    }
    Ok(content)
}

/// The objects of one kind in a listing, in order.
pub(super) fn objects<'l>(listing: &'l Value, kind: &'l str) -> impl Iterator<Item = &'l Value> {
    listing["nftables"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(move |entry| entry.get(kind))
}
