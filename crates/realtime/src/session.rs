//! One joined channel on one connection, as a state machine: frames, tokens and time go in, frames and events come out.
//! Never touches a socket, a clock or another connection; after a failure it only waits to be dropped.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::change::parse_change;
use crate::config::{Channel, Config};
use crate::error::RealtimeError;
use crate::event::{Broadcast, BroadcastPayload, Event};
use crate::protocol::{Frame, SOCKET_TOPIC, Undecodable, parse_binary, parse_text};
use crate::refusal::JoinRefusal;
use crate::secret::Secret;

/// Reference of the only join a session makes.
const JOIN_REF: &str = "1";
/// Longest text of the server that is repeated in an error.
const QUOTE_LIMIT: usize = 300;

/// What a session wants done.
#[derive(Debug)]
pub(crate) enum Output {
    /// Send this text frame.
    Send(String),
    /// Tell the owner.
    Emit(Event),
    /// Give the connection up.
    Fail(RealtimeError),
}

/// The channel's parts of the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    heartbeat_interval: Duration,
    reply_deadline: Duration,
    system_ok_deadline: Duration,
}

impl From<&Config> for Patience {
    fn from(config: &Config) -> Self {
        Self {
            heartbeat_interval: config.heartbeat_interval,
            reply_deadline: config.reply_deadline,
            system_ok_deadline: config.system_ok_deadline,
        }
    }
}

/// A join and what follows from it.
#[derive(Debug)]
pub(crate) struct Session {
    channel: Channel,
    topic: String,
    patience: Patience,
    token: Secret,
    /// A newer token came while the join was under way; the server takes one only on a joined channel.
    token_is_unsent: bool,
    next_ref: u64,
    joined: bool,
    /// Ids the server gave to our change filters.
    change_ids: Vec<Value>,
    heartbeat_at: Instant,
    /// Reference of the unanswered heartbeat and when it is overdue.
    heartbeat_reply: Option<(String, Instant)>,
    join_reply_by: Option<Instant>,
    system_ok_by: Option<Instant>,
    ready_since: Option<Instant>,
    outputs: VecDeque<Output>,
}

impl Session {
    /// Starts to join `channel` as the bearer of `token`.
    pub(crate) fn join(channel: Channel, patience: Patience, token: Secret, now: Instant) -> Self {
        let mut session = Self {
            topic: format!("realtime:{}", channel.topic),
            channel,
            token,
            token_is_unsent: false,
            next_ref: 2,
            joined: false,
            change_ids: Vec::new(),
            heartbeat_at: now + patience.heartbeat_interval,
            heartbeat_reply: None,
            join_reply_by: Some(now + patience.reply_deadline),
            system_ok_by: None,
            ready_since: None,
            outputs: VecDeque::new(),
            patience,
        };
        let payload = session.join_payload();
        session.send(Some(JOIN_REF), JOIN_REF, None, "phx_join", payload);
        session
    }

    /// Gives the next thing to do.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Tells when [`Session::on_time`] is due.
    pub(crate) fn deadline(&self) -> Instant {
        [
            self.heartbeat_reply.as_ref().map(|(_, by)| *by),
            self.join_reply_by,
            self.system_ok_by,
        ]
        .into_iter()
        .flatten()
        .fold(self.heartbeat_at, Instant::min)
    }

    /// Tells for how long changes have been received without a break.
    pub(crate) fn ready_for(&self, now: Instant) -> Option<Duration> {
        self.ready_since
            .map(|since| now.saturating_duration_since(since))
    }

    /// Gives the token of the join, to see whether a newer one exists.
    pub(crate) fn token(&self) -> &Secret {
        &self.token
    }

    /// Takes note of the time: sends what is due and fails on what is overdue.
    pub(crate) fn on_time(&mut self, now: Instant) {
        let overdue = |by: Option<Instant>| by.is_some_and(|by| by <= now);
        if overdue(self.join_reply_by) {
            self.fail(RealtimeError::JoinDeadline(self.patience.reply_deadline));
        } else if overdue(self.system_ok_by) {
            self.fail(RealtimeError::SystemOkDeadline(
                self.patience.system_ok_deadline,
            ));
        } else if overdue(self.heartbeat_reply.as_ref().map(|(_, by)| *by)) {
            self.fail(RealtimeError::HeartbeatDeadline(
                self.patience.reply_deadline,
            ));
        } else if self.heartbeat_at <= now {
            self.send_heartbeat(now);
        }
    }

    /// Takes a new access token.
    pub(crate) fn on_token(&mut self, token: Secret, now: Instant) {
        if token == self.token || token.is_opaque_key() {
            return;
        }
        self.token = token;
        if self.joined {
            self.send_token(now);
        } else {
            self.token_is_unsent = true;
        }
    }

    /// Takes a text frame.
    pub(crate) fn on_text(&mut self, text: &str, now: Instant) {
        match parse_text(text) {
            Ok(frame) if frame.topic == SOCKET_TOPIC => self.on_socket_frame(&frame),
            Ok(frame) if frame.topic == self.topic && self.is_of_this_join(&frame) => {
                self.on_channel_frame(frame, now);
            }
            Ok(_) => {}
            Err(Undecodable(what)) => self.fail(RealtimeError::Undecodable { what }),
        }
    }

    /// Takes a binary frame.
    pub(crate) fn on_binary(&mut self, bytes: &[u8]) {
        match parse_binary(bytes) {
            Ok((topic, broadcast)) if topic == self.topic && self.channel.broadcast => {
                self.emit(Event::Broadcast(broadcast));
            }
            Ok(_) => {}
            Err(Undecodable(what)) => self.fail(RealtimeError::Undecodable { what }),
        }
    }

    fn is_of_this_join(&self, frame: &Frame) -> bool {
        frame
            .join_ref
            .as_deref()
            .is_none_or(|join_ref| join_ref == JOIN_REF)
    }

    fn on_socket_frame(&mut self, frame: &Frame) {
        let answered = self
            .heartbeat_reply
            .as_ref()
            .map(|(reference, _)| reference.as_str());
        if frame.event == "phx_reply" && frame.reference.as_deref() == answered {
            self.heartbeat_reply = None;
        }
    }

    fn on_channel_frame(&mut self, frame: Frame, now: Instant) {
        match frame.event.as_str() {
            "phx_reply" if frame.reference.as_deref() == Some(JOIN_REF) => {
                self.on_join_reply(&frame.payload, now);
            }
            "system" => self.on_system(&frame.payload, now),
            "postgres_changes" => self.on_postgres_changes(frame.payload),
            "broadcast" if self.channel.broadcast => self.on_broadcast(frame.payload),
            "phx_close" => self.fail(RealtimeError::ChannelClosed),
            "phx_error" => self.fail(RealtimeError::ChannelCrashed),
            _ => {}
        }
    }

    fn on_join_reply(&mut self, payload: &Value, now: Instant) {
        self.join_reply_by = None;
        let response = &payload["response"];
        match payload["status"].as_str() {
            Some("ok") => self.on_joined(response, now),
            Some(_) => {
                let reason = self.quote(response["reason"].as_str().unwrap_or("no reason given"));
                let refusal = JoinRefusal::parse(&reason);
                self.fail(RealtimeError::JoinRefused { refusal, reason });
            }
            None => self.fail(RealtimeError::Undecodable {
                what: "status of the join reply",
            }),
        }
    }

    fn on_joined(&mut self, response: &Value, now: Instant) {
        if self.joined {
            return;
        }
        self.joined = true;
        if self.token_is_unsent {
            self.send_token(now);
        }
        if self.channel.changes.is_empty() {
            self.become_ready(now);
            return;
        }
        let ids: Option<Vec<Value>> = response["postgres_changes"]
            .as_array()
            .and_then(|bindings| bindings.iter().map(|one| one.get("id").cloned()).collect());
        match ids {
            Some(ids) if ids.len() == self.channel.changes.len() => {
                self.change_ids = ids;
                self.system_ok_by = Some(now + self.patience.system_ok_deadline);
            }
            _ => self.fail(RealtimeError::Undecodable {
                what: "bindings of the join reply",
            }),
        }
    }

    fn on_system(&mut self, payload: &Value, now: Instant) {
        let of_changes = payload["extension"] == "postgres_changes";
        match payload["status"].as_str() {
            Some("ok") if of_changes && !self.channel.changes.is_empty() => self.become_ready(now),
            Some("ok") => {}
            _ => {
                let message = self.quote(&text_of(&payload["message"]));
                self.fail(RealtimeError::System { message });
            }
        }
    }

    fn on_postgres_changes(&mut self, mut payload: Value) {
        let ids = payload["ids"].as_array();
        let known = ids.is_some_and(|ids| ids.iter().any(|id| self.change_ids.contains(id)));
        if !known {
            self.fail(RealtimeError::UnknownSubscription);
            return;
        }
        match parse_change(payload["data"].take()) {
            Ok(change) => self.emit(Event::Change(change)),
            Err(Undecodable(what)) => self.fail(RealtimeError::Undecodable { what }),
        }
    }

    fn on_broadcast(&mut self, mut payload: Value) {
        let Some(event) = payload["event"].as_str().map(str::to_owned) else {
            self.fail(RealtimeError::Undecodable {
                what: "event of a broadcast",
            });
            return;
        };
        let payload = BroadcastPayload::Json(payload["payload"].take());
        self.emit(Event::Broadcast(Broadcast { event, payload }));
    }

    fn become_ready(&mut self, now: Instant) {
        self.system_ok_by = None;
        self.ready_since.get_or_insert(now);
        self.emit(Event::Ready);
    }

    fn send_heartbeat(&mut self, now: Instant) {
        self.heartbeat_at = now + self.patience.heartbeat_interval;
        if self.heartbeat_reply.is_some() {
            // Its deadline decides; a second one in flight would only hide the first.
            return;
        }
        let reference = self.take_ref();
        self.send(None, &reference, Some(SOCKET_TOPIC), "heartbeat", json!({}));
        self.heartbeat_reply = Some((reference, now + self.patience.reply_deadline));
    }

    fn send_token(&mut self, now: Instant) {
        let reference = self.take_ref();
        let payload = json!({ "access_token": self.token.expose() });
        self.send(Some(JOIN_REF), &reference, None, "access_token", payload);
        if !self.channel.changes.is_empty() {
            // The server subscribes again under the new claims and says so.
            self.system_ok_by = Some(now + self.patience.system_ok_deadline);
        }
    }

    fn join_payload(&self) -> Value {
        let changes: Vec<Value> = self
            .channel
            .changes
            .iter()
            .map(|filter| {
                json!({
                    "event": filter.event.as_str(),
                    "schema": filter.schema,
                    "table": filter.table,
                })
            })
            .collect();
        let mut payload = json!({
            "config": {
                "broadcast": { "ack": false, "self": false },
                "presence": { "enabled": false, "key": "" },
                "postgres_changes": changes,
                "private": self.channel.private,
            }
        });
        if !self.token.is_opaque_key() {
            payload["access_token"] = json!(self.token.expose());
        }
        payload
    }

    fn take_ref(&mut self) -> String {
        let reference = self.next_ref.to_string();
        self.next_ref += 1;
        reference
    }

    fn send(
        &mut self,
        join_ref: Option<&str>,
        reference: &str,
        topic: Option<&str>,
        event: &str,
        payload: Value,
    ) {
        let frame = Frame {
            join_ref: join_ref.map(str::to_owned),
            reference: Some(reference.to_owned()),
            topic: topic.unwrap_or(&self.topic).to_owned(),
            event: event.to_owned(),
            payload,
        };
        self.outputs.push_back(Output::Send(frame.encode()));
    }

    fn emit(&mut self, event: Event) {
        self.outputs.push_back(Output::Emit(event));
    }

    fn fail(&mut self, error: RealtimeError) {
        self.outputs.push_back(Output::Fail(error));
    }

    /// Cuts a text of the server and takes our token out of it.
    fn quote(&self, text: &str) -> String {
        quote(text, &[&self.token])
    }
}

/// Cuts a text of the server and takes secrets out of it.
pub(crate) fn quote(text: &str, secrets: &[&Secret]) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        if !secret.expose().is_empty() {
            text = text.replace(secret.expose(), "***");
        }
    }
    text.chars().take(QUOTE_LIMIT).collect()
}

fn text_of(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
