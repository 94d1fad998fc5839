//! Entrances for fuzzing: what reads files that others wrote, each from any bytes.
//! Nothing here is used by the agent itself.

use hidps_wire::{MAX_COMMAND_BYTES, Shown};

/// Reads bytes as what `/proc` says of a process; gives its name and its command line.
#[must_use]
pub fn read_process(bytes: &[u8]) -> (Option<Shown<64>>, Option<Shown<MAX_COMMAND_BYTES>>) {
    super::snapshot::fuzzing::read(bytes)
}

/// Reads a text as each of the files that facts and usage come from.
pub fn read_host_file(text: &str) {
    super::facts::fuzzing::read_file(text);
    super::usage::fuzzing::read_file(text);
}

/// Reads a list of packages; gives how many have a version.
#[must_use]
pub fn read_package_list(bytes: &[u8]) -> usize {
    super::facts::fuzzing::read_package_list(bytes)
}

/// Compares two versions of packages, if both are.
#[must_use]
pub fn compare_versions(one: &str, other: &str) -> Option<std::cmp::Ordering> {
    super::facts::fuzzing::compare_versions(one, other)
}

/// Reads bytes as the answer of a time service.
pub fn read_time_answer(bytes: &[u8]) {
    super::facts::fuzzing::read_answers(bytes);
}
