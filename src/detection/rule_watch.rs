//! Notices that a directory of rules may have changed, whatever is done to it or on the way to it.
//! It never says what changed and never reads a rule; a missed hint is found by the caller's timer.
//!
//! Watched are the folders of the directory, and by name every step on the way to it, links
//! included, so that another directory in its place, or its absence, is noticed too.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};
use tokio::time::Instant;

/// What is asked of a folder of the directory.
const CONTENT: WatchMask = WatchMask::CREATE
    .union(WatchMask::DELETE)
    .union(WatchMask::MOVED_FROM)
    .union(WatchMask::MOVED_TO)
    .union(WatchMask::MODIFY)
    .union(WatchMask::CLOSE_WRITE)
    .union(WatchMask::ATTRIB)
    .union(WatchMask::DELETE_SELF)
    .union(WatchMask::MOVE_SELF)
    .union(WatchMask::MASK_ADD)
    .union(WatchMask::ONLYDIR);

/// What is asked of a directory on the way: only which names come and go.
const NAMES: WatchMask = WatchMask::CREATE
    .union(WatchMask::DELETE)
    .union(WatchMask::MOVED_FROM)
    .union(WatchMask::MOVED_TO)
    .union(WatchMask::MASK_ADD)
    .union(WatchMask::ONLYDIR);

/// Most folders watched; a directory has fewer than files, and the kernel's limit is for all.
const MAX_FOLDERS: usize = 1_000;

/// Most links on the way, as the kernel has it.
const MAX_LINKS: usize = 40;

/// Room for events between two looks; what does not fit waits in the kernel.
const BUFFER_BYTES: usize = 16 * 1024;

/// Time after which a file that was modified and not closed counts as written: somebody holds it
/// open and does nothing.
const ABANDONED_AFTER: Duration = Duration::from_secs(15);

/// The watches of one directory.
pub(super) struct RuleWatch {
    stream: EventStream<Vec<u8>>,
    watches: Watches,
    watched: HashMap<WatchDescriptor, Watched>,
    /// Files being written, each with the time of its last modification.
    writing: HashMap<PathBuf, Instant>,
}

/// What a watch is for.
#[derive(Debug)]
struct Watched {
    folder: PathBuf,
    /// The names that matter on the way; none in the directory, where all do.
    names: Option<BTreeSet<OsString>>,
}

impl RuleWatch {
    /// Watches nothing yet.
    pub(super) fn new() -> io::Result<Self> {
        let stream = Inotify::init()?.into_event_stream(vec![0; BUFFER_BYTES])?;
        Ok(Self {
            watches: stream.watches(),
            stream,
            watched: HashMap::new(),
            writing: HashMap::new(),
        })
    }

    /// Watches these directories as they are now, and single files by their names alone; to be called
    /// before they are read, so that nothing that changes afterwards is missed.
    pub(super) fn follow<'p>(&mut self, paths: impl Iterator<Item = &'p Path>) -> io::Result<()> {
        let mut kept = HashSet::new();
        let mut followed = Ok(());
        for path in paths {
            followed = followed.and(self.follow_one(path, &mut kept));
        }
        self.end_others(&kept);
        followed
    }

    fn follow_one(
        &mut self,
        directory: &Path,
        kept: &mut HashSet<WatchDescriptor>,
    ) -> io::Result<()> {
        for (folder, name) in list_steps(directory) {
            // A folder on the way that may be passed but not listed is left to the timer.
            if let Ok(watch) = self.watches.add(&folder, NAMES) {
                let watched = self.watched.entry(watch.clone()).or_insert(Watched {
                    folder,
                    names: Some(BTreeSet::new()),
                });
                watched.names.as_mut().map(|names| names.insert(name));
                kept.insert(watch);
            }
        }
        self.follow_folders(directory, kept)
    }

    fn follow_folders(
        &mut self,
        directory: &Path,
        kept: &mut HashSet<WatchDescriptor>,
    ) -> io::Result<()> {
        let mut waiting = vec![directory.to_owned()];
        let mut n_folders = 0;
        while let Some(folder) = waiting.pop() {
            if n_folders == MAX_FOLDERS {
                return Err(io::Error::other("there are too many folders to watch"));
            }
            n_folders += 1;
            match self.watches.add(&folder, CONTENT) {
                Ok(watch) => {
                    kept.insert(watch.clone());
                    let watched = Watched {
                        folder: folder.clone(),
                        names: None,
                    };
                    self.watched.insert(watch, watched);
                }
                // It went in this moment, or is not there yet: its parent tells.
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(error),
            }
            // After the watch, so that what comes now is told.
            waiting.extend(list_folders(&folder));
        }
        Ok(())
    }

    fn end_others(&mut self, kept: &HashSet<WatchDescriptor>) {
        let watches = &mut self.watches;
        self.watched.retain(|watch, _| {
            let is_kept = kept.contains(watch);
            if !is_kept {
                // The kernel may have ended it already, with the folder.
                watches.remove(watch.clone()).ok();
            }
            is_kept
        });
    }

    /// Waits until something may have changed; may be dropped and called again.
    pub(super) async fn changed(&mut self) {
        loop {
            match self.stream.next().await {
                Some(Ok(event)) if !self.on_event(&event) => {}
                Some(Ok(_)) => return,
                // A failing watch is no hint at all; the caller's timer goes on.
                Some(Err(_)) | None => std::future::pending().await,
            }
        }
    }

    /// Takes an event in; answers whether it may be about rules.
    fn on_event(&mut self, event: &EventOwned) -> bool {
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            // What was said of files being written is lost with the rest.
            self.writing.clear();
            return true;
        }
        let watched = self.watched.get(&event.wd);
        let Some(watched) = watched.filter(|_| !event.mask.contains(EventMask::IGNORED)) else {
            return false;
        };
        let name = event.name.as_deref();
        if let Some(names) = &watched.names {
            return name.is_some_and(|name| names.contains(name));
        }
        if let Some(name) = name {
            let path = watched.folder.join(name);
            if event.mask.contains(EventMask::MODIFY) {
                self.writing.insert(path, Instant::now());
            } else if !event.mask.contains(EventMask::ATTRIB) {
                self.writing.remove(&path);
            }
        }
        true
    }

    /// Whether somebody is in the middle of writing a rule.
    pub(super) fn is_being_written(&mut self, now: Instant) -> bool {
        self.writing
            .retain(|_, modified| now < *modified + ABANDONED_AFTER);
        self.writing.keys().any(|path| is_rule(path))
    }
}

fn is_rule(path: &Path) -> bool {
    let is_hidden = path
        .file_name()
        .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !is_hidden && path.extension() == Some(OsStr::new("yml"))
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The folders in a folder that may hold rules; none if it cannot be listed, which reading it says.
fn list_folders(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let is_folder = |entry: &fs::DirEntry| {
        entry.file_type().is_ok_and(|kind| kind.is_dir())
            && !entry.file_name().as_encoded_bytes().starts_with(b".")
    };
    let entries = entries.filter_map(Result::ok).filter(is_folder);
    entries.map(|entry| entry.path()).collect()
}

/// Every step on the way to a path: the folder, and the name in it that leads on.
fn list_steps(path: &Path) -> Vec<(PathBuf, OsString)> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut ahead: Vec<OsString> = names_of(&absolute);
    let mut folder = PathBuf::from("/");
    let (mut steps, mut n_links) = (Vec::new(), 0);
    while let Some(name) = ahead.pop() {
        if name == ".." {
            folder.pop();
            continue;
        }
        let next = folder.join(&name);
        steps.push((folder.clone(), name));
        match fs::read_link(&next) {
            Ok(target) if n_links < MAX_LINKS => {
                n_links += 1;
                if target.is_absolute() {
                    folder = PathBuf::from("/");
                }
                ahead.extend(names_of(&target));
            }
            _ => folder = next,
        }
    }
    steps
}

/// The names of a path, the last first.
fn names_of(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    });
    let mut names: Vec<_> = names.collect();
    names.reverse();
    names
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::symlink;

    use tokio::time::timeout;

    use super::*;

    /// Long enough for a machine busy with builds.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn place() -> tempfile::TempDir {
        let place = tempfile::tempdir().expect("a folder can be made");
        fs::create_dir_all(place.path().join("rules/sshd")).expect("made");
        fs::write(place.path().join("rules/sshd/a.yml"), "a").expect("written");
        place
    }

    fn watch(directory: &Path) -> RuleWatch {
        let mut watch = RuleWatch::new().expect("inotify is there");
        watch
            .follow(std::iter::once(directory))
            .expect("it can be watched");
        watch
    }

    async fn check_noticed(watch: &mut RuleWatch, what: &str) {
        let noticed = timeout(PATIENCE, watch.changed()).await;
        assert!(noticed.is_ok(), "{what} was not noticed");
    }

    #[tokio::test]
    async fn a_file_written_in_place_or_renamed_into_place_is_noticed() {
        let place = place();
        let rules = place.path().join("rules");

        let mut seen = watch(&rules);
        fs::write(rules.join("sshd/a.yml"), "b").expect("written");
        check_noticed(&mut seen, "a write in place").await;

        let mut seen = watch(&rules);
        fs::write(place.path().join("new"), "c").expect("written");
        fs::rename(place.path().join("new"), rules.join("sshd/a.yml")).expect("renamed");
        check_noticed(&mut seen, "a rename").await;
    }

    #[tokio::test]
    async fn another_directory_in_its_place_is_noticed_and_followed() {
        let place = place();
        let (rules, other) = (place.path().join("rules"), place.path().join("other"));
        let mut seen = watch(&rules);

        fs::rename(&rules, place.path().join("old")).expect("renamed");
        check_noticed(&mut seen, "its absence").await;
        fs::create_dir_all(other.join("su")).expect("made");
        fs::rename(&other, &rules).expect("renamed");
        check_noticed(&mut seen, "its coming back").await;
        seen.follow(std::iter::once(rules.as_path()))
            .expect("it can be watched");
        fs::write(rules.join("su/b.yml"), "b").expect("written");
        check_noticed(&mut seen, "a file in the new directory").await;
    }

    #[tokio::test]
    async fn a_link_that_leads_elsewhere_is_noticed() {
        let place = place();
        fs::create_dir(place.path().join("v2")).expect("made");
        let current = place.path().join("current");
        symlink("rules", &current).expect("linked");
        let mut seen = watch(&current);

        symlink("v2", place.path().join("next")).expect("linked");
        fs::rename(place.path().join("next"), &current).expect("renamed");

        check_noticed(&mut seen, "the swap of a link").await;
    }

    #[tokio::test]
    async fn a_directory_that_is_not_there_yet_is_noticed_when_it_comes() {
        let place = tempfile::tempdir().expect("a folder can be made");
        let mut seen = watch(&place.path().join("rules"));

        fs::create_dir(place.path().join("rules")).expect("made");

        check_noticed(&mut seen, "its coming").await;
    }

    #[tokio::test]
    async fn what_happens_beside_the_directory_is_not_noticed() {
        let place = place();
        let mut seen = watch(&place.path().join("rules"));

        fs::write(place.path().join("beside.yml"), "x").expect("written");
        fs::write(place.path().join("rules/sshd/b.yml"), "x").expect("written");
        check_noticed(&mut seen, "a rule").await;

        // The rule is the first that was noticed, and its name leads there.
        assert!(
            seen.watched
                .values()
                .any(|one| one.folder.ends_with("sshd"))
        );
        assert!(!seen.writing.keys().any(|path| path.ends_with("beside.yml")));
    }

    #[tokio::test]
    async fn a_file_that_was_modified_counts_as_being_written_until_it_is_closed() {
        let place = place();
        let rules = place.path().join("rules");
        let mut seen = watch(&rules);

        let mut file = fs::File::create(rules.join("sshd/b.yml")).expect("created");
        file.write_all(b"title: x").expect("written");
        while !seen.is_being_written(Instant::now()) {
            check_noticed(&mut seen, "the first half").await;
        }
        drop(file);
        while seen.is_being_written(Instant::now()) {
            check_noticed(&mut seen, "its closing").await;
        }

        fs::remove_file(rules.join("sshd/b.yml")).expect("removed");
        check_noticed(&mut seen, "its removal").await;
    }
}
