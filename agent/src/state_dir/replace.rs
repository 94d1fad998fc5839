//! Replaces a file so that power may fail at any moment: afterwards it is the old one or the new
//! one, whole. It never touches the old one before the new one is on the disk.

use std::io;

/// What replacing a file needs of its directory; tests have disks that fail and forget.
pub(super) trait Disk {
    /// An open file.
    type File;

    /// Makes an empty private file, in place of one that may be there.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Writes all of a content.
    fn write(&self, file: &mut Self::File, content: &[u8]) -> io::Result<()>;

    /// Waits until what was written is on the disk.
    fn sync(&self, file: &Self::File) -> io::Result<()>;

    /// Gives a file another name, in place of what had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Waits until the names are on the disk.
    fn sync_directory(&self) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// Writes the content under another name, and takes its name away from the old file only when the
/// new one is on the disk.
pub(super) fn replace<D: Disk>(disk: &D, name: &str, content: &[u8]) -> io::Result<()> {
    let draft = format!("{name}.new");
    let written = write_draft(disk, &draft, content).and_then(|()| disk.rename(&draft, name));
    if written.is_err() {
        // Half a draft is of no use, and on a full disk it is in the way.
        disk.remove(&draft).ok();
    }
    written?;
    disk.sync_directory()
}

fn write_draft<D: Disk>(disk: &D, draft: &str, content: &[u8]) -> io::Result<()> {
    let mut file = disk.create(draft)?;
    disk.write(&mut file, content)?;
    disk.sync(&file)
}

#[cfg(test)]
mod tests;
