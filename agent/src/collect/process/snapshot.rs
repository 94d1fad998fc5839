//! Processes by looking at `/proc` again and again, where the kernel does not tell of them.
//! It never sees what begins and ends between two looks, and says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::observer::{Found, Observer, now};
use super::table::ProcessTable;

/// Most processes compared; more than a host has.
const MAX_PROCESSES: usize = 65_536;

/// What was there at the last look: by number, the start and the name.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    seen: BTreeMap<u32, (u64, String)>,
    has_looked: bool,
}

impl Snapshot {
    /// Looks again and tells what began and what ended; the first look tells nothing.
    pub(super) fn look(&mut self, table: &Arc<ProcessTable>, observer: &mut Observer) {
        let Some(proc) = table.proc() else { return };
        let Ok(mut pids) = proc.list() else { return };
        pids.truncate(MAX_PROCESSES);
        let mut present = BTreeMap::new();
        for pid in pids {
            let Some(start) = proc.read_start(pid) else {
                continue;
            };
            // The same process by another name runs another program.
            let is_new = self.seen.get(&pid) != Some(&start);
            if is_new
                && self.has_looked
                && let Some(entry) = proc.read(pid)
            {
                table.learn(&entry, true, now());
                let found = Found {
                    pid,
                    at: now(),
                    maker: None,
                    entry: Some(&entry),
                    is_late: true,
                };
                observer.tell_execution(&found, now());
            } else if is_new && let Some(entry) = proc.read(pid) {
                table.learn(&entry, true, now());
            }
            present.insert(pid, start);
        }
        for (pid, (started, _)) in &self.seen {
            if present
                .get(pid)
                .is_none_or(|(present, _)| present != started)
            {
                observer.on_exited(*pid, None, now());
            }
        }
        self.seen = present;
        self.has_looked = true;
    }
}
