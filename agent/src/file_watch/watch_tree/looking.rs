//! Looking at watched paths: what each one is now, and what that has to tell.
//! It looks at nothing whose file system may not answer before that was asked.

use std::io;
use std::path::Path;

use super::super::change::FileAction;
use super::super::entry::{Entry, EntryKind};
use super::super::inventory::{Finding, Why, plan_away};
use super::super::kernel::{ENTRIES, ITSELF, NAMES};
use super::super::look_plan::{Cause, plan_telling, plan_walk, was_gone};
use super::super::path_state::{FileKind, PathState, Stamp, WatchProblem, is_absence};
use super::WatchTree;

/// How often a path may change while it is looked at before the look is given up for now.
const MAX_LOOKS: usize = 3;

impl WatchTree {
    /// Losing its name changes a file's link count, which the kernel tells as an attribute of a
    /// file that is no longer at this path.
    pub(super) fn is_still_named(&mut self, path: &Path) -> bool {
        let Some(known) = self.desired.get(path).and_then(|desired| desired.stamp) else {
            return false;
        };
        let now = self.read_stamp(path).ok().flatten();
        now.is_some_and(|now| now.is_linked() && now.is_same_file(&known))
    }

    /// Whether a file just created has content already: it was then written before its own watch
    /// could see it. A further link to an old file has content of its own.
    pub(super) fn was_written(&self, path: &Path) -> bool {
        let stamp = self.desired.get(path).and_then(|desired| desired.stamp);
        stamp.is_some_and(|stamp| stamp.is_new_with_content())
    }

    /// Looks at a path and all below, once what was there went or came.
    pub(super) fn look_below(&mut self, path: &Path, action: FileAction) {
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
    pub(super) fn look(&mut self, path: &Path, cause: Cause) {
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
        let now = match self.inventory.look(path) {
            Ok(found) => found.map(|(_, entry)| entry),
            Err(error) => {
                // Not seen is not gone: it is compared with the next look.
                tracing::warn!(%error, path = %path.display(), "a watched path is not compared yet");
                self.memory.watched.insert(path.to_owned(), before);
                return;
            }
        };
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

    /// Compares a path with what was told of its content.
    pub(super) fn compare_content(&mut self, path: &Path) {
        let Some(before) = self.desired.get(path).and_then(|desired| desired.stamp) else {
            return;
        };
        if let Ok(Some(now)) = self.read_stamp(path)
            && now != before
        {
            self.tell(path, path.to_owned(), FileAction::Modified);
        }
    }

    /// Reads what a path is, if its file system answers.
    pub(super) fn read_stamp(&mut self, path: &Path) -> io::Result<Option<Stamp>> {
        self.kernel.reach.check_doubtful(path)?;
        Stamp::read(path)
    }

    /// Fails when whoever looks at a path would have to wait for a file system.
    fn check_answers(&mut self, path: &Path, cause: Cause) -> io::Result<()> {
        let reach = &mut self.kernel.reach;
        match cause {
            // The kernel just told of something there.
            Cause::Told(_) | Cause::Above(_) => reach.check_doubtful(path).map(|_| ()),
            Cause::Desired | Cause::Lost => reach.check(path),
        }
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
}

#[cfg(test)]
mod tests {
    use hidps_wire::{WatchDepth, WatchPath};

    use super::super::super::kernel::KernelWatches;
    use super::super::super::memory::Memory;
    use super::super::super::reach::{PATIENCE, Reach};
    use super::super::After;
    use super::*;

    #[test]
    fn what_cannot_be_looked_at_is_not_taken_for_gone() {
        let directory = tempfile::tempdir().unwrap();
        // No file system looks up such a name.
        let path = directory.path().join("x".repeat(300));
        let entry = Entry::of(&directory.path().metadata().unwrap());
        let watched = WatchPath::parse(path.to_str().unwrap()).unwrap();
        let watches = inotify::Inotify::init().unwrap().watches();
        let kernel = KernelWatches::new(watches, None, Reach::new(PATIENCE));
        let mut tree = WatchTree::new(kernel, Memory::default());
        tree.set(&[(watched, WatchDepth::Entries)].into());

        tree.compare_remembered(&path, Some(entry.clone()));
        tree.inventory.recall_single(&path, entry.clone());
        tree.tell(&path, path.clone(), FileAction::Modified);
        let changes = tree.take_changes();
        let looked = tree.open_to_look(&path);
        tree.on_told(&changes[0], After::Unseen);

        assert!(looked.is_err());
        assert_eq!(changes.len(), 1, "its end is not told: {changes:?}");
        assert_eq!(tree.memory.watched.get(&path), Some(&Some(entry.clone())));
        assert_eq!(tree.inventory.known(&path), Some(&entry));
    }
}
