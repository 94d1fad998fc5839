//! A Supabase Realtime client made for reconcilers: it says when to look again, and never hides that it was not looking.
//! Never applies a change, never promises delivery: an event is a hint, and [`Event::Ready`] means "compare everything".
//!
//! A [`Subscription`] joins one channel over one connection (protocol version 2.0.0) and keeps it joined. Every failure
//! is an [`Event::Lost`] with its [`RealtimeError`], and is followed by a new attempt after a jittered pause; whatever
//! happens between a `Lost` and the next `Ready` is lost, so a `Ready` always calls for a full comparison.
//!
//! ```no_run
//! use hidps_realtime::{Channel, Config, Event, Subscription};
//!
//! # async fn follow() -> Result<(), hidps_realtime::ConfigError> {
//! let channel = Channel::new("feed").changes("public", "desired_generations");
//! let config = Config::new("http://127.0.0.1:54321", "sb_secret_example", channel);
//! let mut subscription = Subscription::new(config)?;
//! loop {
//!     match subscription.next().await {
//!         Event::Ready => println!("compare everything"),
//!         Event::Change(change) => println!("look at {:?}", change.record.get("agent_id")),
//!         Event::Broadcast(broadcast) => println!("look because of {}", broadcast.event),
//!         Event::Lost { error, retry_in } => println!("blind, next attempt in {retry_in:?}: {error}"),
//!     }
//! }
//! # }
//! ```

mod backoff;
mod change;
mod config;
mod endpoint;
mod error;
mod event;
#[doc(hidden)]
pub mod fuzzing;
mod protocol;
mod refusal;
mod secret;
mod session;
mod subscription;
mod tls;

pub use backoff::Backoff;
pub use config::{AccessToken, ChangeEvent, ChangeFilter, Channel, Config};
pub use error::{ConfigError, RealtimeError, Remedy};
pub use event::{Broadcast, BroadcastPayload, Change, ChangeKind, Event};
pub use refusal::JoinRefusal;
pub use secret::Secret;
pub use subscription::Subscription;
