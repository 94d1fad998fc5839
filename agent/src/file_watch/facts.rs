//! What an event says of a file beside its name: how it is now, and how it was.
//! It reads nothing, and says nothing that was not looked at.

use hidps_wire::{FieldValue, Fields};

use super::change::FileAction;
use super::entry::{Entry, EntryKind};
use super::hashing::{Unhashed, hex};

/// The bit by which a program runs with its owner's rights.
const SETUID: u32 = 0o4000;

/// How a file was when its change was told last, and how it is now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Facts {
    pub(super) before: Option<Entry>,
    pub(super) after: Option<Entry>,
    /// Why there is no hash where one could be.
    pub(super) unhashed: Option<Unhashed>,
}

impl Facts {
    /// What really happened, as far as it can be told: what was written with the same content, or
    /// only got other times, was only touched. Of what happened while the agent was away there is
    /// one event, which must not hide other rights.
    pub(super) fn refine(&self, action: FileAction, is_away: bool) -> FileAction {
        let (Some(before), Some(after)) = (&self.before, &self.after) else {
            return action;
        };
        let is_as_before = before.hash.is_some() && before.hash == after.hash;
        let is_touch = action == FileAction::Modified && is_as_before
            || action == FileAction::Attributes && after.was_only_touched(before);
        if is_touch && is_away && !after.has_rights_of(before) {
            FileAction::Attributes
        } else if is_touch {
            FileAction::Touched
        } else {
            action
        }
    }

    /// Puts them among the fields; `name` knows users by number.
    pub(super) fn push(&self, fields: &mut Fields<'static>, name: impl Fn(u32) -> String) {
        if let Some(after) = &self.after {
            fields.push("mode", octal(after.mode));
            fields.push("owner", name(after.user));
            fields.push("group_id", i64::from(after.group));
            if after.kind == EntryKind::File {
                fields.push("size", i64::try_from(after.size).unwrap_or(i64::MAX));
                let is_setuid = after.mode & SETUID != 0;
                fields.push("setuid", FieldValue::Bool(is_setuid));
            }
            if let Some(hash) = &after.hash {
                fields.push("sha256", hex(hash));
            }
        }
        if let Some(reason) = self.unhashed {
            fields.push("unhashed", reason.as_str());
        }
        let Some(before) = &self.before else { return };
        let after = self.after.as_ref();
        if after.is_none_or(|after| after.mode != before.mode) {
            fields.push("old_mode", octal(before.mode));
        }
        if after.is_none_or(|after| after.user != before.user) {
            fields.push("old_owner", name(before.user));
        }
        if after.is_none_or(|after| after.group != before.group) {
            fields.push("old_group_id", i64::from(before.group));
        }
        if let Some(hash) = &before.hash
            && after.is_none_or(|after| after.hash != before.hash)
        {
            fields.push("old_sha256", hex(hash));
        }
    }
}

fn octal(mode: u32) -> String {
    format!("{mode:04o}")
}
