//! Watched paths: the whole set in, the state of each path out, and an event for each change.
//! A path that is not there is a state and not an error; it heals when the path appears.
//!
//! inotify tells what happens, but no writes through a memory map; who did it is told by fanotify,
//! where the agent may ask it.

mod beneath;
mod change;
mod coalesce;
mod entry;
mod facts;
mod fid;
pub mod fuzzing;
mod hashing;
mod inventory;
mod keeping;
mod kernel;
mod look_plan;
mod memory;
mod path_state;
mod reach;
mod telling;
mod watch_tree;
mod who;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use hidps_wire::{WatchPath, WatchSet};
use inotify::{EventMask, EventOwned, EventStream, Inotify};
use jiff::Timestamp;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::agent_note::AgentNote;
use crate::collect::process::ProcessTable;
use crate::collect::source_board::{SourceBoard, Standing};
use crate::event_queue::EventQueue;
use coalesce::Coalescer;
use hashing::Done;
pub use keeping::FileMemory;
use keeping::Keeping;
use kernel::KernelWatches;
use memory::Memory;
pub use path_state::{FileKind, PathState, TreeLack, WatchLimit, WatchProblem};
use reach::Reach;
use telling::{News, Telling};
use watch_tree::WatchTree;
use who::Who;
pub use who::{FILE_ACTORS, check_who};

/// The name of this source.
pub const FILES: &str = "watched files";

/// How it is read.
const HOW: &str = "by inotify, each path as the condition FilesWatched says";

/// What it cannot see.
const CANNOT_SEE: &str = "reads, writes through a memory map, what other hosts change on network \
     file systems, what changed and changed back between two looks after the kernel dropped events, \
     more of files beyond 16 MiB than size, owner, mode and times, and what is below more than it \
     watches";

/// Events are read into a buffer of this size; the longest event is 272 bytes.
const READ_BUFFER_BYTES: usize = 4_096;

/// Somebody who changes paths all the time is followed at this pace.
const PAUSE: Duration = Duration::from_millis(250);

/// Setting 1,000 paths takes some 10 ms; a watcher that needs longer is stuck on a file system.
const REPLY_DEADLINE: Duration = Duration::from_secs(10);

/// The state of every desired path.
pub type WatchReport = BTreeMap<WatchPath, PathState>;

/// What became of a set of paths.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WatchOutcome {
    /// Every path as it is now.
    pub states: WatchReport,
    /// Paths that were gone since the last answer, whether or not they are back; what takes the
    /// place of another in one step was never gone.
    pub vanished: BTreeSet<WatchPath>,
    /// Whether the kernel dropped events since the last answer; everything is compared then.
    pub has_lost: bool,
    /// What keeps the agent from knowing who changes files, if anything does.
    pub who_unknown: Option<String>,
    /// Files that there is no room to remember, of which nothing is told that happens while the agent
    /// is away.
    pub n_unremembered: usize,
}

/// What the loop needs of a watcher of files.
pub trait FileWatch: Send + 'static {
    /// Watches exactly these paths and says what each one is; none when the watcher is stuck.
    fn ensure(&mut self, paths: WatchSet) -> impl Future<Output = Option<WatchOutcome>> + Send;

    /// Waits until the state of a path is another; nothing is lost when the wait is abandoned.
    fn changed(&mut self) -> impl Future<Output = ()> + Send;
}

/// The way to the watcher's task.
#[derive(Debug)]
pub struct FileWatchHandle {
    requests: mpsc::Sender<Request>,
    report: watch::Receiver<Report>,
    /// When a change is told at the earliest.
    not_before: Instant,
    /// How long an answer is waited for.
    reply_within: Duration,
}

struct Request {
    paths: WatchSet,
    reply: oneshot::Sender<Reply>,
}

struct Reply {
    outcome: WatchOutcome,
    /// Changes that are part of it.
    n_changes: u64,
}

/// What the watcher knows now.
#[derive(Debug, Default)]
struct Report {
    states: WatchReport,
    /// How often something changed by itself.
    n_changes: u64,
}

impl FileWatch for FileWatchHandle {
    async fn ensure(&mut self, paths: WatchSet) -> Option<WatchOutcome> {
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(Request { paths, reply }).ok()?;
        let reply = tokio::time::timeout(self.reply_within, answer).await.ok()?;
        let Reply { outcome, n_changes } = reply.ok()?;
        // A change may have come between the answer and this moment.
        let is_news = self.report.borrow_and_update().n_changes != n_changes;
        if is_news {
            self.report.mark_changed();
        }
        Some(outcome)
    }

    async fn changed(&mut self) {
        sleep_until(self.not_before).await;
        if self.report.changed().await.is_err() {
            // The watcher ends with the agent only.
            std::future::pending::<()>().await;
        }
        self.not_before = Instant::now() + PAUSE;
    }
}

/// The watcher's task.
pub struct FileWatchTask {
    requests: mpsc::Receiver<Request>,
    report: watch::Sender<Report>,
    board: Arc<SourceBoard>,
    telling: Telling,
    coalescer: Coalescer,
    /// The paths asked for last, for a new instance after one that failed.
    paths: WatchSet,
    /// Paths that were gone since the last answer.
    vanished: BTreeSet<WatchPath>,
    /// Whether events were lost since.
    has_lost: bool,
    instance: Option<Instance>,
    /// Whether there never was one.
    is_new: bool,
    keeping: Keeping,
    /// How long it is waited for whether a file system answers.
    patience: Duration,
}

struct Instance {
    tree: WatchTree,
    stream: EventStream<Vec<u8>>,
    /// None where nobody tells who did it, and why not.
    who: Result<pipe::Receiver, String>,
    who_buffer: Vec<u8>,
}

/// Why the task goes on.
enum Wake {
    Request(Request),
    Event(io::Result<EventOwned>),
    Who(io::Result<usize>),
    Hashed(Done),
    Due,
    Work,
    Closed,
}

/// The two ends of a watcher; its task has to be run.
#[must_use]
pub fn file_watch(
    events: Arc<EventQueue>,
    processes: Arc<ProcessTable>,
    memory: Arc<FileMemory>,
    board: Arc<SourceBoard>,
) -> (FileWatchHandle, FileWatchTask) {
    board.tell(FILES, Standing::Off, "no path is asked for yet", CANNOT_SEE);
    // One request at a time: the loop waits for the answer.
    let (requests_tx, requests) = mpsc::channel(1);
    let (report, report_rx) = watch::channel(Report::default());
    let handle = FileWatchHandle {
        requests: requests_tx,
        report: report_rx,
        not_before: Instant::now(),
        reply_within: REPLY_DEADLINE,
    };
    let task = FileWatchTask {
        requests,
        report,
        telling: Telling::new(events, processes, Arc::clone(&board)),
        board,
        coalescer: Coalescer::default(),
        paths: WatchSet::new(),
        vanished: BTreeSet::new(),
        has_lost: false,
        instance: None,
        is_new: true,
        keeping: Keeping::new(memory),
        patience: reach::PATIENCE,
    };
    (handle, task)
}

impl FileWatchTask {
    /// Watches until the handle is gone, on a thread of its own: a file system that stops answering
    /// while it is looked at stops nothing else of the agent.
    ///
    /// # Errors
    /// Fails when there can be no thread.
    pub async fn run_apart(self) -> io::Result<()> {
        let (ended_tx, ended) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new().name("files".to_owned());
        thread.spawn(move || {
            runtime.block_on(self.run());
            // Whoever hears of the end finds nothing of this still at work.
            drop(runtime);
            drop(ended_tx);
        })?;
        // It sends nothing.
        ended.await.ok();
        Ok(())
    }

    /// Watches until the handle is gone.
    async fn run(mut self) {
        loop {
            match self.wait().await {
                Wake::Request(request) => self.on_request(request),
                Wake::Event(Ok(event)) => self.on_event(&event),
                Wake::Event(Err(error)) => self.on_failure(&error),
                Wake::Who(read) => self.on_who(read),
                Wake::Hashed(done) => self.on_hashed(done),
                Wake::Due => {}
                Wake::Work => self.on_work(),
                Wake::Closed => {
                    let known = self.known();
                    return self.keeping.end(known).await;
                }
            }
            self.tell_due();
        }
    }

    async fn wait(&mut self) -> Wake {
        let due = [self.coalescer.next_due(), self.keeping.next_due()];
        let due = due.into_iter().flatten().min();
        let has_work = self
            .instance
            .as_ref()
            .is_some_and(|instance| instance.tree.has_work());
        let telling_due = self.telling.next_due().filter(|_| self.instance.is_some());
        let (stream, who) = match &mut self.instance {
            Some(instance) => (
                Some(&mut instance.stream),
                instance
                    .who
                    .as_ref()
                    .ok()
                    .zip(Some(&mut instance.who_buffer)),
            ),
            None => (None, None),
        };
        let next_event = async {
            match stream {
                Some(stream) => stream.next().await,
                None => std::future::pending().await,
            }
        };
        let next_who = async {
            match who {
                Some((who, buffer)) => read_who(who, buffer).await,
                None => std::future::pending().await,
            }
        };
        let has_telling = telling_due.is_some();
        tokio::select! {
            request = self.requests.recv() => request.map_or(Wake::Closed, Wake::Request),
            Some(event) = next_event => Wake::Event(event),
            read = next_who => Wake::Who(read),
            Some(done) = self.telling.hasher.done.recv() => Wake::Hashed(done),
            () = sleep_until(telling_due.unwrap_or_else(Instant::now)), if has_telling => Wake::Due,
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Wake::Due,
            // A walk goes on whenever nobody else has anything to do.
            () = tokio::task::yield_now(), if has_work => Wake::Work,
        }
    }

    fn on_request(&mut self, request: Request) {
        if self.paths != request.paths {
            self.keeping.on_news(Instant::now());
        }
        self.paths = request.paths;
        let states = self.set_paths();
        let mut n_changes = 0;
        self.report.send_modify(|report| {
            report.states.clone_from(&states);
            n_changes = report.n_changes;
        });
        let outcome = WatchOutcome {
            states,
            vanished: std::mem::take(&mut self.vanished),
            has_lost: std::mem::take(&mut self.has_lost),
            who_unknown: self
                .instance
                .as_ref()
                .and_then(|it| it.who.as_ref().err().cloned()),
            n_unremembered: self.keeping.n_left_out(),
        };
        // A caller that gave up asks again.
        if let Err(unheard) = request.reply.send(Reply { outcome, n_changes }) {
            self.vanished = unheard.outcome.vanished;
            self.has_lost = unheard.outcome.has_lost;
        }
    }

    fn set_paths(&mut self) -> WatchReport {
        if self.instance.is_none() {
            // Only a first instance finds what happened while the agent was away.
            let memory = if self.is_new {
                self.keeping.load()
            } else {
                Memory::default()
            };
            let reach = Reach::new(self.patience);
            match open_instance(self.telling.processes(), memory, reach) {
                Ok(instance) => {
                    self.board.tell(FILES, Standing::Read, HOW, CANNOT_SEE);
                    tell_who(&self.board, instance.who.as_ref().err());
                    self.instance = Some(instance);
                    self.is_new = false;
                }
                Err(error) => {
                    tracing::warn!(%error, "inotify is not to be had");
                    let how = format!("inotify says {error}");
                    self.board.tell(FILES, Standing::Failed, &how, CANNOT_SEE);
                    let state = PathState::Failed(WatchProblem::of_instance(&error));
                    return self
                        .paths
                        .keys()
                        .map(|path| (path.clone(), state.clone()))
                        .collect();
                }
            }
        }
        let Some(Instance { tree, .. }) = &mut self.instance else {
            return WatchReport::new();
        };
        tree.set(&self.paths);
        let report = tree.report();
        self.vanished.append(&mut tree.take_vanished());
        self.vanished.retain(|path| self.paths.contains_key(path));
        self.collect_changes();
        report
    }

    fn on_event(&mut self, event: &EventOwned) {
        let Some(Instance { tree, .. }) = &mut self.instance else {
            return;
        };
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            tracing::warn!("the kernel dropped file events; every watched path is compared");
            let note = AgentNote::FileEventsLost.into_event();
            self.telling.events().push(note);
            self.board.count_lost(FILES, None);
            tree.on_overflow();
            self.has_lost = true;
        } else {
            tree.on_event(event);
        }
        self.collect_states();
        self.collect_changes();
    }

    fn on_work(&mut self) {
        if let Some(Instance { tree, .. }) = &mut self.instance {
            tree.work();
            if !tree.has_work() {
                self.keeping.on_news(Instant::now());
            }
        }
        self.collect_states();
        self.collect_changes();
    }

    fn collect_states(&mut self) {
        let Some(Instance { tree, .. }) = &mut self.instance else {
            return;
        };
        let Some(states) = tree.take_news() else {
            return;
        };
        let mut vanished = tree.take_vanished();
        let is_told_anyway = !vanished.is_empty() || self.has_lost;
        self.vanished.append(&mut vanished);
        self.tell_states(states, is_told_anyway);
    }

    fn on_failure(&mut self, error: &io::Error) {
        tracing::warn!(%error, "inotify failed; watching anew");
        // Whatever the failed instance had yet to tell is gone with it.
        self.board.count_lost(FILES, None);
        self.instance = None;
        let states = self.set_paths();
        self.tell_states(states, false);
    }

    /// Tells of states that nobody asked for, if there is anything new in them.
    fn tell_states(&self, states: WatchReport, was_gone: bool) {
        self.report.send_if_modified(|known| {
            let is_new = known.states != states || was_gone;
            known.states = states;
            known.n_changes += u64::from(is_new);
            is_new
        });
    }

    fn collect_changes(&mut self) {
        let Some(Instance { tree, .. }) = &mut self.instance else {
            return;
        };
        let (now, seen) = (Instant::now(), Timestamp::now());
        for change in tree.take_changes() {
            self.coalescer.add(change, now, seen);
        }
    }

    fn on_who(&mut self, read: io::Result<usize>) {
        let Some(instance) = &mut self.instance else {
            return;
        };
        match read {
            Ok(n) => {
                let bytes = instance.who_buffer.get(..n).unwrap_or_default();
                instance.tree.on_who(bytes, Instant::now());
            }
            Err(error) => {
                tracing::warn!(%error, "who changes files is no longer told");
                tell_who(&self.board, Some(&error.to_string()));
                instance.who = Err(error.to_string());
            }
        }
    }

    fn on_hashed(&mut self, done: Done) {
        if let Some(Instance { tree, .. }) = &mut self.instance {
            self.telling.on_done(done, tree);
        }
    }

    fn tell_due(&mut self) {
        let now = Instant::now();
        let Some(Instance { tree, .. }) = &mut self.instance else {
            return;
        };
        while let Some(due) = self.coalescer.poll_due(now) {
            self.telling.begin(due, tree, now);
        }
        self.telling.work(tree, now);
        match self.telling.take_news() {
            Some(News::Told) => self.keeping.on_news(now),
            Some(News::Read) => self.keeping.on_read(now),
            None => {}
        }
        let untold = self.telling.waiting().chain(self.coalescer.waiting());
        self.keeping.work(now, || tree.remember_all(untold));
    }

    /// What is known and was told; none while something is being looked at.
    fn known(&self) -> Option<Memory> {
        let untold = self.telling.waiting().chain(self.coalescer.waiting());
        let instance = self.instance.as_ref();
        instance.and_then(|instance| instance.tree.remember_all(untold))
    }
}

/// Says whether it is told who changes files.
fn tell_who(board: &SourceBoard, problem: Option<&String>) {
    let (standing, how) = match problem {
        None => (Standing::Read, "by fanotify".to_owned()),
        // It takes a right that the unit leaves out on purpose.
        Some(problem) => {
            let how =
                format!("fanotify says {problem}; install.sh --with-file-actors gives the right");
            (Standing::Off, how)
        }
    };
    board.tell(FILE_ACTORS, standing, &how, who::CANNOT_SEE);
}

/// Reads once; nothing is lost when the wait is abandoned.
async fn read_who(who: &pipe::Receiver, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        who.readable().await?;
        match who.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

fn open_instance(
    processes: &Arc<ProcessTable>,
    memory: Memory,
    reach: Reach,
) -> io::Result<Instance> {
    let inotify = Inotify::init()?;
    let opened = Who::open(Arc::clone(processes)).and_then(|who| {
        // Not a pipe, but read and waited for like one.
        let reader = pipe::Receiver::from_owned_fd_unchecked(who.reader()?)?;
        Ok((who, reader))
    });
    let (who, reader) = match opened {
        Ok((who, reader)) => (Some(who), Ok(reader)),
        Err(error) => {
            tracing::info!(%error, "who changes watched files is not told");
            (None, Err(error.to_string()))
        }
    };
    let kernel = KernelWatches::new(inotify.watches(), who, reach);
    let tree = WatchTree::new(kernel, memory);
    let stream = inotify.into_event_stream(vec![0; READ_BUFFER_BYTES])?;
    Ok(Instance {
        tree,
        stream,
        who_buffer: vec![0; if reader.is_ok() { who::BUFFER_BYTES } else { 0 }],
        who: reader,
    })
}

#[cfg(test)]
mod tests;
