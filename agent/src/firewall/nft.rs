//! The program `nft`, run with fixed arguments and a deadline; its answers as JSON.
//! It never builds a shell string and never passes on a text from the network.

use std::io;
use std::time::Duration;

use serde_json::Value;

use super::program::{MAX_OUTPUT_BYTES, Program, RunError};
use super::{TABLE_FAMILY, TABLE_NAME, UfwError};
use crate::text::printable;

/// A change takes 3 ms, a listing of 50,000 elements less than a second.
const DEADLINE: Duration = Duration::from_secs(10);

/// The first version that counts elements of sets one by one.
const OLDEST: [u32; 3] = [0, 9, 5];

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
    /// It does not know what the agent's rules are made of.
    #[error("nft {0} is too old for counters in sets; install nftables 0.9.5 or newer")]
    TooOld(String),
    /// It printed more than is worth reading.
    #[error("the host's ruleset is longer than {} MiB", MAX_OUTPUT_BYTES >> 20)]
    TooLong,
    /// It printed something else than JSON.
    #[error("nft printed something else than JSON")]
    NotJson(#[source] serde_json::Error),
    /// A change was accepted and is not there.
    #[error("the table read back is not the one that was loaded: {0}")]
    ReadBack(String),
    /// The agent has changed to another back end, and this one keeps something of its.
    #[error("something of the agent's is left in the back end used before: {0}")]
    LeftBehind(String),
    /// The host's firewall is ufw, and that could not be read or changed.
    #[error(transparent)]
    Ufw(#[from] UfwError),
}

impl FirewallError {
    /// The word for machines.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "NftMissing",
            Self::TooOld(_) => "NftTooOld",
            Self::Privilege => "MissingPrivilege",
            Self::ReadBack(_) | Self::LeftBehind(_) => "NotApplied",
            Self::Ufw(error) => error.reason(),
            Self::Run(_) | Self::Deadline | Self::Refused(_) | Self::TooLong | Self::NotJson(_) => {
                "NftFailed"
            }
        }
    }
}

/// The program.
#[derive(Debug)]
pub struct Nft {
    program: Program,
}

impl Nft {
    /// Looks for the program.
    #[must_use]
    pub fn find() -> Self {
        Self {
            program: Program::find("nft", DEADLINE),
        }
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
        let ended = self.program.run(arguments, input).await;
        let ended = ended.map_err(|error| match error {
            RunError::Missing => FirewallError::Missing,
            RunError::Start(source) => FirewallError::Run(source),
            RunError::Deadline => FirewallError::Deadline,
            RunError::TooLong => FirewallError::TooLong,
        })?;
        if ended.is_success {
            return Ok(ended.output);
        }
        let text = String::from_utf8_lossy(&ended.errors);
        if text.contains("Operation not permitted") {
            return Err(FirewallError::Privilege);
        }
        let refused = FirewallError::Refused(printable(&text, 300));
        Err(self.find_too_old().await.unwrap_or(refused))
    }

    /// Whether what it refused it can only refuse, as it is too old to know it.
    async fn find_too_old(&self) -> Option<FirewallError> {
        let printed = self.program.run(&["--version"], "").await.ok()?;
        let printed = String::from_utf8_lossy(&printed.output);
        let [major, minor, patch] = parse_version(&printed).filter(|found| *found < OLDEST)?;
        Some(FirewallError::TooOld(format!("{major}.{minor}.{patch}")))
    }
}

/// The version in what `nft --version` prints, such as `nftables v1.0.6 (Lester Gooch #5)`.
pub(super) fn parse_version(printed: &str) -> Option<[u32; 3]> {
    let mut words = printed.split_whitespace();
    let version = words.find_map(|word| word.strip_prefix('v'))?;
    let mut parts = version.split('.').map(|part| part.parse().ok());
    let [major, minor] = [parts.next()??, parts.next()??];
    Some([major, minor, parts.next().flatten().unwrap_or(0)])
}

/// The objects of one kind in a listing, in order.
pub(super) fn objects<'l>(listing: &'l Value, kind: &'l str) -> impl Iterator<Item = &'l Value> {
    listing["nftables"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(move |entry| entry.get(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_nft_prints_them() {
        for (printed, version) in [
            ("nftables v1.0.6 (Lester Gooch #5)\n", Some([1, 0, 6])),
            ("nftables v0.9.0 (Fearless Fosdick)", Some([0, 9, 0])),
            ("nftables v1.1 (Commodore Bullmoose)", Some([1, 1, 0])),
            ("nftables", None),
            ("nftables vx.9 ()", None),
            ("", None),
        ] {
            assert_eq!(parse_version(printed), version, "{printed:?}");
        }
    }

    #[tokio::test]
    async fn what_an_old_nft_refuses_is_laid_to_its_age() {
        let directory = tempfile::tempdir().unwrap();
        let old = directory.path().join("nft");
        let script = "#!/bin/sh\n[ \"$1\" = --version ] && echo 'nftables v0.9.0 (Fearless)' && exit\nexit 1\n";
        std::fs::write(&old, script).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&old, executable).unwrap();
        let nft = Nft {
            program: Program::at(old, DEADLINE),
        };

        let error = nft.apply("add table inet x").await.unwrap_err();

        assert_eq!(error.reason(), "NftTooOld");
        assert!(
            error.to_string().contains("nft 0.9.0 is too old"),
            "{error}"
        );
    }
}
