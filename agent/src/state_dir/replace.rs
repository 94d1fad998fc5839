//! Replaces a file so that power may fail at any moment: afterwards it is the old one or the new
//! one, whole. It never touches the old one before the new one is on the disk.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::Path;

/// What replacing a file needs of a disk; tests have disks that fail and forget.
pub(super) trait Disk {
    /// An open file.
    type File;

    /// Makes an empty private file, in place of one that may be there.
    fn create(&self, path: &Path) -> io::Result<Self::File>;

    /// Writes all of a content.
    fn write(&self, file: &mut Self::File, content: &[u8]) -> io::Result<()>;

    /// Waits until what was written is on the disk.
    fn sync(&self, file: &Self::File) -> io::Result<()>;

    /// Gives a file another name, in place of what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Waits until the names in a directory are on the disk.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// Writes the content under another name, and takes its name away from the old file only when the
/// new one is on the disk.
pub(super) fn replace<D: Disk>(
    disk: &D,
    directory: &Path,
    name: &str,
    content: &[u8],
) -> io::Result<()> {
    let draft = directory.join(format!("{name}.new"));
    let written = write_draft(disk, &draft, content)
        .and_then(|()| disk.rename(&draft, &directory.join(name)));
    if written.is_err() {
        // Half a draft is of no use, and on a full disk it is in the way.
        disk.remove(&draft).ok();
    }
    written?;
    disk.sync_directory(directory)
}

fn write_draft<D: Disk>(disk: &D, draft: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = disk.create(draft)?;
    disk.write(&mut file, content)?;
    disk.sync(&file)
}

/// The disk of this machine.
pub(super) struct RealDisk;

impl Disk for RealDisk {
    type File = File;

    fn create(&self, path: &Path) -> io::Result<File> {
        let file = File::options()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        give_to_owner(&file, path)?;
        Ok(file)
    }

    fn write(&self, file: &mut File, content: &[u8]) -> io::Result<()> {
        file.write_all(content)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

/// What root writes into the directory of another user is that user's, as everything else there. In
/// a directory of root's own nothing is done, for the agent's unit would not let it.
pub(super) fn give_to_owner(file: &File, path: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let directory = fs::metadata(path.parent().unwrap_or(Path::new("/")))?;
    if directory.uid() == 0 {
        return Ok(());
    }
    fchown(file, Some(directory.uid()), Some(directory.gid()))
}

#[cfg(test)]
mod tests;
