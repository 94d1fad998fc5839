//! The files of the repository as tidy sees them: those git tracks or would track, as text.
//! It never follows what git ignores.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

use crate::program::{capture, program, repository_root};

/// Paths from the root of the repository, with `/`, to their text; binary files have none.
#[derive(Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    /// Reads the repository.
    pub(crate) fn read() -> Result<Self> {
        let mut list = program("git");
        list.args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]);
        let mut tree = Self::default();
        for path in capture(&mut list)?
            .split('\0')
            .filter(|path| !path.is_empty())
        {
            let full = repository_root().join(path);
            if !full.is_file() {
                continue; // deleted, but not yet in the index; or a link to a directory
            }
            let bytes = fs::read(&full).with_context(|| format!("cannot read {path}"))?;
            tree.insert(path, String::from_utf8(bytes).unwrap_or_default());
        }
        Ok(tree)
    }

    /// Adds a file.
    pub(crate) fn insert(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.files.insert(path.into(), text.into());
    }

    /// All files with their text.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The Rust files with their text.
    pub(crate) fn rust_files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter(|(path, _)| has_extension(path, "rs"))
    }

    /// The text of one file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Whether there is a file or a directory of this path.
    pub(crate) fn contains(&self, path: &str) -> bool {
        let directory = format!("{path}/");
        self.files.contains_key(path)
            || self
                .files
                .range(directory.clone()..)
                .next()
                .is_some_and(|(next, _)| next.starts_with(&directory))
    }
}

/// Whether a path ends in this extension.
pub(crate) fn has_extension(path: &str, extension: &str) -> bool {
    path.rsplit_once('.')
        .is_some_and(|(_, end)| end == extension)
}

#[cfg(test)]
pub(crate) fn made_up<const N: usize>(files: [(&str, &str); N]) -> Tree {
    let mut tree = Tree::default();
    for (path, text) in files {
        tree.insert(path, text);
    }
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_known_by_the_files_in_them() {
        let tree = made_up([("docs/adr/0001-x.md", "# x\n")]);

        assert!(tree.contains("docs"));
        assert!(tree.contains("docs/adr"));
        assert!(tree.contains("docs/adr/0001-x.md"));
        assert!(!tree.contains("docs/adr/0001"));
        assert!(!tree.contains("doc"));
    }

    #[test]
    fn this_repository_has_files() {
        let tree = Tree::read().expect("git lists the files");

        assert!(tree.contains("xtask/src/tidy/tree.rs"));
        assert!(!tree.contains("target"));
    }
}
