//! Ports that are listened on and connections, with the processes that hold them, by looking at
//! the kernel's tables again and again. It opens no connection and closes none.

mod diagnosis;
mod difference;
mod event;
mod listeners;
mod listing;
mod owners;
mod tables;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::agent_note::AgentNote;
use crate::collect::cadence::Cadence;
use crate::collect::pacer::{Pacer, PacerHandle, pacer};
use crate::collect::process::{ProcessTable, monotonic_nanos};
use crate::collect::source_board::{SourceBoard, Standing};
use crate::event_queue::EventQueue;
use crate::shutdown::Shutdown;
pub use diagnosis::read_answer;
use difference::{Port, Sockets};
use event::{Owner, flow_event, port_event};
pub(crate) use listeners::{Listener, list_listeners};
pub use listing::{SocketRow, SocketState, Transport, parse_line};
use owners::Owners;
use tables::SocketReader;

/// What this source cannot see.
pub const CANNOT_SEE: &str = "ports and connections that open and close between two looks, \
     connections of the host to itself, datagrams without a connection, raw sockets, and other \
     network namespaces";

/// The name of this source where it loses something.
const SOURCE: &str = "connections";

/// Connections told one by one after one look; more are counted.
const MAX_TOLD: usize = 500;

/// The looker's stack; it holds no large values.
const STACK_BYTES: usize = 256 * 1024;

/// The source as a part of the agent.
#[derive(Debug)]
pub struct SocketWatch {
    /// None where sockets are not watched.
    looker: Option<(oneshot::Receiver<()>, PacerHandle)>,
}

impl SocketWatch {
    /// Begins to look every so often, on a thread of its own; never without an interval.
    ///
    /// # Errors
    /// Fails when there is no thread to be had.
    pub fn start(
        interval: Option<Duration>,
        table: Arc<ProcessTable>,
        events: Arc<EventQueue>,
        board: &Arc<SourceBoard>,
    ) -> io::Result<Self> {
        let Some(interval) = interval else {
            board.tell(SOURCE, Standing::Off, "network = \"off\"", CANNOT_SEE);
            return Ok(Self { looker: None });
        };
        let (handle, pacer) = pacer(interval);
        let (ended_tx, ended) = oneshot::channel();
        let board = Arc::clone(board);
        let mut look = Look::new(PathBuf::from("/proc"), table, events, board);
        let thread = std::thread::Builder::new()
            .name("sockets".to_owned())
            .stack_size(STACK_BYTES);
        thread.spawn(move || {
            look.repeat(&pacer);
            // Whoever would hear it may be gone.
            ended_tx.send(()).ok();
        })?;
        Ok(Self {
            looker: Some((ended, handle)),
        })
    }

    /// Looks until the agent ends, as often as is decided.
    pub async fn run(self, mut shutdown: Shutdown, cadence: watch::Receiver<Cadence>) {
        match self.looker {
            Some((ended, handle)) => tokio::select! {
                _ = ended => {}
                () = handle.follow(cadence, |cadence| cadence.network) => {}
                () = shutdown.requested() => {}
            },
            None => shutdown.requested().await,
        }
    }
}

/// What was seen at the last look.
struct Look {
    proc: PathBuf,
    table: Arc<ProcessTable>,
    events: Arc<EventQueue>,
    board: Arc<SourceBoard>,
    owners: Owners,
    reader: SocketReader,
    before: Option<Sockets>,
    /// Ports that were told, with their holders; a port is closed when it is missing twice, as
    /// the kernel's tables may leave one out while they change.
    open: BTreeMap<Port, (Owner, bool)>,
}

impl Look {
    fn new(
        proc: PathBuf,
        table: Arc<ProcessTable>,
        events: Arc<EventQueue>,
        board: Arc<SourceBoard>,
    ) -> Self {
        Self {
            owners: Owners::of(proc.clone()),
            reader: SocketReader::default(),
            proc,
            table,
            events,
            board,
            before: None,
            open: BTreeMap::new(),
        }
    }

    fn repeat(&mut self, pacer: &Pacer) {
        loop {
            let (standing, how) = match self.look() {
                Ok(()) => (Standing::Read, self.reader.how()),
                Err(error) => {
                    tracing::debug!(%error, "the host's sockets could not be read");
                    (Standing::Failed, error.to_string())
                }
            };
            self.board.tell(SOURCE, standing, &how, CANNOT_SEE);
            if !pacer.wait() {
                return;
            }
        }
    }

    fn look(&mut self) -> io::Result<()> {
        let now = self.reader.read(&self.proc)?;
        let Some(before) = self.before.take() else {
            self.begin(&now);
            self.before = Some(now);
            return Ok(());
        };
        let wanted: HashSet<u64> = now
            .new_ports(&before)
            .map(|(_, (inode, _))| *inode)
            .chain(now.new_flows(&before).map(|flow| flow.inode))
            .collect();
        let holders = self.find(wanted);
        self.tell_ports(&now, &before, &holders);
        self.tell_flows(&now, &before, &holders);
        self.before = Some(now);
        Ok(())
    }

    /// The first look is how it is, and no event.
    fn begin(&mut self, now: &Sockets) {
        let wanted = now.ports.values().map(|(inode, _)| *inode).collect();
        let holders = self.find(wanted);
        for (port, (inode, user)) in &now.ports {
            let owner = self.owner(holders.get(inode), *user);
            self.open.insert(*port, (owner, false));
        }
        self.tell_loss(now.n_left_out);
    }

    fn find(&mut self, wanted: HashSet<u64>) -> HashMap<u64, u32> {
        if wanted.is_empty() {
            return HashMap::new();
        }
        self.owners.find(wanted)
    }

    fn owner(&self, pid: Option<&u32>, user: u32) -> Owner {
        let now = monotonic_nanos();
        let process = pid.and_then(|pid| self.table.resolve(*pid, now));
        let image = process.and_then(|process| process.image.as_deref().map(ToOwned::to_owned));
        Owner {
            pid: pid.copied(),
            image,
            user: Some(self.table.user_name(user, now).to_string()),
        }
    }

    fn tell_ports(&mut self, now: &Sockets, before: &Sockets, holders: &HashMap<u64, u32>) {
        for (port, (inode, user)) in now.new_ports(before) {
            let owner = self.owner(holders.get(inode), *user);
            let known = self.open.get(port);
            // A service that was restarted is no news; another program on its port is.
            if known.is_none_or(|(known, _)| known.image != owner.image) {
                self.events.push(port_event(port, true, &owner));
            }
            self.open.insert(*port, (owner, false));
        }
        let mut closed = Vec::new();
        for (port, (_, is_missing)) in &mut self.open {
            let was_missing = *is_missing;
            *is_missing = !now.ports.contains_key(port);
            if was_missing && *is_missing {
                closed.push(*port);
            }
        }
        for port in closed {
            if let Some((owner, _)) = self.open.remove(&port) {
                self.events.push(port_event(&port, false, &owner));
            }
        }
    }

    fn tell_flows(&self, now: &Sockets, before: &Sockets, holders: &HashMap<u64, u32>) {
        let mut n_new = 0_usize;
        for flow in now.new_flows(before) {
            n_new += 1;
            if n_new <= MAX_TOLD {
                let owner = self.owner(holders.get(&flow.inode), flow.user);
                let event = flow_event(flow, now.is_initiated(flow), &owner);
                self.events.push(event);
            }
        }
        let untold = u64::try_from(n_new.saturating_sub(MAX_TOLD)).unwrap_or(u64::MAX);
        self.tell_loss(untold.saturating_add(now.n_left_out.saturating_sub(before.n_left_out)));
    }

    fn tell_loss(&self, lost: u64) {
        if lost > 0 {
            self.board.count_lost(SOURCE, Some(lost));
            let note = AgentNote::LinesLost {
                source: SOURCE,
                lost: Some(lost),
                why: "there are more connections and ports than are compared, or more began at once than are \
                      told one by one".to_owned(),
            };
            self.events.push(note.into_event());
        }
    }
}

#[cfg(test)]
mod tests;
