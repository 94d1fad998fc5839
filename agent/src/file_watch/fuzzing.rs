//! Entrances for fuzzing: what reads the kernel's words about who changes files, and what was known
//! of files before, from any bytes.
//! Nothing here is used by the agent itself.

use std::path::PathBuf;

use super::fid::{parse, parse_fdinfo};
use super::memory::Memory;
use super::reach::mounts::parse_mounts;

/// Reads bytes as events that name files by handle; gives how many there are and how many of them
/// have a place.
#[must_use]
pub fn read_who(bytes: &[u8]) -> (usize, usize) {
    let places = parse(bytes).map(|told| usize::from(told.place.is_some()));
    places.fold((0, 0), |(n, n_placed), placed| (n + 1, n_placed + placed))
}

/// Reads a text as what the kernel shows of a watch; gives whether a file is named in it.
#[must_use]
pub fn read_watch(text: &str) -> bool {
    parse_fdinfo(text, [0; 8]).is_some()
}

/// Reads bytes as what was known of watched files; gives how many files that is, and the same after
/// it was written and read once more. None where it is no memory.
#[must_use]
pub fn read_memory(bytes: &[u8]) -> Option<(usize, Option<usize>)> {
    let memory = Memory::parse(bytes).ok()?;
    let again = memory.text().ok();
    let again = again.and_then(|text| Memory::parse(&text).ok());
    let is_same = again.as_ref() == Some(&memory);
    let n_files = |memory: Memory| {
        memory
            .directories
            .values()
            .map(std::collections::BTreeMap::len)
            .sum()
    };
    Some((n_files(memory), again.filter(|_| is_same).map(n_files)))
}

/// Reads bytes as the kernel's table of mounts; gives where something is mounted, and whether it may
/// have to wait for somebody.
#[must_use]
pub fn read_mounts(bytes: &[u8]) -> Vec<(PathBuf, bool)> {
    let mounts = parse_mounts(bytes).into_iter();
    mounts.map(|mount| (mount.at, mount.is_doubtful)).collect()
}
