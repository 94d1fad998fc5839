//! What was known of watched files, in the form in which it outlives the agent.
//! It looks at no file and decides nothing; a text that is not whole is no memory at all.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::entry::Entry;

/// Most files that are remembered: some 200 bytes each on the disk.
const MAX_FILES: usize = 50_000;

/// Most bytes of all their names, so that the text is smaller than the largest file of the agent
/// even if each byte of a name takes six.
const MAX_NAME_BYTES: usize = 2 * 1024 * 1024;

/// The form of the text; another one is not read.
const VERSION: u32 = 1;

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

/// Why a text is no memory.
#[derive(Debug, thiserror::Error)]
pub(super) enum MemoryError {
    /// It is not what the agent writes.
    #[error("it is damaged")]
    Damaged(#[source] serde_json::Error),
    /// It was written in another form.
    #[error("it has the form {0}, which this agent does not know")]
    Form(u32),
    /// A name in it is none.
    #[error("a name in it is none")]
    Name,
}

/// The text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    watched: Vec<(Name, Option<Entry>)>,
    directories: Vec<(Name, Vec<(Name, Entry)>)>,
}

/// A name of any bytes.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Bytes(Vec<u8>),
}

impl Memory {
    /// Adds a watched path; none where nothing is there.
    pub(super) fn add_watched(&mut self, path: &Path, entry: Option<&Entry>) {
        // There are a thousand of them at most.
        self.watched.insert(path.to_owned(), entry.cloned());
    }

    /// Adds a directory with everything that is in it, or nothing of it.
    pub(super) fn add_directory(&mut self, path: &Path, files: &Files) {
        let n_name_bytes = path.as_os_str().len() + files.keys().map(|it| it.len()).sum::<usize>();
        let has_room = self.n_files + files.len() < MAX_FILES
            && self.n_name_bytes + n_name_bytes <= MAX_NAME_BYTES;
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

    /// The text of it.
    pub(super) fn text(&self) -> Result<Vec<u8>, MemoryError> {
        let watched = self.watched.iter();
        let watched = watched.map(|(path, entry)| (Name::of(path.as_os_str()), entry.clone()));
        let directories = self.directories.iter().map(|(path, files)| {
            let files = files.iter();
            let files = files.map(|(name, entry)| (Name::of(name), entry.clone()));
            (Name::of(path.as_os_str()), files.collect())
        });
        let kept = Kept {
            version: VERSION,
            watched: watched.collect(),
            directories: directories.collect(),
        };
        serde_json::to_vec(&kept).map_err(MemoryError::Damaged)
    }

    /// Reads a text.
    ///
    /// # Errors
    /// Fails when it is not whole.
    pub(super) fn parse(text: &[u8]) -> Result<Self, MemoryError> {
        let kept: Kept = serde_json::from_slice(text).map_err(MemoryError::Damaged)?;
        if kept.version != VERSION {
            return Err(MemoryError::Form(kept.version));
        }
        let mut memory = Self::default();
        for (path, entry) in kept.watched {
            memory.add_watched(&path.into_path()?, entry.as_ref());
        }
        for (path, files) in kept.directories {
            let files = files.into_iter();
            let files = files.map(|(name, entry)| Ok((name.into_name()?, entry)));
            memory.add_directory(&path.into_path()?, &files.collect::<Result<_, _>>()?);
        }
        Ok(memory)
    }
}

impl Name {
    fn of(name: &OsStr) -> Self {
        match name.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Bytes(name.as_bytes().to_vec()),
        }
    }

    fn into_os_string(self) -> OsString {
        match self {
            Self::Text(text) => text.into(),
            Self::Bytes(bytes) => OsString::from_vec(bytes),
        }
    }

    /// A path from the root.
    fn into_path(self) -> Result<PathBuf, MemoryError> {
        let path = PathBuf::from(self.into_os_string());
        path.is_absolute().then_some(path).ok_or(MemoryError::Name)
    }

    /// A name in a directory, which leads nowhere else.
    fn into_name(self) -> Result<Box<OsStr>, MemoryError> {
        let name = self.into_os_string();
        let is_name = Path::new(&name).file_name() == Some(&*name) && !name.is_empty();
        is_name
            .then(|| name.into_boxed_os_str())
            .ok_or(MemoryError::Name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            let text = serde_json::to_string(&Kept {
                version: VERSION,
                watched: Vec::new(),
                directories: vec![(
                    Name::Text("/d".to_owned()),
                    vec![(Name::Text(name.to_owned()), entry(None))],
                )],
            });
            Memory::parse(text.unwrap().as_bytes()).is_ok()
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
}
