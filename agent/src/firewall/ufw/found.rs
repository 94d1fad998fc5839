//! How ufw was before the agent changed it, kept on disk so that it can be left so.
//! It never keeps rules: those of others stay in ufw, untouched.

use std::path::{Path, PathBuf};

use hidps_wire::FirewallAction;
use serde::{Deserialize, Serialize};

use super::UfwError;
use super::plan::{Defaults, UfwState};
use crate::state_dir::StateDir;

/// The file in the state directory.
const FILE: &str = "ufw.json";

/// How ufw was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) defaults: Defaults,
    pub(super) is_enabled: bool,
    pub(super) log_level: String,
}

/// The same, as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    incoming: String,
    outgoing: String,
    enabled: bool,
    log_level: String,
}

/// Where it is kept.
#[derive(Debug)]
pub(super) struct FoundFile {
    directory: PathBuf,
}

impl Found {
    /// How it is now.
    pub(super) fn of(state: &UfwState) -> Self {
        Self {
            defaults: state.defaults,
            is_enabled: state.is_enabled,
            log_level: state.log_level.clone(),
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let written: Option<Written> = serde_json::from_slice(bytes).ok()?;
        let written = written?;
        let is_level = matches!(
            written.log_level.as_str(),
            "off" | "low" | "medium" | "high" | "full"
        );
        is_level.then_some(())?;
        Some(Self {
            defaults: Defaults {
                incoming: read_action(&written.incoming)?,
                outgoing: read_action(&written.outgoing)?,
            },
            is_enabled: written.enabled,
            log_level: written.log_level,
        })
    }
}

fn read_action(word: &str) -> Option<FirewallAction> {
    let all = [
        FirewallAction::Allow,
        FirewallAction::Deny,
        FirewallAction::Reject,
    ];
    all.into_iter().find(|it| it.to_string() == word)
}

impl FoundFile {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self {
            directory: state_dir.to_owned(),
        }
    }

    /// Whether the agent has changed ufw and not put it back.
    pub(super) fn read(&self) -> Result<Option<Found>, UfwError> {
        if !self.directory.join(FILE).exists() {
            return Ok(None);
        }
        let state = StateDir::open_to_change(&self.directory).map_err(UfwError::State)?;
        let bytes = state.read(FILE).map_err(UfwError::State)?;
        let Some(bytes) = bytes.filter(|bytes| bytes != b"null") else {
            return Ok(None);
        };
        Found::parse(&bytes).map(Some).ok_or_else(|| {
            let path = self.directory.join(FILE);
            UfwError::Memory(path.display().to_string())
        })
    }

    pub(super) fn write(&self, found: Option<&Found>) -> Result<(), UfwError> {
        let written = found.map(|found| Written {
            incoming: found.defaults.incoming.to_string(),
            outgoing: found.defaults.outgoing.to_string(),
            enabled: found.is_enabled,
            log_level: found.log_level.clone(),
        });
        let bytes = serde_json::to_vec(&written).expect("plain texts are JSON");
        let state = StateDir::open_to_change(&self.directory);
        // An agent that never ran has no directory yet.
        let state = state.or_else(|_| StateDir::open(&self.directory));
        let state = state.map_err(UfwError::State)?;
        state.write(FILE, &bytes).map_err(UfwError::State)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_survives_a_restart_until_it_is_put_back() {
        let directory = tempfile::tempdir().unwrap();
        let file = FoundFile::new(&directory.path().join("state"));
        let found = Found {
            defaults: Defaults {
                incoming: FirewallAction::Reject,
                outgoing: FirewallAction::Allow,
            },
            is_enabled: false,
            log_level: "medium".to_owned(),
        };
        assert!(file.read().unwrap().is_none());

        file.write(Some(&found)).unwrap();
        assert_eq!(file.read().unwrap(), Some(found));

        file.write(None).unwrap();
        assert!(file.read().unwrap().is_none());
    }

    #[test]
    fn a_memory_that_makes_no_sense_is_not_taken_for_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let state = StateDir::open(&path).unwrap();
        let odd = br#"{"incoming":"allow","outgoing":"allow","enabled":true,"log_level":"-x"}"#;
        for bytes in [b"{}".as_slice(), b"", b"[", odd] {
            state.write(FILE, bytes).unwrap();

            assert!(FoundFile::new(&path).read().is_err());
        }
    }
}
