//! Entrances for fuzzing: what reads the kernel's words about who changes files, from any bytes.
//! Nothing here is used by the agent itself.

use super::fid::{parse, parse_fdinfo};

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
