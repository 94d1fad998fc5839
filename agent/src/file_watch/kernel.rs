//! The inotify watches: which inode is watched under which paths.
//! It knows nothing of what is desired and reports no change.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use inotify::{WatchDescriptor, WatchMask, Watches};

use super::beneath::magic_path;
use super::reach::Reach;
use super::who::Who;

/// What is asked of a directory on the way to a watched path: only which names come and go.
pub(super) const NAMES: WatchMask = WatchMask::CREATE
    .union(WatchMask::DELETE)
    .union(WatchMask::MOVED_FROM)
    .union(WatchMask::MOVED_TO)
    .union(WatchMask::DELETE_SELF)
    .union(WatchMask::MOVE_SELF)
    .union(WatchMask::ONLYDIR);

/// What is asked of a watched file itself. A symbolic link is watched as a link: following it
/// would let whoever can write the link choose what root looks at.
pub(super) const ITSELF: WatchMask = WatchMask::MODIFY
    .union(WatchMask::ATTRIB)
    .union(WatchMask::DELETE_SELF)
    .union(WatchMask::MOVE_SELF)
    .union(WatchMask::DONT_FOLLOW);

/// What is asked of a watched directory: itself, its names and what its entries hold.
pub(super) const ENTRIES: WatchMask = ITSELF
    .union(WatchMask::CREATE)
    .union(WatchMask::DELETE)
    .union(WatchMask::MOVED_FROM)
    .union(WatchMask::MOVED_TO)
    .union(WatchMask::EXCL_UNLINK);

/// The watches of one inotify instance.
pub(super) struct KernelWatches {
    watches: Watches,
    by_path: BTreeMap<PathBuf, WatchDescriptor>,
    /// One inode may be reached by several paths and has one watch for all of them.
    by_watch: HashMap<WatchDescriptor, BTreeSet<PathBuf>>,
    /// None where nobody tells who changes what.
    pub(super) who: Option<Who>,
    /// Asked before anything is looked at that may not answer.
    pub(super) reach: Reach,
}

impl KernelWatches {
    pub(super) fn new(watches: Watches, who: Option<Who>, reach: Reach) -> Self {
        Self {
            watches,
            by_path: BTreeMap::new(),
            by_watch: HashMap::new(),
            who,
            reach,
        }
    }

    /// Watches what the path is now; asking again follows the path to a new inode.
    pub(super) fn ensure(&mut self, path: &Path, mask: WatchMask) -> io::Result<()> {
        self.ensure_at(path, path, mask)
    }

    /// Watches a directory that was opened, and whatever it holds, under a path.
    pub(super) fn ensure_opened(&mut self, path: &Path, opened: BorrowedFd<'_>) -> io::Result<()> {
        // The magic path is a link, and leads to nothing but what was opened.
        let mask = ENTRIES.difference(WatchMask::DONT_FOLLOW);
        self.ensure_at(path, &magic_path(opened), mask)
    }

    fn ensure_at(&mut self, path: &Path, at: &Path, mask: WatchMask) -> io::Result<()> {
        // Adding to the mask keeps what another path asks of the same inode.
        let watch = match self.watches.add(at, mask.union(WatchMask::MASK_ADD)) {
            Ok(watch) => watch,
            Err(error) => {
                self.remove(path);
                return Err(error);
            }
        };
        let known = self.by_path.insert(path.to_owned(), watch.clone());
        if known.as_ref() != Some(&watch)
            && mask.contains(WatchMask::CREATE)
            && let Some(who) = &mut self.who
        {
            who.learn(path, at, !mask.contains(WatchMask::DONT_FOLLOW));
        }
        if let Some(old) = known.filter(|old| *old != watch) {
            self.forget(&old, path);
        }
        self.by_watch
            .entry(watch)
            .or_default()
            .insert(path.to_owned());
        Ok(())
    }

    /// The paths a watch stands for.
    pub(super) fn paths_of(&self, watch: &WatchDescriptor) -> Vec<PathBuf> {
        let paths = self.by_watch.get(watch);
        paths.map_or_else(Vec::new, |paths| paths.iter().cloned().collect())
    }

    /// Takes note that the kernel ended a watch by itself.
    pub(super) fn forget_watch(&mut self, watch: &WatchDescriptor) {
        for path in self.by_watch.remove(watch).into_iter().flatten() {
            if self.by_path.get(&path) == Some(watch) {
                self.by_path.remove(&path);
                self.forget_who(&path);
            }
        }
    }

    /// Ends the watch of a path.
    pub(super) fn remove(&mut self, path: &Path) {
        if let Some(watch) = self.by_path.remove(path) {
            self.forget(&watch, path);
            self.forget_who(path);
        }
    }

    /// Ends the watches of a path and all below: they belong to what it was before.
    pub(super) fn remove_below(&mut self, path: &Path) {
        let below: Vec<_> = self
            .by_path
            .range(path.to_owned()..)
            .map(|(path, _)| path.clone())
            // Paths are ordered by component, so those below follow at once.
            .take_while(|below| below.starts_with(path))
            .collect();
        for path in below {
            self.remove(&path);
        }
    }

    /// Ends all watches of paths that are not kept.
    pub(super) fn retain(&mut self, keep: impl Fn(&Path) -> bool) {
        let ended: Vec<_> = self
            .by_path
            .keys()
            .filter(|path| !keep(path))
            .cloned()
            .collect();
        for path in ended {
            self.remove(&path);
        }
    }

    fn forget_who(&mut self, path: &Path) {
        if let Some(who) = &mut self.who {
            who.forget(path);
        }
    }

    fn forget(&mut self, watch: &WatchDescriptor, path: &Path) {
        let Some(paths) = self.by_watch.get_mut(watch) else {
            return;
        };
        paths.remove(path);
        if paths.is_empty() {
            self.by_watch.remove(watch);
            // The kernel may have ended it already, with the inode.
            self.watches.remove(watch.clone()).ok();
        }
    }
}
