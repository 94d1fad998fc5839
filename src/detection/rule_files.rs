//! Reads a directory of rules: which files belong to it, and their texts, all of one moment.
//! It never compiles them and never follows a link out of the directory.
//!
//! Names that begin with a dot are not looked at: editors, git and the mounts of containers keep
//! their own things under such names.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Largest rule file in bytes; the longest community rule has 20 KiB.
pub(super) const MAX_FILE: u64 = 256 * 1024;

/// Largest directory in bytes: all community rules together have 12 MiB.
const MAX_TOTAL: u64 = 64 * 1024 * 1024;

/// Most files of one set.
const MAX_FILES: usize = 20_000;

/// Deepest folder below the directory.
const MAX_DEPTH: usize = 8;

/// One file of a rule directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SourceFile {
    /// Path below the directory.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Why a directory cannot be read as rules; the path is the file or folder at fault.
#[derive(Debug, thiserror::Error)]
pub enum ReadFault {
    /// A file or folder cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file is larger than rules are.
    #[error("{path} is larger than {MAX_FILE} bytes; it cannot be a rule")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// There are too many files, too deep or too large together.
    #[error(
        "{path} holds more than {MAX_FILES} files, {MAX_DEPTH} levels or {MAX_TOTAL} bytes of rules; \
         name the rules' own folder"
    )]
    TooMany {
        /// The directory.
        path: PathBuf,
    },
    /// A link leads out of the directory.
    #[error("{path} is a link to {target}, outside the directory; put the file itself there")]
    LinkOut {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A link leads to a folder.
    #[error("{path} is a link to a folder; put the folder itself there")]
    LinkedFolder {
        /// The link.
        path: PathBuf,
    },
    /// Something that is no file has the name of one.
    #[error("{path} is no regular file; remove it")]
    NotAFile {
        /// What it is.
        path: PathBuf,
    },
    /// A file has an ending that would be passed over.
    #[error("{path} would not be read; let its name end with .yml")]
    WrongEnding {
        /// The file.
        path: PathBuf,
    },
    /// Something changed while it was read.
    #[error("{path} changed while it was read; try again")]
    Changing {
        /// What changed, or the directory.
        path: PathBuf,
    },
}

impl ReadFault {
    /// What is at fault.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Unreadable { path, .. }
            | Self::TooLarge { path }
            | Self::TooMany { path }
            | Self::LinkOut { path, .. }
            | Self::LinkedFolder { path }
            | Self::NotAFile { path }
            | Self::WrongEnding { path }
            | Self::Changing { path } => path,
        }
    }
}

/// What tells one content of a file from another without reading it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            // Unlike the time of modification, nobody can set it back.
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A file that was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Listed {
    /// Its path below the directory.
    name: String,
    /// Its path without links.
    target: PathBuf,
    stamp: Stamp,
}

/// Everything that is to be read, as it was seen at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Listing {
    files: Vec<Listed>,
}

/// Lists the rule files and tests of a directory, without reading them.
pub(super) fn list_files(directory: &Path) -> Result<Listing, ReadFault> {
    let root = fs::canonicalize(directory).map_err(unreadable(directory))?;
    let mut walk = Walk {
        shown: directory,
        root: &root,
        files: Vec::new(),
        n_bytes: 0,
    };
    walk.folder(directory, 0)?;
    let mut files = walk.files;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Listing { files })
}

/// Reads every rule file and test of a directory, ordered by name; all belong to one moment, in
/// that nothing changed from before the first was read until after the last.
///
/// # Errors
/// The first file or folder that is not as rules are.
pub(super) fn read_files(directory: &Path) -> Result<Vec<SourceFile>, ReadFault> {
    let before = list_files(directory)?;
    let files = before.files.iter().map(|file| read_file(directory, file));
    let files = files.collect::<Result<Vec<_>, _>>()?;
    if list_files(directory)? == before {
        Ok(files)
    } else {
        Err(changing(directory))
    }
}

fn read_file(directory: &Path, listed: &Listed) -> Result<SourceFile, ReadFault> {
    let path = directory.join(&listed.name);
    let file = File::open(&listed.target).map_err(unreadable(&path))?;
    let metadata = file.metadata().map_err(unreadable(&path))?;
    if Stamp::of(&metadata) != listed.stamp {
        return Err(changing(&path));
    }
    let mut text = String::new();
    let bounded = file.take(MAX_FILE + 1).read_to_string(&mut text);
    if bounded.map_err(unreadable(&path))? as u64 > MAX_FILE {
        return Err(ReadFault::TooLarge { path });
    }
    let name = listed.name.clone();
    Ok(SourceFile { name, text })
}

/// Reads one file that belongs to rules, wherever it is; its name is the last step of its path.
///
/// # Errors
/// When it is not as rules are, or changes while it is read.
pub(super) fn read_alone(path: &Path) -> Result<SourceFile, ReadFault> {
    let target = fs::canonicalize(path).map_err(unreadable(path))?;
    let metadata = fs::metadata(&target).map_err(unreadable(path))?;
    if !metadata.is_file() {
        return Err(ReadFault::NotAFile {
            path: path.to_owned(),
        });
    }
    let listed = Listed {
        name: path.file_name().unwrap_or_default().display().to_string(),
        target,
        stamp: Stamp::of(&metadata),
    };
    read_file(path.parent().unwrap_or(path), &listed)
}

/// One walk through a directory.
struct Walk<'a> {
    /// The directory as it was named.
    shown: &'a Path,
    /// The directory without links.
    root: &'a Path,
    files: Vec<Listed>,
    n_bytes: u64,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, depth: usize) -> Result<(), ReadFault> {
        if depth > MAX_DEPTH {
            return Err(self.too_many());
        }
        for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
            let entry = entry.map_err(unreadable(folder))?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            let kind = entry.file_type().map_err(unreadable(&path))?;
            if kind.is_dir() {
                self.folder(&path, depth + 1)?;
            } else {
                self.file(path, kind.is_symlink())?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: PathBuf, is_link: bool) -> Result<(), ReadFault> {
        let is_rule = match path.extension().and_then(|end| end.to_str()) {
            Some("yml") => true,
            Some("yaml") => return Err(ReadFault::WrongEnding { path }),
            _ => false,
        };
        if !is_rule && !is_link {
            return Ok(());
        }
        let target = fs::canonicalize(&path).map_err(unreadable(&path))?;
        let metadata = fs::metadata(&target).map_err(unreadable(&path))?;
        if metadata.is_dir() {
            return Err(ReadFault::LinkedFolder { path });
        }
        if !is_rule {
            return Ok(());
        }
        if !target.starts_with(self.root) {
            return Err(ReadFault::LinkOut { path, target });
        }
        if !metadata.is_file() {
            return Err(ReadFault::NotAFile { path });
        }
        if metadata.len() > MAX_FILE {
            return Err(ReadFault::TooLarge { path });
        }
        self.n_bytes += metadata.len();
        if self.files.len() >= MAX_FILES || self.n_bytes > MAX_TOTAL {
            return Err(self.too_many());
        }
        let name = path.strip_prefix(self.shown).unwrap_or(&path);
        self.files.push(Listed {
            name: name.display().to_string(),
            target,
            stamp: Stamp::of(&metadata),
        });
        Ok(())
    }

    fn too_many(&self) -> ReadFault {
        ReadFault::TooMany {
            path: self.shown.to_owned(),
        }
    }
}

/// A name that was listed and is not there any more is a change, not a fault of its own.
fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> ReadFault {
    let path = path.to_owned();
    move |source| ReadFault::Unreadable { path, source }
}

fn changing(path: &Path) -> ReadFault {
    ReadFault::Changing {
        path: path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder can be made");
        for name in files {
            let path = folder.path().join(name);
            let parent = path.parent().expect("it is below the folder");
            fs::create_dir_all(parent).expect("the folder can be made");
            fs::write(path, "title: x\n").expect("the file can be written");
        }
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        let files = read_files(folder).expect("it can be read");
        files.into_iter().map(|file| file.name).collect()
    }

    #[track_caller]
    fn check_refused(folder: &Path, expected: &str) {
        let error = read_files(folder).expect_err("it is refused").to_string();
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
    }

    #[test]
    fn rules_in_folders_are_read_in_the_order_of_their_names() {
        let folder = folder(&["sshd/b.yml", "sshd/a.test.yml", "a.yml", "README.md"]);

        assert_eq!(
            names(folder.path()),
            ["a.yml", "sshd/a.test.yml", "sshd/b.yml"]
        );
    }

    #[test]
    fn what_editors_and_git_leave_is_not_read() {
        let folder = folder(&[
            "a.yml",
            ".a.yml.swp",
            ".git/b.yml",
            "a.yml~",
            "#a.yml#",
            "4913",
        ]);
        symlink("nobody@host.1:2", folder.path().join(".#a.yml")).expect("a lock of emacs");

        assert_eq!(names(folder.path()), ["a.yml"]);
    }

    #[test]
    fn a_directory_mounted_by_links_within_it_is_read_once() {
        let folder = folder(&["..2026_11_21/a.yml"]);
        symlink("..2026_11_21", folder.path().join("..data")).expect("linked");
        symlink("..data/a.yml", folder.path().join("a.yml")).expect("linked");

        assert_eq!(names(folder.path()), ["a.yml"]);
    }

    #[test]
    fn a_link_out_of_the_directory_is_refused_with_where_it_leads() {
        let (inside, outside) = (folder(&["a.yml"]), folder(&["b.yml"]));
        symlink(outside.path().join("b.yml"), inside.path().join("b.yml")).expect("linked");

        check_refused(inside.path(), "outside the directory");
    }

    #[test]
    fn links_to_folders_and_to_nothing_are_refused() {
        let with_folder = folder(&["a.yml", "sshd/b.yml"]);
        symlink("sshd", with_folder.path().join("ssh")).expect("linked");
        check_refused(with_folder.path(), "is a link to a folder");

        let dangling = folder(&["a.yml"]);
        symlink("gone.yml", dangling.path().join("b.yml")).expect("linked");
        check_refused(dangling.path(), "b.yml");
    }

    #[test]
    fn the_directory_itself_may_be_a_link() {
        let (rules, place) = (folder(&["a.yml"]), folder(&[]));
        let link = place.path().join("rules");
        symlink(rules.path(), &link).expect("linked");

        assert_eq!(names(&link), ["a.yml"]);
    }

    #[test]
    fn a_file_that_cannot_be_a_rule_is_refused() {
        let huge = folder(&["a.yml"]);
        let file = File::create(huge.path().join("b.yml")).expect("created");
        file.set_len(MAX_FILE + 1).expect("it has a hole");
        check_refused(huge.path(), "b.yml is larger than");

        check_refused(folder(&["a.yaml"]).path(), "end with .yml");

        let binary = folder(&["a.yml"]);
        fs::write(binary.path().join("b.yml"), [0xff, 0xfe]).expect("written");
        check_refused(binary.path(), "b.yml");

        let socket = folder(&["a.yml"]);
        let path = socket.path().join("b.yml");
        let _listener = std::os::unix::net::UnixListener::bind(path).expect("bound");
        check_refused(socket.path(), "no regular file");
    }

    #[test]
    fn folders_without_end_are_refused() {
        let deep = format!("{}a.yml", "f/".repeat(MAX_DEPTH + 1));

        check_refused(folder(&[&deep]).path(), "levels");
    }

    #[test]
    fn the_same_size_at_another_time_is_another_listing() {
        let folder = folder(&["a.yml"]);
        let before = list_files(folder.path()).expect("listed");

        let path = folder.path().join("a.yml");
        let seen = loop {
            fs::write(&path, "title: y\n").expect("written");
            let after = list_files(folder.path()).expect("listed");
            // Two writes may fall into one tick of the file system's clock.
            if after != before {
                break after;
            }
        };

        assert_eq!(seen.files.len(), 1);
    }
}
