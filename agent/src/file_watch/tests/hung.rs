//! Watched paths on a file system that does not answer: a FUSE file system whose program never reads
//! what it is asked. It is mounted where nobody else sees it.

use std::os::fd::AsRawFd as _;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::*;
use crate::collect::process::host_processes;
use crate::state_dir::StateDir;

/// Waits within the watcher are shorter than what its user waits for.
const REPLY: Duration = REPLY_DEADLINE;

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
fn where_nobody_sees(test: impl AsyncFnOnce() + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(test());
    });
    thread.join().unwrap();
}

#[test]
fn a_file_system_that_does_not_answer_is_said_and_keeps_nothing_else_from_being_watched() {
    where_nobody_sees(async || {
        let mut watcher = Watcher::start();
        fs::create_dir_all(watcher.path("root/hung")).unwrap();
        fs::create_dir_all(watcher.path("root/fine/a")).unwrap();
        fs::write(watcher.path("single"), "").unwrap();
        let mut hung = Hung::mount(&watcher.path("root/hung"));
        let paths = [
            ("root", WatchDepth::Everything),
            ("root/hung/inside", WatchDepth::Entries),
            ("single", WatchDepth::Entries),
        ];

        let begun = Instant::now();
        let states = watcher.watch_deep(&paths).await;
        let took = begun.elapsed();
        let again = Instant::now();
        watcher.watch_deep(&paths).await;
        let took_again = again.elapsed();
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
            PathState::Failed(WatchProblem::DoesNotAnswer),
            PathState::Watched(FileKind::File),
        ];
        assert_eq!(states, expected);
        assert!(took < REPLY, "{took:?}");
        assert!(
            took_again < took / 2,
            "it is waited for once: {took_again:?}"
        );

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
fn waiting_for_a_file_system_stops_nobody_but_the_watcher() {
    where_nobody_sees(async || {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().join("hung");
        fs::create_dir(&at).unwrap();
        let _hung = Hung::mount(&at);
        let state = StateDir::open(&directory.path().join("state")).unwrap();
        let events = Arc::new(EventQueue::default());
        let memory = Arc::new(FileMemory::new(state, Arc::clone(&events)));
        let (mut handle, task) = file_watch(events, host_processes(), memory, SourceBoard::new().0);
        let mut tasks = JoinSet::new();
        tasks.spawn(async { task.run_apart().await.unwrap() });
        let path = WatchPath::parse(at.to_str().unwrap()).unwrap();
        let wanted = WatchSet::from([(path.clone(), WatchDepth::Entries)]);

        let mut longest = Duration::ZERO;
        let mut last = Instant::now();
        let begun = last;
        let asked = handle.ensure(wanted);
        tokio::pin!(asked);
        let outcome = loop {
            tokio::select! {
                outcome = &mut asked => break outcome.unwrap(),
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
            longest = longest.max(last.elapsed());
            last = Instant::now();
        };

        assert_eq!(
            outcome.states[&path],
            PathState::Failed(WatchProblem::DoesNotAnswer)
        );
        let waited = begun.elapsed();
        assert!(longest < waited / 2, "{longest:?} of {waited:?}");
    });
}
