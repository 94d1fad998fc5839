//! Who changes watched files: fanotify names the process of each event, and directories by handle.
//! It never decides what changed, which inotify tells, and never holds anybody up.
//!
//! File systems are marked for names that come and go, so that who fills a brand-new directory is
//! known; writes are asked for only in watched directories, because a file system has too many.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hidps_wire::Fields;
use inotify::{Inotify, WatchMask};
use nix::libc;
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use tokio::time::Instant;

use super::change::FileAction;
use super::fid::{Handle, Told, parse, parse_fdinfo};
use crate::collect::process::{KnownProcess, ProcessTable, monotonic_nanos};

/// The source of events that this is.
pub const FILE_ACTORS: &str = "file actors";

/// What it cannot see.
pub(super) const CANNOT_SEE: &str = "who changes files on file systems without file handles \
                                     (overlayfs, some network file systems) or from other hosts, \
                                     and more than the number of a process that ended at once";

/// How long an answer is kept for the change it belongs to, which is told after a moment.
const KEPT: Duration = Duration::from_secs(5);

/// Most answers kept; beyond it the oldest changes are told without who did them.
const MAX_KEPT: usize = 4_096;

/// Most answers kept about directories that nobody watches yet.
const MAX_STRANGE: usize = 256;

/// What was said is read into a buffer of this size: some 200 answers.
pub(super) const BUFFER_BYTES: usize = 16 * 1_024;

/// How often it is read before others have their turn: together some thousand answers.
const READS_AT_ONCE: usize = 8;

/// What is asked of a whole file system.
const NAMES: MaskFlags = MaskFlags::FAN_CREATE
    .union(MaskFlags::FAN_DELETE)
    .union(MaskFlags::FAN_MOVED_FROM)
    .union(MaskFlags::FAN_MOVED_TO)
    .union(MaskFlags::FAN_ATTRIB)
    .union(MaskFlags::FAN_ONDIR);

/// What is asked of a watched directory beside it.
const WRITES: MaskFlags = MaskFlags::FAN_MODIFY.union(MaskFlags::FAN_EVENT_ON_CHILD);

/// What each bit says.
const ACTIONS: [(MaskFlags, FileAction); 6] = [
    (MaskFlags::FAN_CREATE, FileAction::Created),
    (MaskFlags::FAN_MODIFY, FileAction::Modified),
    (MaskFlags::FAN_DELETE, FileAction::Deleted),
    (MaskFlags::FAN_MOVED_FROM, FileAction::MovedFrom),
    (MaskFlags::FAN_MOVED_TO, FileAction::MovedTo),
    (MaskFlags::FAN_ATTRIB, FileAction::Attributes),
];

/// A process that changed a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Actor {
    pub(super) process: u32,
    /// None when it had gone before it could be looked at.
    pub(super) known: Option<Arc<KnownProcess>>,
}

impl Actor {
    /// Who it is, under the names that Sigma's rules use; what is not known is left out.
    pub(super) fn push(&self, fields: &mut Fields<'static>) {
        fields.push("ProcessId", i64::from(self.process));
        let Some(known) = &self.known else { return };
        if let Some(image) = &known.image {
            fields.push("Image", image.to_string());
        }
        if let Some(user) = &known.user {
            fields.push("User", user.to_string());
        }
        if !known.command.is_empty() {
            fields.push("CommandLine", known.command.to_string());
        }
    }

    /// For a sentence.
    pub(super) fn name(&self) -> String {
        let image = self.known.as_ref().and_then(|known| known.image.as_deref());
        image.map_or_else(
            || format!("process {}, which had ended", self.process),
            |image| format!("{image} (process {})", self.process),
        )
    }
}

/// What fanotify said lately of watched directories.
pub(super) struct Who {
    group: Fanotify,
    /// What the group says is read here.
    said: OwnedFd,
    buffer: Vec<u8>,
    /// When there was nothing more to read.
    dry_at: Option<Instant>,
    /// Tells the handle of one directory after the other, by what the kernel shows of its watch.
    scratch: Inotify,
    processes: Arc<ProcessTable>,
    by_handle: HashMap<Handle, PathBuf>,
    by_path: HashMap<PathBuf, Handle>,
    /// File systems that are marked, and those that cannot be.
    marked: BTreeSet<[u8; 8]>,
    unmarkable: BTreeSet<[u8; 8]>,
    recent: HashMap<(PathBuf, FileAction), (u64, Actor)>,
    /// The order in which answers came, by number.
    order: VecDeque<(Instant, u64, (PathBuf, FileAction))>,
    last: u64,
    strange: VecDeque<Strange>,
    /// Whether the kernel dropped something since that was asked.
    has_lost: bool,
}

/// An answer about a directory that is not watched, or not yet.
struct Strange {
    at: Instant,
    directory: Handle,
    name: OsString,
    mask: u64,
    actor: Actor,
}

impl Who {
    /// Asks the kernel for a group.
    ///
    /// # Errors
    /// Fails where the kernel or the agent's rights do not allow it.
    pub(super) fn open(processes: Arc<ProcessTable>) -> io::Result<Self> {
        let group = open_group()?;
        Ok(Self {
            said: group.as_fd().try_clone_to_owned()?,
            group,
            buffer: vec![0; BUFFER_BYTES],
            dry_at: None,
            scratch: Inotify::init()?,
            processes,
            by_handle: HashMap::new(),
            by_path: HashMap::new(),
            marked: BTreeSet::new(),
            unmarkable: BTreeSet::new(),
            recent: HashMap::new(),
            order: VecDeque::new(),
            last: 0,
            strange: VecDeque::new(),
            has_lost: false,
        })
    }

    /// What is read to hear of events.
    pub(super) fn reader(&self) -> io::Result<OwnedFd> {
        self.group.as_fd().try_clone_to_owned()
    }

    /// Has a directory told of; `at` leads to it now, and may be a link only if it is followed.
    pub(super) fn learn(&mut self, path: &Path, at: &Path, follows: bool) {
        let learned = self.handle_of(at, follows).and_then(|(handle, system)| {
            self.mark(at, follows, system)?;
            Ok(handle)
        });
        let handle = match learned {
            Ok(handle) => handle,
            Err(error) => {
                let path = path.display();
                return tracing::debug!(%error, %path, "who changes files there is not told");
            }
        };
        self.by_path.insert(path.to_owned(), handle.clone());
        self.by_handle.insert(handle.clone(), path.to_owned());
        let (known, strange) = std::mem::take(&mut self.strange)
            .into_iter()
            .partition(|strange: &Strange| strange.directory == handle);
        self.strange = strange;
        for Strange {
            at,
            name,
            mask,
            mut actor,
            ..
        } in known
        {
            if actor.known.is_none() {
                actor = self.actor(actor.process);
            }
            self.keep(&path.join(name), mask, &actor, at);
        }
    }

    /// No longer has a directory told of.
    pub(super) fn forget(&mut self, path: &Path) {
        let Some(handle) = self.by_path.remove(path) else {
            return;
        };
        if self
            .by_handle
            .get(&handle)
            .is_some_and(|known| known == path)
        {
            self.by_handle.remove(&handle);
            let flags = MarkFlags::FAN_MARK_REMOVE | MarkFlags::FAN_MARK_DONT_FOLLOW;
            // Whatever is gone has no mark any more.
            self.group
                .mark(flags, WRITES, rustix::fs::CWD, Some(path))
                .ok();
        }
    }

    /// Whether who changed a file by now may not have been read yet. inotify and fanotify are two
    /// queues, and of two words about one change either may be read first; so what waits here is
    /// read now, as far as one turn goes.
    pub(super) fn is_behind(&mut self, path: &Path, changed: Instant, now: Instant) -> bool {
        let is_told = |directory| self.by_path.contains_key(directory);
        if !path.parent().is_some_and(is_told) {
            return false;
        }
        let is_behind = |dry_at: Option<Instant>| dry_at.is_none_or(|dry_at| dry_at < changed);
        if is_behind(self.dry_at) {
            self.catch_up(now);
        }
        is_behind(self.dry_at)
    }

    fn catch_up(&mut self, now: Instant) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..READS_AT_ONCE {
            match rustix::io::read(&self.said, &mut buffer) {
                Ok(n) if n > 0 => self.on_read(buffer.get(..n).unwrap_or_default(), now),
                Err(rustix::io::Errno::INTR) => {}
                // Whoever waits for more to read learns of a failure.
                Ok(_) | Err(_) => {
                    self.dry_at = Some(now);
                    break;
                }
            }
        }
        self.buffer = buffer;
    }

    /// Takes in what was read; each process is looked at now, because it may end any moment.
    pub(super) fn on_read(&mut self, bytes: &[u8], now: Instant) {
        // One that does much at once is looked at once.
        let mut last: Option<Actor> = None;
        for Told {
            mask,
            process,
            place,
        } in parse(bytes)
        {
            if mask & MaskFlags::FAN_Q_OVERFLOW.bits() != 0 {
                self.has_lost = true;
            }
            let (Some(process), Some((directory, name))) = (process, place) else {
                continue;
            };
            match self.by_handle.get(&directory) {
                Some(path) => {
                    let path = path.join(name);
                    let actor = last
                        .take_if(|last| last.process == process)
                        .unwrap_or_else(|| self.actor(process));
                    self.keep(&path, mask, &actor, now);
                    last = Some(actor);
                }
                None => self.keep_strange((directory, name), mask, process, now),
            }
        }
    }

    /// Whether the kernel dropped something since this was asked last.
    pub(super) const fn take_loss(&mut self) -> bool {
        std::mem::replace(&mut self.has_lost, false)
    }

    /// Who did this to a file lately.
    pub(super) fn actor_of(&self, path: &Path, action: FileAction) -> Option<&Actor> {
        let found = self.recent.get(&(path.to_owned(), action));
        found.map(|(_, actor)| actor)
    }

    fn actor(&self, process: u32) -> Actor {
        Actor {
            process,
            known: self.processes.resolve(process, monotonic_nanos()),
        }
    }

    fn keep(&mut self, path: &Path, mask: u64, actor: &Actor, now: Instant) {
        for (_, action) in ACTIONS.iter().filter(|(bit, _)| mask & bit.bits() != 0) {
            let key = (path.to_owned(), *action);
            self.last += 1;
            self.order.push_back((now, self.last, key.clone()));
            self.recent.insert(key, (self.last, actor.clone()));
        }
        let n_beyond = self.order.len().saturating_sub(MAX_KEPT);
        let is_old = |at: &Instant| now.saturating_duration_since(*at) > KEPT;
        let n_old = self.order.iter().take_while(|(at, ..)| is_old(at)).count();
        for (_, number, key) in self.order.drain(..n_beyond.max(n_old)) {
            // Unless there is a newer one in its place.
            if self
                .recent
                .get(&key)
                .is_some_and(|(last, _)| *last == number)
            {
                self.recent.remove(&key);
            }
        }
    }

    /// Of what nobody watches only what is known anyway is kept: a file system has much of it.
    fn keep_strange(
        &mut self,
        (directory, name): (Handle, &OsStr),
        mask: u64,
        process: u32,
        now: Instant,
    ) {
        if self.strange.len() >= MAX_STRANGE {
            self.strange.pop_front();
        }
        let known = self.processes.recall(process);
        self.strange.push_back(Strange {
            at: now,
            directory,
            name: name.to_owned(),
            mask,
            actor: Actor { process, known },
        });
    }

    fn mark(&mut self, at: &Path, follows: bool, system: [u8; 8]) -> io::Result<()> {
        let add = if follows {
            MarkFlags::FAN_MARK_ADD
        } else {
            MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_DONT_FOLLOW
        };
        if !self.marked.contains(&system) && !self.unmarkable.contains(&system) {
            let whole = add | MarkFlags::FAN_MARK_FILESYSTEM;
            match self.group.mark(whole, NAMES, rustix::fs::CWD, Some(at)) {
                Ok(()) => self.marked.insert(system),
                Err(_) => self.unmarkable.insert(system),
            };
        }
        let mask = if self.marked.contains(&system) {
            WRITES
        } else {
            WRITES | NAMES
        };
        Ok(self.group.mark(add, mask, rustix::fs::CWD, Some(at))?)
    }

    fn handle_of(&mut self, at: &Path, follows: bool) -> io::Result<(Handle, [u8; 8])> {
        let mask = if follows {
            WatchMask::DELETE_SELF
        } else {
            WatchMask::DELETE_SELF | WatchMask::DONT_FOLLOW
        };
        let system = split(rustix::fs::statvfs(at)?.f_fsid);
        let watch = self.scratch.watches().add(at, mask)?;
        let shown = format!("/proc/self/fdinfo/{}", self.scratch.as_raw_fd());
        let shown = std::fs::read_to_string(shown);
        self.scratch.watches().remove(watch)?;
        // What the scratch instance hears nobody needs, and must not pile up.
        self.scratch.read_events(&mut [0; 1_024]).ok();
        let handle = parse_fdinfo(&shown?, system);
        let handle = handle.ok_or(io::ErrorKind::Unsupported)?;
        Ok((handle, system))
    }
}

/// Whether the kernel tells this process who changes files.
///
/// # Errors
/// Says why not.
pub fn check_who() -> io::Result<()> {
    open_group().map(drop)
}

fn open_group() -> io::Result<Fanotify> {
    // Not among the wrapper's names: directories by handle, with the name in them.
    let by_handle = InitFlags::from_bits_retain(libc::FAN_REPORT_DIR_FID | libc::FAN_REPORT_NAME);
    let flags =
        InitFlags::FAN_CLASS_NOTIF | InitFlags::FAN_CLOEXEC | InitFlags::FAN_NONBLOCK | by_handle;
    let group = Fanotify::init(flags, EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC)?;
    // Without the right to mark a file system the kernel hides who did it.
    let whole = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM;
    let root = Path::new("/proc");
    match group.mark(whole, MaskFlags::FAN_DELETE, rustix::fs::CWD, Some(root)) {
        Err(nix::errno::Errno::EPERM) => Err(io::ErrorKind::PermissionDenied.into()),
        Ok(()) | Err(_) => Ok(group),
    }
}

/// The two halves of a file system's number, as they are in an event.
fn split(number: u64) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
    let half = |bytes| u32::from_le_bytes(bytes).to_ne_bytes();
    let ([a, b, c, d], [e, f, g, h]) = (half([a, b, c, d]), half([e, f, g, h]));
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
impl Who {
    /// Hears of one directory, and of that through whatever is read here.
    pub(super) fn hearing(said: OwnedFd, directory: (PathBuf, Handle)) -> io::Result<Self> {
        let mut who = Self::open(crate::collect::process::host_processes())?;
        who.said = said;
        let (path, handle) = directory;
        who.by_path.insert(path.clone(), handle.clone());
        who.by_handle.insert(handle, path);
        Ok(who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel says when its queue was full: no process, no file.
    fn overflow() -> Vec<u8> {
        let (length, version, metadata) = (24_u32, 3_u8, 24_u16);
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend([version, 0]);
        bytes.extend(metadata.to_ne_bytes());
        bytes.extend(MaskFlags::FAN_Q_OVERFLOW.bits().to_ne_bytes());
        bytes.extend((-1_i32).to_ne_bytes());
        bytes.extend(0_i32.to_ne_bytes());
        bytes
    }

    #[test]
    fn a_queue_that_was_full_is_a_loss_that_is_counted_once() {
        // Only who has the right gets a group; without one nothing is lost.
        let opened = Who::open(Arc::new(ProcessTable::new(Path::new("/nonexistent"))));
        let mut who = match opened {
            Ok(who) => who,
            Err(error) => {
                let test = "a_queue_that_was_full_is_a_loss_that_is_counted_once";
                return hidps_lab::say_skipped(test, &error);
            }
        };

        assert!(!who.take_loss());
        who.on_read(&overflow(), Instant::now());

        assert!(who.take_loss());
        assert!(!who.take_loss());
    }
}
