//! What a socket does when time passes: it confirms subscriptions, tries failed ones again, ends expired tokens.
//! Never joins or leaves a channel.

use std::time::Duration;

use tokio::time::Instant;

use super::claims::{Claims, TokenRefused};
use super::join::Binding;
use super::socket::{Channel, End, Socket, system};
use crate::faults::SystemOk;

impl Channel {
    /// Lists when something is due.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = Instant> + use<> {
        let premature = self.premature.as_ref().map(|(at, _)| *at);
        [self.system_ok_at, premature, self.expires_at]
            .into_iter()
            .flatten()
    }
}

impl Socket {
    /// Tells when a channel that asks for changes is to be confirmed.
    pub(super) fn plan_system_ok(&self) -> Option<Instant> {
        let delay = match self.realtime.faults.system_ok() {
            SystemOk::Usual | SystemOk::Premature(_) | SystemOk::Failed => {
                let pace = self.realtime.pace.system_ok;
                // Spread over half to one and a half of the pace, by whatever the clock says.
                let spread = f64::from(jiff::Timestamp::now().subsec_microsecond() % 100) / 100.0;
                pace.mul_f64(0.5 + spread)
            }
            SystemOk::Delayed(delay) => delay,
            SystemOk::Omitted => return None,
        };
        Some(Instant::now() + delay)
    }

    /// Subscribes a channel's filters anew, if it has any; nothing comes until the next confirmation.
    pub(super) fn resubscribe(&mut self, topic: &str) {
        let (system_ok_at, key) = (self.plan_system_ok(), self.hub_key(topic));
        let Some(channel) = self.channels.get_mut(topic) else {
            return;
        };
        if channel
            .bindings
            .as_ref()
            .is_ok_and(|bindings| !bindings.is_empty())
        {
            channel.system_ok_at = system_ok_at;
            channel.premature = None;
            self.realtime.hub.activate(&key, Vec::new());
        }
    }

    /// Does what is due by now.
    pub(super) async fn on_deadline(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if self.idle_at <= now {
            return Err(End::Close(1000));
        }
        let topics: Vec<String> = self.channels.keys().cloned().collect();
        for topic in topics {
            self.on_channel_deadline(&topic, now).await?;
        }
        Ok(())
    }

    async fn on_channel_deadline(&mut self, topic: &str, now: Instant) -> Result<(), End> {
        let is_due = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now);
        let key = self.hub_key(topic);
        let Some(channel) = self.channels.get_mut(topic) else {
            return Ok(());
        };
        if let Some((_, bindings)) = channel.premature.take_if(|(at, _)| *at <= now) {
            self.realtime.hub.activate(&key, bindings);
        }
        if is_due(channel.expires_at) {
            let message = TokenRefused::Expired(0).reason();
            let words = message
                .split_once(": ")
                .map_or(message.as_str(), |(_, words)| words);
            return self.fail_channel(topic, words).await;
        }
        if is_due(channel.system_ok_at) {
            channel.system_ok_at = None;
            return self.confirm_changes(topic).await;
        }
        Ok(())
    }

    /// Puts a channel's filters in force and says so, or says why not.
    async fn confirm_changes(&mut self, topic: &str) -> Result<(), End> {
        let Some(channel) = self.channels.get(topic) else {
            return Ok(());
        };
        match channel.bindings.clone() {
            // Wrong parameters stay wrong.
            Err(reason) => self.tell_changes(topic, "error", &reason).await,
            Ok(bindings) => match self.subscribe(topic, bindings).await {
                Ok(()) => {
                    self.tell_changes(topic, "ok", "Subscribed to PostgreSQL")
                        .await
                }
                Err(reason) => {
                    let again = Instant::now() + self.realtime.pace.resubscribe;
                    if let Some(channel) = self.channels.get_mut(topic) {
                        channel.system_ok_at = Some(again);
                    }
                    self.tell_changes(topic, "error", &reason).await
                }
            },
        }
    }

    /// Puts filters in force, at once or when a fault says so.
    async fn subscribe(&mut self, topic: &str, bindings: Vec<Binding>) -> Result<(), String> {
        let system_ok = self.realtime.faults.system_ok();
        if system_ok == SystemOk::Failed {
            return Err("Subscribing to PostgreSQL failed by a fault".to_owned());
        }
        let bindings = self.realtime.check_tables(bindings).await?;
        self.realtime.faults.start_workers().await;
        let key = self.hub_key(topic);
        match (system_ok, self.channels.get_mut(topic)) {
            (SystemOk::Premature(delay), Some(channel)) => {
                channel.premature = Some((Instant::now() + delay, bindings));
            }
            _ => self.realtime.hub.activate(&key, bindings),
        }
        Ok(())
    }

    async fn tell_changes(&mut self, topic: &str, status: &str, words: &str) -> Result<(), End> {
        let channel = self.channels.get(topic);
        let join_ref = channel.and_then(|channel| channel.join_ref.clone());
        let payload = system(status, "postgres_changes", topic, words);
        self.push(join_ref.as_deref(), topic, "system", &payload)
            .await
    }
}

/// Turns the end of a token into a moment of our clock.
pub(super) fn expiry(claims: &Claims) -> Option<Instant> {
    let seconds = claims.expires_at? - jiff::Timestamp::now().as_second();
    Some(Instant::now() + Duration::from_secs(seconds.max(0).unsigned_abs()))
}
