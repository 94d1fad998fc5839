//! What a look at a watched path has to tell, by why it was looked at and what was there before.
//! Pure: it looks at nothing itself.

use super::change::FileAction;
use super::inventory::Why;
use super::path_state::Stamp;

/// Why a path is looked at again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    /// It became desired.
    Desired,
    /// An event that was told already.
    Told(FileAction),
    /// An event of a directory above it.
    Above(FileAction),
    /// Events may have been lost.
    Lost,
}

/// Whether a path was there, and is not, or is another one below a directory that was gone.
pub(super) fn was_gone(cause: Cause, (before, after): (Option<Stamp>, Option<Stamp>)) -> bool {
    match (before, after) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(before), Some(after)) => {
            let is_above = matches!(cause, Cause::Above(action) if action != FileAction::MovedTo);
            is_above && !before.is_same_file(&after)
        }
    }
}

/// Why a watched directory is walked through, should it be another one than before.
pub(super) fn plan_walk(cause: Cause, (before, after): (Option<Stamp>, Option<Stamp>)) -> Why {
    let is_same = match (before, after) {
        (Some(before), Some(after)) => before.is_same_file(&after),
        _ => false,
    };
    match cause {
        Cause::Desired => Why::Survey,
        Cause::Lost if is_same => Why::Survey,
        Cause::Told(FileAction::MovedTo) | Cause::Above(FileAction::MovedTo) => {
            Why::Appeared(FileAction::MovedTo)
        }
        Cause::Told(_) | Cause::Above(_) | Cause::Lost => Why::Appeared(FileAction::Created),
    }
}

/// What a look has to tell: a change that no event of the path itself told.
pub(super) fn plan_telling(
    cause: Cause,
    (before, after): (Option<Stamp>, Option<Stamp>),
) -> Option<FileAction> {
    let by_cause = match cause {
        Cause::Desired | Cause::Told(_) => return None,
        Cause::Above(action) => Some(action),
        Cause::Lost => None,
    };
    match (before, after) {
        (None, None) => None,
        (None, Some(_)) => Some(match by_cause {
            Some(FileAction::MovedTo) => FileAction::MovedTo,
            _ => FileAction::Created,
        }),
        (Some(_), None) => Some(match by_cause {
            Some(FileAction::MovedFrom) => FileAction::MovedFrom,
            _ => FileAction::Deleted,
        }),
        (Some(before), Some(after)) if before.is_same_file(&after) => None,
        (Some(_), Some(_)) => Some(match by_cause {
            Some(FileAction::MovedTo | FileAction::MovedFrom) => FileAction::MovedTo,
            _ => FileAction::Created,
        }),
    }
}
