//! One log file, followed through rotation and truncation.
//! It starts at the end, reads every byte once, and never waits for a file that is not there.
//!
//! A file that is truncated and grows beyond its old length between two looks cannot be told from
//! one that only grew; loggers that truncate by copying lose lines of their own there as well.

use std::fs::{File, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::lines::{Line, LineSplitter};

/// How much is read before others get their turn.
const TURN_BYTES: usize = 256 * 1024;

/// How much is read at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// A followed file.
pub(super) struct Follower {
    path: PathBuf,
    open: Option<OpenFile>,
    splitter: LineSplitter,
}

struct OpenFile {
    file: File,
    device: u64,
    inode: u64,
    offset: u64,
}

impl OpenFile {
    fn is(&self, metadata: &Metadata) -> bool {
        (self.device, self.inode) == (metadata.dev(), metadata.ino())
    }
}

impl Follower {
    /// Follows a file from its present end; one that appears later is read from its beginning.
    pub(super) fn start(path: &Path) -> Self {
        let mut follower = Self {
            path: path.to_owned(),
            open: None,
            splitter: LineSplitter::default(),
        };
        if let Ok(mut open) = open_file(path)
            && let Ok(end) = open.file.seek(SeekFrom::End(0))
        {
            open.offset = end;
            follower.open = Some(open);
        }
        follower
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Passes on every new line; true when there may be more at once.
    ///
    /// # Errors
    /// Says why the file cannot be read; the next call tries again.
    pub(super) fn read_new(&mut self, mut sink: impl FnMut(Line<'_>)) -> io::Result<bool> {
        if self.open.is_none() {
            self.open = Some(open_file(&self.path)?);
        }
        let Some(open) = &mut self.open else {
            return Ok(false);
        };
        if open.file.metadata()?.len() < open.offset {
            // It was truncated; what comes now is new.
            open.offset = open.file.seek(SeekFrom::Start(0))?;
            self.splitter.finish(&mut sink);
        }
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut n_turn = 0;
        while n_turn < TURN_BYTES {
            let n_read = open.file.read(&mut chunk)?;
            let Some(read) = chunk.get(..n_read).filter(|read| !read.is_empty()) else {
                return self.on_end(sink);
            };
            open.offset += n_read as u64;
            n_turn += n_read;
            self.splitter.push(read, &mut sink);
        }
        Ok(true)
    }

    /// At the end of the open file another one may have taken its name.
    fn on_end(&mut self, sink: impl FnMut(Line<'_>)) -> io::Result<bool> {
        let named = match std::fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            // It was moved away and its writer has not made a new one yet; it may still be
            // written to under its other name.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if self.open.as_ref().is_some_and(|open| open.is(&named)) {
            return Ok(false);
        }
        self.splitter.finish(sink);
        self.open = Some(open_file(&self.path)?);
        Ok(true)
    }
}

fn open_file(path: &Path) -> io::Result<OpenFile> {
    // Without waiting: a pipe under this name would hold the whole agent.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(OpenFile {
        file,
        device: metadata.dev(),
        inode: metadata.ino(),
        offset: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write as _;

    struct Log {
        directory: tempfile::TempDir,
    }

    impl Log {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            Self { directory }
        }

        fn path(&self) -> PathBuf {
            self.directory.path().join("auth.log")
        }

        fn append(&self, text: &str) {
            let options = File::options().create(true).append(true).open(self.path());
            options.unwrap().write_all(text.as_bytes()).unwrap();
        }

        fn rotate(&self) {
            fs::rename(self.path(), self.directory.path().join("auth.log.1")).unwrap();
        }
    }

    fn read(follower: &mut Follower) -> Vec<String> {
        let mut lines = Vec::new();
        let mut take =
            |line: Line<'_>| lines.push(String::from_utf8(line.bytes.to_owned()).unwrap());
        while follower.read_new(&mut take).unwrap() {}
        lines
    }

    #[test]
    fn only_what_is_written_afterwards_is_read() {
        let log = Log::new();
        log.append("old\n");
        let mut follower = Follower::start(&log.path());

        log.append("new\npart");
        let first = read(&mut follower);
        log.append("ial\n");
        let second = read(&mut follower);

        assert_eq!(
            (first, second),
            (vec!["new".to_owned()], vec!["partial".to_owned()])
        );
    }

    #[test]
    fn rotation_by_rename_loses_nothing() {
        let log = Log::new();
        log.append("old\n");
        let mut follower = Follower::start(&log.path());

        log.append("one\n");
        log.rotate();
        let moved = read(&mut follower);
        // The writer still has the old file open.
        let rotated = log.directory.path().join("auth.log.1");
        File::options()
            .append(true)
            .open(rotated)
            .unwrap()
            .write_all(b"two\nthr")
            .unwrap();
        log.append("four\n");
        let new = read(&mut follower);

        assert_eq!(moved, ["one"]);
        assert_eq!(new, ["two", "thr", "four"]);
    }

    #[test]
    fn truncation_starts_over() {
        let log = Log::new();
        log.append("a long first line\n");
        let mut follower = Follower::start(&log.path());

        fs::write(log.path(), "new\n").unwrap();

        assert_eq!(read(&mut follower), ["new"]);
    }

    #[test]
    fn a_file_that_appears_later_is_read_from_its_beginning() {
        let log = Log::new();
        let mut follower = Follower::start(&log.path());
        assert!(follower.read_new(|_| {}).is_err());

        log.append("first\n");

        assert_eq!(read(&mut follower), ["first"]);
    }

    #[test]
    fn what_is_not_a_file_is_refused_at_once() {
        let log = Log::new();
        fs::create_dir(log.path()).unwrap();
        let mut follower = Follower::start(&log.path());

        assert!(follower.read_new(|_| {}).is_err());
    }

    #[test]
    fn a_flood_is_read_in_turns() {
        let log = Log::new();
        log.append("");
        let mut follower = Follower::start(&log.path());
        log.append(&"x\n".repeat(TURN_BYTES));

        let mut n_lines = 0;
        let more = follower.read_new(|_| n_lines += 1).unwrap();

        assert!(more && n_lines < TURN_BYTES);
        assert_eq!(n_lines + read(&mut follower).len(), TURN_BYTES);
    }
}
