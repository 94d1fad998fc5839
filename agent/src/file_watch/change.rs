//! What happened to a file, and the event that tells it.
//! It never looks at a file's content.

use std::path::PathBuf;

use hidps_wire::{EventKind, Fields, LogEvent, WatchPath};
use jiff::Timestamp;

use crate::clock;

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
    /// Its owner, mode, times or links changed.
    Attributes,
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
            Self::Attributes => "attributes",
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::Created => "was created",
            Self::Modified => "was modified",
            Self::Deleted => "was deleted",
            Self::MovedFrom => "was moved away",
            Self::MovedTo => "was moved here",
            Self::Attributes => "changed its attributes",
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
}

impl FileChange {
    /// The event; a name that is not UTF-8 is shown with replacement characters.
    #[must_use]
    pub(super) fn into_event(self, seen: Timestamp) -> LogEvent<'static> {
        let target = self.path.to_string_lossy().into_owned();
        let mut fields = Fields::default();
        let message = format!("{target} {}", self.action.sentence());
        fields.push("TargetFilename", target);
        fields.push("action", self.action.as_str());
        fields.push("watched", self.watched.as_str().to_owned());
        LogEvent {
            timestamp: clock::rfc3339(seen).into(),
            kind: EventKind::FileMonitoring,
            service: "inotify".into(),
            message: message.into(),
            fields,
        }
    }
}
