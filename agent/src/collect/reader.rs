//! One open log file, read from a place on; it knows when its content has become another.
//! It never looks for a file and never waits.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{OFlags, SeekFrom};
use serde::{Deserialize, Serialize};

use super::lines::{Line, LineSplitter};

/// How much is read at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// How often a file is opened that is replaced each time.
const OPEN_ATTEMPTS: u32 = 3;

/// How much of what was read last is compared with what stands there now: a line with its time.
const MARK_BYTES: usize = 64;

/// A place in a log file that can be found again, also under another name or in a copy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FilePosition {
    device: u64,
    inode: u64,
    offset: u64,
    /// A hash of the bytes before the place; never the bytes.
    mark: u64,
    /// Whether the place is inside of a long line that was passed on already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    in_cut_line: bool,
}

#[cfg(test)]
impl FilePosition {
    /// A place of no real file.
    pub(super) fn at(offset: u64) -> Self {
        Self {
            device: 1,
            inode: 1,
            offset,
            mark: 0,
            in_cut_line: false,
        }
    }
}

/// What came of reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// The room is used up; there may be more at once.
    More,
    /// All that is there was read.
    End,
    /// What was read before is not there any more: it was truncated, and perhaps written anew.
    Rewritten,
}

/// An open file.
#[derive(Debug)]
pub(super) struct Reader {
    file: File,
    device: u64,
    inode: u64,
    offset: u64,
    mark: u64,
    /// Offset and mark of the place behind the last complete line; taken while it is there, for a
    /// truncation takes it away.
    line_start: (u64, u64),
    is_at_end: bool,
    splitter: LineSplitter,
}

/// Opens a regular file; one that is replaced meanwhile, as rotation does, is opened anew.
fn open_own(path: &Path) -> io::Result<(File, Metadata)> {
    for _ in 0..OPEN_ATTEMPTS {
        // Without waiting: a pipe under this name would hold the whole agent.
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let file = File::options().read(true).custom_flags(flags).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        if is_named(path, &metadata)? {
            return Ok((file, metadata));
        }
    }
    Err(io::Error::other("it is replaced all the time"))
}

/// Whether the path still names what was opened. Refuses a file that was reached by a link of somebody else: whoever may write the directory of a
/// log could otherwise have any file of the host read out by root.
fn is_named(path: &Path, opened: &Metadata) -> io::Result<bool> {
    let named = fs::symlink_metadata(path)?;
    if named.is_symlink() {
        if named.uid() == 0 || named.uid() == opened.uid() {
            return Ok(true);
        }
        let problem = "it is a symbolic link whose owner is neither root nor the file's";
        return Err(io::Error::other(problem));
    }
    Ok((named.dev(), named.ino()) == (opened.dev(), opened.ino()))
}

impl Reader {
    /// Opens a file at its beginning.
    ///
    /// # Errors
    /// Fails when it cannot be opened, is not a regular file, or is behind a link of somebody who
    /// owns neither it nor the host.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let (file, metadata) = open_own(path)?;
        Ok(Self {
            file,
            device: metadata.dev(),
            inode: metadata.ino(),
            offset: 0,
            mark: hash(&[]),
            line_start: (0, hash(&[])),
            is_at_end: false,
            splitter: LineSplitter::default(),
        })
    }

    /// Opens a file at a place of an earlier run; none when it is not the file of that place.
    ///
    /// # Errors
    /// Fails when it cannot be opened or read.
    pub(super) fn resume(path: &Path, position: &FilePosition) -> io::Result<Option<Self>> {
        let mut reader = Self::open(path)?;
        let is_same = (reader.device, reader.inode) == (position.device, position.inode);
        // A short beginning is like that of other files; only the file itself will do.
        let is_known = is_same || position.offset >= MARK_BYTES as u64;
        if !is_known || reader.len()? < position.offset {
            return Ok(None);
        }
        if reader.mark_before(position.offset)? != position.mark {
            return Ok(None);
        }
        reader.offset = position.offset;
        reader.mark = position.mark;
        reader.line_start = (position.offset, position.mark);
        if position.in_cut_line {
            reader.splitter = LineSplitter::in_cut_line();
        }
        Ok(Some(reader))
    }

    /// Goes to the end without reading.
    ///
    /// # Errors
    /// Fails when the file cannot be read.
    pub(super) fn skip_to_end(&mut self) -> io::Result<()> {
        self.offset = self.len()?;
        self.take_marks()
    }

    /// Goes back to the beginning of a file that was written anew.
    pub(super) fn start_over(&mut self) {
        self.offset = 0;
        self.mark = hash(&[]);
        self.line_start = (0, self.mark);
        self.splitter = LineSplitter::default();
    }

    /// Whether this is the file that the metadata are of.
    pub(super) fn is(&self, metadata: &Metadata) -> bool {
        (self.device, self.inode) == (metadata.dev(), metadata.ino())
    }

    /// Whether everything was read when it was last looked at.
    pub(super) fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// The place behind the last complete line that was passed on.
    pub(super) fn position(&self) -> FilePosition {
        let (offset, mark) = self.line_start;
        FilePosition {
            device: self.device,
            inode: self.inode,
            offset,
            mark,
            in_cut_line: self.splitter.is_in_cut_line(),
        }
    }

    /// Passes on every new line within the room for bytes.
    ///
    /// # Errors
    /// Says why the file cannot be read.
    pub(super) fn read_new(
        &mut self,
        room: &mut usize,
        mut sink: impl FnMut(Line<'_>),
    ) -> io::Result<Progress> {
        if self.offset == 0 {
            self.skip_hole()?;
        }
        let mut space = vec![0; MARK_BYTES + CHUNK_BYTES];
        while *room > 0 {
            // What stands before the place comes with what is new: one call for both.
            let n_before = bytes_marked(self.offset);
            let n_read = self
                .file
                .read_at(&mut space, self.offset - n_before as u64)?;
            let read = space.get(..n_read).unwrap_or_default();
            let Some((before, new)) = read.split_at_checked(n_before) else {
                return Ok(Progress::Rewritten);
            };
            self.is_at_end = new.is_empty();
            if self.is_at_end {
                return Ok(Progress::End);
            }
            if hash(before) != self.mark {
                return Ok(Progress::Rewritten);
            }
            self.offset += new.len() as u64;
            *room = room.saturating_sub(new.len());
            self.splitter.push(new, &mut sink);
            self.take_marks_from(read)?;
            self.is_at_end = n_read < space.len();
            if self.is_at_end {
                return Ok(Progress::End);
            }
        }
        Ok(Progress::More)
    }

    /// A writer that kept its own place in a truncated file has left a hole.
    fn skip_hole(&mut self) -> io::Result<()> {
        self.offset = rustix::fs::seek(&self.file, SeekFrom::Data(0)).unwrap_or(0);
        if self.offset > 0 {
            self.take_marks()?;
        }
        Ok(())
    }

    /// Passes on what has no newline and will get none.
    pub(super) fn finish(&mut self, sink: impl FnMut(Line<'_>)) {
        self.splitter.finish(sink);
    }

    fn take_marks(&mut self) -> io::Result<()> {
        self.mark = self.mark_before(self.offset)?;
        self.take_line_start()
    }

    /// The same from what was just read, of which the present place is the end.
    fn take_marks_from(&mut self, read: &[u8]) -> io::Result<()> {
        let begin = read.len().saturating_sub(bytes_marked(self.offset));
        self.mark = hash(read.get(begin..).unwrap_or_default());
        self.take_line_start()
    }

    fn take_line_start(&mut self) -> io::Result<()> {
        let line_start = self.offset - self.splitter.pending_bytes() as u64;
        self.line_start = match line_start == self.offset {
            true => (self.offset, self.mark),
            false => (line_start, self.mark_before(line_start)?),
        };
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn mark_before(&self, offset: u64) -> io::Result<u64> {
        let n_bytes = bytes_marked(offset);
        let mut bytes = [0; MARK_BYTES];
        let bytes = bytes.get_mut(..n_bytes).unwrap_or_default();
        match self.file.read_exact_at(bytes, offset - n_bytes as u64) {
            // It was truncated meanwhile; the next look sees that.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(hash(&[])),
            Err(error) => Err(error),
            Ok(()) => Ok(hash(bytes)),
        }
    }
}

/// How many bytes before a place its mark is of.
fn bytes_marked(offset: u64) -> usize {
    usize::try_from(offset)
        .unwrap_or(MARK_BYTES)
        .min(MARK_BYTES)
}

/// FNV-1a: the same in every version of the agent, and nobody gains by a collision.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{lchown, symlink};

    #[test]
    fn a_link_that_a_stranger_put_in_the_place_of_a_log_is_not_followed() {
        if !rustix::process::geteuid().is_root() {
            let test = "a_link_that_a_stranger_put_in_the_place_of_a_log_is_not_followed";
            hidps_lab::say_skipped(test, &"links of others take root");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let [secret, own, log] = ["shadow", "own", "app.log"].map(|it| directory.path().join(it));
        fs::write(&secret, "root:$6$").unwrap();
        fs::write(&own, "a line").unwrap();
        lchown(&own, Some(4711), None).unwrap();

        symlink(&secret, &log).unwrap();
        assert!(Reader::open(&log).is_ok(), "root's own link");
        lchown(&log, Some(4711), None).unwrap();
        let refusal = Reader::open(&log).unwrap_err().to_string();
        assert!(refusal.contains("symbolic link"), "{refusal}");

        fs::remove_file(&log).unwrap();
        symlink(&own, &log).unwrap();
        lchown(&log, Some(4711), None).unwrap();
        assert!(Reader::open(&log).is_ok(), "their link to their own file");
    }
}
