//! Which process holds a socket, by the open files of all processes.
//! It looks only for sockets that are new, and first where the last ones were.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::PathBuf;

/// Most open files looked at in one search; beyond that owners are unknown.
const MAX_FILES: usize = 500_000;

/// Processes that are asked first.
const MAX_LIKELY: usize = 64;

/// Holders of sockets.
#[derive(Debug)]
pub(super) struct Owners {
    proc: PathBuf,
    likely: BTreeSet<u32>,
}

impl Owners {
    /// Holders below a `/proc`.
    pub(super) const fn of(proc: PathBuf) -> Self {
        Self {
            proc,
            likely: BTreeSet::new(),
        }
    }

    /// The process of each of these sockets, as far as it can be found.
    pub(super) fn find(&mut self, mut wanted: HashSet<u64>) -> HashMap<u64, u32> {
        let mut found = HashMap::new();
        wanted.remove(&0);
        let mut room = MAX_FILES;
        for pid in std::mem::take(&mut self.likely) {
            self.search(pid, &mut wanted, &mut found, &mut room);
        }
        if !wanted.is_empty() {
            for pid in self.list() {
                if wanted.is_empty() || room == 0 {
                    break;
                }
                self.search(pid, &mut wanted, &mut found, &mut room);
            }
        }
        found
    }

    fn search(
        &mut self,
        pid: u32,
        wanted: &mut HashSet<u64>,
        found: &mut HashMap<u64, u32>,
        room: &mut usize,
    ) {
        let Ok(files) = fs::read_dir(self.proc.join(format!("{pid}/fd"))) else {
            return;
        };
        for file in files.flatten() {
            if *room == 0 {
                return;
            }
            *room -= 1;
            let Ok(target) = fs::read_link(file.path()) else {
                continue;
            };
            let inode = target.to_str().and_then(parse_socket);
            if let Some(inode) = inode.filter(|inode| wanted.remove(inode)) {
                found.insert(inode, pid);
                if self.likely.len() < MAX_LIKELY {
                    self.likely.insert(pid);
                }
            }
        }
    }

    /// Processes, the newest numbers first: what is new is mostly held by what is new.
    fn list(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir(&self.proc) else {
            return Vec::new();
        };
        let names = entries.flatten().map(|entry| entry.file_name());
        let mut pids: Vec<u32> = names
            .filter_map(|name| name.to_str()?.parse().ok())
            .collect();
        pids.sort_unstable_by_key(|pid| std::cmp::Reverse(*pid));
        pids
    }
}

fn parse_socket(target: &str) -> Option<u64> {
    let number = target.strip_prefix("socket:[")?.strip_suffix(']')?;
    number.parse().ok()
}
