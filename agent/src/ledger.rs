//! The last desired document the agent accepted, kept as a file, so that a host is enforced
//! offline and after a reboot.
//! It never goes back in generation and never replaces a document by another of the same one.

use hidps_wire::{AgentId, Applied, Apply, ContentHash, Generation};
use serde::{Deserialize, Serialize};

use crate::error_chain::chain;
use crate::state_dir::{StateDir, StateError};

/// The ledger's file.
const FILE: &str = "desired.json";

/// What a damaged ledger is kept as, for people; a later one takes its place.
const DAMAGED_FILE: &str = "ledger.damaged";

/// The ledger.
#[derive(Debug)]
pub struct Ledger {
    state: StateDir,
    agent_id: AgentId,
    document: Result<Apply, NoDocument>,
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

/// Why there is no accepted document; never the same as one that desires nothing.
#[derive(Debug, thiserror::Error)]
pub enum NoDocument {
    /// This host is new.
    #[error("no desired state was received yet")]
    NotReceived,
    /// The ledger is there, but not now.
    #[error(
        "the ledger could not be read, which is tried again; check the disk, the path and its \
         permissions"
    )]
    Unreadable(#[source] StateError),
    /// It is not a ledger.
    #[error("the ledger is damaged; the next desired state from the daemon takes its place")]
    Damaged(#[source] serde_json::Error),
    /// It was not a ledger.
    #[error(
        "the ledger was damaged and is kept as {DAMAGED_FILE} in the state directory; the next \
         desired state from the daemon takes its place"
    )]
    SetAside,
    /// It is another agent's.
    #[error(
        "the ledger belongs to the agent {0}; check agent_id, or the next desired state from the \
         daemon takes its place"
    )]
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
    /// Opens the ledger; a damaged one is set aside, and the log says why there is no document.
    #[must_use]
    pub fn open(state: StateDir, agent_id: AgentId) -> Self {
        let document = load(&state, agent_id);
        match &document {
            Ok(held) => tracing::info!(generation = %held.generation, "read the ledger"),
            Err(NoDocument::NotReceived) => {
                tracing::info!("this host is left as it is until the first desired state comes");
            }
            Err(absence) => tracing::error!(
                error = chain(absence),
                "this host is left as it is, for there is no desired state"
            ),
        }
        Self {
            state,
            agent_id,
            document,
        }
    }

    /// The last accepted document.
    ///
    /// # Errors
    /// Says why there is none.
    pub const fn document(&self) -> Result<&Apply, &NoDocument> {
        self.document.as_ref()
    }

    /// Whether reading again may find what is there.
    #[must_use]
    pub const fn is_unreadable(&self) -> bool {
        matches!(self.document, Err(NoDocument::Unreadable(_)))
    }

    /// Reads again what could not be read; whatever else is known stays.
    pub fn retry_read(&mut self) {
        if self.is_unreadable() {
            self.document = load(&self.state, self.agent_id);
            if !self.is_unreadable() {
                tracing::info!("the ledger can be read again");
            }
        }
    }

    /// Its generation and hash.
    #[must_use]
    pub fn applied(&self) -> Option<Applied> {
        self.document().ok().map(|accepted| Applied {
            generation: accepted.generation,
            hash: accepted.hash.clone(),
        })
    }

    /// Accepts a document and writes it down before it returns. A ledger that still cannot be read
    /// is replaced: a document of the daemon is worth more than a host without any.
    ///
    /// # Errors
    /// Refuses what is older, what conflicts and what cannot be kept.
    pub fn accept(&mut self, offered: Apply) -> Result<Acceptance, LedgerError> {
        self.retry_read();
        if let Ok(held) = &self.document {
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
        self.document = Ok(file.accepted);
        Ok(Acceptance::New)
    }
}

/// The last accepted document of an agent as the file has it.
///
/// # Errors
/// Says why there is none.
pub fn read_ledger(state: &StateDir, agent_id: AgentId) -> Result<Apply, NoDocument> {
    let Some(content) = state.read(FILE).map_err(NoDocument::Unreadable)? else {
        return Err(if state.has(DAMAGED_FILE) {
            NoDocument::SetAside
        } else {
            NoDocument::NotReceived
        });
    };
    let file: LedgerFile = serde_json::from_slice(&content).map_err(NoDocument::Damaged)?;
    if file.agent_id == agent_id {
        Ok(file.accepted)
    } else {
        Err(NoDocument::OtherAgent(file.agent_id))
    }
}

/// Reads the ledger and sets a damaged one aside.
fn load(state: &StateDir, agent_id: AgentId) -> Result<Apply, NoDocument> {
    let document = read_ledger(state, agent_id);
    let Err(NoDocument::Damaged(fault)) = &document else {
        return document;
    };
    let fault = chain(fault);
    match state.rename(FILE, DAMAGED_FILE) {
        Ok(()) => {
            tracing::error!(fault, kept_as = DAMAGED_FILE, "set a damaged ledger aside");
            Err(NoDocument::SetAside)
        }
        Err(error) => {
            let error = chain(&error);
            tracing::error!(fault, error, "a damaged ledger could not be set aside");
            document
        }
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
        Ledger::open(state.clone(), agent())
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
        assert_eq!(open(&state).document().ok(), Some(&document(3, "on")));
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
        assert_eq!(open(&state).document().ok(), Some(&document(3, "on")));
    }

    #[test]
    fn a_new_host_has_received_nothing() {
        let (_parent, state) = state();

        let ledger = open(&state);

        assert!(matches!(ledger.document(), Err(NoDocument::NotReceived)));
        assert_eq!(ledger.applied(), None);
    }

    #[test]
    fn a_damaged_ledger_is_kept_aside_and_told_until_a_document_comes() {
        for content in ["", "{", "{\"agent_id\":1}", "[]"] {
            let (_parent, state) = state();
            state.write(FILE, content.as_bytes()).unwrap();

            open(&state);
            let mut ledger = open(&state);

            let told = ledger.document().unwrap_err().to_string();
            assert!(
                told.contains("was damaged and is kept as ledger.damaged"),
                "{told}"
            );
            assert_eq!(ledger.applied(), None);
            assert_eq!(state.read(FILE).unwrap(), None);
            let kept = state.read(DAMAGED_FILE).unwrap();
            assert_eq!(kept.as_deref(), Some(content.as_bytes()));
            ledger.accept(document(1, "on")).unwrap();
            assert_eq!(open(&state).document().ok(), Some(&document(1, "on")));
        }
    }

    #[test]
    fn a_ledger_that_cannot_be_read_is_read_again_and_never_set_aside() {
        let (_parent, state) = state();
        open(&state).accept(document(9, "on")).unwrap();
        let (file, away) = (state.path().join(FILE), state.path().join("away"));
        std::fs::rename(&file, &away).unwrap();
        std::os::unix::fs::symlink(&file, &file).unwrap();

        let mut ledger = open(&state);
        ledger.retry_read();
        let while_unreadable = ledger.is_unreadable();
        std::fs::rename(&away, &file).unwrap();
        let older = ledger.accept(document(8, "on"));

        assert!(while_unreadable);
        assert!(!state.has(DAMAGED_FILE));
        assert!(matches!(older, Err(LedgerError::Outdated { .. })));
        assert_eq!(ledger.document().ok(), Some(&document(9, "on")));
    }

    #[test]
    fn a_document_takes_the_place_of_a_ledger_that_stays_unreadable() {
        let (_parent, state) = state();
        let file = state.path().join(FILE);
        std::os::unix::fs::symlink(&file, &file).unwrap();
        let mut ledger = open(&state);

        let accepted = ledger.accept(document(2, "on"));

        assert_eq!(accepted.unwrap(), Acceptance::New);
        assert_eq!(open(&state).document().ok(), Some(&document(2, "on")));
    }

    #[test]
    fn another_agents_ledger_is_not_applied() {
        let (_parent, state) = state();
        open(&state).accept(document(9, "on")).unwrap();

        let other = AgentId::new(uuid::Uuid::from_u128(8));
        let ledger = Ledger::open(state, other);

        assert!(matches!(ledger.document(), Err(NoDocument::OtherAgent(_))));
    }

    #[test]
    fn a_document_that_cannot_be_kept_is_not_accepted() {
        let (parent, state) = state();
        let mut ledger = open(&state);
        std::fs::remove_dir_all(parent.path().join("state")).unwrap();

        let refused = ledger.accept(document(1, "on"));

        assert!(matches!(refused, Err(LedgerError::Write(_))));
        assert!(ledger.document().is_err());
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
                prop_assert_eq!(ledger.document().ok(), Some(&document(generation, hash)));
            }
        }
    }
}
