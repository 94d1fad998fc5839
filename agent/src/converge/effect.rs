//! What the core asks for and tells: a closed set, in the order in which it has to be done.
//! Nothing here does anything.

use hidps_wire::{Generation, Status, WatchSet};

use crate::firewall::{Actor, BackEnd, FirewallChange, FirewallGoal};
use crate::ledger::LedgerRecord;

/// Something the core wants done. Effects are done one after the other, in order; all but the last
/// two are answered by a call, [`Effect::Probe`] whenever it is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Write the record down for good, then call `on_ledger_written`.
    WriteLedger(Box<LedgerRecord>),
    /// Read the ledger again, then call `on_ledger_read`.
    ReadLedger,
    /// Make the firewall so and read it back, then call `on_firewall_ensured`.
    EnsureFirewall(FirewallGoal),
    /// Only look whether the table is loaded, then call `on_firewall_looked_at`.
    LookAtFirewall,
    /// Watch exactly these paths, then call `on_files_ensured`.
    EnsureFiles(WatchSet),
    /// Find out by a fresh connection whether the daemon can be reached, then call `on_probed`;
    /// meanwhile everything else goes on.
    Probe(ProbeId),
    /// Tell the daemon and people how it is now.
    Report(Status),
    /// Tell people what happened.
    Note(Note),
}

/// Tells one probe from another, so that an old answer proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProbeId(pub(super) u64);

/// Something that happened, for logs and events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note {
    /// A document is on disk and is being applied.
    Accepted(Generation),
    /// A document came again.
    Known(Generation),
    /// A document was not accepted.
    Refused {
        /// Its generation.
        generation: Generation,
        /// Why, in one sentence.
        reason: String,
    },
    /// The agent's part of the firewall was changed by the agent: its table, or its rules in ufw.
    FirewallChanged {
        /// Where.
        back_end: BackEnd,
        /// What the agent did.
        change: FirewallChange,
        /// Who had changed it before, if the kernel told.
        actor: Option<Actor>,
        /// What had been changed before.
        tampering: Option<String>,
    },
    /// The firewall of a document is in force until it is confirmed or its time is over.
    OnTrial(Generation),
    /// The daemon was reached through the firewall of a document.
    Confirmed(Generation),
    /// The firewall that was confirmed last is in force again.
    RolledBack {
        /// The document whose firewall was on trial.
        generation: Generation,
        /// Why.
        why: String,
    },
    /// The outcome of a trial could not be written down; it is tried again.
    NotSaved {
        /// Why.
        reason: String,
    },
}
