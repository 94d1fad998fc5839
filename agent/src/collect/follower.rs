//! One log file by its name, followed through rotation, truncation and absence.
//! It reads every byte once, and never waits for a file that is not there.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::lines::Line;
use super::reader::{FilePosition, Progress, Reader};
use super::rotated::find_rest;

/// How much is read before others get their turn.
const TURN_BYTES: usize = 256 * 1024;

/// How long a file that was moved away is still read: its writer opens the new one when the
/// logger's tools tell it to, seconds later.
const OLD_FILE_QUIET: Duration = Duration::from_secs(60);

/// Most files that have lost the name and are still read: each is an open file, and whoever may
/// rename a log could otherwise use up all that the agent may have.
const MAX_OLD_FILES: usize = 32;

/// Where following begins.
#[derive(Clone, Debug)]
pub(super) enum Start {
    /// At the present end: nothing is known of an earlier run.
    AtEnd,
    /// At the beginning: there was no such file when the agent last ran.
    AtBeginning,
    /// Where an earlier run has got to.
    At(FilePosition),
}

/// A followed file.
#[derive(Debug)]
pub(super) struct Follower {
    path: PathBuf,
    /// Where to go on in a file that could not be opened yet.
    pending: Option<FilePosition>,
    /// Whether the file was there at the first start and could not be opened: what it holds when
    /// it can be is old.
    is_unseen: bool,
    current: Option<Reader>,
    /// Files that had the name before, the oldest first.
    old: VecDeque<OldFile>,
    n_gaps: u64,
}

/// A file that has lost the name.
#[derive(Debug)]
struct OldFile {
    reader: Reader,
    last_read: Instant,
}

impl Follower {
    /// Follows a file; one that appears later is read from its beginning.
    pub(super) fn start(path: &Path, start: Start) -> Self {
        let mut follower = Self {
            path: path.to_owned(),
            pending: None,
            is_unseen: false,
            current: None,
            old: VecDeque::new(),
            n_gaps: 0,
        };
        match start {
            Start::AtBeginning => {}
            Start::At(position) => follower.pending = Some(position),
            Start::AtEnd => {
                let opened = follower.open_at_end();
                let is_absent = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
                follower.is_unseen = opened.is_err_and(|error| !is_absent(error));
            }
        }
        follower
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where it has got to; none while there is no such file.
    ///
    /// # Errors
    /// Fails as long as the file could not be opened for the first time.
    pub(super) fn position(&self) -> io::Result<Option<FilePosition>> {
        if self.is_unseen {
            return Err(io::Error::other("it could not be opened yet"));
        }
        if let Some(pending) = &self.pending {
            return Ok(Some(pending.clone()));
        }
        let unread = self.old.iter().find(|old| !old.reader.is_at_end());
        let reader = unread.map(|old| &old.reader).or(self.current.as_ref());
        let reader = reader.or(self.old.back().map(|old| &old.reader));
        Ok(reader.map(Reader::position))
    }

    /// How often lines were lost since it was last asked: the file was replaced while the agent
    /// did not run, and what it still held is not to be found.
    pub(super) fn take_gaps(&mut self) -> u64 {
        std::mem::take(&mut self.n_gaps)
    }

    /// Passes on every new line; true when there may be more at once.
    ///
    /// # Errors
    /// Says why the file cannot be read; the next call tries again.
    pub(super) fn read_new(
        &mut self,
        now: Instant,
        mut sink: impl FnMut(Line<'_>),
    ) -> io::Result<bool> {
        let mut room = TURN_BYTES;
        if self.is_unseen {
            self.open_at_end()?;
            self.is_unseen = false;
        }
        self.find_place(now)?;
        if self.read_old(now, &mut room, &mut sink) {
            return Ok(true);
        }
        if self.current.is_none() {
            self.current = Some(Reader::open(&self.path)?);
        }
        let Some(current) = &mut self.current else {
            return Ok(false);
        };
        match current.read_new(&mut room, &mut sink)? {
            Progress::More => Ok(true),
            Progress::End => self.on_end(now),
            Progress::Rewritten => Ok(self.on_rewritten(now, sink)),
        }
    }

    fn open_at_end(&mut self) -> io::Result<()> {
        let mut reader = Reader::open(&self.path)?;
        reader.skip_to_end()?;
        self.current = Some(reader);
        Ok(())
    }

    /// Finds the place of an earlier run, in the file or in one that had its name before.
    fn find_place(&mut self, now: Instant) -> io::Result<()> {
        let Some(position) = self.pending.clone() else {
            return Ok(());
        };
        match Reader::resume(&self.path, &position) {
            Ok(Some(reader)) => self.current = Some(reader),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(None) | Err(_) => {
                let rest = find_rest(&self.path, &position);
                self.n_gaps += u64::from(!rest.is_whole);
                self.keep_old(rest.readers, now);
            }
        }
        self.pending = None;
        Ok(())
    }

    fn keep_old(&mut self, readers: Vec<Reader>, now: Instant) {
        let last_read = now;
        let old = readers
            .into_iter()
            .map(|reader| OldFile { reader, last_read });
        self.old.extend(old);
        let n_beyond = self.old.len().saturating_sub(MAX_OLD_FILES);
        let given_up = self.old.drain(..n_beyond);
        let n_unread = given_up.filter(|old| !old.reader.is_at_end()).count();
        self.n_gaps += n_unread as u64;
    }

    /// Reads files that had the name before; true when they hold more.
    fn read_old(&mut self, now: Instant, room: &mut usize, mut sink: impl FnMut(Line<'_>)) -> bool {
        for old in &mut self.old {
            let had_all = *room;
            match old.reader.read_new(room, &mut sink) {
                Ok(Progress::More) => return true,
                Ok(Progress::End) if *room < had_all => old.last_read = now,
                Ok(Progress::End) => {}
                // Nobody writes to it any more, or it cannot be read: it has no say in the rest.
                Ok(Progress::Rewritten) | Err(_) => {
                    old.last_read = now.checked_sub(OLD_FILE_QUIET).unwrap_or(now);
                }
            }
        }
        let is_quiet = |old: &mut OldFile| now.duration_since(old.last_read) >= OLD_FILE_QUIET;
        while let Some(mut old) = self.old.pop_front_if(is_quiet) {
            old.reader.finish(&mut sink);
        }
        false
    }

    /// At the end of the open file another one may have taken its name.
    fn on_end(&mut self, now: Instant) -> io::Result<bool> {
        let named = match std::fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            // It was moved away and its writer has not made a new one yet; it may still be
            // written to under its other name.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if self.current.as_ref().is_some_and(|open| open.is(&named)) {
            return Ok(false);
        }
        let new = Reader::open(&self.path)?;
        let old = self.current.replace(new);
        self.keep_old(old.into_iter().collect(), now);
        Ok(true)
    }

    /// The open file was truncated; a copy made before may hold what was not read yet.
    fn on_rewritten(&mut self, now: Instant, sink: impl FnMut(Line<'_>)) -> bool {
        let Some(current) = &mut self.current else {
            return false;
        };
        let rest = find_rest(&self.path, &current.position());
        if rest.readers.is_empty() {
            current.finish(sink);
        }
        current.start_over();
        self.keep_old(rest.readers, now);
        true
    }
}

#[cfg(test)]
mod tests;
