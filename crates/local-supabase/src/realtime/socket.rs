//! One Realtime socket: its channels, its timers, its faults.
//! Never reads the log; changes and broadcasts come to it through its queue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use serde_json::{Value, json};
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::time::Instant;

use super::Realtime;
use super::admission::TOPIC_PREFIX;
use super::claims::Claims;
use super::frame::{
    Body, Broadcast, Content, Frame, Version, encode, encode_broadcast, parse_binary, parse_text,
};
use super::hub::{Key, Member, Push, QUEUE, What};
use super::join::{Binding, Join};
use super::subscribing::expiry;
use crate::faults::Kick;

/// A client that sends nothing for this long is gone; Phoenix' default.
const IDLE: Duration = Duration::from_secs(60);
/// Longest wait for a client to take a frame.
const SEND_DEADLINE: Duration = Duration::from_secs(10);
/// Code of the one refused join that costs the whole socket.
const JOIN_RATE_LIMIT: &str = "ClientJoinRateLimitReached";
/// Topic of the frames that belong to the socket.
const SOCKET_TOPIC: &str = "phoenix";

/// A socket and its channels.
pub(super) struct Socket {
    pub(super) realtime: Arc<Realtime>,
    socket: WebSocket,
    version: Version,
    key: String,
    number: u64,
    pub(super) channels: BTreeMap<String, Channel>,
    queue_tx: mpsc::Sender<Push>,
    queue_rx: mpsc::Receiver<Push>,
    cut_off: Arc<Notify>,
    kicks: broadcast::Receiver<Kick>,
    stopping: watch::Receiver<bool>,
    pub(super) idle_at: Instant,
}

/// A joined channel.
pub(super) struct Channel {
    pub(super) join_ref: Option<String>,
    pub(super) claims: Arc<Claims>,
    pub(super) private: bool,
    pub(super) writes: bool,
    pub(super) hears_itself: bool,
    pub(super) acknowledges: bool,
    pub(super) bindings: Result<Vec<Binding>, String>,
    pub(super) system_ok_at: Option<Instant>,
    /// Filters that were confirmed and are in force only later.
    pub(super) premature: Option<(Instant, Vec<Binding>)>,
    pub(super) expires_at: Option<Instant>,
}

/// The socket is to be ended; says how.
pub(super) enum End {
    /// Without a word.
    Drop,
    /// With a close code.
    Close(u16),
}

/// Something to react to.
enum Input {
    Message(Option<Result<Message, axum::Error>>),
    Push(Option<Push>),
    Kick(Result<Kick, broadcast::error::RecvError>),
    Deadline,
    CutOff,
    Stopping,
}

impl Socket {
    /// Takes over an upgraded connection.
    pub(super) fn new(
        realtime: Arc<Realtime>,
        socket: WebSocket,
        version: Version,
        key: String,
    ) -> Self {
        let (queue_tx, queue_rx) = mpsc::channel(QUEUE);
        Self {
            number: realtime.hub.number_socket(),
            kicks: realtime.faults.kicks(),
            stopping: realtime.stopping.clone(),
            realtime,
            socket,
            version,
            key,
            channels: BTreeMap::new(),
            queue_tx,
            queue_rx,
            cut_off: Arc::new(Notify::new()),
            idle_at: Instant::now() + IDLE,
        }
    }

    /// Serves until the client or a fault ends it.
    pub(super) async fn run(mut self) {
        let end = loop {
            let input = self.next_input().await;
            if let Err(end) = self.on_input(input).await {
                break end;
            }
        };
        self.realtime.hub.leave_all(self.number);
        if let End::Close(code) = end {
            let close = CloseFrame {
                code,
                reason: "".into(),
            };
            // The client may be gone already, and then there is nobody to tell.
            drop(self.socket.send(Message::Close(Some(close))).await);
        }
    }

    async fn next_input(&mut self) -> Input {
        let deadline = self.deadline();
        tokio::select! {
            message = self.socket.recv() => Input::Message(message),
            push = self.queue_rx.recv() => Input::Push(push),
            kick = self.kicks.recv() => Input::Kick(kick),
            () = self.cut_off.notified() => Input::CutOff,
            () = tokio::time::sleep_until(deadline) => Input::Deadline,
            _ = self.stopping.wait_for(|stopping| *stopping) => Input::Stopping,
        }
    }

    fn deadline(&self) -> Instant {
        self.channels
            .values()
            .flat_map(Channel::deadlines)
            .fold(self.idle_at, Instant::min)
    }

    async fn on_input(&mut self, input: Input) -> Result<(), End> {
        match input {
            Input::Message(Some(Ok(message))) => self.on_message(message).await,
            Input::Message(Some(Err(_)) | None) => Err(End::Drop),
            Input::Push(Some(push)) => self.on_push(push).await,
            Input::Kick(Ok(kick)) => self.on_kick(kick).await,
            Input::Push(None) | Input::Kick(Err(_)) => Ok(()),
            Input::Deadline => self.on_deadline().await,
            Input::CutOff => Err(End::Drop),
            Input::Stopping => Err(End::Close(1001)),
        }
    }

    async fn on_message(&mut self, message: Message) -> Result<(), End> {
        self.idle_at = Instant::now() + IDLE;
        let frame = match message {
            Message::Text(text) => parse_text(text.as_str(), self.version),
            Message::Binary(bytes) => parse_binary(&bytes),
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Close(_) => return Err(End::Drop),
        };
        match frame {
            Some(frame) => self.on_frame(frame).await,
            // Phoenix crashes the socket's process on such a frame.
            None => Err(End::Close(1011)),
        }
    }

    async fn on_frame(&mut self, frame: Frame) -> Result<(), End> {
        let Frame {
            join_ref,
            reference,
            topic,
            content,
        } = frame;
        let reply = Reply {
            join_ref,
            reference,
            topic,
        };
        match content {
            Content::Event(event, _) if reply.topic == SOCKET_TOPIC => {
                if event == "heartbeat" && !self.realtime.faults.heartbeats_are_muted() {
                    return self.reply(&reply, "ok", json!({})).await;
                }
                Ok(())
            }
            Content::Event(event, payload) if event == "phx_join" => {
                self.on_join(&reply, &payload).await
            }
            _ if !self.channels.contains_key(&reply.topic) => {
                self.reply(&reply, "error", json!({ "reason": "unmatched topic" }))
                    .await
            }
            Content::Event(event, payload) => match event.as_str() {
                "phx_leave" => self.on_leave(&reply).await,
                "access_token" => self.on_token(&reply.topic, &payload).await,
                "broadcast" => {
                    let event = payload["event"].as_str().unwrap_or_default().to_owned();
                    let body = Body::Text(payload["payload"].clone(), None);
                    self.on_broadcast(&reply, Broadcast { event, body }).await
                }
                // Presence is accepted and always empty.
                "presence" => self.reply(&reply, "ok", json!({})).await,
                _ => Ok(()),
            },
            Content::Broadcast(broadcast) => self.on_broadcast(&reply, broadcast).await,
        }
    }

    async fn on_join(&mut self, reply: &Reply, payload: &Value) -> Result<(), End> {
        if self.realtime.faults.joins_are_ignored() {
            return Ok(());
        }
        let join = Join::parse(payload);
        let (claims, access) = match self.realtime.admit(&self.key, &reply.topic, &join).await {
            Ok(admitted) => admitted,
            Err(reason) => return self.refuse_join(reply, &reason).await,
        };
        if let Some(earlier) = self.channels.remove(&reply.topic) {
            let join_ref = earlier.join_ref.as_deref();
            self.push(join_ref, &reply.topic, "phx_close", &json!({}))
                .await?;
        }
        let claims = Arc::new(claims);
        let member = Member {
            queue: self.queue_tx.clone(),
            cut_off: Arc::clone(&self.cut_off),
            private: join.private,
            claims: Arc::clone(&claims),
            bindings: Vec::new(),
        };
        self.realtime.hub.join(self.hub_key(&reply.topic), member);
        let wants_changes = !join.echo.is_empty();
        let channel = Channel {
            join_ref: reply.join_ref.clone(),
            expires_at: expiry(&claims),
            claims,
            private: join.private,
            writes: access,
            hears_itself: join.hears_itself,
            acknowledges: join.acknowledges,
            bindings: join.bindings,
            system_ok_at: if wants_changes {
                self.plan_system_ok()
            } else {
                None
            },
            premature: None,
        };
        self.channels.insert(reply.topic.clone(), channel);
        self.reply(reply, "ok", json!({ "postgres_changes": join.echo }))
            .await?;
        if join.presence {
            let join_ref = reply.join_ref.as_deref();
            self.push(join_ref, &reply.topic, "presence_state", &json!({}))
                .await?;
        }
        Ok(())
    }

    async fn refuse_join(&mut self, to: &Reply, reason: &str) -> Result<(), End> {
        // Joining occupies a socket of Phoenix, so heartbeats wait as well.
        let delay = tokio::time::sleep(self.realtime.faults.refusal_delays().join);
        tokio::select! {
            () = delay => {}
            _ = self.stopping.wait_for(|stopping| *stopping) => return Err(End::Close(1001)),
        }
        let response = json!({ "reason": reason });
        self.reply(to, "error", response).await?;
        if reason.starts_with(JOIN_RATE_LIMIT) {
            return Err(End::Close(1000));
        }
        Ok(())
    }

    async fn on_leave(&mut self, reply: &Reply) -> Result<(), End> {
        self.realtime.hub.leave(&self.hub_key(&reply.topic));
        self.channels.remove(&reply.topic);
        self.reply(reply, "ok", json!({})).await?;
        self.push(
            reply.join_ref.as_deref(),
            &reply.topic,
            "phx_close",
            &json!({}),
        )
        .await
    }

    async fn on_token(&mut self, topic: &str, payload: &Value) -> Result<(), End> {
        let token = payload["access_token"].as_str();
        if token.is_none_or(|token| token.starts_with("sb_")) {
            return Ok(());
        }
        let claims = match self.realtime.identify_or(token, &self.key) {
            Ok(claims) => Arc::new(claims),
            Err(refused) => return self.fail_channel(topic, &refused.reason()).await,
        };
        let key = self.hub_key(topic);
        let Some(channel) = self.channels.get_mut(topic) else {
            return Ok(());
        };
        if *channel.claims == *claims {
            return Ok(());
        }
        channel.expires_at = expiry(&claims);
        channel.claims = Arc::clone(&claims);
        self.realtime.hub.reclaim(&key, claims);
        self.resubscribe(topic);
        Ok(())
    }

    async fn on_broadcast(&mut self, reply: &Reply, broadcast: Broadcast) -> Result<(), End> {
        let Some(channel) = self.channels.get(&reply.topic) else {
            return Ok(());
        };
        let acknowledges = channel.acknowledges;
        if channel.writes {
            let except = (!channel.hears_itself).then_some(self.number);
            self.realtime
                .hub
                .broadcast(&reply.topic, channel.private, except, broadcast);
        }
        if acknowledges {
            self.reply(reply, "ok", json!({})).await
        } else {
            Ok(())
        }
    }

    async fn on_push(&mut self, push: Push) -> Result<(), End> {
        let Push { topic, what } = push;
        let Some(channel) = self.channels.get(&topic) else {
            return Ok(());
        };
        match what {
            What::Change(ids, data) => {
                let join_ref = channel.join_ref.clone();
                let payload = json!({ "ids": ids, "data": *data });
                self.push(join_ref.as_deref(), &topic, "postgres_changes", &payload)
                    .await
            }
            What::Broadcast(broadcast) => {
                match encode_broadcast(self.version, &topic, &broadcast) {
                    Some(message) => self.send(message).await,
                    None => Ok(()),
                }
            }
        }
    }

    async fn on_kick(&mut self, kick: Kick) -> Result<(), End> {
        let topics: Vec<String> = self.channels.keys().cloned().collect();
        match kick {
            Kick::Drop => return Err(End::Drop),
            Kick::Close(code) => return Err(End::Close(code)),
            Kick::ChannelError => {
                for topic in topics {
                    self.close_channel(&topic, "phx_error").await?;
                }
            }
            Kick::ChannelClose => {
                for topic in topics {
                    self.close_channel(&topic, "phx_close").await?;
                }
            }
            Kick::Resubscribe => {
                for topic in topics {
                    self.resubscribe(&topic);
                }
            }
            Kick::SystemError(message) => {
                for topic in topics {
                    self.fail_channel(&topic, &message).await?;
                }
            }
        }
        Ok(())
    }

    /// Reports an error of a channel and closes it.
    pub(super) async fn fail_channel(&mut self, topic: &str, message: &str) -> Result<(), End> {
        if let Some(channel) = self.channels.get(topic) {
            let join_ref = channel.join_ref.clone();
            let payload = system("error", "system", topic, message);
            self.push(join_ref.as_deref(), topic, "system", &payload)
                .await?;
        }
        self.close_channel(topic, "phx_close").await
    }

    async fn close_channel(&mut self, topic: &str, event: &str) -> Result<(), End> {
        self.realtime.hub.leave(&self.hub_key(topic));
        match self.channels.remove(topic) {
            Some(channel) => {
                self.push(channel.join_ref.as_deref(), topic, event, &json!({}))
                    .await
            }
            None => Ok(()),
        }
    }

    async fn reply(&mut self, to: &Reply, status: &str, response: Value) -> Result<(), End> {
        let payload = json!({ "status": status, "response": response });
        let (join_ref, reference) = (to.join_ref.as_deref(), to.reference.as_deref());
        let message = encode(
            self.version,
            join_ref,
            reference,
            &to.topic,
            "phx_reply",
            &payload,
        );
        self.send(message).await
    }

    pub(super) async fn push(
        &mut self,
        join_ref: Option<&str>,
        topic: &str,
        event: &str,
        payload: &Value,
    ) -> Result<(), End> {
        let message = encode(self.version, join_ref, None, topic, event, payload);
        self.send(message).await
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        match tokio::time::timeout(SEND_DEADLINE, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Drop),
        }
    }

    pub(super) fn hub_key(&self, topic: &str) -> Key {
        (self.number, topic.to_owned())
    }
}

/// Where a reply goes.
struct Reply {
    join_ref: Option<String>,
    reference: Option<String>,
    topic: String,
}

pub(super) fn system(status: &str, extension: &str, topic: &str, message: &str) -> Value {
    json!({
        "status": status,
        "extension": extension,
        "channel": topic.strip_prefix(TOPIC_PREFIX).unwrap_or(topic),
        "message": message,
    })
}
