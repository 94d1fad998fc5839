//! What is known of watched paths, as the next start of the agent is to find it.
//! It is what was told and nothing else: a change on its way is one that is found once more.

use std::path::Path;

use super::super::change::{FileAction, FileChange};
use super::super::entry::Entry;
use super::super::memory::Memory;
use super::super::path_state::PathState;
use super::WatchTree;

impl WatchTree {
    /// All that is known but for changes that are not told yet, in their order; none while something
    /// is being looked at.
    pub(in super::super) fn remember_all<'c>(
        &self,
        untold: impl DoubleEndedIterator<Item = &'c FileChange>,
    ) -> Option<Memory> {
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
        // Of several changes of one file the first one knows how it was.
        for change in untold.rev() {
            self.take_back(&mut memory, change);
        }
        Some(memory)
    }

    /// What was only written is known as it was until it is told; what came or went may be known
    /// before, where looking found it.
    fn take_back(&self, memory: &mut Memory, change: &FileChange) {
        let before = change.before.as_deref();
        match (change.action, &change.from) {
            (FileAction::Created, _) => self.put_back(memory, &change.path, None),
            (FileAction::MovedTo, _) => self.put_back(memory, &change.path, before),
            (FileAction::Deleted | FileAction::MovedFrom, _) if before.is_some() => {
                self.put_back(memory, &change.path, before);
            }
            (FileAction::Renamed, Some(from)) => {
                if !memory.watched.contains_key(&change.path) {
                    self.put_back(memory, &change.path, None);
                }
                if before.is_some() {
                    self.put_back(memory, from, before);
                }
            }
            _ => {}
        }
    }

    fn put_back(&self, memory: &mut Memory, path: &Path, before: Option<&Entry>) {
        if self.desired.contains_key(path) {
            memory.add_watched(path, before);
        }
        memory.take_back(path, before);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use hidps_wire::{WatchDepth, WatchPath};

    use super::super::super::kernel::KernelWatches;
    use super::super::super::reach::{PATIENCE, Reach};
    use super::*;

    #[test]
    fn what_is_not_told_yet_is_remembered_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("d")).unwrap();
        for name in ["single", "d/came", "d/stays", "d/to"] {
            fs::write(at(name), "").unwrap();
        }
        let watched = ["single", "gone", "d"].map(|name| {
            let path = WatchPath::parse(at(name).to_str().unwrap()).unwrap();
            (path, WatchDepth::Entries)
        });
        let watches = inotify::Inotify::init().unwrap().watches();
        let kernel = KernelWatches::new(watches, None, Reach::new(PATIENCE));
        let mut tree = WatchTree::new(kernel, Memory::default());
        tree.set(&watched.clone().into());
        let entry = Entry::of(&at("single").metadata().unwrap());
        let change = |action, name: &str, before: Option<&Entry>| FileChange {
            path: at(name),
            action,
            watched: watched[0].0.clone(),
            from: (action == FileAction::Renamed).then(|| at("d/from")),
            cookie: 0,
            before: before.cloned().map(Box::new),
            is_away: false,
        };

        let untold = [
            change(FileAction::Created, "single", None),
            change(FileAction::Modified, "single", Some(&entry)),
            change(FileAction::Deleted, "gone", Some(&entry)),
            change(FileAction::Created, "gone", None),
            change(FileAction::Created, "d/came", None),
            change(FileAction::Deleted, "d/went", Some(&entry)),
            change(FileAction::Renamed, "d/to", Some(&entry)),
        ];
        let memory = tree.remember_all(untold.iter()).unwrap();

        assert_eq!(memory.watched[&at("single")], None);
        assert_eq!(memory.watched[&at("gone")], Some(entry));
        let files = memory.directories[&at("d")].keys();
        let names: Vec<_> = files.map(|name| name.to_str().unwrap()).collect();
        assert_eq!(names, ["from", "stays", "went"]);
    }
}
