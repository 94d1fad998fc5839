//! The snapshot of what runs on a host: those that take most of it.
//! It never holds an environment, and no command line that was not redacted on the host.

use serde::{Deserialize, Serialize};

use crate::limits::{MAX_COMMAND_BYTES, MAX_PROCESSES};
use crate::shown::Shown;
use crate::usage::{parse_at_most, parse_within};

/// Those that take most of a host.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Processes {
    /// How many there were, threads of the kernel included.
    pub total: u32,
    /// The top ones by processor time, then by memory, at most [`MAX_PROCESSES`].
    #[serde(deserialize_with = "parse_at_most::<_, _, MAX_PROCESSES>")]
    pub top: Vec<ProcessEntry>,
}

/// One process of a snapshot.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessEntry {
    /// Its id.
    pub pid: u32,
    /// The name the kernel has for it; a process chooses its own.
    pub name: Shown<64>,
    /// Its command line, secrets masked; none for threads of the kernel and where it is hidden.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Shown<MAX_COMMAND_BYTES>>,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Shown<64>>,
    /// Processor time since the snapshot before, in percent of one core, as in `top`.
    #[serde(deserialize_with = "parse_within::<_, 1_000_000>")]
    pub cpu: f32,
    /// Memory of its own and shared that is in RAM, in KiB.
    pub memory_kib: u64,
}
