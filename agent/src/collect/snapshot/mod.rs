//! The processes that take most of this host: a look at `/proc`, and what changed since the one before.
//! It never reads an environment, and masks secrets in command lines before they leave the host.

mod entry;
mod users;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hidps_wire::{MAX_PROCESSES, ProcessEntry, Processes, Shown};

use entry::{MAX_COMMAND_LINE, ProcessStat, parse_command, parse_stat};
use users::UserNames;

/// Most processes that are looked at: the greatest number of processes Linux has without being
/// told otherwise on a large machine.
const MAX_LOOKED_AT: usize = 131_072;

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
#[error("could not list the processes in {path}")]
pub struct SnapshotError {
    /// The directory.
    path: PathBuf,
    /// What the system said.
    #[source]
    source: io::Error,
}

/// Reads snapshots, and remembers how much time each process had used.
#[derive(Debug)]
pub(super) struct ProcessReader {
    root: PathBuf,
    host: HostMeasures,
    before: HashMap<u32, Used>,
    looked_at: Option<Instant>,
}

/// The units in which the kernel counts.
#[derive(Clone, Copy, Debug)]
struct HostMeasures {
    ticks_per_second: u64,
    page_bytes: u64,
}

/// Processor time of a process that began at a certain time; another may have its id now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Used {
    started: u64,
    ticks: u64,
}

/// One process as far as its place among the others needs it.
#[derive(Debug)]
struct Candidate {
    pid: u32,
    stat: ProcessStat,
    /// Ticks since the look before.
    ticks: u64,
}

impl ProcessReader {
    /// Time between the first two looks, of which the first can tell nothing.
    pub(super) const FIRST_SPAN: Duration = Duration::from_secs(1);

    /// A reader that has not looked yet.
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            host: HostMeasures {
                ticks_per_second: rustix::param::clock_ticks_per_second().max(1),
                page_bytes: rustix::param::page_size() as u64,
            },
            before: HashMap::new(),
            looked_at: None,
        }
    }

    /// Looks at every process once, and at those on top again for their names.
    ///
    /// # Errors
    /// When the processes cannot be listed.
    pub(super) fn read(&mut self, now: Instant) -> Result<Processes, SnapshotError> {
        let proc = self.root.join("proc");
        let mut candidates = self.look(&proc)?;
        let total = u32::try_from(candidates.len()).unwrap_or(u32::MAX);
        self.before = candidates.iter().map(Candidate::used).collect();
        let span = self
            .looked_at
            .map(|before| now.saturating_duration_since(before));
        self.looked_at = Some(now);

        choose_top(&mut candidates);
        let mut users = UserNames::read(&self.root);
        let entries = candidates.iter().map(|candidate| ProcessEntry {
            pid: candidate.pid,
            name: Shown::from_bytes(&candidate.stat.name),
            command: read_command(&proc, candidate.pid),
            user: users.owner(&proc.join(candidate.pid.to_string())),
            cpu: span.map_or(0.0, |span| self.share(candidate.ticks, span)),
            memory_kib: candidate
                .stat
                .resident_pages
                .saturating_mul(self.host.page_bytes)
                / 1024,
        });
        Ok(Processes {
            total,
            top: entries.collect(),
        })
    }

    fn look(&self, proc: &Path) -> Result<Vec<Candidate>, SnapshotError> {
        let listed = fs::read_dir(proc).map_err(|source| SnapshotError {
            path: proc.to_owned(),
            source,
        })?;
        let pids = listed
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        // One that has ended meanwhile has no file any more and is left out.
        let looked = pids.take(MAX_LOOKED_AT).filter_map(|pid| {
            let stat = fs::read(proc.join(pid.to_string()).join("stat")).ok()?;
            let stat = parse_stat(&stat)?;
            let before = self.before.get(&pid).filter(|b| b.started == stat.started);
            // One that began since used all of its time since.
            let ticks = match before {
                Some(before) => stat.ticks.saturating_sub(before.ticks),
                None if self.looked_at.is_some() => stat.ticks,
                None => 0,
            };
            Some(Candidate { pid, stat, ticks })
        });
        Ok(looked.collect())
    }

    /// Percent of one core.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "a percentage needs no more than three digits"
    )]
    fn share(&self, ticks: u64, span: Duration) -> f32 {
        let seconds = span.as_secs_f64().max(0.01);
        let used = ticks as f64 / self.host.ticks_per_second as f64;
        let share = (used / seconds * 1_000.0).round() / 10.0;
        share.clamp(0.0, 1_000_000.0) as f32
    }
}

impl Candidate {
    const fn used(&self) -> (u32, Used) {
        let used = Used {
            started: self.stat.started,
            ticks: self.stat.ticks,
        };
        (self.pid, used)
    }
}

/// Those on top: by time since the look before, then by memory, then by id.
fn choose_top(candidates: &mut Vec<Candidate>) {
    let rank = |c: &Candidate| (std::cmp::Reverse((c.ticks, c.stat.resident_pages)), c.pid);
    if candidates.len() > MAX_PROCESSES {
        candidates.select_nth_unstable_by_key(MAX_PROCESSES, rank);
        candidates.truncate(MAX_PROCESSES);
    }
    candidates.sort_unstable_by_key(rank);
}

/// The command line without its secrets; none for a thread of the kernel.
fn read_command<const MAX: usize>(proc: &Path, pid: u32) -> Option<Shown<MAX>> {
    let path = proc.join(pid.to_string()).join("cmdline");
    parse_command(&read_beginning(&path)?)
}

fn read_beginning(path: &Path) -> Option<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let file = fs::File::open(path).ok()?;
    file.take(MAX_COMMAND_LINE as u64)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(bytes)
}

/// For fuzzing.
pub(super) mod fuzzing {
    use hidps_wire::{MAX_COMMAND_BYTES, Shown};

    use super::entry::{parse_command, parse_stat};

    pub(in crate::collect) fn read(
        bytes: &[u8],
    ) -> (Option<Shown<64>>, Option<Shown<MAX_COMMAND_BYTES>>) {
        let name = parse_stat(bytes).map(|stat| Shown::from_bytes(&stat.name));
        (name, parse_command(bytes))
    }
}

#[cfg(test)]
mod tests;
