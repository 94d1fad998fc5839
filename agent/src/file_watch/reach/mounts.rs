//! Which file systems are mounted where, as the kernel lists them.
//! It asks none of them anything.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// File systems that ask nobody but a disk or the kernel; all others may have to wait for somebody.
const ASK_NOBODY: &str = "bcachefs binfmt_misc bpf btrfs cgroup cgroup2 configfs cramfs debugfs devpts devtmpfs \
    efivarfs erofs exfat ext2 ext3 ext4 f2fs fusectl hugetlbfs iso9660 jfs mqueue nsfs ntfs3 \
    overlay proc pstore ramfs reiserfs rootfs rpc_pipefs securityfs selinuxfs squashfs sysfs \
    tmpfs tracefs udf ufs vfat xfs";

/// A mounted file system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::file_watch) struct Mount {
    pub(in crate::file_watch) at: PathBuf,
    /// Whether it may have to wait for somebody.
    pub(in crate::file_watch) is_doubtful: bool,
}

/// The kernel's table, which is read again when it is another.
#[derive(Debug, Default)]
pub(super) struct MountTable {
    opened: Option<File>,
    mounts: Vec<Mount>,
}

impl MountTable {
    /// What is mounted now; what was mounted last where the table cannot be read.
    pub(super) fn list(&mut self) -> &[Mount] {
        if let Err(error) = self.refresh() {
            tracing::debug!(%error, "the table of mounts cannot be read");
            self.opened = None;
        }
        &self.mounts
    }

    fn refresh(&mut self) -> io::Result<()> {
        let is_known = self.opened.is_some();
        let opened = match &mut self.opened {
            Some(opened) => opened,
            None => self.opened.insert(open_table()?),
        };
        if !is_known || has_changed(opened)? {
            let mut table = Vec::new();
            opened.rewind()?;
            opened.read_to_end(&mut table)?;
            self.mounts = parse_mounts(&table);
        }
        Ok(())
    }
}

/// The thread's own table where the kernel shows it.
fn open_table() -> io::Result<File> {
    let own = File::open("/proc/thread-self/mountinfo");
    own.or_else(|_| File::open("/proc/self/mountinfo"))
}

/// Whether anything was mounted or unmounted since this was asked.
fn has_changed(table: &File) -> io::Result<bool> {
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut asked = [PollFd::new(table, PollFlags::PRI)];
    Ok(poll(&mut asked, Some(&at_once))? > 0)
}

/// The nearest mount at a path or above it.
pub(super) fn nearest<'m>(
    mounts: impl IntoIterator<Item = &'m Mount>,
    path: &Path,
) -> Option<&'m Path> {
    let above = mounts.into_iter().map(|mount| mount.at.as_path());
    let above = above.filter(|at| path.starts_with(at));
    above.max_by_key(|at| at.as_os_str().len())
}

pub(in crate::file_watch) fn parse_mounts(table: &[u8]) -> Vec<Mount> {
    let lines = table.split(|byte| *byte == b'\n');
    let mounts = lines.filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let at = fields.nth(4)?;
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
        let asks_nobody = ASK_NOBODY.split(' ').any(|known| known.as_bytes() == kind);
        Some(Mount {
            at: PathBuf::from(unescape(at)),
            is_doubtful: !asks_nobody,
        })
    });
    mounts.collect()
}

/// Octal escapes of spaces, tabs, line feeds and backslashes.
fn unescape(text: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = (byte == b'\\').then(|| after.get(..3)).flatten();
        let code = octal
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(code.unwrap_or(byte));
        let taken = if code.is_some() { 3 } else { 0 };
        rest = after.get(taken..).unwrap_or_default();
    }
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_that_ask_others_are_told_from_those_that_ask_nobody() {
        let table = b"22 28 0:21 / /proc rw shared:13 - proc proc rw\n\
                      28 1 253:1 / / rw shared:1 - ext4 /dev/vda1 rw\n\
                      32 28 0:40 / /net rw - nfs4 server:/x rw\n\
                      33 28 0:41 / /with\\040space rw shared:2 master:3 - fuse.sshfs x rw\n\
                      34 28 0:42 / /new rw - not-known x rw\n\
                      junk\n";

        let mounts = parse_mounts(table);

        let at = |is_doubtful| {
            let mounts = mounts
                .iter()
                .filter(|mount| mount.is_doubtful == is_doubtful);
            mounts.map(|mount| mount.at.as_path()).collect::<Vec<_>>()
        };
        assert_eq!(at(true), ["/net", "/with space", "/new"].map(Path::new));
        assert_eq!(at(false), ["/proc", "/"].map(Path::new));
        let nearest = |path: &str| nearest(&mounts, Path::new(path)).unwrap();
        assert_eq!(nearest("/net/a/b"), Path::new("/net"));
        assert_eq!(nearest("/network"), Path::new("/"));
    }
}
