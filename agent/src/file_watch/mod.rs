//! Watched paths: the whole set in, the state of each path out, and an event for each change.
//! A path that is not there is a state and not an error; it heals when the path appears.
//!
//! What inotify cannot tell: who did it, writes through a memory map, and, in a watched directory,
//! what happens more than one level down.

mod change;
mod coalesce;
mod kernel;
mod path_state;
mod watch_tree;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use hidps_wire::WatchPath;
use inotify::{EventMask, EventOwned, EventStream, Inotify};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::agent_note::AgentNote;
use crate::event_queue::EventQueue;
use coalesce::Coalescer;
pub use path_state::{FileKind, PathState, WatchProblem};
use watch_tree::WatchTree;

/// Events are read into a buffer of this size; the longest event is 272 bytes.
const READ_BUFFER_BYTES: usize = 4_096;

/// Setting 1,000 paths takes some 10 ms; a watcher that needs longer is stuck on a file system.
const REPLY_DEADLINE: Duration = Duration::from_secs(10);

/// The state of every desired path.
pub type WatchReport = BTreeMap<WatchPath, PathState>;

/// What the loop needs of a watcher of files.
pub trait FileWatch: Send + 'static {
    /// Watches exactly these paths and says what each one is; none when the watcher is stuck.
    fn ensure(
        &mut self,
        paths: BTreeSet<WatchPath>,
    ) -> impl Future<Output = Option<WatchReport>> + Send;

    /// Waits until the state of a path is another; nothing is lost when the wait is abandoned.
    fn changed(&mut self) -> impl Future<Output = ()> + Send;
}

/// The way to the watcher's task.
#[derive(Debug)]
pub struct FileWatchHandle {
    requests: mpsc::Sender<Request>,
    report: watch::Receiver<WatchReport>,
}

struct Request {
    paths: BTreeSet<WatchPath>,
    reply: oneshot::Sender<WatchReport>,
}

impl FileWatch for FileWatchHandle {
    async fn ensure(&mut self, paths: BTreeSet<WatchPath>) -> Option<WatchReport> {
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(Request { paths, reply }).ok()?;
        let report = tokio::time::timeout(REPLY_DEADLINE, answer).await.ok()?;
        self.report.mark_unchanged();
        report.ok()
    }

    async fn changed(&mut self) {
        if self.report.changed().await.is_err() {
            // The watcher ends with the agent only.
            std::future::pending::<()>().await;
        }
    }
}

/// The watcher's task.
pub struct FileWatchTask {
    requests: mpsc::Receiver<Request>,
    report: watch::Sender<WatchReport>,
    events: Arc<EventQueue>,
    coalescer: Coalescer,
    /// The paths asked for last, for a new instance after one that failed.
    paths: BTreeSet<WatchPath>,
    instance: Option<Instance>,
}

struct Instance {
    tree: WatchTree,
    stream: EventStream<Vec<u8>>,
}

/// Why the task goes on.
enum Wake {
    Request(Request),
    Event(io::Result<EventOwned>),
    ChangeDue,
    Closed,
}

/// The two ends of a watcher; its task has to be run.
#[must_use]
pub fn file_watch(events: Arc<EventQueue>) -> (FileWatchHandle, FileWatchTask) {
    // One request at a time: the loop waits for the answer.
    let (requests_tx, requests) = mpsc::channel(1);
    let (report, report_rx) = watch::channel(WatchReport::new());
    let handle = FileWatchHandle {
        requests: requests_tx,
        report: report_rx,
    };
    let task = FileWatchTask {
        requests,
        report,
        events,
        coalescer: Coalescer::default(),
        paths: BTreeSet::new(),
        instance: None,
    };
    (handle, task)
}

impl FileWatchTask {
    /// Watches until the handle is gone.
    pub async fn run(mut self) {
        loop {
            match self.wait().await {
                Wake::Request(request) => self.on_request(request),
                Wake::Event(Ok(event)) => self.on_event(&event),
                Wake::Event(Err(error)) => self.on_failure(&error),
                Wake::ChangeDue => {}
                Wake::Closed => return,
            }
            self.tell_due();
        }
    }

    async fn wait(&mut self) -> Wake {
        let due = self.coalescer.next_due();
        let stream = self.instance.as_mut().map(|instance| &mut instance.stream);
        let next_event = async {
            match stream {
                Some(stream) => stream.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            request = self.requests.recv() => request.map_or(Wake::Closed, Wake::Request),
            Some(event) = next_event => Wake::Event(event),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Wake::ChangeDue,
        }
    }

    fn on_request(&mut self, request: Request) {
        self.paths = request.paths;
        let report = self.set_paths();
        self.report.send_replace(report.clone());
        // A caller that gave up asks again.
        request.reply.send(report).ok();
    }

    fn set_paths(&mut self) -> WatchReport {
        if self.instance.is_none() {
            match open_instance() {
                Ok(instance) => self.instance = Some(instance),
                Err(error) => {
                    tracing::warn!(%error, "inotify is not to be had");
                    let state = PathState::Failed(WatchProblem::from(&error));
                    return self
                        .paths
                        .iter()
                        .map(|p| (p.clone(), state.clone()))
                        .collect();
                }
            }
        }
        let Some(Instance { tree, .. }) = &mut self.instance else {
            return WatchReport::new();
        };
        tree.set(&self.paths);
        let report = tree.report();
        self.collect_changes();
        report
    }

    fn on_event(&mut self, event: &EventOwned) {
        let Some(Instance { tree, .. }) = &mut self.instance else {
            return;
        };
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            tracing::warn!("the kernel dropped file events; every watched path is compared");
            self.events.push(AgentNote::FileEventsLost.into_event());
            tree.on_overflow();
        } else {
            tree.on_event(event);
        }
        let report = tree.report();
        self.report.send_if_modified(|known| {
            let is_new = *known != report;
            *known = report;
            is_new
        });
        self.collect_changes();
    }

    fn on_failure(&mut self, error: &io::Error) {
        tracing::warn!(%error, "inotify failed; watching anew");
        self.instance = None;
        let report = self.set_paths();
        self.report.send_replace(report);
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

    fn tell_due(&mut self) {
        let now = Instant::now();
        while let Some((change, seen)) = self.coalescer.poll_due(now) {
            if let Some(Instance { tree, .. }) = &mut self.instance {
                tree.on_told(&change);
            }
            self.events.push(change.into_event(seen));
        }
    }
}

fn open_instance() -> io::Result<Instance> {
    let inotify = Inotify::init()?;
    let tree = WatchTree::new(inotify.watches());
    let stream = inotify.into_event_stream(vec![0; READ_BUFFER_BYTES])?;
    Ok(Instance { tree, stream })
}

#[cfg(test)]
mod tests;
