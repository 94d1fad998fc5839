//! How ufw was before the agent changed it, kept on disk so that it can be left so.
//! It never keeps rules: those of others stay in ufw, untouched.

use hidps_wire::FirewallAction;
use serde::{Deserialize, Serialize};

use super::UfwError;
use super::kept::KeptFiles;
use super::plan::{Defaults, UfwState};

/// The file beside ufw's own.
const FILE: &str = "hidps-found.json";

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
#[derive(Clone, Debug)]
pub(super) struct FoundFile {
    kept: KeptFiles,
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

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let written: Written = serde_json::from_slice(bytes).ok()?;
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

    /// The same as bytes.
    pub(super) fn text(&self) -> Vec<u8> {
        let written = Written {
            incoming: self.defaults.incoming.to_string(),
            outgoing: self.defaults.outgoing.to_string(),
            enabled: self.is_enabled,
            log_level: self.log_level.clone(),
        };
        serde_json::to_vec(&written).expect("plain texts are JSON")
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
    pub(super) const fn new(kept: KeptFiles) -> Self {
        Self { kept }
    }

    /// Whether the agent has changed ufw and not put it back.
    pub(super) fn read(&self) -> Result<Option<Found>, UfwError> {
        let Some(bytes) = self.kept.read(FILE)? else {
            return Ok(None);
        };
        Found::parse(&bytes).map(Some).ok_or_else(|| {
            let path = self.kept.path(FILE);
            UfwError::Memory(path.display().to_string())
        })
    }

    pub(super) fn write(&self, found: &Found) -> Result<(), UfwError> {
        self.kept.write(FILE, &found.text())
    }

    /// Forgets how it was, which it is again.
    pub(super) fn forget(&self) -> Result<(), UfwError> {
        self.kept.remove(FILE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::ufw::files::UfwPlace;
    use std::fs;

    fn kept() -> (tempfile::TempDir, KeptFiles) {
        let root = tempfile::tempdir().unwrap();
        let place = UfwPlace::below(root.path());
        fs::create_dir_all(place.directory()).unwrap();
        (root, KeptFiles::of(&place))
    }

    #[test]
    fn what_was_found_survives_a_restart_until_it_is_put_back() {
        let (_root, kept) = kept();
        let file = FoundFile::new(kept);
        let found = Found {
            defaults: Defaults {
                incoming: FirewallAction::Reject,
                outgoing: FirewallAction::Allow,
            },
            is_enabled: false,
            log_level: "medium".to_owned(),
        };
        assert!(file.read().unwrap().is_none());

        file.write(&found).unwrap();
        assert_eq!(file.read().unwrap(), Some(found));

        file.forget().unwrap();
        assert!(file.read().unwrap().is_none());
    }

    #[test]
    fn a_memory_that_makes_no_sense_is_not_taken_for_none() {
        let (_root, kept) = kept();
        let odd = br#"{"incoming":"allow","outgoing":"allow","enabled":true,"log_level":"-x"}"#;
        for bytes in [b"{}".as_slice(), b"", b"[", b"null", odd] {
            kept.write(FILE, bytes).unwrap();

            assert!(FoundFile::new(kept.clone()).read().is_err());
        }
    }
}
