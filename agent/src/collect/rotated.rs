//! The files that a log's name belonged to before, as rotation leaves them: renamed or copied.
//! It only looks beside the log itself and never unpacks anything.

use std::cmp::Reverse;
use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::reader::{FilePosition, Reader};

/// Most files read behind a place; more rotations than this in an absence are a gap.
const MAX_FILES: usize = 8;

/// What a log held behind a place before its name went to another file.
pub(super) struct Rest {
    /// The files that hold it, the oldest first.
    pub(super) readers: Vec<Reader>,
    /// Whether they hold all of it.
    pub(super) is_whole: bool,
}

/// A file that rotation left behind.
struct Rotated {
    modified: SystemTime,
    path: PathBuf,
    is_packed: bool,
}

/// Finds the file of a place by what stands before it, and the files that came after it.
pub(super) fn find_rest(path: &Path, position: &FilePosition) -> Rest {
    let mut files = list_rotated(path);
    files.sort_by_key(|file| Reverse(file.modified));
    let (mut readers, mut is_whole) = (Vec::new(), true);
    for file in files.iter().take(MAX_FILES) {
        if file.is_packed {
            is_whole = false;
        } else if let Ok(Some(reader)) = Reader::resume(&file.path, position) {
            readers.push(reader);
            readers.reverse();
            return Rest { readers, is_whole };
        } else {
            match Reader::open(&file.path) {
                Ok(reader) => readers.push(reader),
                Err(_) => is_whole = false,
            }
        }
    }
    // Without the file of the place it cannot be known which of the others were read.
    Rest {
        readers: Vec::new(),
        is_whole: false,
    }
}

fn list_rotated(path: &Path) -> Vec<Rotated> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Vec::new();
    };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let name = name.to_string_lossy();
    entries
        .filter_map(|entry| as_rotated(&entry, &name))
        .collect()
}

/// `auth.log.1`, `auth.log.2.gz`, `auth.log-20261121`, and no other neighbour.
fn as_rotated(entry: &DirEntry, name: &str) -> Option<Rotated> {
    let file_name = entry.file_name();
    let suffix = file_name.to_str()?.strip_prefix(name)?;
    let suffix = suffix.strip_prefix(['.', '-'])?;
    let packed = [".gz", ".xz", ".bz2", ".zst", ".lz4", ".Z"];
    let plain = packed.iter().find_map(|end| suffix.strip_suffix(end));
    let number = plain.unwrap_or(suffix);
    let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    let metadata = entry.metadata().ok()?;
    let is_rotated = !number.is_empty() && is_number(number) && metadata.is_file();
    is_rotated.then_some(Rotated {
        modified: metadata.modified().ok()?,
        path: entry.path(),
        is_packed: plain.is_some(),
    })
}
