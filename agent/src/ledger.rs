//! The last desired document the agent accepted, kept as a file, so that a host is enforced
//! offline and after a reboot.
//! It never goes back in generation and never replaces a document by another of the same one.

use hidps_wire::{AgentId, Applied, Apply, ContentHash, Generation};
use serde::{Deserialize, Serialize};

use crate::state_dir::{StateDir, StateError};

/// The ledger's file.
const FILE: &str = "desired.json";

/// The ledger.
#[derive(Debug)]
pub struct Ledger {
    state: StateDir,
    agent_id: AgentId,
    accepted: Option<Apply>,
}

/// What became of a document.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acceptance {
    /// It is new and is now on disk.
    New,
    /// It is the one the ledger has.
    Known,
}

/// Why a document was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// It is older than the one in the ledger.
    #[error("generation {offered} is older than {held}, which this host has accepted")]
    Outdated {
        /// The document's.
        offered: Generation,
        /// The ledger's.
        held: Generation,
    },
    /// It has the ledger's generation and another content.
    #[error(
        "generation {generation} came with the hash {offered}, but this host has accepted it \
         with {held}"
    )]
    Conflict {
        /// Of both.
        generation: Generation,
        /// The document's hash.
        offered: ContentHash,
        /// The ledger's hash.
        held: ContentHash,
    },
    /// It could not be written down, so it must not be applied.
    #[error("could not write the ledger")]
    Write(#[source] StateError),
}

/// Why a ledger's file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum LedgerFileError {
    /// It cannot be read.
    #[error("could not read the ledger")]
    Read(#[source] StateError),
    /// It is not a ledger.
    #[error("the ledger is damaged")]
    Damaged(#[source] serde_json::Error),
    /// It is another agent's.
    #[error("the ledger belongs to the agent {0}")]
    OtherAgent(AgentId),
}

/// The content of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LedgerFile {
    agent_id: AgentId,
    accepted: Apply,
}

impl Ledger {
    /// Opens the ledger; one that is of no use is treated as absent, and the reason is returned.
    #[must_use]
    pub fn open(state: StateDir, agent_id: AgentId) -> (Self, Option<LedgerFileError>) {
        let (accepted, error) = match read_ledger(&state, agent_id) {
            Ok(accepted) => (accepted, None),
            Err(error) => (None, Some(error)),
        };
        let ledger = Self {
            state,
            agent_id,
            accepted,
        };
        (ledger, error)
    }

    /// The last accepted document.
    #[must_use]
    pub const fn accepted(&self) -> Option<&Apply> {
        self.accepted.as_ref()
    }

    /// Its generation and hash.
    #[must_use]
    pub fn applied(&self) -> Option<Applied> {
        self.accepted.as_ref().map(|accepted| Applied {
            generation: accepted.generation,
            hash: accepted.hash.clone(),
        })
    }

    /// Accepts a document and writes it down before it returns.
    ///
    /// # Errors
    /// Refuses what is older, what conflicts and what cannot be kept.
    pub fn accept(&mut self, offered: Apply) -> Result<Acceptance, LedgerError> {
        if let Some(held) = &self.accepted {
            if offered.generation < held.generation {
                return Err(LedgerError::Outdated {
                    offered: offered.generation,
                    held: held.generation,
                });
            }
            if offered.generation == held.generation && offered.hash != held.hash {
                return Err(LedgerError::Conflict {
                    generation: held.generation,
                    offered: offered.hash,
                    held: held.hash.clone(),
                });
            }
            if offered.generation == held.generation {
                return Ok(Acceptance::Known);
            }
        }
        let file = LedgerFile {
            agent_id: self.agent_id,
            accepted: offered,
        };
        let text = hidps_wire::encode(&file);
        self.state
            .write(FILE, text.as_bytes())
            .map_err(LedgerError::Write)?;
        self.accepted = Some(file.accepted);
        Ok(Acceptance::New)
    }
}

/// The last accepted document of an agent as the file has it.
///
/// # Errors
/// Says why the file is of no use.
pub fn read_ledger(state: &StateDir, agent_id: AgentId) -> Result<Option<Apply>, LedgerFileError> {
    let Some(content) = state.read(FILE).map_err(LedgerFileError::Read)? else {
        return Ok(None);
    };
    let file: LedgerFile = serde_json::from_slice(&content).map_err(LedgerFileError::Damaged)?;
    if file.agent_id == agent_id {
        Ok(Some(file.accepted))
    } else {
        Err(LedgerFileError::OtherAgent(file.agent_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hidps_wire::DesiredDocument;
    use proptest::prelude::*;

    fn agent() -> AgentId {
        AgentId::new(uuid::Uuid::from_u128(7))
    }

    fn state() -> (tempfile::TempDir, StateDir) {
        let parent = tempfile::tempdir().unwrap();
        let state = StateDir::open(&parent.path().join("state")).unwrap();
        (parent, state)
    }

    fn open(state: &StateDir) -> Ledger {
        let (ledger, error) = Ledger::open(state.clone(), agent());
        assert!(error.is_none(), "{error:?}");
        ledger
    }

    fn document(generation: u64, hash: &str) -> Apply {
        Apply {
            generation: Generation(generation),
            hash: ContentHash(hash.to_owned()),
            document: DesiredDocument {
                firewall_enabled: Some(hash == "on"),
                monitored_files: vec![format!("/etc/{hash}")],
            },
        }
    }

    #[test]
    fn an_accepted_document_survives_a_restart() {
        let (_parent, state) = state();

        let accepted = open(&state).accept(document(3, "on")).unwrap();

        assert_eq!(accepted, Acceptance::New);
        assert_eq!(open(&state).accepted(), Some(&document(3, "on")));
    }

    #[test]
    fn older_and_conflicting_documents_are_refused() {
        let (_parent, state) = state();
        let mut ledger = open(&state);
        ledger.accept(document(3, "on")).unwrap();

        let older = ledger.accept(document(2, "on"));
        let conflicting = ledger.accept(document(3, "off"));
        let same = ledger.accept(document(3, "on"));

        assert!(matches!(older, Err(LedgerError::Outdated { .. })));
        assert!(matches!(conflicting, Err(LedgerError::Conflict { .. })));
        assert_eq!(same.unwrap(), Acceptance::Known);
        assert_eq!(open(&state).accepted(), Some(&document(3, "on")));
    }

    #[test]
    fn a_damaged_ledger_is_told_and_starts_anew() {
        let (_parent, state) = state();
        for content in ["", "{", "{\"agent_id\":1}", "[]"] {
            state.write(FILE, content.as_bytes()).unwrap();

            let (mut ledger, error) = Ledger::open(state.clone(), agent());

            assert!(
                matches!(error, Some(LedgerFileError::Damaged(_))),
                "{content:?}"
            );
            assert_eq!(ledger.applied(), None);
            ledger.accept(document(1, "on")).unwrap();
            assert_eq!(open(&state).accepted(), Some(&document(1, "on")));
        }
    }

    #[test]
    fn another_agents_ledger_is_not_applied() {
        let (_parent, state) = state();
        open(&state).accept(document(9, "on")).unwrap();

        let other = AgentId::new(uuid::Uuid::from_u128(8));
        let (ledger, error) = Ledger::open(state, other);

        assert!(matches!(error, Some(LedgerFileError::OtherAgent(_))));
        assert_eq!(ledger.accepted(), None);
    }

    #[test]
    fn a_document_that_cannot_be_kept_is_not_accepted() {
        let (parent, state) = state();
        let mut ledger = open(&state);
        std::fs::remove_dir_all(parent.path().join("state")).unwrap();

        let refused = ledger.accept(document(1, "on"));

        assert!(matches!(refused, Err(LedgerError::Write(_))));
        assert_eq!(ledger.accepted(), None);
    }

    proptest! {
        #[test]
        fn the_generation_never_goes_back(
            offers in prop::collection::vec((0_u64..6, prop::bool::ANY), 1..12)
        ) {
            let (_parent, state) = state();
            let mut ledger = open(&state);
            let mut held: Option<(u64, &str)> = None;

            for (generation, on) in offers {
                let hash = if on { "on" } else { "off" };
                let accepted = ledger.accept(document(generation, hash)).is_ok();

                let expected = held.is_none_or(|(g, h)| generation > g || (generation, hash) == (g, h));
                prop_assert_eq!(accepted, expected);
                if accepted {
                    held = Some((generation, hash));
                }
                let (generation, hash) = held.expect("the first offer is accepted");
                prop_assert_eq!(ledger.accepted(), Some(&document(generation, hash)));
            }
        }
    }
}
