//! What `/proc` says of one process, from bytes: a process chooses its own name and command line.
//! It never trusts that they are text, or that a name has no bracket in it.

use hidps_wire::Shown;

use crate::collect::process::whole_words;
use crate::redact::{MASK, redact_arguments};

/// More of a command line is not looked at.
pub(super) const MAX_COMMAND_LINE: usize = 4_096;

/// What of `/proc/<pid>/stat` the snapshot needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ProcessStat {
    pub(super) name: Vec<u8>,
    /// Processor time so far, in ticks.
    pub(super) ticks: u64,
    /// When it began, in ticks since boot.
    pub(super) started: u64,
    /// Pages in memory.
    pub(super) resident_pages: u64,
}

/// Reads `/proc/<pid>/stat`. The name is between the first and the last bracket, whatever it is.
pub(super) fn parse_stat(stat: &[u8]) -> Option<ProcessStat> {
    let open = stat.iter().position(|byte| *byte == b'(')?;
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let name = stat.get(open + 1..close)?.to_vec();
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    // From the third field on, as proc(5) counts them.
    let mut fields = rest.split_ascii_whitespace();
    let user: u64 = fields.nth(14 - 3)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let started = fields.nth(22 - 16)?.parse().ok()?;
    let resident: i64 = fields.nth(24 - 23)?.parse().ok()?;
    Some(ProcessStat {
        name,
        ticks: user.saturating_add(system),
        started,
        resident_pages: u64::try_from(resident).unwrap_or(0),
    })
}

/// A command line whose arguments end with NUL bytes, as text without secrets.
pub(super) fn parse_command<const MAX: usize>(cmdline: &[u8]) -> Option<Shown<MAX>> {
    if matches!(cmdline, [] | [0]) {
        return None;
    }
    let arguments = whole_words(cmdline, MAX_COMMAND_LINE);
    let arguments = arguments.strip_suffix(b"\0").unwrap_or(arguments);
    let arguments: Vec<_> = arguments
        .split(|byte| *byte == 0)
        .map(String::from_utf8_lossy)
        .collect();
    let line = redact_arguments(arguments.iter().map(|argument| &**argument));
    // One word that is too long is still a command line, as no thread of the kernel has.
    let is_hidden = line.is_empty() && cmdline.len() >= MAX_COMMAND_LINE;
    Some(Shown::new(if is_hidden { MASK } else { &line }))
}
