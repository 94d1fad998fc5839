//! The desired paths, their states, and what an inotify event means for them.
//! It has no queue and no clock: changes go to the caller's list.
//!
//! Each path is watched itself, and every directory above it for names that come and go; so a
//! file that is replaced, moved away, deleted or not there yet is noticed wherever on the way it
//! happens. What is in watched directories is the inventory's business.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use hidps_wire::{WatchDepth, WatchPath, WatchSet};
use inotify::{EventMask, EventOwned, Watches};
use tokio::time::Instant;

use super::WatchReport;
use super::change::{FileAction, FileChange};
use super::entry::{Entry, EntryKind};
use super::inventory::{Finding, Inventory, Why, plan_away};
use super::kernel::{ENTRIES, ITSELF, KernelWatches, NAMES};
use super::look_plan::{Cause, plan_telling, plan_walk, was_gone};
use super::memory::Memory;
use super::path_state::{FileKind, PathState, Stamp, WatchProblem, is_absence};
use super::who::{Actor, Who};

/// How often a path may change while it is looked at before the look is given up for now.
const MAX_LOOKS: usize = 3;

/// How many turns of walking an answer waits for: a usual directory is known by then.
const TURNS_AT_ONCE: usize = 8;

/// The desired paths on one inotify instance.
pub(super) struct WatchTree {
    kernel: KernelWatches,
    desired: BTreeMap<PathBuf, Desired>,
    ancestors: BTreeSet<PathBuf>,
    inventory: Inventory,
    changes: Vec<FileChange>,
    /// Whether the report may be another than the last one.
    is_dirty: bool,
    /// Desired paths that were gone, if only for a moment.
    vanished: BTreeSet<WatchPath>,
    /// What was known of paths when the agent was there last, until each was looked at.
    memory: Memory,
}

struct Desired {
    name: WatchPath,
    depth: WatchDepth,
    state: PathState,
    stamp: Option<Stamp>,
}

impl WatchTree {
    pub(super) fn new(watches: Watches, who: Option<Who>, memory: Memory) -> Self {
        Self {
            kernel: KernelWatches::new(watches, who),
            desired: BTreeMap::new(),
            ancestors: BTreeSet::new(),
            inventory: Inventory::default(),
            is_dirty: false,
            changes: Vec::new(),
            vanished: BTreeSet::new(),
            memory,
        }
    }

    /// Watches exactly these paths; known ones are looked at again.
    pub(super) fn set(&mut self, paths: &WatchSet) {
        let wanted: BTreeMap<PathBuf, (&WatchPath, WatchDepth)> = paths
            .iter()
            .map(|(path, depth)| (PathBuf::from(path.as_str()), (path, *depth)))
            .collect();
        self.desired.retain(|path, _| wanted.contains_key(path));
        self.ancestors = wanted
            .keys()
            .flat_map(|path| path.ancestors().skip(1))
            .map(Path::to_owned)
            .collect();
        self.inventory.retain(|root| wanted.contains_key(root));
        self.kernel.retain(|path| {
            let is_wanted = self.ancestors.contains(path) || wanted.contains_key(path);
            is_wanted || self.inventory.has_directory(path)
        });
        for (path, (name, depth)) in wanted {
            let cause = if let Some(known) = self.desired.get_mut(&path) {
                known.depth = depth;
                Cause::Lost
            } else {
                self.desired.insert(
                    path.clone(),
                    Desired {
                        name: name.clone(),
                        depth,
                        state: PathState::Missing,
                        stamp: None,
                    },
                );
                Cause::Desired
            };
            self.look(&path, cause);
        }
        for _ in 0..TURNS_AT_ONCE {
            self.work();
        }
        // What was looked at is known now, or will be.
        let desired = &self.desired;
        self.memory.retain(|path| desired.contains_key(path));
        self.is_dirty = false;
    }

    /// All that is known, for the next start of the agent; none while something is being looked at.
    pub(super) fn remember_all(&self) -> Option<Memory> {
        if self.inventory.has_work() || !self.changes.is_empty() {
            return None;
        }
        // What could not be looked at yet is as it was.
        let mut memory = self.memory.clone();
        for (path, desired) in &self.desired {
            match (&desired.state, self.inventory.known(path)) {
                (PathState::Failed(_), _) => {}
                (PathState::Missing, _) => memory.add_watched(path, None),
                (_, Some(known)) => memory.add_watched(path, Some(known)),
                (_, None) => {}
            }
        }
        self.inventory.remember_all(&mut memory);
        Some(memory)
    }

    /// Whether there are directories left to walk through.
    pub(super) fn has_work(&self) -> bool {
        self.inventory.has_work()
    }

    /// Walks a little further.
    pub(super) fn work(&mut self) {
        if !self.inventory.has_work() {
            return;
        }
        self.inventory.work(&mut self.kernel);
        for finding in self.inventory.take_findings() {
            self.tell_found(finding);
        }
        self.is_dirty |= !self.inventory.has_work();
    }

    /// The state of every desired path.
    pub(super) fn report(&self) -> WatchReport {
        let state = |path: &Path, desired: &Desired| {
            let is_directory = desired.state == PathState::Watched(FileKind::Directory);
            let found = is_directory
                .then(|| self.inventory.state_of(path))
                .flatten();
            found.unwrap_or_else(|| desired.state.clone())
        };
        self.desired
            .iter()
            .map(|(path, desired)| (desired.name.clone(), state(path, desired)))
            .collect()
    }

    /// The report, if it may be another than the last one.
    pub(super) fn take_news(&mut self) -> Option<WatchReport> {
        std::mem::take(&mut self.is_dirty).then(|| self.report())
    }

    /// The changes found since the last call.
    pub(super) fn take_changes(&mut self) -> Vec<FileChange> {
        std::mem::take(&mut self.changes)
    }

    /// The paths that were gone since the last call.
    pub(super) fn take_vanished(&mut self) -> BTreeSet<WatchPath> {
        std::mem::take(&mut self.vanished)
    }

    /// Looks at every path again, because the kernel dropped events.
    pub(super) fn on_overflow(&mut self) {
        self.is_dirty = true;
        let paths: Vec<_> = self.desired.keys().cloned().collect();
        for path in paths {
            self.look(&path, Cause::Lost);
            self.compare_content(&path);
        }
        self.inventory.on_lost();
    }

    /// Notes the content as told, so that a later overflow does not tell it again.
    pub(super) fn on_told(&mut self, change: &FileChange, entry: Option<&Entry>) {
        if let Some(desired) = self.desired.get_mut(&change.path)
            && let Ok(Some(stamp)) = Stamp::read(&change.path)
        {
            desired.stamp = Some(stamp);
        }
        if let Some(from) = &change.from {
            self.inventory.remember(from, None, false);
        }
        let is_single = self.desired.contains_key(&change.path);
        self.inventory.remember(&change.path, entry, is_single);
    }

    /// Opens a file to be known, and says how it is.
    pub(super) fn open_to_look(&self, path: &Path) -> Option<(OwnedFd, Entry)> {
        self.inventory.look(path)
    }

    /// The next file whose content is not known.
    pub(super) fn next_unhashed(&mut self) -> Option<PathBuf> {
        self.inventory.next_unhashed()
    }

    /// Takes note of the content of a file.
    pub(super) fn on_hashed(&mut self, path: &Path, read: &Entry) {
        self.inventory.on_hashed(path, read);
    }

    /// Takes in what was read of who changes files.
    pub(super) fn on_who(&mut self, bytes: &[u8], now: Instant) {
        if let Some(who) = &mut self.kernel.who {
            who.on_read(bytes, now);
        }
    }

    /// Whether the kernel dropped some of who changes files since that was asked.
    pub(super) fn take_actor_loss(&mut self) -> bool {
        let who = self.kernel.who.as_mut();
        who.is_some_and(Who::take_loss)
    }

    /// Whether it may still come to be known who made a change that was seen by then.
    pub(super) fn is_actor_awaited(
        &mut self,
        change: &FileChange,
        seen: Instant,
        now: Instant,
    ) -> bool {
        let who = self.kernel.who.as_mut().filter(|_| !change.is_away);
        who.is_some_and(|who| who.is_behind(&change.path, seen, now))
    }

    /// Who made a change lately; none where nobody tells.
    pub(super) fn actor_of(&self, change: &FileChange) -> Option<Actor> {
        // Of the last one who did this nothing is said about whoever did it before.
        let who = self.kernel.who.as_ref().filter(|_| !change.is_away)?;
        let mut action = change.action;
        if action == FileAction::Renamed {
            action = FileAction::MovedTo;
        }
        who.actor_of(&change.path, action).cloned()
    }

    /// Takes in an event.
    pub(super) fn on_event(&mut self, event: &EventOwned) {
        for path in self.kernel.paths_of(&event.wd) {
            match &event.name {
                Some(name) => self.on_name(&path, name, event),
                None => self.on_itself(&path, event),
            }
        }
    }

    fn on_name(&mut self, directory: &Path, name: &OsStr, event: &EventOwned) {
        let mask = event.mask;
        let Some(action) = parse_action(mask) else {
            return;
        };
        let path = directory.join(name);
        let is_about_name = !matches!(action, FileAction::Modified | FileAction::Attributes);
        let is_gone = matches!(action, FileAction::Deleted | FileAction::MovedFrom);
        let is_directory = is_about_name && mask.contains(EventMask::ISDIR);
        let is_above_others = self.ancestors.contains(&path);
        if is_gone {
            self.inventory.on_name_went(&path);
        }
        if is_directory && is_gone {
            self.inventory.on_directory_went(&path);
        }
        if is_about_name && is_above_others {
            self.look_below(&path, action);
        } else if is_directory {
            self.kernel.remove_below(&path);
        }
        if let Some(desired) = self.desired.get(&path) {
            if is_gone {
                self.vanished.insert(desired.name.clone());
            }
            self.tell_moved(&path, path.clone(), action, event.cookie);
            if is_about_name {
                // Otherwise what is below has its new watches already.
                if !is_above_others {
                    self.kernel.remove_below(&path);
                }
                self.look(&path, Cause::Told(action));
            }
            if action == FileAction::Created && self.was_written(&path) {
                self.tell(&path, path.clone(), FileAction::Modified);
            }
        } else if let Some(root) = self.inventory.teller_of(directory) {
            let is_told = action == FileAction::Created && self.inventory.was_announced(&path);
            if !is_told {
                self.tell_moved(&root, path.clone(), action, event.cookie);
            }
        }
        if is_directory && !is_gone {
            self.inventory.on_directory_came(&path, action);
            self.is_dirty |= self.inventory.has_work();
        }
    }

    fn on_itself(&mut self, path: &Path, event: &EventOwned) {
        let mask = event.mask;
        let ended = EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::IGNORED;
        let is_on_the_way = self.desired.contains_key(path) || self.ancestors.contains(path);
        if mask.intersects(ended | EventMask::UNMOUNT) && is_on_the_way {
            self.look_below(path, FileAction::Deleted);
        } else if mask.intersects(EventMask::IGNORED | EventMask::UNMOUNT) {
            // Of a directory below a recursive one the directory above it tells the rest.
            self.kernel.forget_watch(&event.wd);
            if mask.contains(EventMask::UNMOUNT) {
                self.inventory.on_unmounted(path);
            }
        } else if mask.contains(EventMask::MODIFY) && self.desired.contains_key(path) {
            self.tell(path, path.to_owned(), FileAction::Modified);
        } else if mask.contains(EventMask::ATTRIB) && self.is_still_named(path) {
            self.tell(path, path.to_owned(), FileAction::Attributes);
        }
    }

    /// Losing its name changes a file's link count, which the kernel tells as an attribute of a
    /// file that is no longer at this path.
    fn is_still_named(&self, path: &Path) -> bool {
        let Some(known) = self.desired.get(path).and_then(|desired| desired.stamp) else {
            return false;
        };
        let now = Stamp::read(path).ok().flatten();
        now.is_some_and(|now| now.is_linked() && now.is_same_file(&known))
    }

    /// Whether a file just created has content already: it was then written before its own watch
    /// could see it. A further link to an old file has content of its own.
    fn was_written(&self, path: &Path) -> bool {
        let stamp = self.desired.get(path).and_then(|desired| desired.stamp);
        stamp.is_some_and(|stamp| stamp.is_new_with_content())
    }

    fn look_below(&mut self, path: &Path, action: FileAction) {
        self.kernel.remove_below(path);
        let below: Vec<_> = self
            .desired
            .range(path.to_owned()..)
            .map(|(below, _)| below.clone())
            .take_while(|below| below.starts_with(path))
            .collect();
        for below in below {
            self.look(&below, Cause::Above(action));
        }
    }

    /// Reads a path, watches what it is now and tells what changed without an event of its own.
    fn look(&mut self, path: &Path, cause: Cause) {
        let (state, stamp) = match self.check_answers(path, cause) {
            Ok(()) => self.ensure_watched(path),
            Err(error) => (PathState::Failed(WatchProblem::from(&error)), None),
        };
        self.is_dirty = true;
        let Some(desired) = self.desired.get_mut(path) else {
            return;
        };
        let before = desired.stamp;
        if was_gone(cause, (before, stamp)) {
            self.vanished.insert(desired.name.clone());
        }
        // A failed look knows nothing new.
        if !matches!(state, PathState::Failed(_)) {
            desired.stamp = stamp;
        }
        desired.state = state;
        let (depth, known) = (desired.depth, (before, desired.stamp));
        let is_failed = matches!(desired.state, PathState::Failed(_));
        // A failed look knows nothing new.
        let remembered = (!is_failed)
            .then(|| self.memory.watched.remove(path))
            .flatten();
        match (&desired.state, known.1) {
            (PathState::Watched(FileKind::Directory), Some(stamp)) => {
                let why = match &remembered {
                    Some(Some(before)) if before.kind == EntryKind::Directory => Why::Away,
                    Some(_) => Why::CameAway,
                    None => plan_walk(cause, known),
                };
                let root = (path, depth);
                self.inventory.ensure(root, &stamp, why, &self.memory);
            }
            (PathState::Failed(_), _) => {}
            _ => self.inventory.remove(path),
        }
        if let Some(remembered) = remembered {
            return self.compare_remembered(path, remembered);
        }
        if cause == Cause::Desired && !is_failed {
            self.inventory.ensure_single(path);
        }
        if let Some(action) = plan_telling(cause, known) {
            self.tell(path, path.to_owned(), action);
        } else if let (Some(before), Some(desired)) = (before, self.desired.get_mut(path))
            && cause == Cause::Lost
        {
            // The same file: what its content did is compared against what was told.
            desired.stamp = Some(before);
        }
    }

    /// Tells what became of a path itself since the agent was there last.
    fn compare_remembered(&mut self, path: &Path, before: Option<Entry>) {
        let now = self.inventory.look(path).map(|(_, entry)| entry);
        let action = match (&before, &now) {
            (Some(before), Some(now)) => plan_away(before, now),
            (Some(_), None) => Some(FileAction::Deleted),
            (None, Some(_)) => Some(FileAction::Created),
            (None, None) => None,
        };
        if let Some(now) = now {
            let hash = before.as_ref().and_then(|before| before.hash);
            let known = match &before {
                Some(before) if action.is_some() => before.clone(),
                _ => now.with_hash(hash),
            };
            self.inventory.recall_single(path, known);
        }
        if let Some(action) = action {
            self.tell_found(Finding {
                root: path.to_owned(),
                path: path.to_owned(),
                action,
                before,
                is_away: true,
            });
        }
    }

    fn compare_content(&mut self, path: &Path) {
        let Some(before) = self.desired.get(path).and_then(|desired| desired.stamp) else {
            return;
        };
        if let Ok(Some(now)) = Stamp::read(path)
            && now != before
        {
            self.tell(path, path.to_owned(), FileAction::Modified);
        }
    }

    /// Fails when whoever looks at a path would have to wait for a file system.
    fn check_answers(&mut self, path: &Path, cause: Cause) -> io::Result<()> {
        let reach = &mut self.kernel.reach;
        // Where the kernel just told of something, and nobody has to be asked, it can be looked at.
        let is_told = matches!(cause, Cause::Told(_) | Cause::Above(_));
        if is_told && !reach.is_doubtful(path) {
            return Ok(());
        }
        reach.check(path)
    }

    fn ensure_watched(&mut self, path: &Path) -> (PathState, Option<Stamp>) {
        // From the top, so that what appears meanwhile is seen by the directory above.
        let above: Vec<_> = path.ancestors().skip(1).map(Path::to_owned).collect();
        let mut parent_failure = None;
        for directory in above.iter().rev() {
            match self.kernel.ensure(directory, NAMES) {
                Ok(()) => parent_failure = None,
                Err(error) if is_absence(&error) => return (PathState::Missing, None),
                Err(error) => parent_failure = Some(error),
            }
        }
        let looked = parent_failure.map_or_else(|| self.ensure_itself(path), Err);
        match looked {
            Ok(Some(stamp)) => (PathState::Watched(stamp.kind), Some(stamp)),
            Ok(None) => (PathState::Missing, None),
            Err(error) => (PathState::Failed(WatchProblem::from(&error)), None),
        }
    }

    fn ensure_itself(&mut self, path: &Path) -> io::Result<Option<Stamp>> {
        for _ in 0..MAX_LOOKS {
            let Some(before) = Stamp::read(path)? else {
                self.kernel.remove(path);
                return Ok(None);
            };
            let mask = if before.kind == FileKind::Directory {
                ENTRIES
            } else {
                ITSELF
            };
            match self.kernel.ensure(path, mask) {
                Ok(()) => {}
                Err(error) if is_absence(&error) => continue,
                Err(error) => return Err(error),
            }
            // It may have been replaced between the two calls.
            match Stamp::read(path)? {
                Some(after) if after.is_same_file(&before) => return Ok(Some(after)),
                Some(_) | None => {}
            }
        }
        Err(io::Error::other("it changes faster than it can be watched"))
    }

    fn tell(&mut self, watched: &Path, path: PathBuf, action: FileAction) {
        self.tell_moved(watched, path, action, 0);
    }

    fn tell_moved(&mut self, watched: &Path, path: PathBuf, action: FileAction, cookie: u32) {
        // Later it may be known as it is after the change.
        let before = self.inventory.known(&path).cloned();
        self.push_change(watched, path, |change| FileChange {
            action,
            cookie,
            before: before.map(Box::new),
            ..change
        });
    }

    /// Tells what was found by looking.
    fn tell_found(&mut self, finding: Finding) {
        let Finding {
            root,
            path,
            action,
            before,
            is_away,
        } = finding;
        let before = before.or_else(|| self.inventory.known(&path).cloned());
        self.push_change(&root, path, |change| FileChange {
            action,
            before: before.map(Box::new),
            is_away,
            ..change
        });
    }

    fn push_change(
        &mut self,
        watched: &Path,
        path: PathBuf,
        complete: impl FnOnce(FileChange) -> FileChange,
    ) {
        if let Some(desired) = self.desired.get(watched) {
            self.changes.push(complete(FileChange {
                path,
                action: FileAction::Modified,
                watched: desired.name.clone(),
                from: None,
                cookie: 0,
                before: None,
                is_away: false,
            }));
        }
    }
}

fn parse_action(mask: EventMask) -> Option<FileAction> {
    let actions = [
        (EventMask::CREATE, FileAction::Created),
        (EventMask::DELETE, FileAction::Deleted),
        (EventMask::MOVED_FROM, FileAction::MovedFrom),
        (EventMask::MOVED_TO, FileAction::MovedTo),
        (EventMask::MODIFY, FileAction::Modified),
        (EventMask::ATTRIB, FileAction::Attributes),
    ];
    let found = actions.into_iter().find(|(bit, _)| mask.contains(*bit));
    found.map(|(_, action)| action)
}
