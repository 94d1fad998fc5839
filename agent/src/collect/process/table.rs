//! Who the processes of this host are, those that ended lately included: a bounded memory that
//! other sources ask. It asks `/proc` only for what it does not know.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::proc_entry::{Proc, ProcEntry};
use super::users::UserNames;

/// Most processes known at once; living ones beyond are read again when somebody asks.
const MAX_KNOWN: usize = 4_096;

/// Most processes remembered after their end; a question about one comes within moments.
const MAX_ENDED: usize = 1_024;

/// Most bytes of a command line remembered.
const MAX_COMMAND_BYTES: usize = 1_024;

/// What is remembered of a process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownProcess {
    /// When it began, in ticks since boot; none for one that was only seen being made.
    pub started: Option<u64>,
    /// The path of its program.
    pub image: Option<Arc<str>>,
    /// Its command line, without secrets, cut.
    pub command: Arc<str>,
    /// Who runs it.
    pub user: Option<Arc<str>>,
    /// The process that made it.
    pub parent: u32,
    /// Whether it was seen beginning its program, and is not the copy of another process.
    pub has_executed: bool,
}

/// The memory, shared by whoever needs to know.
#[derive(Debug)]
pub struct ProcessTable {
    proc: Option<Proc>,
    /// Whether somebody says at once when processes begin and end.
    is_told: AtomicBool,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    users: UserNames,
    known: HashMap<u32, Entry>,
    /// The order in which they became known, by number and stamp.
    order: VecDeque<(u32, u64)>,
    ended: VecDeque<(u32, u64)>,
    last_stamp: u64,
}

#[derive(Debug)]
struct Entry {
    stamp: u64,
    has_ended: bool,
    process: Arc<KnownProcess>,
}

impl ProcessTable {
    /// An empty table over a `/proc`; without one, only what it is told is known.
    #[must_use]
    pub fn new(proc: &Path) -> Self {
        Self {
            proc: Proc::open(proc).ok(),
            is_told: AtomicBool::new(false),
            memory: Mutex::default(),
        }
    }

    /// Who a process is, or was a moment ago.
    #[must_use]
    pub fn resolve(&self, pid: u32, now: u64) -> Option<Arc<KnownProcess>> {
        let known = self.recall(pid);
        // Without news of ends a number may be another process's by now.
        if known.is_some() && self.is_told.load(Ordering::Relaxed) {
            return known;
        }
        match self.proc.as_ref().and_then(|proc| proc.read(pid)) {
            Some(entry) => Some(self.learn(&entry, false, now)),
            None => known,
        }
    }

    /// Says whether news of processes come at once.
    pub(super) fn set_told(&self, is_told: bool) {
        self.is_told.store(is_told, Ordering::Relaxed);
        self.forget_all();
    }

    /// Who the process of this number is that began at this time, if it is still remembered.
    #[must_use]
    pub fn resolve_started(&self, pid: u32, started: u64, now: u64) -> Option<Arc<KnownProcess>> {
        let known = self.resolve(pid, now)?;
        let same = known.started.is_none_or(|known| known == started);
        same.then_some(known)
    }

    /// The name of a user.
    #[must_use]
    pub fn user_name(&self, user: u32, now: u64) -> Arc<str> {
        self.lock().users.name(user, now)
    }

    /// What is remembered of a process, without looking at it.
    #[must_use]
    pub fn recall(&self, pid: u32) -> Option<Arc<KnownProcess>> {
        let memory = self.lock();
        memory
            .known
            .get(&pid)
            .map(|entry| Arc::clone(&entry.process))
    }

    /// Remembers a process that was read.
    pub(super) fn learn(
        &self,
        entry: &ProcEntry,
        has_executed: bool,
        now: u64,
    ) -> Arc<KnownProcess> {
        let mut memory = self.lock();
        let user = entry.users.map(|(user, _)| memory.users.name(user, now));
        let command = crate::text::cut(&entry.command, MAX_COMMAND_BYTES);
        let process = Arc::new(KnownProcess {
            started: Some(entry.started),
            image: entry.image.as_deref().map(Arc::from),
            command: command.into(),
            user,
            parent: entry.parent,
            has_executed,
        });
        memory.insert(entry.pid, Arc::clone(&process));
        process
    }

    /// Remembers a process as the copy of another, which it is until it begins a program.
    pub(super) fn on_forked(&self, parent: u32, child: u32, now: u64) {
        let Some(original) = self.resolve(parent, now) else {
            // Whatever was known of an earlier process of this number is wrong now.
            return self.lock().forget(child);
        };
        let copy = KnownProcess {
            started: None,
            parent,
            has_executed: false,
            ..(*original).clone()
        };
        self.lock().insert(child, Arc::new(copy));
    }

    /// Takes note that a process ended; it is remembered for a while.
    pub(super) fn on_exited(&self, pid: u32) {
        self.lock().end(pid);
    }

    /// Forgets everything, as after news that never came.
    pub(super) fn forget_all(&self) {
        let mut memory = self.lock();
        memory.known.clear();
        memory.order.clear();
        memory.ended.clear();
    }

    /// The open `/proc`.
    pub(super) const fn proc(&self) -> Option<&Proc> {
        self.proc.as_ref()
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn insert(&mut self, pid: u32, process: Arc<KnownProcess>) {
        self.last_stamp += 1;
        let entry = Entry {
            stamp: self.last_stamp,
            has_ended: false,
            process,
        };
        self.known.insert(pid, entry);
        self.order.push_back((pid, self.last_stamp));
        while self.known.len() > MAX_KNOWN {
            let Some((pid, stamp)) = self.order.pop_front() else {
                break;
            };
            self.remove(pid, stamp);
        }
        // What was replaced or removed leaves its place in the order behind.
        if self.order.len() > 2 * MAX_KNOWN {
            let known = &self.known;
            let is_current =
                |pid: u32, stamp: u64| known.get(&pid).is_some_and(|e| e.stamp == stamp);
            self.order.retain(|(pid, stamp)| is_current(*pid, *stamp));
        }
    }

    fn end(&mut self, pid: u32) {
        let Some(entry) = self.known.get_mut(&pid) else {
            return;
        };
        if !std::mem::replace(&mut entry.has_ended, true) {
            self.ended.push_back((pid, entry.stamp));
        }
        if self.ended.len() > MAX_ENDED
            && let Some((pid, stamp)) = self.ended.pop_front()
        {
            self.remove(pid, stamp);
        }
    }

    /// Removes an entry unless it was replaced meanwhile.
    fn remove(&mut self, pid: u32, stamp: u64) {
        if self
            .known
            .get(&pid)
            .is_some_and(|entry| entry.stamp == stamp)
        {
            self.known.remove(&pid);
        }
    }

    fn forget(&mut self, pid: u32) {
        self.known.remove(&pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn entry(pid: u32, image: &str) -> ProcEntry {
        ProcEntry {
            pid,
            started: 5,
            image: Some(image.to_owned()),
            ..ProcEntry::default()
        }
    }

    fn image(table: &ProcessTable, pid: u32) -> Option<String> {
        table.recall(pid)?.image.as_deref().map(ToOwned::to_owned)
    }

    #[test]
    fn a_living_process_is_read_once_and_remembered_after_its_end() {
        let table = ProcessTable::new(Path::new("/proc"));
        let mut child = Command::new("sleep")
            .arg("1000")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id();

        let alive = table.resolve(pid, 0).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        table.on_exited(pid);
        let ended = table.resolve(pid, 0).unwrap();

        assert_eq!(alive, ended);
        assert_eq!(alive.parent, std::process::id());
        assert!(
            table
                .resolve_started(pid, alive.started.unwrap(), 0)
                .is_some()
        );
        assert!(
            table.resolve_started(pid, 1, 0).is_none(),
            "another process"
        );
    }

    #[test]
    fn a_copy_is_its_parent_until_it_begins_a_program() {
        let table = ProcessTable::new(Path::new("/nonexistent"));
        table.learn(&entry(10, "/bin/sh"), true, 0);

        table.on_forked(10, 11, 0);
        let copy = table.recall(11).unwrap();
        table.learn(&entry(11, "/bin/ls"), true, 0);
        table.on_forked(99, 11, 0);

        assert_eq!(copy.image.as_deref(), Some("/bin/sh"));
        assert_eq!((copy.parent, copy.has_executed), (10, false));
        assert_eq!(table.recall(11), None, "a child of nobody known is unknown");
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let table = ProcessTable::new(Path::new("/nonexistent"));
        for pid in 0..10_000 {
            table.learn(&entry(pid, "/bin/true"), true, 0);
        }
        let n_known = table.lock().known.len();
        for pid in 0..10_000 {
            table.on_exited(pid);
        }
        let n_ended = table.lock().known.len();
        for _ in 0..100_000 {
            table.learn(&entry(1, "/bin/true"), true, 0);
        }

        assert_eq!((n_known, n_ended), (MAX_KNOWN, MAX_ENDED));
        assert_eq!(image(&table, 9_999).as_deref(), Some("/bin/true"));
        assert_eq!(image(&table, 5_000), None);
        assert!(table.lock().order.len() <= 2 * MAX_KNOWN);
    }
}
