//! Watched paths on a file system that does not answer: a FUSE file system whose program never reads
//! what it is asked. It is mounted where nobody else sees it.

use std::os::fd::AsRawFd as _;
use std::sync::mpsc::{self, RecvTimeoutError};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::*;

/// Longer than any of these tests takes.
const TEST_DEADLINE: Duration = Duration::from_secs(240);

/// How long an answer is waited for of what gives none.
const SHORT: Duration = Duration::from_millis(500);

/// A file system without anybody behind it; whoever looks at it waits until this is dropped.
struct Hung {
    at: std::path::PathBuf,
    /// The kernel gives up waiting for an answer when it is closed.
    program: Option<fs::File>,
}

impl Hung {
    fn mount(at: &Path) -> Self {
        let program = fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .unwrap();
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0",
            program.as_raw_fd()
        );
        let options = Some(options.as_str());
        mount(
            Some("hung"),
            at,
            Some("fuse.hung"),
            MsFlags::empty(),
            options,
        )
        .unwrap();
        Self {
            at: at.to_owned(),
            program: Some(program),
        }
    }

    fn end(&mut self) {
        self.program = None;
        umount2(&self.at, MntFlags::MNT_DETACH).ok();
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        self.end();
    }
}

/// Runs a test on a thread whose mounts nobody else sees; not at all without the right to mount.
fn where_nobody_sees(name: &str, test: impl AsyncFnOnce() + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        return hidps_lab::say_skipped(name, &"only root may mount");
    }
    let (running, ended) = mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let _running = running;
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(test());
    });
    // A thread that waits for a file system cannot be ended.
    let ended = ended.recv_timeout(TEST_DEADLINE);
    assert_eq!(ended, Err(RecvTimeoutError::Disconnected), "it hangs");
    thread.join().unwrap();
}

fn watch_tree(patience: Duration) -> WatchTree {
    let watches = Inotify::init().unwrap().watches();
    let kernel = KernelWatches::new(watches, None, Reach::new(patience));
    WatchTree::new(kernel, Memory::default())
}

const UNANSWERED: PathState = PathState::Failed(WatchProblem::DoesNotAnswer);

#[test]
fn a_file_system_that_does_not_answer_is_said_and_keeps_nothing_else_from_being_watched() {
    let name =
        "a_file_system_that_does_not_answer_is_said_and_keeps_nothing_else_from_being_watched";
    where_nobody_sees(name, async || {
        let mut watcher = Watcher::start_waiting(reach::PATIENCE);
        fs::create_dir_all(watcher.path("root/hung")).unwrap();
        fs::create_dir_all(watcher.path("root/fine/a")).unwrap();
        fs::write(watcher.path("single"), "").unwrap();
        let mut hung = Hung::mount(&watcher.path("root/hung"));
        let paths = [
            ("root", WatchDepth::Everything),
            ("root/hung/inside", WatchDepth::Entries),
            ("single", WatchDepth::Entries),
        ];

        let states = watcher.watch_deep(&paths).await;
        fs::write(watcher.path("root/fine/a/file"), "").unwrap();
        watcher.told_until("created root/fine/a/file").await;
        fs::write(watcher.path("single"), "x").unwrap();
        watcher.told_until("modified single").await;

        let lack = TreeLack::Unwatched {
            first: watcher.path("root/hung"),
            problem: WatchProblem::DoesNotAnswer,
        };
        let expected = [
            PathState::Partly(lack),
            UNANSWERED,
            PathState::Watched(FileKind::File),
        ];
        assert_eq!(states, expected);

        hung.end();
        let end = Instant::now() + DEADLINE;
        let expected = [
            PathState::Watched(FileKind::Directory),
            PathState::Missing,
            PathState::Watched(FileKind::File),
        ];
        while watcher.watch_deep(&paths).await != expected {
            assert!(Instant::now() < end, "it heals");
        }
    });
}

#[test]
fn whoever_lets_many_file_systems_hang_keeps_nothing_else_from_being_watched() {
    let name = "whoever_lets_many_file_systems_hang_keeps_nothing_else_from_being_watched";
    where_nobody_sees(name, async || {
        let mut watcher = Watcher::start_waiting(SHORT);
        let hung = ["a", "b", "c", "d"].map(|name| {
            let at = watcher.path(name);
            fs::create_dir(&at).unwrap();
            Hung::mount(&at)
        });
        // Another way into one of them, which is none by its name.
        std::os::unix::fs::symlink("d", watcher.path("link")).unwrap();
        fs::write(watcher.path("single"), "").unwrap();

        let states = watcher
            .watch(&["a", "b", "c", "d", "link/inside", "single"])
            .await;
        fs::write(watcher.path("single"), "x").unwrap();
        watcher.told_until("modified single").await;

        assert_eq!(states[..5], [const { UNANSWERED }; 5]);
        assert_eq!(states[5], PathState::Watched(FileKind::File));
        drop(hung);
    });
}

#[test]
fn a_file_system_that_hangs_after_it_was_looked_at_is_waited_for_once() {
    let name = "a_file_system_that_hangs_after_it_was_looked_at_is_waited_for_once";
    where_nobody_sees(name, async || {
        let directory = tempfile::tempdir().unwrap();
        let paths = ["net", "net/file"].map(|name| directory.path().join(name));
        fs::create_dir(&paths[0]).unwrap();
        fs::write(&paths[1], "abc").unwrap();
        let wanted = paths.iter().map(|path| {
            let path = WatchPath::parse(path.to_str().unwrap()).unwrap();
            (path, WatchDepth::Everything)
        });
        // What answers has all the time that two busy cores take.
        let mut tree = watch_tree(TEST_DEADLINE);
        tree.set(&wanted.collect());
        let surveyed = tree.report();
        tree.wait_for(SHORT);
        let _hung = Hung::mount(&paths[0]);

        // Each of these would wait for ever.
        tree.on_overflow();
        let lost = tree.report();
        let unhashed = tree.next_unhashed().unwrap();
        let looked = tree.open_to_look(&unhashed);
        let changes = tree.take_changes();

        assert!(
            surveyed
                .values()
                .all(|state| matches!(state, PathState::Watched(_)))
        );
        assert!(lost.values().all(|state| *state == UNANSWERED), "{lost:?}");
        assert_eq!(looked.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(changes.is_empty(), "nothing is known to have changed");
    });
}

#[test]
fn waiting_for_a_file_system_stops_nobody_but_the_watcher() {
    let name = "waiting_for_a_file_system_stops_nobody_but_the_watcher";
    where_nobody_sees(name, async || {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().join("hung");
        fs::create_dir(&at).unwrap();
        let mut hung = Hung::mount(&at);
        let state = StateDir::open(&directory.path().join("state")).unwrap();
        let events = Arc::new(EventQueue::default());
        let memory = Arc::new(FileMemory::new(state, Arc::clone(&events)));
        let (mut handle, mut task) =
            file_watch(events, host_processes(), memory, SourceBoard::new().0);
        // Until the file system is ended, which only others can do meanwhile.
        task.patience = TEST_DEADLINE;
        handle.reply_within = TEST_DEADLINE;
        let mut tasks = JoinSet::new();
        tasks.spawn(async { task.run_apart().await.unwrap() });
        let path = WatchPath::parse(at.to_str().unwrap()).unwrap();
        let wanted = WatchSet::from([(path, WatchDepth::Entries)]);

        let asked = handle.ensure(wanted);
        tokio::pin!(asked);
        for _ in 0..20 {
            tokio::select! {
                biased;
                _ = &mut asked => panic!("nobody answers yet"),
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
        }
        hung.end();

        assert!(asked.await.is_some());
    });
}

#[test]
fn what_changed_while_the_agent_was_away_is_told_once_its_file_system_answers() {
    let name = "what_changed_while_the_agent_was_away_is_told_once_its_file_system_answers";
    where_nobody_sees(name, async || {
        let mut watcher = Watcher::start_waiting(reach::PATIENCE);
        fs::create_dir_all(watcher.path("root/net")).unwrap();
        fs::write(watcher.path("root/net/file"), "abc").unwrap();
        let paths = [("root", WatchDepth::Everything)];
        watcher.watch_deep(&paths).await;
        watcher.content_is_known("root/net/file").await;
        let at = watcher.path("root/net");
        let mut hung = None;

        let mut watcher = watcher
            .while_away(|root| {
                fs::write(root.join("root/net/file"), "abcd").unwrap();
                hung = Some(Hung::mount(&at));
            })
            .await;
        watcher.watch_deep(&paths).await;
        // What could not be looked at is remembered further.
        let mut watcher = watcher.while_away(|_| {}).await;
        let unanswered = watcher.watch_deep(&paths).await;
        hung.unwrap().end();
        let end = Instant::now() + DEADLINE;
        while watcher.watch_deep(&paths).await != [PathState::Watched(FileKind::Directory)] {
            assert!(Instant::now() < end, "it heals");
        }
        let all = watcher.all_until("modified root/net/file").await;

        assert!(matches!(unanswered[0], PathState::Partly(_)));
        assert_eq!(all["modified root/net/file"]["while_away"], "true");
        assert_eq!(all.len(), 1, "{all:?}");
    });
}
