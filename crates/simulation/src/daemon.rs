//! The daemon's real decisions on simulated time: the mirror, one session per connection, and who
//! counts as connected. What it records waits until a write to the database succeeds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hidps::model::{
    ChangeReport, ConditionKind, ConditionReport, FactsReport, OrgId, OwnedAgent, PresenceReport,
    ProcessesReport, UsageReport,
};
use hidps::persistence::{FeedEvent, Followed, MirrorCore, Pace};
use hidps::ports::{AgentSession as _, Records};
use hidps::reconcile::{Mode, Session};
use hidps::streams::{ConnectionId, Mailbox, Presence, Registry, ToAgent};
use hidps_wire::{AgentId, Applied, Hello, PROTOCOL_VERSION};
use jiff::Timestamp;
use uuid::Uuid;

/// As many hints wait for the mirror as in the daemon.
const HINTS: usize = 1024;

/// What waits to be written, the newest of each kind.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Conditions.
    pub(crate) conditions: BTreeMap<(AgentId, ConditionKind), ConditionReport>,
    /// Presence.
    pub(crate) presence: BTreeMap<AgentId, PresenceReport>,
}

/// Takes records as the outbox does.
#[derive(Debug, Default)]
pub(crate) struct SimulatedRecords(Mutex<Pending>);

impl SimulatedRecords {
    /// What waits.
    pub(crate) fn pending(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Records for SimulatedRecords {
    fn conditions(&self, reports: Vec<ConditionReport>) {
        let mut pending = self.pending();
        for report in reports {
            let key = (report.agent_id, report.kind);
            pending.conditions.insert(key, report);
        }
    }

    fn presence(&self, report: PresenceReport) {
        self.pending().presence.insert(report.agent_id, report);
    }

    fn change(&self, _: ChangeReport) {}

    fn usage(&self, _: UsageReport) {}

    fn processes(&self, _: ProcessesReport) {}

    fn facts(&self, _: FactsReport) {}
}

/// One agent's connection.
#[derive(Debug)]
pub(crate) struct Link {
    /// Whose.
    pub(crate) agent: AgentId,
    /// The reconciler.
    pub(crate) session: Session,
    /// How many things the agent said it has applied.
    pub(crate) told: Option<u32>,
    /// The deadline that is on the agenda.
    pub(crate) planned: Option<Instant>,
    connection: ConnectionId,
    mailbox: Arc<Mailbox>,
    desired: Followed,
}

/// The daemon's process.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// Tells one process from the next.
    pub(crate) epoch: u64,
    /// Desired state of connected agents.
    pub(crate) mirror: MirrorCore,
    /// Whether an answer for the mirror is under way.
    pub(crate) is_asking: bool,
    /// Whether agents may connect.
    pub(crate) is_open: bool,
    /// Whether hints come.
    pub(crate) is_feed_up: bool,
    /// What waits to be written.
    pub(crate) records: Arc<SimulatedRecords>,
    /// Connections by their number.
    pub(crate) links: BTreeMap<u64, Link>,
    hints: VecDeque<FeedEvent>,
    presence: Presence,
}

impl Daemon {
    /// A process that has just started.
    #[must_use]
    pub(crate) fn start(epoch: u64, now: Instant) -> Self {
        let pace = Pace {
            resync_every: Duration::from_secs(45),
            draw: || 0.5,
        };
        let records = Arc::new(SimulatedRecords::default());
        let to = Arc::clone(&records);
        Self {
            epoch,
            mirror: MirrorCore::new(pace, now),
            is_asking: false,
            is_open: false,
            is_feed_up: false,
            records,
            links: BTreeMap::new(),
            hints: VecDeque::new(),
            presence: Presence::new(Arc::new(Registry::default()), to, Arc::new(())),
        }
    }

    /// Hears a hint; one too many becomes a comparison, as in the feed.
    pub(crate) fn hear(&mut self, hint: FeedEvent) {
        if self.hints.len() < HINTS {
            self.hints.push_back(hint);
        } else {
            self.hints.clear();
            self.hints.push_back(FeedEvent::Resync);
        }
    }

    /// Gives the mirror what was heard.
    pub(crate) fn drain_hints(&mut self) {
        for hint in std::mem::take(&mut self.hints) {
            self.mirror.on_hint(hint);
        }
    }

    /// Enters a connection that said hello.
    pub(crate) fn enter(
        &mut self,
        number: u64,
        agent: AgentId,
        applied: Option<Applied>,
        (now, wall): (Instant, Timestamp),
    ) {
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            agent_version: "0".into(),
            hostname: "host".into(),
            os: "linux".into(),
            arch: "x86_64".into(),
            boot: None,
            retires_keys: false,
            applied,
        };
        // Keys are not what is simulated: each agent has its own for ever.
        let owned = OwnedAgent {
            agent,
            org: OrgId(Uuid::nil()),
            key: [0; 32],
        };
        let (connection, mailbox) = self.presence.enter(owned, &hello, wall);
        let mut session = Session::new(agent, Mode::Enforce);
        session.on_hello(&hello, now);
        let mut desired = self.mirror.follow(agent);
        desired.mark_changed();
        let link = Link {
            agent,
            session,
            told: hello.applied.as_ref().map(|applied| applied.entries),
            planned: None,
            connection,
            mailbox,
            desired,
        };
        self.links.insert(number, link);
    }

    /// Records that a connection ended.
    pub(crate) fn leave(&mut self, number: u64, reason: &str, wall: Timestamp) {
        if let Some(link) = self.links.remove(&number) {
            self.presence
                .leave(link.agent, link.connection, reason, wall);
        }
    }

    /// Records that a connected agent is alive.
    pub(crate) fn seen(&self, number: u64, wall: Timestamp) {
        if let Some(link) = self.links.get(&number) {
            self.presence.seen(link.agent, wall);
        }
    }

    /// Gives sessions what was read, and tells which connections have to end.
    pub(crate) fn wake_links(&mut self, now: Instant) -> Vec<u64> {
        let mut ended = Vec::new();
        for (number, link) in &mut self.links {
            while let Some(mail) = link.mailbox.take() {
                match mail {
                    ToAgent::Superseded | ToAgent::Revoked | ToAgent::Rekeyed => {
                        ended.push(*number);
                    }
                    ToAgent::Ask { .. } => {}
                }
            }
            if link.desired.has_changed().unwrap_or(false) {
                let desired = link.desired.borrow_and_update().clone();
                if let Some(desired) = desired {
                    link.session.on_desired(desired, now);
                }
            }
        }
        ended
    }
}
