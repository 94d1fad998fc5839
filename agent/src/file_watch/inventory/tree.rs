//! One watched directory and, where it is recursive, the directories below it.
//! It asks for kernel watches and never handles their events.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use hidps_wire::WatchDepth;

use super::super::beneath::Beneath;
use super::super::change::FileAction;
use super::super::entry::{Entry, EntryKind};
use super::super::kernel::KernelWatches;
use super::super::memory::Files;
use super::super::path_state::{PathState, Stamp, TreeLack, WatchProblem, is_absence, is_link};
use super::listing::Listing;
use super::plan::{Why, plan_descent, plan_findings};
use super::{Finding, MAX_VISITS};

/// How deep below a recursive path: deeper than anybody builds, and no path that gets too long.
const MAX_DEPTH: usize = 64;

/// A directory that is to be looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Visit {
    pub(super) path: PathBuf,
    pub(super) why: Why,
}

/// How much more may be known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) n_directories: usize,
    pub(super) n_entries: usize,
}

/// A watched directory.
#[derive(Debug)]
pub(super) struct Tree {
    depth: WatchDepth,
    beneath: Beneath,
    /// By device and number: the same path may become another directory.
    identity: (u64, u64),
    directories: BTreeMap<PathBuf, Files>,
    n_entries: usize,
    /// Directories of which not everything is known, and why they are looked at again.
    partly_known: BTreeMap<PathBuf, Why>,
    visits: VecDeque<Visit>,
    listing: Option<Listing>,
    /// Directories with files that may not be hashed, and how far the first one is.
    to_hash: VecDeque<PathBuf>,
    hashed_up_to: Option<OsString>,
    findings: Vec<Finding>,
    lack: Option<TreeLack>,
    /// Whether events were lost since all was compared.
    is_lost: bool,
}

impl Tree {
    /// Opens a directory; it is looked at by walking.
    pub(super) fn open(root: &Path, depth: WatchDepth, why: Why) -> io::Result<Self> {
        let beneath = Beneath::open(root)?;
        let opened = File::from(beneath.as_fd().try_clone_to_owned()?);
        let metadata = opened.metadata()?;
        let first = Visit {
            path: root.to_owned(),
            why,
        };
        Ok(Self {
            depth,
            beneath,
            identity: Stamp::of(&metadata).identity(),
            // Its kernel watch is there already.
            directories: [(root.to_owned(), BTreeMap::new())].into(),
            n_entries: 0,
            partly_known: BTreeMap::new(),
            visits: [first].into(),
            listing: None,
            to_hash: VecDeque::new(),
            hashed_up_to: None,
            findings: Vec::new(),
            lack: None,
            is_lost: false,
        })
    }

    /// Takes in what was in a directory when the agent was there last, to be compared.
    pub(super) fn recall(&mut self, directory: &Path, files: &Files) {
        self.n_entries += files.len();
        self.directories.insert(directory.to_owned(), files.clone());
    }

    /// What is in each directory of which everything is known, or that is still to be compared with
    /// it.
    pub(super) fn known_directories(&self) -> impl Iterator<Item = (&PathBuf, &Files)> {
        let is_known = |path: &PathBuf| {
            let why = self.partly_known.get(path);
            why.is_none_or(|why| why.compares())
        };
        let all = self.directories.iter();
        all.filter(move |(path, _)| is_known(path))
    }

    pub(super) const fn depth(&self) -> WatchDepth {
        self.depth
    }

    pub(super) fn is_recursive(&self) -> bool {
        self.depth == WatchDepth::Everything
    }

    pub(super) fn root(&self) -> &Path {
        self.beneath.path()
    }

    pub(super) fn is_of(&self, stamp: &Stamp) -> bool {
        self.identity == stamp.identity()
    }

    pub(super) fn has_directory(&self, path: &Path) -> bool {
        self.directories.contains_key(path)
    }

    /// How many directories and files are known.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.directories.len(), self.n_entries)
    }

    pub(super) fn has_work(&self) -> bool {
        self.listing.is_some() || !self.visits.is_empty()
    }

    pub(super) fn take_findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings)
    }

    /// What is not watched now, if anything.
    pub(super) fn lacking(&self) -> Option<PathState> {
        if self.has_work() {
            return Some(PathState::Surveying {
                n_directories: self.directories.len(),
                has_lost: self.is_lost,
            });
        }
        self.lack.clone().map(PathState::Partly)
    }

    /// Has a directory looked at.
    pub(super) fn visit(&mut self, path: PathBuf, why: Why) {
        if !self.is_recursive() && path != self.root() {
            return;
        }
        if self.visits.len() >= MAX_VISITS {
            return self.note(TreeLack::TooManyDirectories);
        }
        self.visits.push_back(Visit { path, why });
    }

    /// Has everything compared.
    pub(super) fn on_lost(&mut self) {
        self.is_lost = true;
        self.listing = None;
        self.visits.clear();
        self.lack = None;
        self.visit(self.root().to_owned(), Why::Lost);
    }

    /// Tries the directories again that could not be watched: somebody may have mended that.
    pub(super) fn retry(&mut self) {
        if self.has_work() || !matches!(self.lack, Some(TreeLack::Unwatched { .. })) {
            return;
        }
        self.lack = None;
        for (path, why) in std::mem::take(&mut self.partly_known) {
            self.visit(path, why);
        }
    }

    /// Forgets a directory and everything below; the kernel watches are another's business.
    pub(super) fn forget_below(&mut self, path: &Path) {
        if path == self.root() {
            return;
        }
        let is_below = |below: &PathBuf| below.starts_with(path);
        let below: Vec<_> = self
            .directories
            .range(path.to_owned()..)
            .map(|(below, _)| below.clone())
            .take_while(is_below)
            .collect();
        for directory in below {
            let known = self.directories.remove(&directory).unwrap_or_default();
            self.n_entries -= known.len();
            self.partly_known.remove(&directory);
        }
        self.visits.retain(|visit| !is_below(&visit.path));
        let is_listed = |listing: &Listing| is_below(&listing.visit.path);
        if self.listing.as_ref().is_some_and(is_listed) {
            self.listing = None;
        }
    }

    /// Opens a file to be known, and neither read nor waited for.
    pub(super) fn open_to_look(&self, path: &Path) -> io::Result<OwnedFd> {
        self.beneath.open_to_look(path)
    }

    /// What is known of a file.
    pub(super) fn known(&self, path: &Path) -> Option<&Entry> {
        let directory = self.directories.get(path.parent()?)?;
        directory.get(path.file_name()?)
    }

    /// Takes note of how a file is now, or that it is gone.
    pub(super) fn remember(&mut self, path: &Path, entry: Option<Entry>) {
        match entry {
            Some(entry) => self.insert(path, entry),
            None => {
                self.remove(path);
            }
        }
    }

    /// Has the files of a directory hashed that are not.
    pub(super) fn want_hashes(&mut self, directory: &Path) {
        if self.to_hash.back().is_none_or(|last| last != directory) {
            self.to_hash.push_back(directory.to_owned());
        }
    }

    /// The next file whose content is not known.
    pub(super) fn next_unhashed(&mut self) -> Option<PathBuf> {
        while let Some(path) = self.to_hash.front() {
            let after = match &self.hashed_up_to {
                Some(name) => Bound::Excluded(name.as_os_str()),
                None => Bound::Unbounded,
            };
            let files = self.directories.get(path);
            let next = files.and_then(|files| {
                files
                    .range::<OsStr, _>((after, Bound::Unbounded))
                    .find(|(_, entry)| entry.is_hashable() && entry.hash.is_none())
            });
            if let Some((name, _)) = next {
                self.hashed_up_to = Some(name.to_os_string());
                return Some(path.join(Path::new(name)));
            }
            self.hashed_up_to = None;
            self.to_hash.pop_front();
        }
        None
    }

    /// Walks until the budget or everything is used up.
    pub(super) fn walk(
        &mut self,
        kernel: &mut KernelWatches,
        recursive: &BTreeSet<PathBuf>,
        room: &mut Room,
        budget: &mut usize,
    ) {
        while *budget > 0 {
            let Some(mut listing) = self.listing.take() else {
                let Some(visit) = self.visits.pop_front() else {
                    self.is_lost = false;
                    return;
                };
                *budget -= 1;
                self.begin(visit, kernel, room);
                continue;
            };
            *budget -= 1;
            match listing.next() {
                Ok(Some((name, entry))) => {
                    self.on_found(&mut listing, &name, entry, (recursive, room));
                    self.listing = Some(listing);
                }
                Ok(None) => self.on_listed(&listing),
                Err(error) => self.on_unreadable(listing.visit, &error),
            }
        }
    }

    fn begin(&mut self, visit: Visit, kernel: &mut KernelWatches, room: &mut Room) {
        let is_known = self.has_directory(&visit.path);
        if !is_known && room.n_directories == 0 {
            return self.note(TreeLack::TooManyDirectories);
        }
        let answers = kernel.reach.check_doubtful(&visit.path);
        let opened = answers.and_then(|_| self.beneath.open_directory(&visit.path));
        let opened = match opened {
            Ok(opened) => opened,
            // It is gone, or something else by now; the event of that is on its way.
            Err(error) if is_absence(&error) || is_link(&error) => {
                return self.forget_below(&visit.path);
            }
            Err(error) => return self.on_unreadable(visit, &error),
        };
        if visit.path != self.root() {
            if let Err(error) = kernel.ensure_opened(&visit.path, opened.as_fd()) {
                return self.on_unreadable(visit, &error);
            }
            if !is_known {
                room.n_directories -= 1;
                self.directories.insert(visit.path.clone(), BTreeMap::new());
            }
        }
        self.partly_known.remove(&visit.path);
        match Listing::new(visit.clone(), opened) {
            Ok(mut listing) => {
                self.pass_over_unanswering(&mut listing, kernel);
                self.listing = Some(listing);
            }
            Err(error) => self.on_unreadable(visit, &error),
        }
    }

    /// Finds out which file systems mounted in a directory would not answer: even to look at the
    /// place where one is mounted is to ask it.
    fn pass_over_unanswering(&mut self, listing: &mut Listing, kernel: &mut KernelWatches) {
        for name in kernel.reach.doubtful_in(&listing.visit.path) {
            let mount = listing.visit.path.join(&name);
            if let Err(error) = kernel.reach.check(&mount) {
                listing.pass_over(&name);
                let was_directory = self.was_directory(&mount);
                let is_remembered = self.has_directory(&mount);
                let why = plan_descent(listing.visit.why, was_directory, is_remembered);
                self.on_unreadable(Visit { path: mount, why }, &error);
            }
        }
    }

    fn on_found(
        &mut self,
        listing: &mut Listing,
        name: &OsStr,
        entry: Entry,
        (recursive, room): (&BTreeSet<PathBuf>, &mut Room),
    ) {
        let why = listing.visit.why;
        let path = listing.visit.path.join(name);
        let directory = self.directories.get(&listing.visit.path);
        let known = directory.and_then(|known| known.get(name));
        let (actions, is_new) = plan_findings(why, known, &entry);
        let was_directory = self.was_directory(&path);
        let is_directory = entry.kind == EntryKind::Directory;
        if known.is_none() && room.n_entries == 0 {
            let listed = listing.visit.path.clone();
            self.partly_known.insert(listed, Why::Survey);
            self.note(TreeLack::TooManyFiles);
        } else if is_new {
            room.n_entries -= usize::from(known.is_none());
            let hash = known.and_then(|known| known.hash.filter(|_| why == Why::Away));
            self.insert(&path, entry.with_hash(hash));
        }
        // Only what is known can be missed, and a directory may hold any number of files.
        if why.compares() && self.known(&path).is_some() {
            listing.found.insert(name.into());
        }
        for action in actions {
            self.tell(path.clone(), action, why);
        }
        if is_directory && !recursive.contains(&path) {
            let is_remembered = self.has_directory(&path);
            self.descend(path, plan_descent(why, was_directory, is_remembered));
        }
    }

    fn descend(&mut self, path: PathBuf, why: Why) {
        if !self.is_recursive() {
            return;
        }
        let below = path.strip_prefix(self.root());
        if below.map_or(0, |below| below.components().count()) > MAX_DEPTH {
            return self.note(TreeLack::TooDeep(path));
        }
        self.visit(path, why);
    }

    /// What was known and is not found is gone.
    fn on_listed(&mut self, listing: &Listing) {
        self.want_hashes(&listing.visit.path);
        if !listing.visit.why.compares() {
            return;
        }
        let known = self.directories.get(&listing.visit.path);
        let gone: Vec<_> = known
            .into_iter()
            .flatten()
            .filter(|(name, _)| !listing.found.contains(*name))
            .map(|(name, _)| listing.visit.path.join(Path::new(name)))
            .collect();
        for path in gone {
            let before = self.remove(&path);
            self.forget_below(&path);
            self.tell(path, FileAction::Deleted, listing.visit.why);
            if let Some(told) = self.findings.last_mut() {
                told.before = before;
            }
        }
    }

    fn on_unreadable(&mut self, Visit { path, why }: Visit, error: &io::Error) {
        tracing::debug!(%error, path = %path.display(), "a directory cannot be watched");
        self.note(TreeLack::Unwatched {
            first: path.clone(),
            problem: WatchProblem::from(error),
        });
        // When it can be, what changed until then is told.
        self.partly_known.insert(path, why);
    }

    fn was_directory(&self, path: &Path) -> bool {
        let known = self.known(path);
        known.is_some_and(|known| known.kind == EntryKind::Directory)
    }

    /// The first reason is the one to mend first.
    fn note(&mut self, lack: TreeLack) {
        self.lack.get_or_insert(lack);
    }

    fn tell(&mut self, path: PathBuf, action: FileAction, why: Why) {
        self.findings.push(Finding {
            root: self.root().to_owned(),
            path,
            action,
            before: None,
            is_away: matches!(why, Why::Away | Why::CameAway),
        });
    }

    fn insert(&mut self, path: &Path, entry: Entry) {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return;
        };
        if let Some(directory) = self.directories.get_mut(directory)
            && directory.insert(name.into(), entry).is_none()
        {
            self.n_entries += 1;
        }
    }

    fn remove(&mut self, path: &Path) -> Option<Entry> {
        let (directory, name) = (path.parent()?, path.file_name()?);
        let removed = self.directories.get_mut(directory)?.remove(name);
        self.n_entries -= usize::from(removed.is_some());
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::reach::{PATIENCE, Reach};
    use super::super::MAX_VISITS;
    use super::*;

    fn tree_of_files(names: &[&str], why: Why) -> (tempfile::TempDir, Tree) {
        let directory = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let tree = Tree::open(directory.path(), WatchDepth::Everything, why).unwrap();
        (directory, tree)
    }

    #[test]
    fn directories_that_come_faster_than_they_are_looked_at_take_a_bounded_room() {
        let (directory, mut tree) = tree_of_files(&[], Why::Survey);

        for number in 0..MAX_VISITS + 5 {
            tree.visit(directory.path().join(number.to_string()), Why::Survey);
        }

        assert_eq!(tree.visits.len(), MAX_VISITS);
        assert_eq!(tree.lack, Some(TreeLack::TooManyDirectories));
    }

    #[test]
    fn files_beyond_what_may_be_known_take_no_room_while_they_are_compared() {
        let (_directory, mut tree) = tree_of_files(&["a", "b", "c"], Why::Lost);
        let inotify = inotify::Inotify::init().unwrap();
        let mut kernel = KernelWatches::new(inotify.watches(), None, Reach::new(PATIENCE));
        let mut room = Room {
            n_directories: 1,
            n_entries: 1,
        };

        // One for the directory, and one for each file.
        tree.walk(&mut kernel, &BTreeSet::new(), &mut room, &mut 4);

        assert_eq!(tree.listing.unwrap().found.len(), 1);
        assert_eq!(tree.lack, Some(TreeLack::TooManyFiles));
    }
}
