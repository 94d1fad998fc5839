//! What happened to a file, and the event that tells it.
//! It looks at nothing: what it says is in its arguments.

use std::path::PathBuf;

use hidps_wire::{EventKind, FieldValue, Fields, LogEvent, WatchPath};
use jiff::Timestamp;

use super::entry::Entry;
use super::facts::Facts;
use super::who::Actor;
use crate::clock;
use crate::collect::process::{ProcessTable, monotonic_nanos};

/// What happened to a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum FileAction {
    /// It came into being.
    Created,
    /// Its content was written.
    Modified,
    /// It was removed.
    Deleted,
    /// It was moved away; where to is not known.
    MovedFrom,
    /// Something was moved to its place.
    MovedTo,
    /// It got another name, both of them watched.
    Renamed,
    /// Its owner, mode or links changed.
    Attributes,
    /// It was written with the same content, or only its times changed.
    Touched,
}

impl FileAction {
    /// The value of the field `action`.
    #[must_use]
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Modified => "modified",
            Self::Deleted => "deleted",
            Self::MovedFrom => "moved_from",
            Self::MovedTo => "moved_to",
            Self::Renamed => "renamed",
            Self::Attributes => "attributes",
            Self::Touched => "touched",
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::Created => "was created",
            Self::Modified => "was modified",
            Self::Deleted => "was deleted",
            Self::MovedFrom => "was moved away",
            Self::MovedTo => "was moved here",
            Self::Renamed => "was renamed",
            Self::Attributes => "changed its attributes",
            Self::Touched => "was touched and has the same content",
        }
    }
}

/// A change of a file under a watched path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct FileChange {
    /// The file.
    pub(super) path: PathBuf,
    /// What happened to it.
    pub(super) action: FileAction,
    /// The watched path it belongs to.
    pub(super) watched: WatchPath,
    /// What its name was, when it was renamed.
    pub(super) from: Option<PathBuf>,
    /// Joins the two halves of a renaming; 0 where there is no other half.
    pub(super) cookie: u32,
    /// How it was known when the change was seen.
    pub(super) before: Option<Box<Entry>>,
    /// Whether it happened while the agent was not there to see it.
    pub(super) is_away: bool,
}

impl FileChange {
    /// The event; a name that is not UTF-8 is shown with replacement characters.
    #[must_use]
    pub(super) fn into_event(
        self,
        seen: Timestamp,
        (facts, actor): (&Facts, Option<&Actor>),
        processes: &ProcessTable,
    ) -> LogEvent<'static> {
        let target = self.path.to_string_lossy().into_owned();
        let mut fields = Fields::with_capacity(16);
        let action = facts.refine(self.action, self.is_away);
        let mut message = format!("{target} {}", action.sentence());
        if self.is_away {
            message.push_str(" while the agent was not running");
            fields.push("while_away", FieldValue::Bool(true));
            let changed_at = facts.after.as_ref().and_then(Entry::changed_at);
            if let Some(changed_at) = changed_at {
                fields.push("changed_at", clock::rfc3339(changed_at));
            }
        }
        if let Some(from) = &self.from {
            let from = from.to_string_lossy().into_owned();
            message = format!("{from} was renamed to {target}");
            fields.push("SourceFilename", from);
        }
        if let Some(actor) = actor {
            actor.push(&mut fields);
            message.push_str(" by ");
            message.push_str(&actor.name());
        }
        fields.push("TargetFilename", target);
        fields.push("action", action.as_str());
        fields.push("watched", self.watched.as_str().to_owned());
        let name = |user| processes.user_name(user, monotonic_nanos()).to_string();
        facts.push(&mut fields, name);
        LogEvent {
            timestamp: clock::rfc3339(seen).into(),
            kind: EventKind::FileMonitoring,
            service: "inotify".into(),
            message: message.into(),
            fields,
        }
    }
}
