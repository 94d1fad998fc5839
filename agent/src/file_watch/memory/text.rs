//! The text of what was known of watched files: written by reference, read only if it is whole.
//! It holds no bounds but that a name is one; those are the memory's.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

use super::super::entry::Entry;
use super::{Files, Memory};

/// The form of the text; another one is not read.
const VERSION: u32 = 1;

/// Why a text is no memory.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum MemoryError {
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

/// The text as it is written.
#[derive(Serialize)]
struct Written<'m> {
    version: u32,
    watched: WrittenPaths<'m>,
    directories: WrittenDirectories<'m>,
}

struct WrittenPaths<'m>(&'m BTreeMap<PathBuf, Option<Entry>>);

struct WrittenDirectories<'m>(&'m BTreeMap<PathBuf, Files>);

struct WrittenFiles<'m>(&'m Files);

/// A name of any bytes.
#[derive(Serialize)]
#[serde(untagged)]
enum WrittenName<'n> {
    Text(&'n str),
    Bytes(&'n [u8]),
}

impl Serialize for WrittenPaths<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let paths = self.0.iter();
        serializer.collect_seq(paths.map(|(path, entry)| (name(path.as_os_str()), entry)))
    }
}

impl Serialize for WrittenDirectories<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let all = self.0.iter();
        serializer.collect_seq(all.map(|(path, it)| (name(path.as_os_str()), WrittenFiles(it))))
    }
}

impl Serialize for WrittenFiles<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(file, entry)| (name(file), entry)))
    }
}

fn name(name: &OsStr) -> WrittenName<'_> {
    match name.to_str() {
        Some(text) => WrittenName::Text(text),
        None => WrittenName::Bytes(name.as_bytes()),
    }
}

/// The text as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    watched: Vec<(Name, Option<Entry>)>,
    directories: Vec<(Name, Vec<(Name, Entry)>)>,
}

/// A name of any bytes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Bytes(Vec<u8>),
}

impl Memory {
    /// The text of it.
    pub(in super::super) fn text(&self) -> Result<Vec<u8>, MemoryError> {
        let written = Written {
            version: VERSION,
            watched: WrittenPaths(&self.watched),
            directories: WrittenDirectories(&self.directories),
        };
        serde_json::to_vec(&written).map_err(MemoryError::Damaged)
    }

    /// Reads a text.
    ///
    /// # Errors
    /// Fails when it is not whole.
    pub(in super::super) fn parse(text: &[u8]) -> Result<Self, MemoryError> {
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
