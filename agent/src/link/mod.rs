//! The link to the daemon: enroll, connect, talk, and come back with patience.
//! It applies nothing and decides nothing about the host; it carries frames.

mod answers;
mod handshake;
mod pulse;
mod reader;
mod session;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use hidps_wire::{AgentId, Apply, Enrollment};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use crate::backoff::{Backoff, Chance, wait_out};
use crate::clock::ClockOffset;
use crate::collect::readings::Readings;
use crate::config::TokenSource;
use crate::dial::Dialer;
use crate::enroll::enroll;
use crate::error_chain::chain;
use crate::event_queue::EventQueue;
use crate::firewall::Firewall;
use crate::host_facts::HostFacts;
use crate::keys::{KeyFileError, Keys};
use crate::ledger::LedgerRecord;
use crate::rotate::rotate;
use crate::shutdown::Shutdown;
use crate::state_dir::StateLock;
use crate::status_queue::StatusQueue;
use crate::text::printable;
use handshake::{ConnectError, Socket, connect};
pub use pulse::LinkPulse;
use session::SessionEnd;

/// How often an agent that waits for its approval asks; a person approves in minutes.
const PENDING_INTERVAL: Duration = Duration::from_secs(10);

/// Applying a document takes milliseconds; `nft` alone may take 10 s before it is given up.
const FIRST_STATUS_DEADLINE: Duration = Duration::from_secs(15);

/// A daemon whose goodbye asks for a longer pause made a mistake.
const MAX_ADVISED_WAIT: Duration = Duration::from_secs(600);

/// Longest text of the daemon that is quoted.
const MAX_QUOTE_BYTES: usize = 300;

/// What the link is made of.
pub struct Link<F> {
    /// The agent's address.
    pub agent_id: AgentId,
    /// The way to the daemon.
    pub dialer: Arc<Dialer>,
    /// The key, and the one that is to take its place.
    pub keys: Keys,
    /// What the host claims to be.
    pub facts: HostFacts,
    /// The enrollment token, if any.
    pub token: TokenSource,
    /// Who answers questions.
    pub firewall: Arc<F>,
    /// Events to send.
    pub events: Arc<EventQueue>,
    /// Documents for the loop.
    pub applies: mpsc::Sender<Apply>,
    /// The host's state.
    pub statuses: Arc<StatusQueue>,
    /// What was read of the host.
    pub readings: Readings,
    /// What the ledger holds.
    pub record: watch::Receiver<Option<Arc<LedgerRecord>>>,
    /// Where it tells whether it is up and alive.
    pub pulse: LinkPulse,
    /// What spaces its attempts.
    pub chance: Chance,
    /// Where the link tells how it is, in words.
    pub state: watch::Sender<LinkState>,
    /// When to end.
    pub shutdown: Shutdown,
}

/// How the link is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum LinkState {
    /// It has not begun.
    #[default]
    Starting,
    /// An admin has to approve this agent.
    WaitingForApproval,
    /// It talks.
    Connected {
        /// With whom.
        backend: String,
    },
    /// It failed and will try again.
    Waiting {
        /// Why it failed.
        reason: String,
        /// Whether the daemon refuses this agent, which no further attempt changes by itself.
        #[serde(default)]
        refused: bool,
    },
}

impl std::fmt::Display for LinkState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::WaitingForApproval => f.write_str("waiting for an admin to approve this agent"),
            Self::Connected { backend } => write!(f, "connected to {backend}"),
            Self::Waiting { reason, .. } => write!(f, "down: {reason}"),
        }
    }
}

impl<F: Firewall> Link<F> {
    /// Keeps the link until the agent ends.
    pub async fn run(mut self) {
        let mut course = Course {
            must_enroll: self.keys.present().is_new(),
            offset: ClockOffset::default(),
            backoff: Backoff::default(),
        };
        let mut shutdown = self.shutdown.clone();
        tokio::select! {
            () = self.host_is_enforced() => {}
            () = shutdown.requested() => return,
        }
        loop {
            let wait = self.attempt(&mut course).await;
            let Some(wait) = wait else { return };
            tokio::select! {
                () = sleep(wait) => {}
                () = shutdown.requested() => return,
            }
        }
    }

    /// The ledger is applied before the first connect, so that hello tells what is so; a host that
    /// is stuck is no reason to stay silent.
    async fn host_is_enforced(&self) {
        let mut status = self.statuses.latest();
        let first = status.wait_for(Option::is_some);
        if tokio::time::timeout(FIRST_STATUS_DEADLINE, first)
            .await
            .is_err()
        {
            tracing::warn!("the host takes long to be compared with what is desired; connecting");
        }
    }

    /// One enrollment or connection; the time to wait after it, or none when the agent ends.
    async fn attempt(&mut self, course: &mut Course) -> Option<Duration> {
        let mut shutdown = self.shutdown.clone();
        match self.keys.reload() {
            // Whom the daemon refused was another one.
            Ok(is_other) => course.must_enroll &= !is_other,
            Err(error) => {
                tracing::warn!(reason = chain(&error), "going on with the key as it was");
            }
        }
        let connected = tokio::select! {
            connected = self.open(course) => connected,
            () = shutdown.requested() => return None,
        };
        let Some(connected) = connected else {
            return tokio::select! {
                wait = self.enroll(course) => Some(wait),
                () = shutdown.requested() => None,
            };
        };
        let socket = match connected {
            Ok(socket) => socket,
            Err(error) => return Some(self.on_refused(course, &error)),
        };
        let started = Instant::now();
        let end = session::run(socket, self).await;
        self.events.on_disconnected();
        self.statuses.on_disconnected();
        self.pulse.on_down();
        course.backoff.on_end(started.elapsed());
        match end {
            SessionEnd::Shutdown => None,
            SessionEnd::Advised(advice) => {
                let asked = Duration::from_millis(u64::from(advice.retry_ms));
                let reason = printable(&advice.reason, MAX_QUOTE_BYTES);
                tracing::info!(reason, ?asked, "the daemon said goodbye");
                self.set_waiting(format!("the daemon said goodbye: {reason}"));
                Some(wait_out(asked.min(MAX_ADVISED_WAIT), self.chance.draw()))
            }
            SessionEnd::Failed(error) => Some(self.wait_after(course, &chain(&error))),
        }
    }

    /// Connects with the key that holds; none when the agent has to enroll first.
    async fn open(&mut self, course: &mut Course) -> Option<Result<Socket, ConnectError>> {
        if self.keys.successor().is_some() {
            // In a box: it happens once in a long while.
            match Box::pin(self.settle_keys(course)).await {
                Settled::Tried(connected) => return Some(*connected),
                Settled::ByOthers => {
                    return Some(Box::pin(self.connect_with_either(course)).await);
                }
                Settled::Present => {}
            }
        }
        if course.must_enroll {
            return None;
        }
        let present = self.keys.present();
        Some(connect(&self.dialer, self.agent_id, present, &mut course.offset).await)
    }

    /// Connects with the key that holds while another process is about to find out which one that
    /// is, or nobody can: nothing is asked for, and the disk is left alone. The agent does not enroll
    /// meanwhile, for it would with a key that may be the former one by now.
    async fn connect_with_either(&mut self, course: &mut Course) -> Result<Socket, ConnectError> {
        let present = self.keys.present();
        let connected = connect(&self.dialer, self.agent_id, present, &mut course.offset).await;
        let is_refused = matches!(&connected, Err(error) if error.is_about_identity());
        let Some(successor) = self.keys.successor().filter(|_| is_refused) else {
            return connected;
        };
        let connected = connect(&self.dialer, self.agent_id, successor, &mut course.offset).await;
        if connected.is_ok() {
            self.keys.adopt(None);
            course.must_enroll = false;
        }
        connected
    }

    /// The key's lock, with the keys as they are once it is held; none when another process has it,
    /// or the disk fails.
    fn lock_keys(&mut self, course: &mut Course) -> Option<StateLock> {
        let locked = self.keys.lock().map_err(KeyFileError::Change);
        let read = locked.and_then(|lock| {
            let Some(lock) = lock else { return Ok(None) };
            // Whoever had the lock before may have put it right, or taken it back.
            Ok(Some((lock, self.keys.reload()?)))
        });
        match read {
            Ok(Some((lock, is_other))) => {
                course.must_enroll &= !is_other;
                Some(lock)
            }
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(reason = chain(&error), "the files of keys are left alone");
                None
            }
        }
    }

    /// Finds out which of two keys holds after a rotation that was cut off: the successor connects,
    /// or it is asked for once more.
    async fn settle_keys(&mut self, course: &mut Course) -> Settled {
        let Some(lock) = self.lock_keys(course) else {
            return Settled::ByOthers;
        };
        let Some(successor) = self.keys.successor() else {
            return Settled::Present;
        };
        match connect(&self.dialer, self.agent_id, successor, &mut course.offset).await {
            Ok(socket) => {
                self.keys.adopt(Some(&lock));
                course.must_enroll = false;
                return Settled::Tried(Box::new(Ok(socket)));
            }
            Err(error) if error.is_about_identity() => {}
            Err(error) => return Settled::Tried(Box::new(Err(error))),
        }
        let keys = (self.keys.present(), successor);
        match rotate(&self.dialer, self.agent_id, keys, &mut course.offset).await {
            Ok(()) => {
                self.keys.adopt(Some(&lock));
                course.must_enroll = false;
            }
            Err(error) if error.is_final() => {
                let reason = chain(&error);
                tracing::warn!(reason, "the rotation of the key is given up");
                self.keys.forget(&lock);
            }
            Err(error) => {
                tracing::warn!(reason = chain(&error), "the rotation of the key waits");
            }
        }
        Settled::Present
    }

    async fn enroll(&self, course: &mut Course) -> Duration {
        let enrolled = enroll(
            &self.dialer,
            self.agent_id,
            self.keys.present(),
            &self.facts,
            &self.token,
        );
        match enrolled.await {
            Ok(Enrollment::Admitted) => {
                tracing::info!("the daemon admitted this agent");
                course.must_enroll = false;
                course.backoff = Backoff::default();
                Duration::ZERO
            }
            Ok(Enrollment::Pending) => {
                tracing::info!("an admin has to approve this agent; waiting");
                self.state.send_replace(LinkState::WaitingForApproval);
                wait_out(PENDING_INTERVAL, self.chance.draw())
            }
            Err(error) => {
                let reason = chain(&error);
                let wait = self.wait_at_least(course, &reason, error.retry_after());
                if error.is_about_agent() {
                    let refused = true;
                    self.state
                        .send_replace(LinkState::Waiting { reason, refused });
                }
                wait
            }
        }
    }

    fn on_refused(&self, course: &mut Course, error: &ConnectError) -> Duration {
        // Whoever refuses a signed connect does not know the key, or no longer.
        course.must_enroll = error.is_about_identity();
        self.wait_at_least(course, &chain(error), error.retry_after())
    }

    fn wait_after(&self, course: &mut Course, reason: &str) -> Duration {
        self.wait_at_least(course, reason, None)
    }

    /// The next wait after a failure; one that the daemon asked for comes before the agent's own.
    fn wait_at_least(
        &self,
        course: &mut Course,
        reason: &str,
        asked: Option<Duration>,
    ) -> Duration {
        let own = course.backoff.next_wait(self.chance.draw());
        let wait = asked.unwrap_or_default() + own;
        tracing::warn!(reason, ?wait, "the link is down; trying again");
        self.set_waiting(reason.to_owned());
        wait
    }

    fn set_waiting(&self, reason: String) {
        let refused = false;
        self.state
            .send_replace(LinkState::Waiting { reason, refused });
    }
}

/// What is remembered between attempts.
struct Course {
    must_enroll: bool,
    offset: ClockOffset,
    backoff: Backoff,
}

/// What came of finding out which of two keys holds.
enum Settled {
    /// The successor was tried, and this came of it.
    Tried(Box<Result<Socket, ConnectError>>),
    /// The present key is the one to go on with.
    Present,
    /// It is for somebody else to find out, or the disk does not let this process.
    ByOthers,
}

#[cfg(test)]
mod tests;
