//! What was known of watched files, in the form in which it outlives the agent.
//! It looks at no file and decides nothing; a text that is not whole is no memory at all.

mod text;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::entry::Entry;

/// Most files that are remembered: some 200 bytes each on the disk.
const MAX_FILES: usize = 50_000;

/// Most bytes of all their names, so that the text is smaller than the largest file of the agent
/// even if each byte of a name takes six.
const MAX_NAME_BYTES: usize = 2 * 1024 * 1024;

/// What is in a directory, by name.
pub(super) type Files = BTreeMap<Box<OsStr>, Entry>;

/// How watched paths were, and what was in the directories below them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Memory {
    /// Each watched path; none where nothing was there.
    pub(super) watched: BTreeMap<PathBuf, Option<Entry>>,
    /// Directories of which everything was known.
    pub(super) directories: BTreeMap<PathBuf, Files>,
    /// Files that there was no room for.
    pub(super) n_left_out: usize,
    n_files: usize,
    n_name_bytes: usize,
}

/// How much may be remembered up to now.
#[derive(Clone, Copy, Debug)]
struct Room {
    n_files: usize,
    n_name_bytes: usize,
}

/// All that may be remembered.
const ALL: Room = Room {
    n_files: MAX_FILES,
    n_name_bytes: MAX_NAME_BYTES,
};

impl Memory {
    /// Adds a watched path; none where nothing is there.
    pub(super) fn add_watched(&mut self, path: &Path, entry: Option<&Entry>) {
        // There are a thousand of them at most.
        self.watched.insert(path.to_owned(), entry.cloned());
    }

    /// Adds a directory with everything that is in it, or nothing of it.
    pub(super) fn add_directory(&mut self, path: &Path, files: &Files) {
        self.add_within(ALL, path, files);
    }

    /// Adds what is in watched directories and below: each has its share of the room, and what the
    /// small ones leave is for the large ones, so that whoever fills one pushes out no other. Within
    /// one the directories near its root come first.
    pub(super) fn add_shared(&mut self, mut roots: Vec<Vec<(&PathBuf, &Files)>>) {
        let size = |root: &[(&PathBuf, &Files)]| {
            let files = root.iter().map(|(_, files)| files.len() + 1);
            files.sum::<usize>()
        };
        roots.sort_by_cached_key(|root| size(root));
        let mut n_left = roots.len();
        for mut root in roots {
            let share = |taken: usize, all: usize| taken + all.saturating_sub(taken) / n_left;
            let room = Room {
                n_files: share(self.n_files, MAX_FILES),
                n_name_bytes: share(self.n_name_bytes, MAX_NAME_BYTES),
            };
            root.sort_by_cached_key(|(path, _)| path.components().count());
            for (path, files) in root {
                self.add_within(room, path, files);
            }
            n_left -= 1;
        }
    }

    /// Has a file remembered as it was before; none where it was not there.
    pub(super) fn take_back(&mut self, path: &Path, before: Option<&Entry>) {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return;
        };
        let Some(files) = self.directories.get_mut(directory) else {
            return;
        };
        self.n_files -= files.len();
        match before {
            Some(before) => files.insert(name.into(), before.clone()),
            None => files.remove(name),
        };
        self.n_files += files.len();
    }

    fn add_within(&mut self, room: Room, path: &Path, files: &Files) {
        let n_name_bytes = path.as_os_str().len() + files.keys().map(|it| it.len()).sum::<usize>();
        let has_room = self.n_files + files.len() < room.n_files
            && self.n_name_bytes + n_name_bytes <= room.n_name_bytes;
        if self.directories.contains_key(path) {
            // Two watched paths may lead to it.
        } else if has_room {
            // The directory itself takes the room of a file.
            self.n_files += files.len() + 1;
            self.n_name_bytes += n_name_bytes;
            self.directories.insert(path.to_owned(), files.clone());
        } else {
            self.n_left_out += files.len();
        }
    }

    /// Forgets all but some watched paths and what is below them.
    pub(super) fn retain(&mut self, is_awaited: impl Fn(&Path) -> bool) {
        let all = std::mem::take(self);
        for (path, entry) in all.watched.iter().filter(|(path, _)| is_awaited(path)) {
            self.add_watched(path, entry.as_ref());
        }
        for (path, files) in &all.directories {
            if path
                .ancestors()
                .any(|above| self.watched.contains_key(above))
            {
                self.add_directory(path, files);
            }
        }
    }

    /// The remembered directories at a path and below.
    pub(super) fn below<'m>(
        &'m self,
        root: &'m Path,
    ) -> impl Iterator<Item = (&'m PathBuf, &'m Files)> {
        let from = self.directories.range(root.to_owned()..);
        from.take_while(move |(path, _)| path.starts_with(root))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStrExt as _;

    fn entry(hash: Option<[u8; 32]>) -> Entry {
        let file = tempfile::NamedTempFile::new().unwrap();
        let metadata = file.as_file().metadata().unwrap();
        Entry::of(&metadata).with_hash(hash)
    }

    fn named(name: &[u8], entry: &Entry) -> (Box<OsStr>, Entry) {
        (OsStr::from_bytes(name).into(), entry.clone())
    }

    proptest! {
        #[test]
        fn whatever_is_known_is_read_back_as_it_was(
            names in prop::collection::btree_set(prop::collection::vec(1_u8.., 1..20), 0..20),
            hash in prop::option::of(any::<[u8; 32]>()),
        ) {
            let entry = entry(hash);
            let is_name = |name: &&Vec<u8>| !name.contains(&b'/') && *name != b"." && *name != b"..";
            let files = names.iter().filter(is_name).map(|name| named(name, &entry)).collect();
            let mut memory = Memory::default();
            memory.add_watched(Path::new("/gone"), None);
            memory.add_watched(Path::new("/there"), Some(&entry));
            memory.add_directory(Path::new("/there"), &files);

            let again = Memory::parse(&memory.text().unwrap()).unwrap();

            prop_assert_eq!(again, memory);
        }

        #[test]
        fn no_text_is_read_in_part(cut in 0_usize..300) {
            let mut memory = Memory::default();
            let files = [named(b"a", &entry(Some([7; 32])))].into();
            memory.add_directory(Path::new("/d"), &files);
            let text = memory.text().unwrap();

            prop_assert!(Memory::parse(&text[..cut.min(text.len() - 1)]).is_err());
        }
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        let check = |name: &str| {
            let files = [named(name.as_bytes(), &entry(None))].into();
            let mut memory = Memory::default();
            memory.add_directory(Path::new("/d"), &files);
            Memory::parse(&memory.text().unwrap()).is_ok()
        };

        assert!(check("a"));
        for name in ["", ".", "..", "/etc/passwd", "a/b", "../a", "a/"] {
            assert!(!check(name), "{name:?}");
        }
    }

    #[test]
    fn what_is_too_much_is_left_out_by_whole_directories_and_counted() {
        let entry = entry(Some([7; 32]));
        let files = |n: usize| {
            (0..n)
                .map(|n| named(n.to_string().as_bytes(), &entry))
                .collect()
        };
        let mut memory = Memory::default();

        memory.add_directory(Path::new("/large"), &files(MAX_FILES - 10));
        memory.add_directory(Path::new("/other"), &files(10));
        memory.add_directory(Path::new("/small"), &files(5));

        assert_eq!(memory.n_left_out, 10);
        let kept: Vec<_> = memory.directories.keys().collect();
        assert_eq!(kept, [Path::new("/large"), Path::new("/small")]);
        assert!(memory.text().unwrap().len() < 16 * 1024 * 1024);
    }

    #[test]
    fn whoever_fills_one_watched_directory_pushes_out_no_other() {
        let entry = entry(None);
        let files = |n: usize| -> Files {
            let names = (0..n).map(|n| named(n.to_string().as_bytes(), &entry));
            names.collect()
        };
        // In the order of paths the one that somebody fills comes first.
        let filled = (0..700).map(|n| (PathBuf::from(format!("/a/{n}")), files(100)));
        let other = |path: &str| (PathBuf::from(path), files(5_000));
        let roots: [Vec<_>; 3] = [
            filled.collect(),
            vec![other("/b")],
            vec![other("/c"), other("/c/deep/er")],
        ];
        let mut memory = Memory::default();

        let by_reference = roots.iter().map(|root| {
            let root = root.iter().map(|(path, files)| (path, files));
            root.collect::<Vec<_>>()
        });
        memory.add_shared(by_reference.collect());

        for path in ["/b", "/c", "/c/deep/er"] {
            assert!(memory.directories.contains_key(Path::new(path)), "{path}");
        }
        assert!(memory.n_left_out > 0);
        assert!(memory.n_files > MAX_FILES * 9 / 10, "no room is wasted");
        assert!(memory.n_files <= MAX_FILES);
    }

    #[test]
    fn watched_directories_that_are_large_alike_have_the_same_room() {
        let entry = entry(None);
        let files: Files = (0..100)
            .map(|n: usize| named(n.to_string().as_bytes(), &entry))
            .collect();
        let root = |n: usize, name: &str| -> Vec<_> {
            let names = (0..n).map(|n| PathBuf::from(format!("/{name}/{n}")));
            names.map(|path| (path, &files)).collect()
        };
        let roots = [root(290, "one"), root(300, "other")];
        let mut memory = Memory::default();

        let by_reference = roots.iter().map(|root| {
            let root = root.iter().map(|(path, files)| (path, *files));
            root.collect::<Vec<_>>()
        });
        memory.add_shared(by_reference.collect());

        for root in ["/one", "/other"] {
            assert!(memory.below(Path::new(root)).count() > 240, "{root}");
        }
    }
}
