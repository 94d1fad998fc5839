//! What the parts need of each other and of the outside, as traits over plain data.
//! It never names an implementation; `daemon.rs` joins them.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use hidps_wire::{
    AgentId, DaemonFrame, EnrollRequest, Enrollment, Generation, Hello, LogEvent, Status,
};
use tokio::sync::watch;
use uuid::Uuid;

use crate::model::{
    AgentAccess, AgentCredential, Alert, ConditionReport, DeliveryOutcome, DesiredState,
    Notification, PresenceReport, UsageReport,
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
    /// One page of agents and generations, ordered by agent, after `after`.
    fn list_generations(
        &self,
        after: Option<AgentId>,
        limit: usize,
    ) -> StoreResult<'_, Vec<(AgentId, Generation)>>;

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
    /// Writes usage; never a desired column.
    fn write_usage(&self, reports: Vec<UsageReport>) -> StoreResult<'_, ()>;
}

/// Knows the agents' keys.
pub trait Directory: Send + Sync + 'static {
    /// The key of an agent, or none.
    fn credential(&self, agent: AgentId) -> StoreResult<'_, Option<AgentCredential>>;
    /// The agents among those asked whose key may connect.
    fn admitted(&self, agents: Vec<AgentId>) -> StoreResult<'_, Vec<AgentId>>;
    /// Takes in an agent's public key.
    fn enroll(
        &self,
        agent: AgentId,
        token: Option<String>,
        request: EnrollRequest,
    ) -> StoreResult<'_, Enrollment>;
}

/// Asks Postgres, as a person, what that person may see.
pub trait Access: Send + Sync + 'static {
    /// The agents among those asked that the bearer of this token may read.
    fn readable(&self, token: String, agents: Vec<AgentId>) -> StoreResult<'_, Vec<AgentAccess>>;
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
    /// Records usage; the newest wins.
    fn usage(&self, report: UsageReport);
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
}

/// Takes batches of events for detection; never blocks the caller.
pub trait EventIntake: Send + Sync + 'static {
    /// Takes the batch.
    ///
    /// # Errors
    /// Gives it back when detection is too far behind; nothing of it was taken.
    fn submit(&self, batch: RawBatch) -> Result<(), RawBatch>;
}

/// Shows events to whoever watches an agent; nothing is kept.
pub trait LiveLog: Send + Sync + 'static {
    /// Shows the events, in order.
    fn publish(&self, agent: AgentId, events: &[LogEvent<'_>]);
}
