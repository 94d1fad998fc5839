//! What is in the watched directories: found by walking them, compared when events were lost.
//! It walks a few entries at a time, never through a symbolic link, and never above its bounds.
//!
//! A directory belongs to the nearest recursive path above it. What is found is told by whoever
//! watches it; nothing here knows what is desired but directories.

mod listing;
mod plan;
mod tree;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use hidps_wire::WatchDepth;

use super::beneath::open_to_look;
use super::change::FileAction;
use super::entry::Entry;
use super::kernel::KernelWatches;
use super::memory::Memory;
use super::path_state::{PathState, Stamp, is_absence, is_link};
pub(super) use plan::{Why, plan_away};
use tree::{Room, Tree};

/// Most directories below all recursive paths: each takes a kernel watch of a kilobyte, and the
/// usual limit of a host is some 100,000 for everybody.
pub(super) const MAX_DIRECTORIES: usize = 50_000;

/// Most files known at once; each takes some 150 bytes.
pub(super) const MAX_ENTRIES: usize = 200_000;

/// How many entries are looked at before others have their turn: well below a millisecond.
const ENTRIES_AT_ONCE: usize = 256;

/// Most directories of one tree that wait to be looked at; beyond it all that is left is told to be
/// too much. Somebody may make them faster than they are looked at.
const MAX_VISITS: usize = MAX_DIRECTORIES;

/// What is announced and whose event has not come; beyond it some files are told twice.
const MAX_ANNOUNCED: usize = 10_000;

/// Something found by looking that no event told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Finding {
    /// The watched directory it belongs to.
    pub(super) root: PathBuf,
    pub(super) path: PathBuf,
    pub(super) action: FileAction,
    /// How it was, where that is not known any more.
    pub(super) before: Option<Entry>,
    /// Whether it happened while the agent was away.
    pub(super) is_away: bool,
}

/// The watched directories.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    trees: BTreeMap<PathBuf, Tree>,
    /// The watched paths themselves.
    singles: BTreeMap<PathBuf, Entry>,
    single_to_hash: VecDeque<PathBuf>,
    findings: Vec<Finding>,
    /// Files told as created by looking, until the kernel's event of it comes.
    announced: BTreeSet<PathBuf>,
}

impl Inventory {
    /// Takes in a watched directory. One that was not there before is told with what is in it, and
    /// one that is remembered with what became of that.
    pub(super) fn ensure(
        &mut self,
        (root, depth): (&Path, WatchDepth),
        stamp: &Stamp,
        why: Why,
        memory: &Memory,
    ) {
        if let Some(tree) = self.trees.get_mut(root)
            && tree.depth() == depth
            && tree.is_of(stamp)
        {
            return tree.retry();
        }
        self.remove(root);
        let is_remembered = memory.directories.contains_key(root);
        let why = if why == Why::Away && !is_remembered {
            Why::Survey
        } else {
            why
        };
        let Ok(mut tree) = Tree::open(root, depth, why) else {
            // Gone again: the event of it looks anew.
            return;
        };
        if why == Why::Away {
            let below = memory.below(root);
            for (directory, files) in below.take(if tree.is_recursive() { usize::MAX } else { 1 }) {
                tree.recall(directory, files);
            }
        }
        if depth == WatchDepth::Everything
            && let Some(outer) = self.recursive_tree_of(root)
        {
            outer.forget_below(root);
        }
        self.trees.insert(root.to_owned(), tree);
    }

    /// Lets go of a directory; what is below it may belong to another one now.
    pub(super) fn remove(&mut self, root: &Path) {
        let Some(tree) = self.trees.remove(root) else {
            return;
        };
        if tree.depth() == WatchDepth::Everything
            && let Some(parent) = root.parent()
            && let Some(outer) = self.recursive_tree_of(parent)
        {
            outer.visit(root.to_owned(), Why::Survey);
        }
    }

    /// Lets go of all directories that are not kept.
    pub(super) fn retain(&mut self, keep: impl Fn(&Path) -> bool) {
        self.singles.retain(|path, _| keep(path));
        let ended: Vec<_> = self
            .trees
            .keys()
            .filter(|root| !keep(root))
            .cloned()
            .collect();
        for root in ended {
            self.remove(&root);
        }
    }

    /// Whether a path is a directory below a recursive one, which has a kernel watch of its own.
    pub(super) fn has_directory(&self, path: &Path) -> bool {
        self.trees_above(path).any(|tree| tree.has_directory(path))
    }

    /// The watched directory that tells of what happens in a directory.
    pub(super) fn teller_of(&self, directory: &Path) -> Option<PathBuf> {
        self.trees_above(directory)
            .find(|tree| tree.has_directory(directory))
            .map(|tree| tree.root().to_owned())
    }

    /// Says what of a recursive directory is not watched, if anything.
    pub(super) fn state_of(&self, root: &Path) -> Option<PathState> {
        let tree = self.trees.get(root)?;
        (tree.depth() == WatchDepth::Everything)
            .then(|| tree.lacking())
            .flatten()
    }

    /// A directory came into being, or came here, in a watched one: what is in it may have come
    /// before its watch.
    pub(super) fn on_directory_came(&mut self, path: &Path, action: FileAction) {
        let Some(parent) = path.parent() else { return };
        if self.trees.get(path).is_some_and(Tree::is_recursive) {
            return;
        }
        if let Some(tree) = self.recursive_tree_of(parent) {
            tree.forget_below(path);
            tree.visit(path.to_owned(), Why::Appeared(action));
        }
    }

    /// A name went from a watched directory: what comes by it later is another file.
    pub(super) fn on_name_went(&mut self, path: &Path) {
        self.announced.remove(path);
    }

    /// A directory went from a watched one; whether anything was known below it.
    pub(super) fn on_directory_went(&mut self, path: &Path) {
        let below = self.announced.range(path.to_owned()..);
        let below = below.take_while(|file| file.starts_with(path));
        for file in below.cloned().collect::<Vec<_>>() {
            self.announced.remove(&file);
        }
        let trees = self.trees.values_mut();
        for tree in trees.filter(|tree| path.starts_with(tree.root())) {
            tree.forget_below(path);
        }
    }

    /// Whether a file that the kernel says was created was told already, by looking.
    pub(super) fn was_announced(&mut self, path: &Path) -> bool {
        self.announced.remove(path)
    }

    /// Takes in a watched path itself; what is known of it already stays.
    pub(super) fn ensure_single(&mut self, path: &Path) {
        if !self.singles.contains_key(path)
            && let Ok(Some((_, entry))) = self.look(path)
        {
            self.singles.insert(path.to_owned(), entry);
            self.single_to_hash.push_back(path.to_owned());
        }
    }

    /// Takes in a watched path itself, whose content may be remembered.
    pub(super) fn recall_single(&mut self, path: &Path, entry: Entry) {
        if entry.hash.is_none() {
            self.single_to_hash.push_back(path.to_owned());
        }
        self.singles.insert(path.to_owned(), entry);
    }

    /// Adds all that is known to what is remembered.
    pub(super) fn remember_all(&self, memory: &mut Memory) {
        let trees = self.trees.values();
        memory.add_shared(
            trees
                .map(|tree| tree.known_directories().collect())
                .collect(),
        );
    }

    /// Opens a file to be known, and neither read nor waited for, and says how it is; none where
    /// nothing is there.
    ///
    /// # Errors
    /// Fails when that cannot be known.
    pub(super) fn look(&self, path: &Path) -> io::Result<Option<(OwnedFd, Entry)>> {
        let tree = self.tree_with(path);
        let opened = match tree {
            Some(tree) => tree.open_to_look(path),
            // The way to a watched path may have links, but it is none itself.
            None => open_to_look(path),
        };
        let file = match opened {
            Ok(opened) => File::from(opened),
            Err(error) if is_absence(&error) || is_link(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let entry = Entry::of(&file.metadata()?);
        Ok(Some((file.into(), entry)))
    }

    /// What is known of a file.
    pub(super) fn known(&self, path: &Path) -> Option<&Entry> {
        let listed = self.tree_with(path).and_then(|tree| tree.known(path));
        listed.or_else(|| self.singles.get(path))
    }

    /// Takes note of how a file is, once its change is told; a file by itself only if it `is_single`.
    pub(super) fn remember(&mut self, path: &Path, entry: Option<&Entry>, is_single: bool) {
        match entry {
            Some(entry) if is_single => {
                self.singles.insert(path.to_owned(), entry.clone());
            }
            _ => {
                self.singles.remove(path);
            }
        }
        let Some(directory) = path.parent() else {
            return;
        };
        let trees = self.trees.values_mut();
        for tree in trees.filter(|tree| tree.has_directory(directory)) {
            tree.remember(path, entry.cloned());
            if entry.is_some_and(|entry| entry.is_hashable() && entry.hash.is_none()) {
                tree.want_hashes(directory);
            }
        }
    }

    /// The next file whose content is not known.
    pub(super) fn next_unhashed(&mut self) -> Option<PathBuf> {
        let single = self.single_to_hash.pop_front();
        single.or_else(|| self.trees.values_mut().find_map(Tree::next_unhashed))
    }

    /// Takes note of the content of a file, if it is still as it was when that was read.
    pub(super) fn on_hashed(&mut self, path: &Path, read: &Entry) {
        let is_single = self.singles.contains_key(path);
        let known = self.known(path).filter(|known| known.is_as_written(read));
        // Its rights may have been changed since, which is still to be told as a change.
        if let Some(known) = known.cloned() {
            self.remember(path, Some(&known.with_hash(read.hash)), is_single);
        }
    }

    fn tree_with<'i>(&'i self, path: &Path) -> Option<&'i Tree> {
        let directory = path.parent()?;
        self.trees_above(directory)
            .find(|tree| tree.has_directory(directory))
    }

    /// Compares everything, because the kernel dropped events.
    pub(super) fn on_lost(&mut self) {
        self.announced.clear();
        for tree in self.trees.values_mut() {
            tree.on_lost();
        }
    }

    /// What is mounted at a path, or below it, is another file system now.
    pub(super) fn on_unmounted(&mut self, path: &Path) {
        if let Some(tree) = self.recursive_tree_of(path) {
            tree.visit(path.to_owned(), Why::Lost);
        }
    }

    /// Whether there is anything left to walk.
    pub(super) fn has_work(&self) -> bool {
        self.trees.values().any(Tree::has_work)
    }

    /// Walks on a little.
    pub(super) fn work(&mut self, kernel: &mut KernelWatches) {
        let mut room = self.room();
        let recursive: BTreeSet<PathBuf> = self
            .trees
            .values()
            .filter(|tree| tree.is_recursive())
            .map(|tree| tree.root().to_owned())
            .collect();
        let mut budget = ENTRIES_AT_ONCE;
        for tree in self.trees.values_mut().filter(|tree| tree.has_work()) {
            tree.walk(kernel, &recursive, &mut room, &mut budget);
            self.findings.append(&mut tree.take_findings());
            if budget == 0 {
                break;
            }
        }
    }

    /// What was found since the last call.
    pub(super) fn take_findings(&mut self) -> Vec<Finding> {
        let findings = std::mem::take(&mut self.findings);
        if self.announced.len() + findings.len() > MAX_ANNOUNCED {
            self.announced.clear();
        }
        for finding in findings.iter().take(MAX_ANNOUNCED) {
            if finding.action == FileAction::Created {
                self.announced.insert(finding.path.clone());
            }
        }
        findings
    }

    fn room(&self) -> Room {
        let mut room = Room {
            n_directories: MAX_DIRECTORIES,
            n_entries: MAX_ENTRIES,
        };
        for tree in self.trees.values() {
            let (n_directories, n_entries) = tree.size();
            room.n_directories = room.n_directories.saturating_sub(n_directories);
            room.n_entries = room.n_entries.saturating_sub(n_entries);
        }
        room
    }

    /// The trees whose root is a path or above it, the nearest first.
    fn trees_above<'i>(&'i self, path: &Path) -> impl Iterator<Item = &'i Tree> {
        path.ancestors().filter_map(|above| self.trees.get(above))
    }

    /// The recursive tree that a directory belongs to.
    fn recursive_tree_of(&mut self, directory: &Path) -> Option<&mut Tree> {
        let root = self
            .trees_above(directory)
            .find(|tree| tree.is_recursive() && tree.has_directory(directory))?
            .root()
            .to_owned();
        self.trees.get_mut(&root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_that_is_read_after_its_rights_changed_is_known_with_those_it_had() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        write(&path, "abc").unwrap();
        set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let mut inventory = Inventory::default();
        inventory.ensure_single(&path);

        // The kernel's word of it is still to come.
        set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        let (_, read) = inventory.look(&path).unwrap().unwrap();
        inventory.on_hashed(&path, &read.with_hash(Some([7; 32])));

        let known = inventory.known(&path).unwrap();
        assert_eq!((known.mode, known.hash), (0o640, Some([7; 32])));
    }
}
