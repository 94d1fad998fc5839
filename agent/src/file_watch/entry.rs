//! What is known of one file in a watched directory: as little as tells whether it is another one.
//! It never follows a symbolic link and reads no content.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::hashing::{self, Hash, MAX_BYTES};

/// Nanoseconds of a second.
const NANOS: i64 = 1_000_000_000;

/// What kind of file it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum EntryKind {
    /// A directory.
    Directory,
    /// A file with content.
    File,
    /// A link, a pipe, a socket or a device.
    Other,
}

/// One file as it was when somebody looked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) kind: EntryKind,
    pub(super) mode: u32,
    pub(super) user: u32,
    pub(super) group: u32,
    pub(super) inode: u64,
    pub(super) size: u64,
    /// Nanoseconds since the epoch.
    modified: i64,
    changed: i64,
    /// Of its content, where it was read since it changed.
    #[serde(
        default,
        with = "hashing::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) hash: Option<Hash>,
}

impl Entry {
    /// Takes what the kernel says.
    pub(super) fn of(metadata: &Metadata) -> Self {
        let kind = if metadata.is_dir() {
            EntryKind::Directory
        } else if metadata.is_file() {
            EntryKind::File
        } else {
            EntryKind::Other
        };
        Self {
            kind,
            mode: metadata.mode() & 0o7777,
            user: metadata.uid(),
            group: metadata.gid(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: nanos(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanos(metadata.ctime(), metadata.ctime_nsec()),
            hash: None,
        }
    }

    /// The same with a content that is known.
    pub(super) fn with_hash(self, hash: Option<Hash>) -> Self {
        Self { hash, ..self }
    }

    /// Whether both are of one file.
    pub(super) fn is_same_file(&self, other: &Self) -> bool {
        (self.inode, self.kind) == (other.inode, other.kind)
    }

    /// Whether the content may be another one; a directory's is told by its entries.
    pub(super) fn may_differ_in_content(&self, other: &Self) -> bool {
        self.kind != EntryKind::Directory
            && (self.size, self.modified) != (other.size, other.modified)
    }

    /// Whether its content can be told by a hash.
    pub(super) fn is_hashable(&self) -> bool {
        self.kind == EntryKind::File && self.size <= MAX_BYTES
    }

    /// Whether both are of the same content, as far as that can be seen without reading it.
    pub(super) fn is_as_written(&self, other: &Self) -> bool {
        self.is_same_file(other) && !self.may_differ_in_content(other)
    }

    /// Whether mode and owner are the same.
    pub(super) fn has_rights_of(&self, other: &Self) -> bool {
        let rights = |entry: &Self| (entry.mode, entry.user, entry.group);
        rights(self) == rights(other)
    }

    /// Whether nothing but its times can be another one: what else is changed by itself, such as
    /// extended attributes, leaves the time of the content alone.
    pub(super) fn was_only_touched(&self, before: &Self) -> bool {
        self.is_same_file(before)
            && self.has_rights_of(before)
            && self.size == before.size
            && self.modified != before.modified
    }

    /// Whether nothing happened to it since, as far as that can be seen without reading it. Its
    /// number does not count: a file system may give others when it is mounted again.
    pub(super) fn is_untouched_since(&self, before: &Self) -> bool {
        let content = |entry: &Self| (entry.kind, entry.size, entry.modified, entry.changed);
        content(self) == content(before) && self.has_rights_of(before)
    }

    /// When something was done to it last.
    pub(super) fn changed_at(&self) -> Option<Timestamp> {
        Timestamp::from_nanosecond(i128::from(self.changed)).ok()
    }

    /// Whether mode, owner or whatever else is not content is another one.
    pub(super) fn differs_in_attributes(&self, other: &Self) -> bool {
        let is_by_itself = self.kind != EntryKind::Directory && !self.may_differ_in_content(other);
        !self.has_rights_of(other) || is_by_itself && self.changed != other.changed
    }
}

const fn nanos(seconds: i64, nanos: i64) -> i64 {
    seconds.saturating_mul(NANOS).saturating_add(nanos)
}
