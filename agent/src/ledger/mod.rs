//! The ledger as a file, so that a host is enforced offline and after a reboot.
//! It decides nothing about a document: the rules are those of the record.

mod record;

use hidps_wire::AgentId;

use crate::error_chain::chain;
use crate::state_dir::{StateDir, StateError, StateView};

pub use record::{
    Acceptance, LedgerRecord, MAX_FIRST, MAX_LEAP, Refusal, Trial, judge, plan_record,
};

/// The ledger's file.
const FILE: &str = "desired.json";

/// What a damaged ledger is kept as, for people; a later one takes its place.
const DAMAGED_FILE: &str = "ledger.damaged";

/// Where the record of one agent is kept.
#[derive(Clone, Debug)]
pub struct Ledger {
    state: StateDir,
    agent_id: AgentId,
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

impl NoDocument {
    /// Whether reading again may find what is there.
    #[must_use]
    pub const fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreadable(_))
    }
}

impl Ledger {
    /// The ledger of an agent.
    #[must_use]
    pub const fn new(state: StateDir, agent_id: AgentId) -> Self {
        Self { state, agent_id }
    }

    /// Whose ledger it is.
    #[must_use]
    pub const fn agent_id(&self) -> AgentId {
        self.agent_id
    }

    /// Reads the record and sets a damaged one aside.
    ///
    /// # Errors
    /// Says why there is none.
    pub fn load(&self) -> Result<LedgerRecord, NoDocument> {
        let record = read_ledger(&self.state, self.agent_id);
        let Err(NoDocument::Damaged(fault)) = &record else {
            return record;
        };
        let fault = chain(fault);
        match self.state.rename(FILE, DAMAGED_FILE) {
            Ok(()) => {
                tracing::error!(fault, kept_as = DAMAGED_FILE, "set a damaged ledger aside");
                Err(NoDocument::SetAside)
            }
            Err(error) => {
                let error = chain(&error);
                tracing::error!(fault, error, "a damaged ledger could not be set aside");
                record
            }
        }
    }

    /// Replaces the record: after a crash it is either the old one or the new one.
    ///
    /// # Errors
    /// Fails when the disk does; the old record is then still there.
    pub fn write(&self, record: &LedgerRecord) -> Result<(), StateError> {
        let text = hidps_wire::encode(record);
        self.state.write(FILE, text.as_bytes())
    }
}

/// The record of an agent as the file has it.
///
/// # Errors
/// Says why there is none.
pub fn read_ledger(state: &StateView, agent_id: AgentId) -> Result<LedgerRecord, NoDocument> {
    let Some(content) = state.read(FILE).map_err(NoDocument::Unreadable)? else {
        return Err(if state.has(DAMAGED_FILE) {
            NoDocument::SetAside
        } else {
            NoDocument::NotReceived
        });
    };
    let record: LedgerRecord = serde_json::from_slice(&content).map_err(NoDocument::Damaged)?;
    if record.agent_id == agent_id {
        Ok(record)
    } else {
        Err(NoDocument::OtherAgent(record.agent_id))
    }
}

#[cfg(test)]
mod tests;
