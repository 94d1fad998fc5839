//! One directory while it is listed, entry by entry, over as many turns as it needs.
//! It knows the directory by what was opened: what its path leads to meanwhile does not matter.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rustix::fs::Dir;

use super::super::beneath::magic_path;
use super::super::entry::Entry;
use super::super::path_state::is_absence;
use super::tree::Visit;

/// A directory that is being listed.
pub(super) struct Listing {
    pub(super) visit: Visit,
    opened: OwnedFd,
    entries: Dir,
    /// The names found so far, where what is not found matters.
    pub(super) found: BTreeSet<Box<OsStr>>,
    /// Names that are not looked at, because they would not answer.
    unanswering: BTreeSet<OsString>,
}

impl std::fmt::Debug for Listing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listing")
            .field("visit", &self.visit)
            .finish_non_exhaustive()
    }
}

impl Listing {
    pub(super) fn new(visit: Visit, opened: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            visit,
            entries: Dir::read_from(&opened)?,
            opened,
            found: BTreeSet::new(),
            unanswering: BTreeSet::new(),
        })
    }

    /// Has a name passed over: it is there, and that is all that is known.
    pub(super) fn pass_over(&mut self, name: &OsStr) {
        self.unanswering.insert(name.to_owned());
    }

    /// The next name and what is there; none at the end. A name that is gone again is passed over.
    pub(super) fn next(&mut self) -> io::Result<Option<(OsString, Entry)>> {
        let at: PathBuf = magic_path(self.opened.as_fd());
        while let Some(entry) = self.entries.read() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            if self.unanswering.contains(name) {
                self.found.insert(name.into());
                continue;
            }
            match fs::symlink_metadata(at.join(name)) {
                Ok(metadata) => return Ok(Some((name.to_owned(), Entry::of(&metadata)))),
                Err(error) if is_absence(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}
