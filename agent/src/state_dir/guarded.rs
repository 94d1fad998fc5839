//! A directory in which every name is one of its own, whoever can write there: root works in the
//! agent's directory, and the agent may be somebody else's by then. It follows no link, waits for no
//! pipe, and gives nothing away that it has not made.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::Path;

use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, openat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use super::replace::{Disk, replace};

/// What is opened is this very name, and opening it waits for nobody.
const NO_OTHER: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Bits of a mode that let somebody else write.
const OTHERS_WRITE: u32 = 0o022;

/// Somebody who makes and removes a name all the time is not waited for.
const MOST_TRIES: usize = 3;

/// An open directory.
#[derive(Debug)]
pub(crate) struct GuardedDir {
    directory: File,
    uid: u32,
    gid: u32,
    /// Whether it is another user's, who may have put anything there.
    is_of_another: bool,
    /// Whether a file has to be the owner's alone.
    is_strict: bool,
}

/// A name that stands for something else than a file of the directory.
#[derive(Debug, thiserror::Error)]
#[error(
    "it is {0}, and no file that is the directory's owner's alone; find out who put it there, and \
     remove it"
)]
struct Foreign(&'static str);

impl GuardedDir {
    /// Opens a directory that is there.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let directory = File::open(path)?;
        let metadata = directory.metadata()?;
        if !metadata.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let (uid, gid) = (metadata.uid(), metadata.gid());
        let is_of_another = uid != rustix::process::geteuid().as_raw();
        Ok(Self {
            directory,
            uid,
            gid,
            is_of_another,
            is_strict: is_of_another,
        })
    }

    /// Takes files for the directory's own only as it does in that of another user.
    pub(crate) const fn strictly(mut self) -> Self {
        self.is_strict = true;
        self
    }

    /// Its permission bits.
    pub(crate) fn mode(&self) -> io::Result<u32> {
        Ok(self.directory.metadata()?.mode() & 0o777)
    }

    /// Whose it is.
    pub(crate) const fn owner(&self) -> u32 {
        self.uid
    }

    /// The content of a file up to so many bytes; none when it is not there.
    pub(crate) fn read(&self, name: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match self.open_file(name, OFlags::RDONLY) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut content = Vec::new();
        file.take(most).read_to_end(&mut content)?;
        Ok(Some(content))
    }

    /// Whether something has this name.
    pub(crate) fn has(&self, name: &str) -> io::Result<bool> {
        match statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a file that is there to be locked.
    pub(crate) fn open_lock(&self, name: &str) -> io::Result<File> {
        self.open_file(name, OFlags::WRONLY | OFlags::APPEND)
    }

    /// Opens a file to be locked, and makes it where there is none.
    pub(crate) fn ensure_lock(&self, name: &str) -> io::Result<File> {
        for _ in 0..MOST_TRIES {
            match self.open_lock(name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => return opened,
            }
            match self.make_lock(name) {
                Err(error) if is_raced(&error) => {}
                made => return made,
            }
        }
        Err(io::Error::other(Foreign("a name that comes and goes")))
    }

    /// Replaces a file: after a crash it is either the old one or the new one, whole.
    pub(crate) fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        replace(self, name, content)
    }

    /// Removes a file.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.directory, name, AtFlags::empty())?)
    }

    fn open_file(&self, name: &str, access: OFlags) -> io::Result<File> {
        let opened = openat(&self.directory, name, access | NO_OTHER, Mode::empty());
        let file = File::from(opened.map_err(|error| match error {
            Errno::LOOP => io::Error::other(Foreign("a link")),
            // Nobody reads from the pipe, or it is a socket.
            Errno::NXIO => io::Error::other(Foreign("a pipe or socket")),
            other => other.into(),
        })?);
        self.check(&file.metadata()?).map_err(io::Error::other)?;
        Ok(file)
    }

    /// A file may have lost its name just now, and may not have two of them: by the other one it
    /// would be read or written somewhere else.
    fn check(&self, metadata: &fs::Metadata) -> Result<(), Foreign> {
        if !metadata.is_file() {
            return Err(Foreign("a directory, pipe or device"));
        }
        if !self.is_strict {
            return Ok(());
        }
        if metadata.uid() != self.uid {
            return Err(Foreign("a file of somebody else"));
        }
        if metadata.nlink() > 1 {
            return Err(Foreign("a file with a second name"));
        }
        if metadata.mode() & OTHERS_WRITE != 0 {
            return Err(Foreign("a file that others can write"));
        }
        Ok(())
    }

    /// Makes a file to be locked. In the directory of another user it has its name only once it is
    /// that user's: were root cut off in between, nobody could ever lock it again.
    fn make_lock(&self, name: &str) -> io::Result<File> {
        if !self.is_of_another {
            return self.make(name);
        }
        let draft = format!("{name}.new");
        let file = self.create(&draft)?;
        let here = &self.directory;
        let named = renameat_with(here, &draft, here, name, RenameFlags::NOREPLACE);
        if named.is_err() {
            Self::remove(self, &draft).ok();
        }
        named?;
        Ok(file)
    }

    /// Makes a file that was not there; what root makes in the directory of another user is that
    /// user's, as everything else there.
    fn make(&self, name: &str) -> io::Result<File> {
        let how = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = File::from(openat(&self.directory, name, how | NO_OTHER, mode)?);
        if self.is_of_another {
            fchown(&file, Some(self.uid), Some(self.gid))?;
        }
        Ok(file)
    }
}

/// Whether somebody else made the file, or took the draft away, at the same time.
fn is_raced(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound
    )
}

impl Disk for GuardedDir {
    type File = File;

    fn create(&self, name: &str) -> io::Result<File> {
        match self.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => self.make(name),
        }
    }

    fn write(&self, file: &mut File, content: &[u8]) -> io::Result<()> {
        file.write_all(content)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.directory, from, &self.directory, to)?)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.directory.sync_all()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Self::remove(self, name)
    }
}

#[cfg(test)]
mod tests;
