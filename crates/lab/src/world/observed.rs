//! What a host really does, as the kernel and the disk tell it: inotify watches and the ledger.
//! It never asks the agent, whose word is what is being checked.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde_json::Value;

/// The inodes a process watches by inotify.
///
/// # Errors
/// When the process is gone.
pub fn list_watched_inodes(process: u32) -> io::Result<BTreeSet<u64>> {
    let mut inodes = BTreeSet::new();
    for descriptor in fs::read_dir(format!("/proc/{process}/fdinfo"))? {
        // One that was closed meanwhile watches nothing.
        let text = fs::read_to_string(descriptor?.path()).unwrap_or_default();
        inodes.extend(text.lines().filter_map(inode_of));
    }
    Ok(inodes)
}

/// Whether a process watches what is at this path.
///
/// # Errors
/// When the process or the path is gone.
pub fn is_watched(process: u32, path: &Path) -> io::Result<bool> {
    let inode = fs::symlink_metadata(path)?.ino();
    Ok(list_watched_inodes(process)?.contains(&inode))
}

/// The generation in a ledger; none where there is no ledger yet.
///
/// # Errors
/// When it cannot be read or is no ledger.
pub fn read_ledger_generation(ledger: &Path) -> io::Result<Option<i64>> {
    let text = match fs::read_to_string(ledger) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let record: Value = serde_json::from_str(&text)?;
    let generation = record.pointer("/accepted/generation");
    let no_ledger = || io::Error::other(format!("{} is no ledger", ledger.display()));
    generation
        .and_then(Value::as_i64)
        .map(Some)
        .ok_or_else(no_ledger)
}

/// The inode in a line such as `inotify wd:1 ino:9e7e sdev:800013 mask:800afce …`.
fn inode_of(line: &str) -> Option<u64> {
    let words = line.strip_prefix("inotify ")?.split(' ');
    let inode = words.filter_map(|word| word.strip_prefix("ino:")).next()?;
    u64::from_str_radix(inode, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_inotify_names_an_inode_and_others_do_not() {
        let line = "inotify wd:1 ino:9e7e sdev:800013 mask:800afce ignored_mask:0";

        assert_eq!(inode_of(line), Some(0x9e7e));
        assert_eq!(inode_of("pos:\t0"), None);
        assert_eq!(inode_of("inotify wd:1 ino:xyz"), None);
    }

    #[test]
    fn a_ledger_tells_its_generation_and_rubbish_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = directory.path().join("ledger.json");

        assert_eq!(read_ledger_generation(&ledger).unwrap(), None);
        fs::write(&ledger, r#"{"accepted":{"generation":7}}"#).unwrap();
        assert_eq!(read_ledger_generation(&ledger).unwrap(), Some(7));
        fs::write(&ledger, "{").unwrap();
        read_ledger_generation(&ledger).unwrap_err();
    }
}
