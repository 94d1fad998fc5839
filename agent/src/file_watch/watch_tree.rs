//! The desired paths, their states, and what an inotify event means for them.
//! It has no queue and no clock: changes go to the caller's list.
//!
//! Each path is watched itself, and every directory above it for names that come and go; so a
//! file that is replaced, moved away, deleted or not there yet is noticed wherever on the way it
//! happens. What is in watched directories is the inventory's business.

mod looking;
mod remembering;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use hidps_wire::{WatchDepth, WatchPath, WatchSet};
use inotify::{EventMask, EventOwned};
use tokio::time::Instant;

use super::WatchReport;
use super::change::{FileAction, FileChange};
use super::entry::Entry;
use super::hashing::Content;
use super::inventory::{Finding, Inventory};
use super::kernel::KernelWatches;
use super::look_plan::Cause;
use super::memory::Memory;
use super::path_state::{FileKind, PathState, Stamp};
use super::who::{Actor, Who};

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

/// How a file was found after a change of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum After<'e> {
    Is(&'e Entry),
    /// Nothing is there.
    Gone,
    /// It could not be looked at: what was known of it is all that is known.
    Unseen,
}

struct Desired {
    name: WatchPath,
    depth: WatchDepth,
    state: PathState,
    stamp: Option<Stamp>,
}

impl WatchTree {
    pub(super) fn new(kernel: KernelWatches, memory: Memory) -> Self {
        Self {
            kernel,
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
    pub(super) fn on_told(&mut self, change: &FileChange, after: After<'_>) {
        if self.desired.contains_key(&change.path)
            && let Ok(Some(stamp)) = self.read_stamp(&change.path)
            && let Some(desired) = self.desired.get_mut(&change.path)
        {
            desired.stamp = Some(stamp);
        }
        if let Some(from) = &change.from {
            self.inventory.remember(from, None, false);
        }
        let is_single = self.desired.contains_key(&change.path);
        let entry = match after {
            After::Is(entry) => Some(entry),
            After::Gone => None,
            After::Unseen => return,
        };
        self.inventory.remember(&change.path, entry, is_single);
    }

    /// Waits so long for an answer from now on.
    #[cfg(test)]
    pub(super) const fn wait_for(&mut self, patience: std::time::Duration) {
        self.kernel.reach.wait_for(patience);
    }

    /// Opens a file to be known, and says how it is; none where nothing is there.
    ///
    /// # Errors
    /// Fails when that cannot be known now.
    pub(super) fn open_to_look(&mut self, path: &Path) -> io::Result<Option<(Content, Entry)>> {
        let may_hang = self.kernel.reach.check_doubtful(path)?;
        let looked = self.inventory.look(path)?;
        Ok(looked.map(|(opened, entry)| (Content { opened, may_hang }, entry)))
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
        // What was found to have come is known as it is now.
        let was_there = matches!(action, FileAction::Modified | FileAction::Attributes);
        let known = self.inventory.known(&path).filter(|_| was_there);
        let before = before.or_else(|| known.cloned());
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
