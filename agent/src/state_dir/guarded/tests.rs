//! What somebody who owns a directory can plant there for root, in every place of every step.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use super::*;

/// Who owns the directory.
const OWNER: (u32, u32) = (12_345, 12_346);

/// What is wanted of root's files.
const SECRET: &[u8] = b"root's own";

/// What may stand where a file is expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Planted {
    Link,
    DanglingLink,
    HardLink,
    Pipe,
    Socket,
    Directory,
}

const ALL: [Planted; 6] = [
    Planted::Link,
    Planted::DanglingLink,
    Planted::HardLink,
    Planted::Pipe,
    Planted::Socket,
    Planted::Directory,
];

/// A directory of somebody else's, and a file of root's beside it.
struct Trap {
    root: tempfile::TempDir,
}

impl Trap {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let trap = Self { root };
        fs::create_dir(trap.directory()).unwrap();
        chown(trap.directory(), Some(OWNER.0), Some(OWNER.1)).unwrap();
        fs::write(trap.secret(), SECRET).unwrap();
        fs::set_permissions(trap.secret(), fs::Permissions::from_mode(0o600)).unwrap();
        trap
    }

    fn directory(&self) -> PathBuf {
        self.root.path().join("state")
    }

    fn secret(&self) -> PathBuf {
        self.root.path().join("secret")
    }

    fn guarded(&self) -> GuardedDir {
        GuardedDir::open(&self.directory()).unwrap()
    }

    fn plant(&self, planted: Planted, name: &str) {
        let path = self.directory().join(name);
        match planted {
            Planted::Link => symlink(self.secret(), path).unwrap(),
            Planted::DanglingLink => symlink(self.root.path().join("made"), path).unwrap(),
            Planted::HardLink => fs::hard_link(self.secret(), path).unwrap(),
            Planted::Pipe => {
                let fifo = rustix::fs::FileType::Fifo;
                let mode = Mode::RUSR | Mode::WUSR;
                rustix::fs::mknodat(rustix::fs::CWD, path, fifo, mode, 0).unwrap();
            }
            Planted::Socket => drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
            Planted::Directory => fs::create_dir(path).unwrap(),
        }
    }

    /// Nothing outside of the directory is other than it was.
    fn check(&self, case: &str) {
        let metadata = fs::metadata(self.secret()).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (0, 0), "{case}");
        assert_eq!(metadata.mode() & 0o777, 0o600, "{case}");
        assert_eq!(fs::read(self.secret()).unwrap(), SECRET, "{case}");
        let outside = fs::read_dir(self.root.path()).unwrap().count();
        assert_eq!(outside, 2, "{case}: something was made outside");
    }
}

/// Whether this is root, for whom the traps are set.
fn is_root(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        hidps_lab::say_skipped(test, &"only root has something that others want");
    }
    is_root
}

/// Ends a step that waits for somebody who opens the other end of a pipe.
fn in_time<T: Send + 'static>(case: &str, step: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, done) = mpsc::channel();
    std::thread::spawn(move || sender.send(step()));
    let done = done.recv_timeout(Duration::from_secs(20));
    done.unwrap_or_else(|_| panic!("{case}: it waits"))
}

#[test]
fn nothing_that_is_planted_is_read() {
    if !is_root("nothing_that_is_planted_is_read") {
        return;
    }
    for planted in ALL {
        let (trap, case) = (Trap::new(), format!("{planted:?}"));
        trap.plant(planted, "agent.key");
        let guarded = trap.guarded();

        let read = in_time(&case, move || guarded.read("agent.key", 100));

        let said = read.unwrap_err().to_string();
        assert!(said.contains("find out who put it there"), "{case}: {said}");
        trap.check(&case);
    }
}

#[test]
fn nothing_that_is_planted_is_locked_or_given_away() {
    if !is_root("nothing_that_is_planted_is_locked_or_given_away") {
        return;
    }
    for planted in ALL {
        let (trap, case) = (Trap::new(), format!("{planted:?}"));
        trap.plant(planted, "key.lock");
        let (guarded, again) = (trap.guarded(), trap.guarded());

        let locked = in_time(&case, move || guarded.ensure_lock("key.lock"));
        let asked = in_time(&case, move || again.open_lock("key.lock"));

        assert!(locked.is_err() && asked.is_err(), "{case}");
        trap.check(&case);
    }
}

#[test]
fn what_is_planted_in_the_place_of_a_draft_or_a_file_is_no_way_out() {
    if !is_root("what_is_planted_in_the_place_of_a_draft_or_a_file_is_no_way_out") {
        return;
    }
    for planted in ALL {
        for name in ["agent.key.new", "agent.key"] {
            let (trap, case) = (Trap::new(), format!("{planted:?} as {name}"));
            trap.plant(planted, name);
            let guarded = trap.guarded();

            let written = in_time(&case, move || guarded.replace("agent.key", b"new"));

            // A directory is in the way of its owner alone.
            assert_eq!(written.is_ok(), planted != Planted::Directory, "{case}");
            if written.is_ok() {
                let path = trap.directory().join("agent.key");
                let made = fs::symlink_metadata(&path).unwrap();
                assert!(made.is_file() && made.nlink() == 1, "{case}");
                assert_eq!((made.uid(), made.gid()), OWNER, "{case}");
                assert_eq!(fs::read(&path).unwrap(), b"new", "{case}");
            }
            trap.check(&case);
        }
    }
}

#[test]
fn what_is_planted_is_renamed_and_removed_as_itself() {
    if !is_root("what_is_planted_is_renamed_and_removed_as_itself") {
        return;
    }
    for planted in ALL {
        let (trap, case) = (Trap::new(), format!("{planted:?}"));
        trap.plant(planted, "agent.key.next");
        let guarded = trap.guarded();

        Disk::rename(&guarded, "agent.key.next", "agent.key").unwrap();
        let removed = guarded.remove("agent.key");

        assert_eq!(removed.is_ok(), planted != Planted::Directory, "{case}");
        trap.check(&case);
    }
}

#[test]
fn a_file_of_roots_that_was_left_alone_in_the_directory_is_not_given_away() {
    if !is_root("a_file_of_roots_that_was_left_alone_in_the_directory_is_not_given_away") {
        return;
    }
    let trap = Trap::new();
    // Its other name goes when a program replaces it, as passwd does.
    let path = trap.directory().join("key.lock");
    fs::write(&path, SECRET).unwrap();

    let guarded = trap.guarded();

    assert!(guarded.ensure_lock("key.lock").is_err() && guarded.read("key.lock", 9).is_err());
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (0, 0));
}

#[test]
fn an_agent_follows_no_link_in_its_own_directory_either() {
    let root = tempfile::tempdir().unwrap();
    let (outside, state) = (root.path().join("outside"), root.path().join("state"));
    fs::create_dir(&state).unwrap();
    fs::write(&outside, SECRET).unwrap();
    for name in ["lock", "file", "file.new"] {
        symlink(&outside, state.join(name)).unwrap();
    }
    let guarded = GuardedDir::open(&state).unwrap();

    assert!(guarded.ensure_lock("lock").is_err());
    assert!(guarded.read("file", 100).is_err());
    guarded.replace("file", b"new").unwrap();

    assert_eq!(fs::read(&outside).unwrap(), SECRET);
    assert_eq!(guarded.read("file", 100).unwrap().unwrap(), b"new");
}

#[test]
fn a_lock_is_made_once_and_is_the_owners() {
    let directory = tempfile::tempdir().unwrap();
    let guarded = GuardedDir::open(directory.path()).unwrap();
    assert!(!guarded.has("lock").unwrap());
    let first = guarded.ensure_lock("lock").unwrap();

    first.try_lock().unwrap();

    assert!(guarded.ensure_lock("lock").unwrap().try_lock().is_err());
    assert_eq!(first.metadata().unwrap().mode() & 0o777, 0o600);
}
