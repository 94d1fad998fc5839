//! The pure decision: given what is desired and what is applied, what comes next.
//! It never looks at anything but its arguments.

use hidps_wire::Applied;

use crate::model::{DesiredState, HoldMark};

/// Fewest things a host must have before taking most of them away is a mass removal: below, a
/// person editing a short list by hand would be held.
const MANY_ENTRIES: u32 = 5;

/// Whether commands may be sent at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Hosts are brought to what is desired.
    #[default]
    Enforce,
    /// Hosts are only observed.
    ReadOnly,
}

/// What comes next for an agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing: not known yet what is desired, or it is applied.
    Idle,
    /// Send the desired document.
    Apply,
    /// Send nothing and say why.
    Hold(HoldReason),
}

/// Why a desired document is not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoldReason {
    /// The agent has applied a newer generation: the database was set back.
    WentBack,
    /// The agent has applied this generation with other content.
    OtherContent,
    /// This daemon sends no commands.
    ReadOnly,
    /// The database marked it.
    Marked(HoldMark),
    /// Nothing at all would be desired any more.
    Emptied {
        /// The most desired things that it had of late.
        applied: u32,
    },
    /// Most of what is applied would go.
    Shrunk {
        /// The most desired things that it had of late.
        applied: u32,
        /// Things desired now.
        desired: u32,
    },
}

/// Decides the next step; `most` is the most things the host had of late.
///
/// Laws: total and deterministic; `Idle` if and only if nothing is desired or exactly that is
/// applied; after the document it asks for was applied, it is `Idle`; it asks for a generation
/// only where an older one or none is applied.
#[must_use]
pub fn plan_step(
    desired: Option<&DesiredState>,
    applied: Option<&Applied>,
    mode: Mode,
    most: u32,
) -> Step {
    let Some(desired) = desired else {
        return Step::Idle;
    };
    match applied {
        Some(applied) if applied.generation > desired.generation => {
            Step::Hold(HoldReason::WentBack)
        }
        Some(applied) if applied.generation == desired.generation => {
            if applied.hash == desired.hash {
                Step::Idle
            } else {
                Step::Hold(HoldReason::OtherContent)
            }
        }
        _ if mode == Mode::ReadOnly => Step::Hold(HoldReason::ReadOnly),
        _ if desired.released => Step::Apply,
        older => hold_back(desired, older, most).map_or(Step::Apply, Step::Hold),
    }
}

/// Why a newer document should wait until somebody has looked at it.
fn hold_back(desired: &DesiredState, applied: Option<&Applied>, most: u32) -> Option<HoldReason> {
    if let Some(mark) = desired.hold {
        return Some(HoldReason::Marked(mark));
    }
    let applied = applied?.entries.max(most);
    let remaining = desired.document.entries();
    if applied < MANY_ENTRIES || remaining.saturating_mul(2) >= applied {
        None
    } else if remaining == 0 {
        Some(HoldReason::Emptied { applied })
    } else {
        Some(HoldReason::Shrunk {
            applied,
            desired: remaining,
        })
    }
}

#[cfg(test)]
mod tests;
