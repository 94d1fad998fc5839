//! The mounted file systems of disks of this host, and how full they are.
//! It never asks a file system of the network: one whose server is gone would not answer.

use std::path::{Path, PathBuf};

use hidps_wire::{DiskUse, MAX_USAGE_ENTRIES, Shown};

/// File systems that lie on disks.
const ON_DISK: [&str; 14] = [
    "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "jfs", "ntfs3", "reiserfs",
    "ufs", "vfat", "xfs", "zfs",
];

/// Each file system on a disk once, where it was mounted first; the root one whatever it is.
pub(super) fn parse_mounts(mountinfo: &str) -> Vec<PathBuf> {
    let mut seen = Vec::new();
    let mut mounts = Vec::new();
    for line in mountinfo.lines() {
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        let mut fields = before.split(' ').skip(2);
        let (Some(device), Some(_), Some(at)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let kind = after.split(' ').next().unwrap_or_default();
        let is_wanted = at == "/" || ON_DISK.contains(&kind);
        if is_wanted && !seen.contains(&device) && mounts.len() < MAX_USAGE_ENTRIES {
            seen.push(device);
            mounts.push(PathBuf::from(unescape(at)));
        }
    }
    mounts
}

/// Octal escapes of spaces, tabs, line feeds and backslashes.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((&byte, rest)) = bytes.split_first() {
        let octal = (byte == b'\\').then(|| rest.get(..3)).flatten();
        let code = octal
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(code.unwrap_or(byte));
        bytes = if code.is_some() { &rest[3..] } else { rest };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// How full one is; none when it cannot be asked or has no size of its own.
pub(super) fn read_disk(root: &Path, mount: &Path) -> Option<DiskUse> {
    let below = mount.strip_prefix("/").unwrap_or(mount);
    let asked = rustix::fs::statvfs(root.join(below)).ok()?;
    // What only root may still fill counts as used, as in df.
    let used = asked.f_blocks.saturating_sub(asked.f_bfree);
    let size = used.saturating_add(asked.f_bavail);
    (size > 0).then(|| DiskUse {
        mount: Shown::new(&mount.to_string_lossy()),
        used: super::percent(used, size),
        size_mib: size.saturating_mul(asked.f_frsize) >> 20,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 28 0:21 / /proc rw,relatime shared:13 - proc proc rw
28 1 253:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 28 253:2 / /srv/with\\040space rw shared:2 - xfs /dev/vdb rw
31 28 253:2 /sub /mnt/again rw shared:3 - xfs /dev/vdb rw
32 28 0:40 / /net rw - nfs4 server:/x rw
33 28 0:41 / /run rw - tmpfs tmpfs rw
junk
";

    #[test]
    fn disks_are_told_once_each_and_nothing_else() {
        let mounts = parse_mounts(MOUNTS);

        assert_eq!(mounts, [Path::new("/"), Path::new("/srv/with space")]);
    }

    #[test]
    fn a_root_that_is_no_disk_is_told_all_the_same() {
        let mounts = parse_mounts("1 0 0:50 / / rw - overlay overlay rw,lowerdir=/a\n");

        assert_eq!(mounts, [Path::new("/")]);
    }

    #[test]
    fn many_mounts_are_cut_off() {
        let line = |n: usize| format!("{n} 1 253:{n} / /m{n} rw - ext4 /dev/x rw\n");
        let many: String = (0..1_000).map(line).collect();

        assert_eq!(parse_mounts(&many).len(), MAX_USAGE_ENTRIES);
    }

    #[test]
    fn a_broken_escape_stays_as_it_is() {
        assert_eq!(unescape("a\\04"), "a\\04");
        assert_eq!(unescape("a\\999b"), "a\\999b");
        assert_eq!(unescape("\\134"), "\\");
    }
}
