//! All files of a host's journal as one list of entries, each told once and in order.
//! It waits for nothing, and says where it has got to in a form that outlives the files.
//!
//! journald numbers entries over all files it writes at a time. A round looks first how far every
//! file has grown and only then for new files, so that whatever has a number up to the highest one
//! seen is in a file that is known: what was told is everything up to the cursor.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::file::{Entry, JournalFile};
use super::format::{EntryHead, Id, JournalError};
use super::record::Record;

/// Entries told before others get their turn.
const TURN_ENTRIES: usize = 256;

/// Damaged entries passed over before others get their turn: each costs a few reads and a line.
const TURN_DAMAGES: usize = 32;

/// Longer than any file system's tick.
const SETTLE_TIME: Duration = Duration::from_secs(1);

/// Most files that are open at once; a host has one and one for each user who logged in.
const MAX_OPEN: usize = 256;

/// Where reading has got to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// The series of numbers, in hexadecimal digits as journalctl shows it.
    seqnum_id: String,
    /// The number of the last entry.
    seqnum: u64,
    boot_id: String,
    /// Microseconds since that boot.
    monotonic: u64,
    /// Microseconds since 1970.
    realtime: u64,
}

impl Cursor {
    fn of(seqnum_id: &Id, head: &EntryHead) -> Self {
        Self {
            seqnum_id: hex(seqnum_id),
            seqnum: head.seqnum,
            boot_id: hex(&head.boot_id),
            monotonic: head.monotonic,
            realtime: head.realtime,
        }
    }

    /// Whether an entry was written after this place. One that is older by the clock of its boot
    /// is a copy: journald moves what it wrote before the disk was there, under new numbers.
    fn is_before(&self, seqnum_id: &Id, head: &EntryHead) -> bool {
        let is_newer = if self.seqnum_id == hex(seqnum_id) {
            head.seqnum > self.seqnum
        } else {
            head.realtime > self.realtime
        };
        let is_copy = self.boot_id == hex(&head.boot_id) && head.monotonic < self.monotonic;
        is_newer && !is_copy
    }

    /// How many numbers are missing between this place and an entry.
    fn gap_before(&self, seqnum_id: &Id, head: &EntryHead) -> u64 {
        if self.seqnum_id != hex(seqnum_id) {
            return 0;
        }
        head.seqnum.saturating_sub(self.seqnum).saturating_sub(1)
    }
}

fn hex(id: &Id) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is told of the journal.
#[derive(Debug)]
pub(super) enum Told {
    /// An entry.
    Entry(EntryHead, Record),
    /// So many entries are gone.
    Lost(u64, String),
}

/// The journal of a host.
#[derive(Debug)]
pub(super) struct Journals {
    directories: Vec<Directory>,
    files: Vec<OpenFile>,
    /// Files that hold nothing more, by device and inode.
    done: HashSet<(u64, u64)>,
    cursor: Option<Cursor>,
    /// The cursor when directories were last listed: a file that is new since then holds nothing
    /// from before it that was not told.
    floor: Option<Cursor>,
}

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    modified: Option<SystemTime>,
}

#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    key: (u64, u64),
    journal: JournalFile<File>,
    next: u64,
    entry: Option<Entry>,
}

/// Where the next entry is.
enum Next {
    /// In the file of this place in the list.
    In(usize),
    /// It came during the round and has to wait for the next one, or is behind more damage than is
    /// passed over in one.
    HeldBack,
    /// There is none.
    None,
}

impl Journals {
    /// Opens the journal in some directories, behind a cursor or at its end.
    ///
    /// # Errors
    /// Fails when there is no journal, or none of its files can be read.
    pub(super) fn open(directories: &[PathBuf], cursor: Option<Cursor>) -> io::Result<Self> {
        let directory = |path: &PathBuf| Directory {
            path: path.clone(),
            modified: None,
        };
        let mut journals = Self {
            directories: directories.iter().map(directory).collect(),
            files: Vec::new(),
            done: HashSet::new(),
            cursor: cursor.clone(),
            floor: cursor,
        };
        let problem = journals.list();
        if journals.files.is_empty() && journals.done.is_empty() {
            let absent = || io::Error::new(io::ErrorKind::NotFound, "there is no journal");
            return Err(problem.unwrap_or_else(absent));
        }
        if journals.cursor.is_none() {
            journals.skip_to_end();
        }
        Ok(journals)
    }

    /// Where reading has got to; none in a journal without any entry.
    pub(super) fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// How many files are open.
    pub(super) fn n_files(&self) -> u32 {
        u32::try_from(self.files.len()).unwrap_or(u32::MAX)
    }

    /// Whether a file has more entries than when it was last looked at.
    pub(super) fn has_grown(&self) -> bool {
        self.files.iter().any(|file| file.journal.has_grown())
    }

    /// Tells what is new; true when there may be more at once.
    pub(super) fn read_new(&mut self, mut sink: impl FnMut(Told)) -> bool {
        self.refresh();
        let ceilings: Vec<_> = self
            .files
            .iter()
            .map(|file| file.journal.header())
            .map(|header| (header.seqnum_id, header.tail_seqnum))
            .collect();
        if self.has_changed_directory() {
            self.list();
        }
        if self.files.len() > 1 {
            self.refresh();
        }
        let mut n_damages = 0;
        for _ in 0..TURN_ENTRIES {
            match self.next_file(&ceilings, &mut n_damages, &mut sink) {
                Next::In(at) => self.tell_next(at, &mut sink),
                Next::HeldBack => return true,
                Next::None => {
                    self.close_finished();
                    return false;
                }
            }
        }
        true
    }

    fn refresh(&mut self) {
        for file in &mut self.files {
            if let Err(error) = file.journal.refresh() {
                tracing::debug!(path = %file.path.display(), %error, "a journal was not looked at");
            }
        }
    }

    /// The file with the oldest entry that may be told now.
    fn next_file(
        &mut self,
        ceilings: &[(Id, u64)],
        n_damages: &mut usize,
        sink: &mut impl FnMut(Told),
    ) -> Next {
        let mut oldest: Option<(usize, Id, EntryHead)> = None;
        let mut rest = Next::None;
        for (at, file) in self.files.iter_mut().enumerate() {
            let id = file.journal.header().seqnum_id;
            file.pass_damages(n_damages, sink);
            let Some(entry) = &file.entry else {
                if file.has_more() {
                    return Next::HeldBack;
                }
                continue;
            };
            let head = &entry.head;
            let series = ceilings.iter().filter(|(of, _)| *of == id);
            let ceiling = series.map(|(_, seqnum)| *seqnum).max();
            if ceiling.is_some_and(|ceiling| head.seqnum > ceiling) {
                rest = Next::HeldBack;
                continue;
            }
            let is_older = oldest.as_ref().is_none_or(|(_, other_id, other)| {
                if *other_id == id {
                    head.seqnum < other.seqnum
                } else {
                    head.realtime < other.realtime
                }
            });
            if is_older {
                oldest = Some((at, id, head.clone()));
            }
        }
        oldest.map_or(rest, |(at, ..)| Next::In(at))
    }

    fn tell_next(&mut self, at: usize, sink: &mut impl FnMut(Told)) {
        let Some(file) = self.files.get_mut(at) else {
            return;
        };
        let Some(entry) = file.entry.take() else {
            return;
        };
        file.next += 1;
        let id = file.journal.header().seqnum_id;
        let gap = self
            .cursor
            .as_ref()
            .map_or(0, |cursor| cursor.gap_before(&id, &entry.head));
        if gap > 0 {
            let why = "they were removed from the journal before they could be read";
            sink(Told::Lost(gap, why.to_owned()));
        }
        match file.journal.read_record(&entry) {
            Ok(record) => sink(Told::Entry(entry.head.clone(), record)),
            Err(error) => sink(Told::Lost(1, format!("{}: {error}", file.path.display()))),
        }
        self.cursor = Some(Cursor::of(&id, &entry.head));
    }

    /// Closes files that nobody writes to and that were read to their ends.
    fn close_finished(&mut self) {
        let done = &mut self.done;
        self.files.retain(|file| {
            let header = file.journal.header();
            let is_done = header.is_archived && file.next >= header.n_entries;
            if is_done {
                done.insert(file.key);
            }
            !is_done
        });
    }

    fn has_changed_directory(&self) -> bool {
        let modified = |path: &Path| fs::metadata(path).and_then(|found| found.modified()).ok();
        self.directories
            .iter()
            .any(|directory| modified(&directory.path) != directory.modified)
    }

    /// Opens the files that are new; the error is the last one met.
    fn list(&mut self) -> Option<io::Error> {
        let mut problem = None;
        let mut seen = HashSet::new();
        for at in 0..self.directories.len() {
            let Some(directory) = self.directories.get_mut(at) else {
                continue;
            };
            // Before the listing: what comes in the middle of it leads to another one.
            let modified = fs::metadata(&directory.path).and_then(|found| found.modified());
            directory.modified = modified.ok().filter(|modified| is_settled(*modified));
            for path in list_journals(&directory.path) {
                match self.open_file(&path, &mut seen) {
                    Ok(()) => {}
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "a journal cannot be read");
                        problem = Some(error);
                    }
                }
            }
        }
        self.done.retain(|key| seen.contains(key));
        self.floor.clone_from(&self.cursor);
        problem
    }

    fn open_file(&mut self, path: &Path, seen: &mut HashSet<(u64, u64)>) -> io::Result<()> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let key = (metadata.dev(), metadata.ino());
        let is_known = self.done.contains(&key) || self.files.iter().any(|file| file.key == key);
        if !seen.insert(key) || is_known || self.files.len() >= MAX_OPEN {
            return Ok(());
        }
        let mut journal = JournalFile::open(file).map_err(io::Error::other)?;
        let id = journal.header().seqnum_id;
        let next = match &self.floor {
            Some(floor) => journal.find_first(|head| floor.is_before(&id, head)),
            None => Ok(0),
        };
        // A file that was damaged is read for what it still holds.
        let next = next.unwrap_or(0);
        let header = journal.header();
        if header.is_archived && next >= header.n_entries {
            self.done.insert(key);
            return Ok(());
        }
        self.files.push(OpenFile {
            path: path.to_owned(),
            key,
            journal,
            next,
            entry: None,
        });
        Ok(())
    }

    /// Passes over everything that is there.
    fn skip_to_end(&mut self) {
        for file in &mut self.files {
            file.next = file.journal.header().n_entries;
            let Some(last) = file.next.checked_sub(1) else {
                continue;
            };
            let Ok(head) = file.journal.read_head(last) else {
                continue;
            };
            let is_newest = |cursor: &Cursor| head.realtime > cursor.realtime;
            if self.cursor.as_ref().is_none_or(is_newest) {
                self.cursor = Some(Cursor::of(&file.journal.header().seqnum_id, &head));
            }
        }
        self.floor.clone_from(&self.cursor);
        self.close_finished();
    }
}

impl OpenFile {
    fn has_more(&self) -> bool {
        self.next < self.journal.header().n_entries
    }

    /// Reads the next entry; what is damaged is told and passed over, as far as a turn goes.
    fn pass_damages(&mut self, n_damages: &mut usize, sink: &mut impl FnMut(Told)) {
        while self.entry.is_none() && self.has_more() && *n_damages < TURN_DAMAGES {
            match self.journal.read_numbered(self.next) {
                Ok(entry) => self.entry = Some(entry),
                Err(error) => {
                    let is_listed = matches!(&error, JournalError::Damaged { what: "entry", .. });
                    let n_left = self.journal.header().n_entries - self.next;
                    // Without the list nothing behind this entry can be found.
                    let n_lost = if is_listed { 1 } else { n_left };
                    self.next += n_lost;
                    *n_damages += 1;
                    sink(Told::Lost(
                        n_lost,
                        format!("{}: {error}", self.path.display()),
                    ));
                }
            }
        }
    }
}

/// Whether a directory would have another time if it were changed now; file systems count in
/// ticks of some milliseconds.
fn is_settled(modified: SystemTime) -> bool {
    modified.elapsed().is_ok_and(|age| age > SETTLE_TIME)
}

/// The files of journald in a directory, those it set apart as damaged included.
fn list_journals(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    let is_journal = |path: &PathBuf| {
        let end = path.extension().and_then(|end| end.to_str());
        matches!(end, Some("journal" | "journal~"))
    };
    paths.retain(is_journal);
    paths.sort();
    paths
}

#[cfg(test)]
mod tests;
