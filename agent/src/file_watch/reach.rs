//! Whether what a path leads to answers: a file system whose server is gone, or whose program hangs,
//! lets whoever looks at it wait for ever.
//! It waits for a moment only, on a thread that is given up if need be, and keeps nothing of what it
//! sees.

pub(super) mod mounts;

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use super::REPLY_DEADLINE;
use mounts::{Mount, MountTable, nearest};

/// A disk that slept is awake by then.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// Most threads that are given up at once.
const MAX_STUCK: u32 = 3;

// Together they are waited for less long than whoever asks for watched paths waits.
const _: () = assert!(PATIENCE.as_secs() * (MAX_STUCK as u64) < REPLY_DEADLINE.as_secs());

/// How many links lead to a path at most; the kernel follows no more.
const MAX_LINKS: usize = 40;

/// The thread's stack; it holds no large values.
const STACK_BYTES: usize = 64 * 1024;

/// What was found out about answers.
#[derive(Debug)]
pub(super) struct Reach {
    /// How long an answer is waited for.
    patience: Duration,
    prober: Option<Prober>,
    stuck: Vec<Stuck>,
    table: MountTable,
}

/// A thread that looks, and is asked one thing at a time.
#[derive(Debug)]
struct Prober {
    jobs: SyncSender<PathBuf>,
    answers: Receiver<()>,
}

/// A thread that was given up.
#[derive(Debug)]
struct Stuck {
    /// What does not answer, with everything below.
    at: PathBuf,
    /// The file system it is on, of which the rest may answer; none where that is not certain.
    mount: Option<PathBuf>,
    answers: Receiver<()>,
}

/// Where a path leads.
struct Place {
    real: PathBuf,
    /// Whether a file system that may not answer is asked on the way.
    is_doubtful: bool,
}

impl Reach {
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            patience,
            prober: None,
            stuck: Vec::new(),
            table: MountTable::default(),
        }
    }

    /// Whether a path may be looked at, with what is in it if it is a directory. Without a table of
    /// mounts every path is asked about by itself.
    ///
    /// # Errors
    /// Fails when it did not answer in time, and until it does.
    pub(super) fn check(&mut self, path: &Path) -> io::Result<()> {
        let place = self.place_of(path);
        self.check_place(path, &place)
    }

    /// The same, but nobody is asked of file systems that always answer. Says whether it is one that
    /// may not.
    ///
    /// # Errors
    /// Fails when it did not answer in time, and until it does.
    pub(super) fn check_doubtful(&mut self, path: &Path) -> io::Result<bool> {
        let place = self.place_of(path);
        if place.is_doubtful {
            self.check_place(path, &place)?;
        }
        Ok(place.is_doubtful)
    }

    /// The names in a directory on which such file systems are mounted.
    pub(super) fn doubtful_in(&mut self, directory: &Path) -> Vec<OsString> {
        let Place { real, .. } = self.place_of(directory);
        let mounts = self.table.list().iter();
        let mounts = mounts.filter(|mount| mount.is_doubtful);
        let below = mounts.filter(|mount| mount.at.parent() == Some(real.as_path()));
        let names = below.filter_map(|mount| mount.at.file_name());
        names.map(OsStr::to_owned).collect()
    }

    fn check_place(&mut self, path: &Path, place: &Place) -> io::Result<()> {
        // One that answered after all is done with.
        let still_waits = |stuck: &Stuck| stuck.answers.try_recv() == Err(TryRecvError::Empty);
        self.stuck.retain(still_waits);
        if self
            .stuck
            .iter()
            .any(|stuck| place.real.starts_with(&stuck.at))
        {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if self.stuck.len() >= MAX_STUCK as usize {
            return self.check_unasked(place);
        }
        let prober = match self.prober.take() {
            Some(prober) => prober,
            None => Prober::start()?,
        };
        let asked = prober.jobs.send(path.to_owned());
        asked.map_err(|_| io::Error::other("a thread ended"))?;
        match prober.answers.recv_timeout(self.patience) {
            Ok(()) => {
                self.prober = Some(prober);
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => {
                self.give_up(prober.answers, path, place);
                Err(io::ErrorKind::TimedOut.into())
            }
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("a thread ended")),
        }
    }

    /// No thread is left to ask with: a file system that asks nobody answers, unless it is one that
    /// was found not to. Somebody who has others hang on purpose keeps nothing else from being
    /// watched.
    fn check_unasked(&mut self, place: &Place) -> io::Result<()> {
        let mount = nearest(self.table.list(), &place.real);
        let is_stuck = |stuck: &Stuck| mount == stuck.mount.as_deref();
        if place.is_doubtful || mount.is_none() || self.stuck.iter().any(is_stuck) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    /// Takes note that what a path leads to does not answer, and with it the whole of a file system
    /// that may not.
    fn give_up(&mut self, answers: Receiver<()>, path: &Path, asked: &Place) {
        // It may have been mounted since it was asked.
        let now = self.place_of(path);
        let (at, mount) = blame(asked, &now, self.table.list());
        tracing::warn!(path = %at.display(), "a file system does not answer");
        self.stuck.push(Stuck { at, mount, answers });
    }

    /// Where a path leads: links above its last name are followed as far as nobody is asked who may
    /// not answer.
    fn place_of(&mut self, path: &Path) -> Place {
        let mounts = self.table.list().iter();
        let doubtful: Vec<&Path> = mounts
            .filter(|mount| mount.is_doubtful)
            .map(|mount| mount.at.as_path())
            .collect();
        let is_doubtful = |at: &Path| doubtful.iter().any(|mount| at.starts_with(mount));
        let real = resolve(path, is_doubtful);
        Place {
            is_doubtful: is_doubtful(&real),
            real,
        }
    }
}

impl Prober {
    fn start() -> io::Result<Self> {
        let (jobs, asked) = sync_channel::<PathBuf>(1);
        let (answer, answers) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("looks".to_owned())
            .stack_size(STACK_BYTES);
        thread.spawn(move || {
            while let Ok(path) = asked.recv() {
                look(&path);
                if answer.send(()).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { jobs, answers })
    }
}

/// Does what would have to wait; what it finds does not matter.
fn look(path: &Path) {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
        && let Ok(mut entries) = fs::read_dir(path)
    {
        entries.next();
    }
}

/// What does not answer, and the file system it is on, given where a path led when it was asked and where
/// it leads now. A file system that may not answer is guilty before one that always does: whoever has
/// others hang on purpose can put something else in its place meanwhile.
fn blame(asked: &Place, now: &Place, mounts: &[Mount]) -> (PathBuf, Option<PathBuf>) {
    if let Some(place) = [asked, now].into_iter().find(|place| place.is_doubtful) {
        let doubtful = mounts.iter().filter(|mount| mount.is_doubtful);
        let at = nearest(doubtful, &place.real).unwrap_or(&place.real);
        return (at.to_owned(), Some(at.to_owned()));
    }
    let [then, today] = [asked, now].map(|place| nearest(mounts, &place.real));
    let mount = then.filter(|_| then == today);
    (asked.real.clone(), mount.map(Path::to_owned))
}

/// Follows the links above the last name of a path, up to where it becomes doubtful.
fn resolve(path: &Path, is_doubtful: impl Fn(&Path) -> bool) -> PathBuf {
    let mut at = PathBuf::from("/");
    let mut rest: VecDeque<OsString> = names_of(path).collect();
    let mut n_links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        at.push(&name);
        if rest.is_empty() || n_links == MAX_LINKS || is_doubtful(&at) {
            break;
        }
        let Ok(target) = fs::read_link(&at) else {
            continue;
        };
        n_links += 1;
        at.pop();
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        rest = names_of(&target).chain(rest).collect();
    }
    at.extend(rest);
    at
}

fn names_of(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::Prefix(_) | Component::RootDir => None,
    })
}

#[cfg(test)]
impl Reach {
    /// Waits so long from now on.
    pub(super) const fn wait_for(&mut self, patience: Duration) {
        self.patience = patience;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_answers_may_be_looked_at_whatever_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let mut reach = Reach::new(Duration::from_secs(30));

        for path in [
            directory.path(),
            Path::new("/nonexistent"),
            Path::new("/dev/null"),
        ] {
            for _ in 0..100 {
                reach.check(path).unwrap();
            }
        }

        assert!(reach.stuck.is_empty());
    }

    #[test]
    fn whoever_swaps_a_path_while_it_hangs_has_no_good_file_system_blamed() {
        let mount = |at: &str, is_doubtful| Mount {
            at: at.into(),
            is_doubtful,
        };
        let mounts = [
            mount("/", false),
            mount("/home", false),
            mount("/net", true),
        ];
        let place = |real: &str| Place {
            real: real.into(),
            is_doubtful: real.starts_with("/net"),
        };
        let blamed = |asked: &str, now: &str| {
            let (at, mount) = blame(&place(asked), &place(now), &mounts);
            let text = |path: PathBuf| path.into_os_string().into_string().unwrap();
            (text(at), mount.map(text))
        };
        let found = |at: &str, mount: Option<&str>| (at.to_owned(), mount.map(str::to_owned));

        let of_net = found("/net", Some("/net"));
        assert_eq!(blamed("/net/a/b", "/home/a/b"), of_net, "put away since");
        assert_eq!(blamed("/home/a/b", "/net/a/b"), of_net, "mounted since");
        assert_eq!(blamed("/home/a", "/srv/a"), found("/home/a", None));
        assert_eq!(
            blamed("/home/a", "/home/a"),
            found("/home/a", Some("/home"))
        );
    }

    #[test]
    fn what_is_certain_of_no_file_system_shuts_none() {
        let directory = tempfile::tempdir().unwrap();
        let mut reach = Reach::new(Duration::from_secs(30));
        let mut asked = Vec::new();
        for name in ["a", "b", "c"] {
            let (answer, answers) = sync_channel(0);
            asked.push(answer);
            reach.stuck.push(Stuck {
                at: directory.path().join(name),
                mount: None,
                answers,
            });
        }

        reach.check(directory.path()).unwrap();
        assert!(reach.check(&directory.path().join("a")).is_err());
    }

    #[test]
    fn links_above_a_path_are_followed_and_no_further_than_to_what_may_not_answer() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().canonicalize().unwrap().join(name);
        std::fs::create_dir_all(at("real/net")).unwrap();
        symlink("real", at("near")).unwrap();
        symlink(at("near/net"), at("real/far")).unwrap();
        symlink("round", at("round")).unwrap();
        symlink("../real/net", at("real/net/inside")).unwrap();
        let net = at("real/net");
        let resolved = |name: &str| resolve(&at(name), |path| path.starts_with(&net));

        assert_eq!(resolved("near/file"), at("real/file"));
        assert_eq!(
            resolved("near"),
            at("near"),
            "the last name is not followed"
        );
        assert_eq!(resolved("near/far/a/b"), at("real/net/a/b"));
        assert_eq!(resolved("near/net/inside/x"), at("real/net/inside/x"));
        assert_eq!(resolved("gone/a/b"), at("gone/a/b"));
        assert!(resolved("round/a").ends_with("a"), "it ends");
    }
}
