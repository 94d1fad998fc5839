//! Entrances for fuzzing: what reads files that others wrote, each from any bytes.
//! Nothing here is used by the agent itself.

use std::path::PathBuf;

use hidps_wire::{MAX_COMMAND_BYTES, Shown};

use super::lines::{Line, LineSplitter};

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

/// Reads a datagram as a message of the kernel's audit; gives the number of its kind and its text.
#[must_use]
pub fn read_audit_message(datagram: &[u8]) -> Option<(u16, String)> {
    super::audit::fuzzing::read_message(datagram)
}

/// Reads a text as the configuration of auditd; gives where it writes.
#[must_use]
pub fn read_auditd_config(text: &str) -> Option<PathBuf> {
    super::audit::fuzzing::read_config(text)
}

/// Reads a text as the kernel's table of mounts; gives where disks are mounted.
#[must_use]
pub fn read_disks(text: &str) -> Vec<PathBuf> {
    super::usage::fuzzing::read_disks(text)
}

/// Reads a text as the list of users; gives what users are called whose numbers these are.
#[must_use]
pub fn read_users(text: &str, numbers: &[u32]) -> Vec<Option<String>> {
    super::process::fuzzing::read_users(text, numbers)
}

/// Reads pieces of a log, one after the other; gives its lines, each with whether it is cut.
#[must_use]
pub fn split_lines<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Vec<(Vec<u8>, bool)> {
    let mut splitter = LineSplitter::default();
    let mut lines = Vec::new();
    let mut take = |line: Line<'_>| lines.push((line.bytes.to_owned(), line.is_cut));
    for piece in pieces {
        splitter.push(piece, &mut take);
    }
    splitter.finish(&mut take);
    lines
}
