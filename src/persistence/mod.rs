//! Everything that touches Supabase: reads of desired state, writes of what was observed.
//! It never sees a log event; the types it takes cannot carry one.
//!
//! `feed` hears hints, `mirror` turns them into reads and follows connected agents, `rest` is the
//! only file that speaks to the database, `signing_keys` asks Auth for its public keys, `outbox` keeps writes until they are rows, `spool` keeps alerts
//! across restarts.

mod detection_rows;
mod feed;
mod health_log;
mod health_reports;
mod host_rows;
mod mirror;
mod outbox;
mod rest;
mod retention;
mod rows;
mod signing_keys;
mod spool;

pub(crate) use feed::HINTS;
pub use feed::{Feed, FeedEvent, FeedSettings};
pub use health_log::HealthLog;
pub use mirror::{Core as MirrorCore, Followed, Mirror, MirrorHandle, Pace, Want};
pub use outbox::{Outbox, OutboxHandle};
pub use rest::Rest;
pub use retention::{run_expiry, run_retention};
pub use signing_keys::PublishedKeys;
pub use spool::{Spool, SpoolError};
