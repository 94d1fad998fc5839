//! Hears Realtime: turns its events into hints to look again, and proves by a canary that events
//! still come. It never reads a value out of an event; a hint names an agent and a generation at
//! most.

mod canary;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use hidps_realtime::{Broadcast, Change, Channel, Config, ConfigError, Event, Subscription};
use hidps_wire::{AgentId, Generation};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::Supabase;
use crate::health::Health;
use crate::persistence::feed::canary::{Act, Canary, Way};
use crate::ports::{AccessChanges, FeedProbe, KeyChanges};
use crate::telemetry::{self, Chain};

/// Topic of the private channel that the database's triggers send to.
const TOPIC: &str = "hidps:feed";

/// Table whose rows exist only to come back through the feed.
const CANARY_TABLE: &str = "feed_canary";

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

/// Where a feed's events go, and how it is proven.
pub struct FeedSettings {
    /// Hints for the mirror.
    pub hints: mpsc::Sender<FeedEvent>,
    /// Notified when notifications may be waiting.
    pub notifications: Arc<Notify>,
    /// Notified when an organization may want something else of detection.
    pub detection: Arc<Notify>,
    /// Hears when what people may see may have changed.
    pub access: Arc<dyn AccessChanges>,
    /// Hears when keys of agents may have stopped being good.
    pub keys: Arc<dyn KeyChanges>,
    /// Where it is recorded whether the feed is joined and carries what is written.
    pub health: Arc<Health>,
    /// Writes canaries.
    pub probe: Arc<dyn FeedProbe>,
    /// Time between two canaries.
    pub canary_every: Duration,
}

impl std::fmt::Debug for FeedSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FeedSettings")
            .field("canary_every", &self.canary_every)
            .finish_non_exhaustive()
    }
}

/// A canary being written, and what became of it.
type Writing = BoxFuture<'static, (u64, Result<(), String>)>;

/// The task that listens.
pub struct Feed {
    subscription: Subscription,
    settings: FeedSettings,
    must_resync: bool,
    /// Names this process, so that it hears its own canaries only.
    daemon_id: Uuid,
    canary: Canary,
    writing: Option<Writing>,
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
            .changes("public", "desired_generations")
            .changes("public", CANARY_TABLE);
        let key = supabase.secret_key.expose_secret();
        let config = Config::new(supabase.url.as_str(), key, channel);
        let canary = Canary::new(settings.canary_every, Instant::now().into_std());
        Ok(Self {
            subscription: Subscription::new(config)?,
            settings,
            must_resync: false,
            daemon_id: Uuid::new_v4(),
            canary,
            writing: None,
        })
    }

    /// Listens until it is told to stop; it reconnects by itself.
    pub async fn run(mut self, stop: CancellationToken) {
        let hints = self.settings.hints.clone();
        loop {
            self.act_on_canary();
            let canary_at = self.canary.deadline();
            tokio::select! {
                () = stop.cancelled() => return,
                event = self.subscription.next() => self.on_event(event),
                permit = hints.reserve(), if self.must_resync => {
                    let Ok(permit) = permit else { return };
                    permit.send(FeedEvent::Resync);
                    self.must_resync = false;
                }
                (beat, written) = written(&mut self.writing) => {
                    self.canary.on_written(beat, written, now());
                }
                () = sleep_until(canary_at.unwrap_or_else(now).into()), if canary_at.is_some() => {}
            }
            let (trip, fault) = self.canary.report();
            self.settings.health.set_canary(trip, fault);
        }
    }

    fn act_on_canary(&mut self) {
        match self.canary.act(now()) {
            Some(Act::Write(beat)) => {
                let (probe, daemon_id) = (Arc::clone(&self.settings.probe), self.daemon_id);
                self.writing = Some(Box::pin(async move {
                    let written = probe.beat(daemon_id, beat).await;
                    let written = written.inspect_err(
                        |error| tracing::warn!(error = %Chain(error), "the canary was not written"),
                    );
                    (beat, written.map_err(|error| error.for_everybody()))
                }));
            }
            Some(Act::Rejoin(reason)) => {
                tracing::warn!(reason, "the feed carries no canary; joining it again");
                metrics::counter!(telemetry::FEED_REJOINS, "reason" => reason).increment(1);
                self.subscription.rejoin(reason);
            }
            Some(Act::Compare) => {
                self.compare();
            }
            None => {}
        }
    }

    /// Lets everybody look again: something may have been missed.
    fn compare(&mut self) {
        self.must_resync = true;
        self.settings.notifications.notify_one();
        self.settings.detection.notify_one();
        self.settings.access.changed(None);
        self.settings.keys.changed(None);
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Ready => {
                tracing::info!("the feed is joined");
                self.set_joined(true);
                self.canary.on_ready(now());
                self.compare();
            }
            Event::Change(change) if change.table == CANARY_TABLE => {
                self.on_beat(Way::Changes, &change.record);
            }
            Event::Change(change) => match hint_of_change(&change) {
                Some(hint) => self.send(hint),
                None => self.must_resync = true,
            },
            Event::Broadcast(broadcast) => self.on_broadcast(&broadcast),
            Event::Lost { error, retry_in } => {
                tracing::warn!(error = %Chain(&error), ?retry_in, "the feed is lost");
                self.set_joined(false);
                self.canary.on_lost();
            }
        }
    }

    fn on_broadcast(&mut self, broadcast: &Broadcast) {
        let payload = broadcast.payload.as_json().and_then(Value::as_object);
        match broadcast.event.as_str() {
            "generation" => match payload.and_then(hint_of_record) {
                Some(hint) => self.send(hint),
                None => self.must_resync = true,
            },
            "canary" => {
                if let Some(payload) = payload {
                    self.on_beat(Way::Broadcast, payload);
                }
            }
            "notification" => self.settings.notifications.notify_one(),
            "detection" => self.settings.detection.notify_one(),
            "access" => {
                let persons = payload.and_then(|payload| ids_of(payload, "persons"));
                self.settings.access.changed(persons.as_deref());
            }
            "keys" => {
                let agents = payload.and_then(|payload| ids_of(payload, "agents"));
                self.settings.keys.changed(agents.as_deref());
            }
            other => tracing::debug!(event = other, "an unknown broadcast was left aside"),
        }
    }

    fn on_beat(&mut self, way: Way, record: &Map<String, Value>) {
        let daemon = record.get("daemon_id").and_then(Value::as_str);
        let is_ours = daemon.and_then(|id| id.parse().ok()) == Some(self.daemon_id);
        if let Some(beat) = record.get("beat").and_then(Value::as_u64)
            && is_ours
        {
            self.canary.on_heard(way, beat, now());
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

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Waits for the canary being written; forever when there is none.
async fn written(writing: &mut Option<Writing>) -> (u64, Result<(), String>) {
    match writing {
        Some(future) => {
            let result = future.await;
            *writing = None;
            result
        }
        None => std::future::pending().await,
    }
}

/// Those a message is about; none when it is about all or does not say it readably.
fn ids_of<T: FromStr>(payload: &Map<String, Value>, name: &str) -> Option<Vec<T>> {
    let ids = payload.get(name)?.as_array()?.iter();
    ids.map(|id| id.as_str()?.parse().ok()).collect()
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_that_does_not_name_each_of_its_ids_readably_is_about_all() {
        let id = Uuid::from_u128(1);
        let read = |payload: Value| {
            let payload = payload.as_object().expect("an object").clone();
            ids_of::<AgentId>(&payload, "agents")
        };

        let named = read(json!({"agents": [id.to_string()]}));
        assert_eq!(named, Some(vec![AgentId::new(id)]));
        for payload in [
            json!({}),
            json!({"agents": {}}),
            json!({"agents": [id.to_string(), "x"]}),
            json!({"agents": [1]}),
            json!({"persons": [id.to_string()]}),
        ] {
            assert_eq!(read(payload.clone()), None, "{payload}");
        }
    }
}
