//! Why a directory is looked at, and what that means for what is found in it.
//! Pure: it looks at nothing itself.

use super::super::change::FileAction;
use super::super::entry::{Entry, EntryKind};

/// Why a directory is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum Why {
    /// To know what is there.
    Survey,
    /// It came into being or came here, and what is in it with it.
    Appeared(FileAction),
    /// Events may have been lost.
    Lost,
    /// The agent was away, and remembers what was there before.
    Away,
    /// It came while the agent was away, and what is in it with it.
    CameAway,
}

impl Why {
    /// Whether what is known and not found is gone.
    pub(super) fn compares(self) -> bool {
        matches!(self, Self::Lost | Self::Away)
    }
}

/// Why a directory that was found is looked at, by why the one above it is.
pub(super) fn plan_descent(above: Why, was_directory: bool, is_remembered: bool) -> Why {
    match above {
        Why::Lost if !was_directory => Why::Appeared(FileAction::Created),
        Why::Away if !was_directory => Why::CameAway,
        // There was no room to remember what is in it.
        Why::Away if !is_remembered => Why::Survey,
        Why::Survey | Why::Appeared(_) | Why::Lost | Why::Away | Why::CameAway => above,
    }
}

/// What a found file has to be told as, and whether it is taken in at once; otherwise it is when
/// its change is told.
pub(super) fn plan_findings(
    why: Why,
    known: Option<&Entry>,
    found: &Entry,
) -> (Vec<FileAction>, bool) {
    let Some(known) = known else {
        return match why {
            Why::Survey => (Vec::new(), true),
            Why::Appeared(action) => (vec![action], true),
            Why::Lost | Why::Away | Why::CameAway => (vec![FileAction::Created], true),
        };
    };
    if why == Why::Away {
        let action = plan_away(known, found);
        return (action.into_iter().collect(), action.is_none());
    }
    if why != Why::Lost {
        return (Vec::new(), false);
    }
    if !known.is_same_file(found) {
        return (vec![FileAction::Created], true);
    }
    let mut actions = Vec::new();
    if known.may_differ_in_content(found) {
        actions.push(FileAction::Modified);
    }
    if known.differs_in_attributes(found) {
        actions.push(FileAction::Attributes);
    }
    (actions, false)
}

/// What was done to a file while the agent was away, if anything: one thing, of which the event
/// says the rest.
pub(in super::super) fn plan_away(before: &Entry, now: &Entry) -> Option<FileAction> {
    if before.kind != now.kind {
        return Some(FileAction::Created);
    }
    if now.kind == EntryKind::Directory {
        return (!now.has_rights_of(before)).then_some(FileAction::Attributes);
    }
    if now.is_untouched_since(before) {
        return None;
    }
    // Where the content was known it is compared, whatever the file's times say.
    let may_differ = !now.is_as_written(before) || before.hash.is_some();
    Some(if may_differ {
        FileAction::Modified
    } else {
        FileAction::Attributes
    })
}
