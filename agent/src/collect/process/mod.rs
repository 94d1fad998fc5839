//! Processes as they begin and end: told by the kernel where it does so, seen by looking otherwise.
//! It ends no process and reads no memory of one.

mod connector;
mod event;
mod message;
mod observer;
mod pace;
mod proc_entry;
mod snapshot;
mod table;
mod users;

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::collect::cadence::Cadence;
use crate::collect::pacer::{Pacer, PacerHandle, pacer};
use crate::collect::source_board::{SourceBoard, Standing};
use crate::config::{ProcessExits, ProcessMode};
use crate::error_chain::chain;
use crate::event_queue::EventQueue;
use crate::shutdown::Shutdown;
use connector::Received;
pub use connector::{Connector, ConnectorError};
pub use message::{News, Notice, parse as parse_notices};
pub use observer::now as monotonic_nanos;
use observer::{Observer, SOURCE};
pub use pace::Held;
pub(in crate::collect) use proc_entry::whole_words;
pub use proc_entry::{ProcEntry, parse_arguments, parse_stat, parse_users};
use snapshot::Snapshot;
pub use table::{KnownProcess, ProcessTable};
pub(crate) use users::UserNames;

/// What this source cannot see where the kernel tells.
pub const CANNOT_SEE: &str = "what a program was that ended before it could be looked at (its \
     parent is told), what a process does without beginning a program, and arguments that a \
     program overwrites at once";

/// What it cannot see where it only looks.
pub const CANNOT_SEE_BY_LOOKING: &str = "programs that begin and end between two looks, how \
     processes ended, and the parent of one whose parent has gone";

/// The reader's stack; it holds no large values.
const STACK_BYTES: usize = 256 * 1024;

/// What is wanted of this source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProcessSettings {
    /// By which way.
    pub mode: ProcessMode,
    /// Which ends are told.
    pub exits: ProcessExits,
    /// How long it is between two looks.
    pub interval: Duration,
}

/// The source as a part of the agent: its thread, and the ways to end it.
#[derive(Debug)]
pub struct ProcessWatch {
    /// None where processes are not watched.
    reader: Option<Reader>,
}

#[derive(Debug)]
struct Reader {
    ended: oneshot::Receiver<()>,
    /// Closed to end a reader that waits for the kernel.
    _stop: OwnedFd,
    /// Says when to look again, and ends one that waits for it.
    looks: PacerHandle,
}

/// What the thread needs.
struct Work {
    settings: ProcessSettings,
    table: Arc<ProcessTable>,
    events: Arc<EventQueue>,
    board: Arc<SourceBoard>,
    stop: OwnedFd,
    looks: Pacer,
}

impl ProcessWatch {
    /// Begins to watch, on a thread of its own that does nothing else.
    ///
    /// # Errors
    /// Fails when there is no thread or pipe to be had.
    pub fn start(
        settings: ProcessSettings,
        table: Arc<ProcessTable>,
        events: Arc<EventQueue>,
        board: Arc<SourceBoard>,
    ) -> io::Result<Self> {
        if settings.mode == ProcessMode::Off {
            board.tell(SOURCE, Standing::Off, "processes = \"off\"", CANNOT_SEE);
            return Ok(Self { reader: None });
        }
        let (stop, stop_tx) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (handle, looks) = pacer(settings.interval);
        let (ended_tx, ended) = oneshot::channel();
        let work = Work {
            settings,
            table,
            events,
            board,
            stop,
            looks,
        };
        let thread = std::thread::Builder::new()
            .name("processes".to_owned())
            .stack_size(STACK_BYTES);
        thread.spawn(move || {
            work.run();
            // Whoever would hear it may be gone.
            ended_tx.send(()).ok();
        })?;
        let reader = Reader {
            ended,
            _stop: stop_tx,
            looks: handle,
        };
        Ok(Self {
            reader: Some(reader),
        })
    }

    /// Watches until the agent ends; where it looks, as often as is decided.
    pub async fn run(self, mut shutdown: Shutdown, cadence: watch::Receiver<Cadence>) {
        match self.reader {
            Some(mut reader) => tokio::select! {
                _ = &mut reader.ended => {}
                () = reader.looks.follow(cadence, |cadence| cadence.process_poll) => {}
                () = shutdown.requested() => {}
            },
            None => shutdown.requested().await,
        }
    }
}

impl Work {
    fn run(self) {
        let observer = || {
            let (table, events) = (Arc::clone(&self.table), Arc::clone(&self.events));
            Observer::new(table, events, Arc::clone(&self.board), self.settings.exits)
        };
        if self.settings.mode != ProcessMode::Poll {
            let listened = Connector::open().and_then(|connector| {
                tracing::info!("the kernel tells of processes as they begin and end");
                self.table.set_told(true);
                self.tell(Standing::Read, "the kernel tells", CANNOT_SEE);
                self.listen(connector, &mut observer())
            });
            self.table.set_told(false);
            match listened {
                Ok(()) => return,
                Err(error) if self.settings.mode == ProcessMode::Connector => {
                    let error = chain(&error);
                    tracing::error!(error, "processes are not watched");
                    self.tell(Standing::Failed, &error, CANNOT_SEE);
                    return self.looks.wait_for_end();
                }
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(error, "processes are seen by looking, short ones are not");
                    let how = format!("by looking: {error}");
                    self.tell(Standing::Read, &how, CANNOT_SEE_BY_LOOKING);
                }
            }
        } else {
            self.tell(Standing::Read, "by looking", CANNOT_SEE_BY_LOOKING);
        }
        self.look(&mut observer());
    }

    fn tell(&self, standing: Standing, how: &str, cannot_see: &str) {
        self.board.tell(SOURCE, standing, how, cannot_see);
    }

    fn listen(
        &self,
        mut connector: Connector,
        observer: &mut Observer,
    ) -> Result<(), ConnectorError> {
        loop {
            match connector.receive()? {
                Received::Notices(notices) => {
                    for notice in &notices {
                        observer.on_notice(notice);
                    }
                }
                Received::Overrun => observer.on_overrun(),
                Received::Nothing => {
                    observer.on_idle();
                    if connector.wait(&self.stop, observer.due_in())? {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn look(&self, observer: &mut Observer) {
        let mut snapshot = Snapshot::default();
        loop {
            snapshot.look(&self.table, observer);
            observer.on_idle();
            if !self.looks.wait() {
                return;
            }
        }
    }
}

/// The table of this host.
#[must_use]
pub fn host_processes() -> Arc<ProcessTable> {
    Arc::new(ProcessTable::new(Path::new("/proc")))
}

/// For fuzzing.
pub(super) mod fuzzing {
    pub(in crate::collect) fn read_users(text: &str, numbers: &[u32]) -> Vec<Option<String>> {
        let names = super::users::parse(text);
        let names = numbers.iter().map(|number| names.get(number));
        names.map(|name| name.map(ToString::to_string)).collect()
    }
}

#[cfg(test)]
mod tests;
