//! What the parts need of each other and of the outside, as traits over plain data.
//! It never names an implementation; `daemon.rs` joins them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use hidps_wire::{
    AgentId, DaemonFrame, EnrollRequest, Enrollment, Generation, Hello, LogEvent, Status,
};
use jiff::Timestamp;
use tokio::sync::watch;
use uuid::Uuid;

use crate::model::{
    AgentAccess, AgentCredential, AgentRefusal, Alert, ChangeReport, ConditionReport,
    DeliveryOutcome, DesiredState, DesiredVersion, DetectionIntent, DetectionReports,
    DetectionVerdict, FactsReport, HealthReport, Milestone, Notification, Observation, OrgId,
    OwnedAgent, PresenceReport, ProcessesReport, PublicKey, RiskReport, ShadowReport,
    SuppressedReport, UsageReport,
};

/// Why Supabase did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("{operation} failed")]
pub struct StoreError {
    /// What was asked, such as `read desired_state`.
    pub operation: &'static str,
    /// What kind of failure it is.
    pub kind: StoreErrorKind,
    /// The cause, printed after this error's own text.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A refusal that the database gave a sentence for; printed as its cause is.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct Said {
    /// The sentence.
    pub sentence: String,
    /// The whole answer.
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}

/// Kinds of failure that lead to different acts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreErrorKind {
    /// No answer, a time-out or a failing server.
    Unavailable,
    /// Too many requests.
    RateLimited,
    /// The credential was refused.
    Unauthorized,
    /// The row or value was refused; the same request will be refused again.
    Rejected,
    /// What was asked for does not exist.
    NotFound,
    /// The answer was not what the schema promises.
    Malformed,
}

/// Whether and when to try again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// With the usual backoff.
    Soon,
    /// After the longest pause: somebody has to act first.
    Slowly,
    /// Not at all.
    Never,
}

impl StoreError {
    /// What failed and how, without the cause: that may name addresses and what is somebody's own.
    #[must_use]
    pub fn for_everybody(&self) -> String {
        let how = match self.kind {
            StoreErrorKind::Unavailable => "there was no answer, or the server failed",
            StoreErrorKind::RateLimited => "there were too many requests",
            StoreErrorKind::Unauthorized => "the daemon's key was refused",
            StoreErrorKind::Rejected => "a value was refused",
            StoreErrorKind::NotFound => "it does not exist",
            StoreErrorKind::Malformed => "the answer was not what the schema promises",
        };
        format!("{self}: {how}; the daemon's log says more")
    }

    /// The database's own sentence, where it answered with one.
    #[must_use]
    pub fn said(&self) -> Option<&str> {
        let said = self.source.downcast_ref::<Said>()?;
        Some(&said.sentence)
    }

    /// Whether trying again can help; the one place where that is decided.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self.kind {
            StoreErrorKind::Unavailable => Retry::Soon,
            StoreErrorKind::RateLimited
            | StoreErrorKind::Unauthorized
            | StoreErrorKind::Malformed => Retry::Slowly,
            StoreErrorKind::Rejected | StoreErrorKind::NotFound => Retry::Never,
        }
    }
}

/// The answer of an asynchronous port.
pub type StoreResult<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Reads desired state.
pub trait DesiredReader: Send + Sync + 'static {
    /// One page of versions, ordered by agent, after `after`.
    fn list_versions(
        &self,
        after: Option<AgentId>,
        limit: usize,
    ) -> StoreResult<'_, Vec<DesiredVersion>>;

    /// The documents of these agents; an agent that is not in the answer has no row.
    fn read_desired(&self, agents: Vec<AgentId>) -> StoreResult<'_, Vec<(AgentId, DesiredState)>>;
}

/// Writes what was observed.
pub trait RecordWriter: Send + Sync + 'static {
    /// Writes one alert; writing the same occurrence twice counts once.
    fn write_alert(&self, alert: Alert) -> StoreResult<'_, ()>;
    /// Writes conditions.
    fn write_conditions(&self, reports: Vec<ConditionReport>) -> StoreResult<'_, ()>;
    /// Writes presence.
    fn write_presence(&self, reports: Vec<PresenceReport>) -> StoreResult<'_, ()>;
    /// Writes how far changes have come.
    fn write_changes(&self, reports: Vec<ChangeReport>) -> StoreResult<'_, ()>;
    /// Writes usage; never a desired column.
    fn write_usage(&self, reports: Vec<UsageReport>) -> StoreResult<'_, ()>;
    /// Writes snapshots of processes.
    fn write_processes(&self, reports: Vec<ProcessesReport>) -> StoreResult<'_, ()>;
    /// Writes what hosts are.
    fn write_facts(&self, reports: Vec<FactsReport>) -> StoreResult<'_, ()>;
    /// Writes what was observed of detection; never an intent column.
    fn write_detection(&self, reports: DetectionReports) -> StoreResult<'_, ()>;
}

/// Reads what organizations want of detection.
pub trait DetectionReader: Send + Sync + 'static {
    /// Every organization with something of its own, and the generation of it; never a part of them.
    fn list_detection(&self) -> StoreResult<'_, Vec<(OrgId, u64)>>;
    /// Everything one organization wants, or none if it is gone.
    fn read_detection(&self, org: OrgId) -> StoreResult<'_, Option<DetectionIntent>>;
}

/// Takes what was observed of detection; never blocks the caller.
pub trait DetectionRecords: Send + Sync + 'static {
    /// Records what became of rows of intent; the newest of a row wins.
    fn verdicts(&self, verdicts: Vec<DetectionVerdict>);
    /// Adds matches of rules on trial.
    fn shadow_matches(&self, reports: Vec<ShadowReport>);
    /// Adds matches that were kept quiet about.
    fn suppressed(&self, reports: Vec<SuppressedReport>);
    /// Records risk; the newest of an agent wins.
    fn risk(&self, reports: Vec<RiskReport>);
}

/// Writes rows that have to come back through the feed.
pub trait FeedProbe: Send + Sync + 'static {
    /// Writes this daemon's beat.
    fn beat(&self, daemon: Uuid, beat: u64) -> StoreResult<'_, ()>;
}

/// Writes the daemon's own conditions.
pub trait HealthWriter: Send + Sync + 'static {
    /// Writes them; equal ones only move their age.
    fn report_health(&self, reports: Vec<HealthReport>) -> StoreResult<'_, ()>;
}

/// Knows the agents' keys.
pub trait Directory: Send + Sync + 'static {
    /// The keys of these agents; an agent that is not in the answer has none.
    fn credentials(&self, agents: Vec<AgentId>)
    -> StoreResult<'_, Vec<(AgentId, AgentCredential)>>;
    /// The agents among those asked whose key may connect.
    fn admitted(&self, agents: Vec<AgentId>) -> StoreResult<'_, Vec<AgentId>>;
    /// Takes in an agent's public key; `from` is where it asked.
    fn enroll(
        &self,
        agent: AgentId,
        token: Option<String>,
        request: EnrollRequest,
        from: Option<IpAddr>,
    ) -> StoreResult<'_, Enrollment>;
    /// Counts one use of a token by an agent that asks over HTTP.
    fn use_token(&self, agent: AgentId, token: String, from: Option<IpAddr>)
    -> StoreResult<'_, ()>;
    /// Tells of an enrollment or a connect that was refused.
    fn record_refusal(&self, refusal: AgentRefusal) -> StoreResult<'_, ()>;
    /// Puts another key in the place of the one an agent signed with; unauthorized when that is its
    /// key no longer, rejected when the other one can never be.
    fn rotate(
        &self,
        signer: OwnedAgent,
        successor: PublicKey,
        from: Option<IpAddr>,
    ) -> StoreResult<'_, ()>;
}

/// Asks Postgres, as a person, what that person may see.
pub trait Access: Send + Sync + 'static {
    /// The agents among those asked that the bearer of this token may read.
    fn readable(&self, token: String, agents: Vec<AgentId>) -> StoreResult<'_, Vec<AgentAccess>>;
}

/// Reads the keys a project publishes for its access tokens.
pub trait SigningKeys: Send + Sync + 'static {
    /// The list as it is published (JWKS), bounded in length.
    fn read_keys(&self) -> StoreResult<'_, Vec<u8>>;
}

/// Hears that what people may see may have changed; never blocks the caller.
pub trait AccessChanges: Send + Sync + 'static {
    /// The rights of these people may be others now; of everybody, if it is not said whose.
    fn changed(&self, persons: Option<&[Uuid]>);
}

/// Hears that keys of agents may have stopped being good; never blocks the caller.
pub trait KeyChanges: Send + Sync + 'static {
    /// The keys of these agents may be others now; anybody's, if it is not said whose.
    fn changed(&self, agents: Option<&[AgentId]>);
}

/// The notification rows.
pub trait NotificationQueue: Send + Sync + 'static {
    /// Takes up to `max` rows for `lease_secs` seconds.
    fn claim(&self, max: u32, lease_secs: u32) -> StoreResult<'_, Vec<Notification>>;
    /// Says what became of one.
    fn finish(&self, id: Uuid, outcome: DeliveryOutcome) -> StoreResult<'_, ()>;
}

/// Delivers one message.
pub trait Mailer: Send + Sync + 'static {
    /// Delivers it, at least once; the message id stays the same.
    fn deliver(&self, notification: Notification) -> BoxFuture<'_, DeliveryOutcome>;
}

/// Takes observations that must reach Supabase; never blocks the caller.
pub trait Records: Send + Sync + 'static {
    /// Records conditions; the newest of a kind wins.
    fn conditions(&self, reports: Vec<ConditionReport>);
    /// Records presence; the newest wins.
    fn presence(&self, report: PresenceReport);
    /// Records how far a change has come; what was known of it stays.
    fn change(&self, report: ChangeReport);
    /// Records usage; the newest wins.
    fn usage(&self, report: UsageReport);
    /// Records a snapshot of processes; the newest wins.
    fn processes(&self, report: ProcessesReport);
    /// Records what a host is; the newest wins.
    fn facts(&self, report: FactsReport);
}

/// Takes alerts; never blocks the caller.
pub trait AlertQueue: Send + Sync + 'static {
    /// Keeps the alert until it is a row, across restarts.
    fn raise(&self, alert: Alert);
}

/// What is desired of each connected agent.
pub trait DesiredSource: Send + Sync + 'static {
    /// Follows one agent until the receiver is dropped; none until the first read succeeded.
    fn follow(&self, agent: AgentId) -> watch::Receiver<Option<Arc<DesiredState>>>;
}

/// One connection's reconciler: a state machine without I/O; `now` is an argument.
pub trait AgentSession: Send {
    /// The agent holds no connection and asks again: what it has applied and what is desired are said
    /// anew, and what was seen of it of late stays.
    fn begin_anew(&mut self);
    /// The agent said what it has applied.
    fn on_hello(&mut self, hello: &Hello, now: Instant);
    /// The desired state was read.
    fn on_desired(&mut self, desired: Arc<DesiredState>, now: Instant);
    /// The agent read its host back.
    fn on_status(&mut self, status: Status, now: Instant);
    /// The deadline passed.
    fn on_deadline(&mut self, now: Instant);
    /// The next frame to send.
    fn poll_frame(&mut self) -> Option<DaemonFrame>;
    /// The conditions to record, if there are any.
    fn poll_conditions(&mut self) -> Vec<ConditionReport>;
    /// What happened to a change since the last call: its generation, when it was made, and the
    /// step it took; to be asked after the frames were sent.
    fn poll_milestones(&mut self) -> Vec<(Generation, Timestamp, Milestone)>;
    /// When `on_deadline` wants to be called.
    fn deadline(&self) -> Option<Instant>;
}

/// Makes the session of a new connection.
pub trait SessionFactory: Send + Sync + 'static {
    /// A session of this agent.
    fn open(&self, agent: AgentId) -> Box<dyn AgentSession>;
}

/// A batch of events as it arrived, unparsed so that it is parsed once, by detection.
#[derive(Debug)]
pub struct RawBatch {
    /// Who sent it, as the connection says.
    pub agent_id: AgentId,
    /// Whose agent that is.
    pub org: OrgId,
    /// The frame.
    pub text: axum::extract::ws::Utf8Bytes,
    /// Where to say that it was taken in.
    pub progress: Arc<dyn BatchProgress>,
}

/// Hears what became of a connection's batches.
pub trait BatchProgress: Send + Sync + std::fmt::Debug {
    /// The batch of this number was taken in.
    fn taken(&self, seq: u64);
    /// A batch could not be read; the connection should end.
    fn refused(&self, reason: String);
    /// An event of the batch that is being taken in matched a rule, and not one that is kept quiet
    /// about; of interest where somebody waits for an answer.
    fn matched(&self, _rule_id: &str, _title: &str, _risk: u8) {}
}

/// Takes batches of events for detection; never blocks the caller.
pub trait EventIntake: Send + Sync + 'static {
    /// Takes the batch.
    ///
    /// # Errors
    /// Gives it back when detection is too far behind; nothing of it was taken.
    fn submit(&self, batch: RawBatch) -> Result<(), RawBatch>;
}

/// Takes what the daemon observes about agents, for its rules; never blocks the caller.
pub trait Observations: Send + Sync + 'static {
    /// Takes an observation; false when detection is too far behind and nothing was taken.
    fn observe(&self, agent: AgentId, observation: Observation) -> bool;
}

/// For those who tell nobody.
impl Observations for () {
    fn observe(&self, _agent: AgentId, _observation: Observation) -> bool {
        true
    }
}

/// Shows events to whoever watches an agent; nothing is kept.
pub trait LiveLog: Send + Sync + 'static {
    /// Shows the events, in order.
    fn publish(&self, agent: AgentId, events: &[LogEvent<'_>]);
}
