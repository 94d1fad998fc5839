//! Hears Realtime: turns its events into hints to look again.
//! It never reads a value out of an event; a hint names an agent and a generation at most.

use std::sync::Arc;

use hidps_realtime::{Broadcast, Change, Channel, Config, ConfigError, Event, Subscription};
use hidps_wire::{AgentId, Generation};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::config::Supabase;
use crate::health::Health;
use crate::telemetry::{self, Chain};

/// Topic of the private channel that the database's triggers send to.
const TOPIC: &str = "hidps:feed";

/// Hints that may wait for the mirror; one more turns into a comparison of everything.
pub(crate) const HINTS: usize = 1024;

/// A reason to look again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FeedEvent {
    /// Something may have been missed: compare everything.
    Resync,
    /// One agent's desired state may have changed.
    Hint {
        /// The agent.
        agent: AgentId,
        /// Its generation, if the event said so.
        generation: Option<Generation>,
    },
}

/// Where a feed's events go.
#[derive(Debug)]
pub struct FeedSettings {
    /// Hints for the mirror.
    pub hints: mpsc::Sender<FeedEvent>,
    /// Notified when notifications may be waiting.
    pub notifications: Arc<Notify>,
    /// Where it is recorded whether the feed is joined.
    pub health: Arc<Health>,
}

/// The task that listens.
pub struct Feed {
    subscription: Subscription,
    settings: FeedSettings,
    must_resync: bool,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed")
            .field("must_resync", &self.must_resync)
            .finish_non_exhaustive()
    }
}

impl Feed {
    /// A feed that has not connected yet.
    ///
    /// # Errors
    /// When the project's address or key cannot be used for a socket.
    pub fn new(supabase: &Supabase, settings: FeedSettings) -> Result<Self, ConfigError> {
        let channel = Channel::new(TOPIC)
            .private()
            .broadcast()
            .changes("public", "desired_generations");
        let key = supabase.secret_key.expose_secret();
        let config = Config::new(supabase.url.as_str(), key, channel);
        Ok(Self {
            subscription: Subscription::new(config)?,
            settings,
            must_resync: false,
        })
    }

    /// Listens until it is told to stop; it reconnects by itself.
    pub async fn run(mut self, stop: CancellationToken) {
        let hints = self.settings.hints.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                event = self.subscription.next() => self.on_event(event),
                permit = hints.reserve(), if self.must_resync => {
                    let Ok(permit) = permit else { return };
                    permit.send(FeedEvent::Resync);
                    self.must_resync = false;
                }
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Ready => {
                tracing::info!("the feed is joined");
                self.set_joined(true);
                self.must_resync = true;
                self.settings.notifications.notify_one();
            }
            Event::Change(change) => match hint_of_change(&change) {
                Some(hint) => self.send(hint),
                None => self.must_resync = true,
            },
            Event::Broadcast(broadcast) => self.on_broadcast(&broadcast),
            Event::Lost { error, retry_in } => {
                tracing::warn!(error = %Chain(&error), ?retry_in, "the feed is lost");
                self.set_joined(false);
            }
        }
    }

    fn on_broadcast(&mut self, broadcast: &Broadcast) {
        match broadcast.event.as_str() {
            "generation" => {
                let payload = broadcast.payload.as_json().and_then(Value::as_object);
                match payload.and_then(hint_of_record) {
                    Some(hint) => self.send(hint),
                    None => self.must_resync = true,
                }
            }
            "notification" => self.settings.notifications.notify_one(),
            other => tracing::debug!(event = other, "an unknown broadcast was left aside"),
        }
    }

    fn send(&mut self, hint: FeedEvent) {
        if self.settings.hints.try_send(hint).is_err() {
            self.must_resync = true;
        }
    }

    fn set_joined(&self, joined: bool) {
        self.settings.health.set_feed_joined(joined);
        metrics::gauge!(telemetry::FEED_CONNECTED).set(f64::from(u8::from(joined)));
    }
}

/// The hint in a change, or none when the event does not name the agent.
fn hint_of_change(change: &Change) -> Option<FeedEvent> {
    let record = if change.record.is_empty() {
        &change.old
    } else {
        &change.record
    };
    hint_of_record(record)
}

fn hint_of_record(record: &Map<String, Value>) -> Option<FeedEvent> {
    let agent = record.get("agent_id")?.as_str()?.parse().ok()?;
    let generation = record
        .get("generation")
        .and_then(Value::as_u64)
        .map(Generation);
    Some(FeedEvent::Hint { agent, generation })
}
