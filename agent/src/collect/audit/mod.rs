//! The records of the kernel's audit: from auditd's log where it writes one, else from the kernel.
//! It sets no rule and asks for none: what is recorded is the host's to decide.
//!
//! auditd's log outlives a restart of the agent, so it goes first; the kernel tells everybody who
//! listens, auditd or not, but only while they listen. Which of the two it is can change at any
//! moment, and an event that was told by one way is not told again by the other.

mod auditd;
mod copies;
mod intake;
mod netlink;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use inotify::EventStream;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::follower::{Follower, Start};
use super::line_sink::LineSink;
use super::log_file::watch_directories;
use super::positions::{Position, Positions};
use super::source_board::Standing;
use crate::error_chain::chain;
use crate::normalize::audit::{AuditRecord, parse_line};
use crate::shutdown::Shutdown;
use auditd::find_log;
use intake::Intake;
use netlink::{AuditSocket, Received};

pub(super) use copies::{AuditCopies, redact_line, redact_records};
pub use netlink::AuditError;

/// What reading the audit cannot see.
pub const CANNOT_SEE: &str = "what no audit rule of the host asks for, records from before the \
     agent ran where no auditd keeps them, anything from within a container (the kernel tells \
     listeners of the first network namespace only), and what the kernel dropped, which it logs \
     and the agent counts";

/// The name of this source, where losses are counted and among the positions.
pub(super) const SOURCE: &str = "audit";

/// How often is looked whether auditd has come or gone.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// How often listening is tried again where the kernel did not let the agent.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// The least time between two reads of the log; a thousand records a second are then fifty reads.
const PAUSE: Duration = Duration::from_millis(20);

/// Records read before others get their turn.
const TURN_RECORDS: usize = 256;

/// The audit of this host.
pub struct AuditSource {
    /// Where the host's files are.
    root: PathBuf,
    way: Way,
    intake: Intake,
    /// Copies of records that other sources hold.
    copies: Receiver<AuditRecord>,
    positions: Arc<Positions>,
    /// When it is to be looked how the audit can be read.
    look_at: Instant,
    /// Why it cannot be read, as it was told last.
    told: Option<String>,
}

/// How the audit is read.
enum Way {
    Kernel(AuditSocket),
    Log(Box<AuditLog>),
    None,
}

/// auditd's log.
struct AuditLog {
    path: PathBuf,
    follower: Follower,
    position: Option<Position>,
    wakes: Option<EventStream<Vec<u8>>>,
}

impl AuditSource {
    /// Prepares to read the audit of the host below a root.
    #[must_use]
    pub fn new(root: PathBuf, sink: Arc<LineSink>, positions: Arc<Positions>) -> Self {
        let mut source = Self {
            root,
            way: Way::None,
            copies: sink.audit_copies().begin(),
            intake: Intake::new(sink),
            positions,
            look_at: Instant::now(),
            told: None,
        };
        source.look();
        source
    }

    /// Reads it until the agent ends.
    pub async fn run(mut self, mut shutdown: Shutdown) {
        loop {
            let more = self.read_new();
            let wake = async {
                if more {
                    tokio::task::yield_now().await;
                } else {
                    self.wait().await;
                }
            };
            tokio::select! {
                () = wake => {}
                () = shutdown.requested() => break,
            }
        }
        self.intake.end_all();
        self.note_position();
    }

    async fn wait(&mut self) {
        let until = self.intake.deadline().map_or(self.look_at, |deadline| {
            self.look_at.min(Instant::from_std(deadline))
        });
        match &mut self.way {
            Way::Kernel(socket) => {
                timeout_at(until, socket.wait()).await.ok();
            }
            Way::Log(log) => log.wait(until).await,
            Way::None => match timeout_at(until, self.copies.recv()).await {
                Ok(Some(copy)) => self.intake.push_copy(copy),
                Ok(None) => sleep_until(until).await,
                Err(_) => {}
            },
        }
    }

    /// Takes in what is new; true when there may be more at once.
    fn read_new(&mut self) -> bool {
        let more = match &mut self.way {
            Way::Kernel(socket) => read_kernel(socket, &mut self.intake),
            Way::Log(log) => log.read_new(&mut self.intake),
            Way::None => read_copies(&mut self.copies, &mut self.intake),
        };
        self.intake.end_late();
        if !more {
            self.note_position();
            if Instant::now() >= self.look_at {
                self.look();
            }
        }
        more
    }

    /// What is read of the log counts when the events it became were pushed.
    fn note_position(&mut self) {
        if let Way::Log(log) = &mut self.way
            && self.intake.is_empty()
            && let Ok(place) = log.follower.position()
        {
            let position = Position::File(place);
            if log.position.as_ref() != Some(&position) {
                log.position = Some(position.clone());
                self.positions.reached(SOURCE, position);
            }
        }
    }

    /// Looks which way there is now, and takes it. A log that has no name for a moment is being
    /// rotated, and one that was removed is still written to: whoever reads it goes on.
    fn look(&mut self) {
        self.look_at = Instant::now() + LOOK_INTERVAL;
        match (find_log(&self.root), &self.way) {
            (Some(path), Way::Log(log)) if log.path == path && is_readable_or_gone(&path) => {}
            (Some(path), _) if File::open(&path).is_ok() => {
                tracing::info!(path = %path.display(), "audit records are read from auditd's log");
                self.tell(Standing::Read, &format!("from {}", path.display()));
                let log = AuditLog::open(path, &self.positions);
                self.take(Way::Log(Box::new(log)));
            }
            (_, Way::Kernel(_)) => {}
            (_, Way::Log(_) | Way::None) => self.listen(),
        }
    }

    fn listen(&mut self) {
        if matches!(self.way, Way::Log(_)) {
            let why = "auditd ended or its log cannot be read any more, and what the kernel told until \
                       this was noticed is gone";
            self.intake.sink.count_lost(SOURCE, None, why.to_owned());
        }
        match AuditSocket::open() {
            Ok(socket) => {
                tracing::info!("audit records come from the kernel");
                self.tell(Standing::Read, "as the kernel tells them");
                self.take(Way::Kernel(socket));
            }
            Err(error) => {
                self.look_at = Instant::now() + RETRY_INTERVAL;
                let standing = if error.is_absence() {
                    Standing::Absent
                } else {
                    Standing::Failed
                };
                let error = chain(&error);
                self.tell(standing, &error);
                if self.told.as_ref() != Some(&error) {
                    tracing::warn!(error, "audit records are not read");
                    self.told = Some(error);
                }
                self.take(Way::None);
            }
        }
    }

    fn tell(&self, standing: Standing, how: &str) {
        let board = self.intake.sink.board();
        board.tell(SOURCE, standing, how, CANNOT_SEE);
    }

    fn take(&mut self, way: Way) {
        self.intake.end_all();
        self.note_position();
        let is_read = !matches!(way, Way::None);
        self.intake.sink.audit_copies().expect(!is_read);
        // What it knows the audit itself tells, from now on or until now.
        while self.copies.try_recv().is_ok() {}
        self.way = way;
    }
}

/// Looks how the audit of the host below a root can be read.
///
/// # Errors
/// Says why it cannot.
pub fn check_readable(root: &Path) -> Result<Option<PathBuf>, AuditError> {
    match find_log(root).filter(|path| File::open(path).is_ok()) {
        Some(path) => Ok(Some(path)),
        None => AuditSocket::open().map(|_| None),
    }
}

/// Whether a log can be opened, or there is none under this name now.
fn is_readable_or_gone(path: &Path) -> bool {
    match File::open(path) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn read_kernel(socket: &mut AuditSocket, intake: &mut Intake) -> bool {
    for _ in 0..TURN_RECORDS {
        match socket.receive() {
            Received::Record(kind, text) => intake.push_message(kind, &text),
            Received::Other => {}
            Received::Overrun => {
                let why = "the kernel told of more than the agent could take in";
                intake.sink.count_lost(SOURCE, None, why.to_owned());
            }
            Received::Nothing => return false,
        }
    }
    true
}

/// Takes in copies where the audit itself cannot be read; true when there may be more at once.
fn read_copies(copies: &mut Receiver<AuditRecord>, intake: &mut Intake) -> bool {
    for _ in 0..TURN_RECORDS {
        match copies.try_recv() {
            Ok(copy) => intake.push_copy(copy),
            Err(_) => {
                let n_lost = intake.sink.audit_copies().take_lost();
                if n_lost > 0 {
                    let why = "there were more copies of records than the agent could take in";
                    intake.sink.count_lost(SOURCE, Some(n_lost), why.to_owned());
                }
                return false;
            }
        }
    }
    true
}

impl AuditLog {
    /// The log from where an earlier run has got to, or from its present end.
    fn open(path: PathBuf, positions: &Positions) -> Self {
        let position = positions.last(SOURCE);
        let start = match &position {
            Some(Position::File(None)) => Start::AtBeginning,
            Some(Position::File(Some(place))) => Start::At(place.clone()),
            None | Some(Position::Journal(_) | Position::Kernel(_)) => Start::AtEnd,
        };
        let follower = Follower::start(&path, start);
        if let Ok(place) = follower.position() {
            positions.begin(SOURCE, Position::File(place));
        }
        let directories: BTreeSet<_> = path.parent().into_iter().collect();
        let wakes = watch_directories(&directories);
        if let Err(error) = &wakes {
            tracing::warn!(%error, "inotify is not to be had; auditd's log is looked at by a timer");
        }
        Self {
            wakes: wakes.ok(),
            path,
            follower,
            position,
        }
    }

    async fn wait(&mut self, until: Instant) {
        let Some(wakes) = &mut self.wakes else {
            return sleep_until(until.min(Instant::now() + LOOK_INTERVAL / 2)).await;
        };
        let woken = timeout_at(until, wakes.next()).await;
        // What else has happened is seen by the same look.
        while let Some(Some(Ok(_))) = wakes.next().now_or_never() {}
        match woken {
            Ok(Some(Ok(_))) => sleep_until(Instant::now() + PAUSE).await,
            Ok(None | Some(Err(_))) => self.wakes = None,
            Err(_) => {}
        }
    }

    fn read_new(&mut self, intake: &mut Intake) -> bool {
        let read = self.follower.read_new(Instant::now(), |line| {
            let text = String::from_utf8_lossy(line.bytes);
            match parse_line(&text) {
                Some(record) => intake.push(record),
                None => intake.pass_on(&text),
            }
        });
        for _ in 0..self.follower.take_gaps() {
            let why = format!(
                "{} was replaced while the agent did not run",
                self.path.display()
            );
            intake.sink.count_lost(SOURCE, None, why);
        }
        read.unwrap_or(false)
    }
}

/// For fuzzing.
pub(super) mod fuzzing {
    use std::path::PathBuf;

    use super::netlink::{Received, parse};

    pub(in crate::collect) fn read_message(datagram: &[u8]) -> Option<(u16, String)> {
        match parse(datagram) {
            Received::Record(kind, text) => Some((kind, text)),
            Received::Other | Received::Overrun | Received::Nothing => None,
        }
    }

    pub(in crate::collect) fn read_config(config: &str) -> Option<PathBuf> {
        super::auditd::log_of(config)
    }
}

#[cfg(test)]
mod tests;
