//! One agent's socket: hello, heartbeats, commands down, status and batches up.
//! It never parses an event and never decides what to send; the session does.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use hidps_wire::{
    AgentFrame, AgentId, Answer, ConditionStatus, DaemonFrame, EventBatch, Hello,
    MAX_AGENT_FRAME_BYTES, PROTOCOL_VERSION, RetryAdvice, Usage, Welcome, decode, encode,
    frame_type, printable,
};
use jiff::Timestamp;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::chance::draw_share;
use crate::model::{
    ConditionKind, ConditionReport, DesiredState, HostFacts, PresenceReport, UsageReport,
};
use crate::ports::{AgentSession, DesiredSource, EventIntake, RawBatch, Records, SessionFactory};
use crate::streams::mailbox::{Mailbox, ToAgent};
use crate::streams::progress::Progress;
use crate::streams::registry::{ConnectionId, Registry};
use crate::telemetry;

/// Batches an agent may have in flight: 32 of 32 events cover a burst of a thousand lines.
const CREDIT: u32 = 32;

/// Seconds between an agent's pings; three missed ones end the connection.
const HEARTBEAT_SECS: u32 = 15;

/// Silence after which a peer is dead.
const SILENCE: Duration = Duration::from_secs(3 * HEARTBEAT_SECS as u64);

/// Longest wait for `hello`, and for a frame to be taken by the peer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Most questions that may be open on one connection.
const MAX_QUESTIONS: usize = 16;

/// Pause before detection is asked again whether it has room.
const STALL: Duration = Duration::from_millis(20);

/// Least time between two records that an agent was seen; each is a row Realtime carries.
const SEEN_EVERY: Duration = Duration::from_secs(30);

/// Longest claim of a host that is recorded or logged, in characters.
const MAX_CLAIM: usize = 255;

/// Upper end of the pause asked of agents when the daemon stops, so that they return spread out.
const RETURN_WITHIN_MS: u32 = 5_000;

/// What every agent connection needs.
pub struct AgentLinks {
    /// Who is connected.
    pub registry: Arc<Registry>,
    /// Makes the session of a connection.
    pub sessions: Arc<dyn SessionFactory>,
    /// Desired state to follow.
    pub desired: Arc<dyn DesiredSource>,
    /// Where presence, usage and conditions go.
    pub records: Arc<dyn Records>,
    /// Where batches of events go.
    pub intake: Arc<dyn EventIntake>,
    /// Ends every connection.
    pub stop: CancellationToken,
}

impl std::fmt::Debug for AgentLinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentLinks")
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

impl AgentLinks {
    /// Serves one authenticated connection until it ends.
    pub async fn serve(&self, agent: AgentId, mut socket: WebSocket) {
        // Each phase is boxed, so that the long steady one does not carry the space of the others.
        let hello = match Box::pin(timeout(PATIENCE, receive_hello(&mut socket))).await {
            Ok(Ok(hello)) => hello,
            Ok(Err(reason)) => return Box::pin(part(socket, &reason, RETURN_WITHIN_MS)).await,
            Err(_) => {
                return Box::pin(part(socket, "no hello within 10 s", RETURN_WITHIN_MS)).await;
            }
        };
        let (connection, mailbox) = self.registry.enter(agent);
        self.record_connected(agent, &hello);
        let mut link = Box::new(Link::open(self, agent, mailbox, socket, &hello));
        drop(hello);
        let reason = Box::pin(link.run()).await;
        Box::pin(part(link.socket, &reason, stagger())).await;
        self.record_left(agent, connection, &reason);
    }

    fn record_connected(&self, agent: AgentId, hello: &Hello) {
        let host = HostFacts {
            hostname: printable(&hello.hostname, MAX_CLAIM),
            os: printable(&hello.os, MAX_CLAIM),
            arch: printable(&hello.arch, MAX_CLAIM),
            agent_version: printable(&hello.agent_version, MAX_CLAIM),
        };
        tracing::info!(%agent, version = host.agent_version, "an agent connected");
        let message = format!("the agent is connected (version {})", host.agent_version);
        self.record_presence(agent, true, Some(host));
        self.record_condition(agent, ConditionStatus::True, "Connected", message);
    }

    /// Marks the agent offline unless a newer connection has taken over; the record is made
    /// before a newer one can be entered, so that it cannot overtake that one's.
    fn record_left(&self, agent: AgentId, connection: ConnectionId, reason: &str) {
        tracing::info!(%agent, reason, "an agent's connection ended");
        self.registry.leave(agent, connection, || {
            self.record_presence(agent, false, None);
            self.record_condition(
                agent,
                ConditionStatus::False,
                "Disconnected",
                reason.to_owned(),
            );
        });
    }

    fn record_presence(&self, agent_id: AgentId, online: bool, host: Option<HostFacts>) {
        self.records.presence(PresenceReport {
            agent_id,
            online,
            at: Timestamp::now(),
            host,
        });
    }

    fn record_condition(
        &self,
        agent_id: AgentId,
        status: ConditionStatus,
        reason: &str,
        message: String,
    ) {
        self.records.conditions(vec![ConditionReport {
            agent_id,
            kind: ConditionKind::Connected,
            status,
            reason: reason.to_owned(),
            message,
            observed_generation: None,
        }]);
    }
}

struct Link<'a> {
    links: &'a AgentLinks,
    agent: AgentId,
    socket: WebSocket,
    mailbox: Arc<Mailbox>,
    session: Box<dyn AgentSession>,
    desired: watch::Receiver<Option<Arc<DesiredState>>>,
    progress: Arc<Progress>,
    questions: Vec<(Uuid, oneshot::Sender<Answer>)>,
    firewall_active: Option<bool>,
    heard_at: Instant,
    seen_recorded_at: Instant,
    submitted: u64,
    /// A batch detection had no room for; nothing more is read until it has.
    stalled: Option<RawBatch>,
}

enum Wake {
    Frame(Option<Result<Message, axum::Error>>),
    Mail(ToAgent),
    Desired,
    Progress(Result<u64, String>),
    Unstall,
    Deadline,
    Stop,
}

impl<'a> Link<'a> {
    fn open(
        links: &'a AgentLinks,
        agent: AgentId,
        mailbox: Arc<Mailbox>,
        socket: WebSocket,
        hello: &Hello,
    ) -> Self {
        let heard_at = Instant::now();
        let mut session = links.sessions.open(agent);
        session.on_hello(hello, heard_at.into_std());
        let mut desired = links.desired.follow(agent);
        desired.mark_changed();
        Self {
            links,
            agent,
            socket,
            mailbox,
            session,
            desired,
            progress: Arc::default(),
            questions: Vec::new(),
            firewall_active: None,
            heard_at,
            seen_recorded_at: heard_at,
            submitted: 0,
            stalled: None,
        }
    }

    /// Serves until there is a reason to end, and gives it.
    async fn run(&mut self) -> String {
        let welcome = Welcome {
            protocol: PROTOCOL_VERSION,
            credit: CREDIT,
            heartbeat_secs: HEARTBEAT_SECS,
        };
        let mut next = Some(DaemonFrame::Welcome(welcome));
        loop {
            let conditions = self.session.poll_conditions();
            if !conditions.is_empty() {
                self.links.records.conditions(conditions);
            }
            while let Some(frame) = next.take().or_else(|| self.session.poll_frame()) {
                if let Err(reason) = self.send(&frame).await {
                    return reason;
                }
            }
            let wake = self.wait().await;
            match self.on_wake(wake) {
                ControlFlow::Continue(frame) => next = frame,
                ControlFlow::Break(reason) => return reason,
            }
        }
    }

    async fn wait(&mut self) -> Wake {
        let silence = self.heard_at + SILENCE;
        let session = self.session.deadline().map(Instant::from_std);
        let deadline = session.map_or(silence, |deadline| deadline.min(silence));
        let is_stalled = self.stalled.is_some();
        tokio::select! {
            () = self.links.stop.cancelled() => Wake::Stop,
            frame = self.socket.recv(), if !is_stalled => Wake::Frame(frame),
            () = sleep(STALL), if is_stalled => Wake::Unstall,
            mail = self.mailbox.next() => Wake::Mail(mail),
            Ok(()) = self.desired.changed() => Wake::Desired,
            news = self.progress.news() => Wake::Progress(news),
            () = sleep_until(deadline) => Wake::Deadline,
        }
    }

    fn on_wake(&mut self, wake: Wake) -> ControlFlow<String, Option<DaemonFrame>> {
        let now = Instant::now();
        match wake {
            Wake::Stop => return ControlFlow::Break("the daemon is stopping".into()),
            Wake::Frame(frame) => {
                self.heard_at = now;
                return self.on_frame(frame);
            }
            Wake::Mail(ToAgent::Superseded) => {
                return ControlFlow::Break("another connection of this agent took over".into());
            }
            Wake::Mail(ToAgent::Revoked) => {
                return ControlFlow::Break("its key may not connect any more".into());
            }
            Wake::Mail(ToAgent::Ask { question, reply }) => {
                self.questions.retain(|(_, reply)| !reply.is_closed());
                if self.questions.len() >= MAX_QUESTIONS {
                    let message = "too many questions are open at this host; ask again later";
                    reply
                        .send(Answer::Failed {
                            message: message.into(),
                        })
                        .ok();
                    return ControlFlow::Continue(None);
                }
                let id = Uuid::new_v4();
                self.questions.push((id, reply));
                return ControlFlow::Continue(Some(DaemonFrame::Ask { id, question }));
            }
            Wake::Desired => {
                let desired = self.desired.borrow_and_update().clone();
                if let Some(desired) = desired {
                    self.session.on_desired(desired, now.into_std());
                }
            }
            Wake::Progress(Ok(seq)) => {
                return ControlFlow::Continue(Some(DaemonFrame::Ack {
                    seq,
                    credit: CREDIT,
                }));
            }
            Wake::Progress(Err(reason)) => return ControlFlow::Break(reason),
            Wake::Unstall => {
                self.heard_at = now;
                if let Some(batch) = self.stalled.take() {
                    self.submit(batch);
                }
            }
            Wake::Deadline if now >= self.heard_at + SILENCE => {
                return ControlFlow::Break("nothing was heard for 45 s".into());
            }
            Wake::Deadline => self.session.on_deadline(now.into_std()),
        }
        ControlFlow::Continue(None)
    }

    fn on_frame(
        &mut self,
        frame: Option<Result<Message, axum::Error>>,
    ) -> ControlFlow<String, Option<DaemonFrame>> {
        match frame {
            Some(Ok(Message::Text(text))) => self.on_text(text),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => ControlFlow::Continue(None),
            Some(Ok(Message::Binary(_))) => refuse_frame("binary frames are not of the protocol"),
            Some(Ok(Message::Close(_))) | None => ControlFlow::Break("the agent closed".into()),
            Some(Err(error)) => refuse_frame(&format!("the connection failed: {error}")),
        }
    }

    fn on_text(&mut self, text: Utf8Bytes) -> ControlFlow<String, Option<DaemonFrame>> {
        if frame_type(&text).is_some_and(|name| *name == *EventBatch::TYPE) {
            return self.on_batch(text);
        }
        match decode(&text, MAX_AGENT_FRAME_BYTES) {
            Ok(AgentFrame::Hello(_)) => return refuse_frame("hello comes once, first"),
            Ok(AgentFrame::Status(status)) => {
                self.firewall_active = status.firewall_active;
                self.session.on_status(status, Instant::now().into_std());
            }
            Ok(AgentFrame::Usage(usage)) => self.on_usage(usage),
            Ok(AgentFrame::Answer { id, answer }) => self.on_answer(id, answer),
            Err(error) => return refuse_frame(&error.to_string()),
        }
        ControlFlow::Continue(None)
    }

    fn on_batch(&mut self, text: Utf8Bytes) -> ControlFlow<String, Option<DaemonFrame>> {
        self.submitted += 1;
        if self.submitted - self.progress.batches() > u64::from(2 * CREDIT) {
            return refuse_frame("more batches were sent than the credit allows");
        }
        let (agent_id, progress) = (self.agent, Arc::clone(&self.progress) as _);
        self.submit(RawBatch {
            agent_id,
            text,
            progress,
        });
        ControlFlow::Continue(None)
    }

    /// Hands a batch to detection; without room it waits, and the agent's socket stays unread.
    fn submit(&mut self, batch: RawBatch) {
        if let Err(batch) = self.links.intake.submit(batch) {
            metrics::counter!(telemetry::STALLS).increment(1);
            self.stalled = Some(batch);
        }
    }

    fn on_usage(&mut self, usage: Usage) {
        let percent = |value: f32| {
            if value.is_finite() {
                value.clamp(0.0, 100.0)
            } else {
                0.0
            }
        };
        if self.seen_recorded_at.elapsed() >= SEEN_EVERY {
            self.seen_recorded_at = Instant::now();
            self.links.record_presence(self.agent, true, None);
        }
        self.links.records.usage(UsageReport {
            agent_id: self.agent,
            cpu: percent(usage.cpu),
            ram: percent(usage.ram),
            storage: percent(usage.storage),
            firewall_active: self.firewall_active,
        });
    }

    fn on_answer(&mut self, id: Uuid, answer: Answer) {
        let position = self.questions.iter().position(|(open, _)| *open == id);
        let Some(position) = position else {
            tracing::debug!(agent = %self.agent, "an answer came too late or to no question");
            return;
        };
        let (_, reply) = self.questions.swap_remove(position);
        if reply.send(answer).is_err() {
            tracing::debug!(agent = %self.agent, "nobody waits for this answer any more");
        }
    }

    async fn send(&mut self, frame: &DaemonFrame) -> Result<(), String> {
        let sent = timeout(PATIENCE, self.socket.send(Message::text(encode(frame)))).await;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("the connection failed: {error}")),
            Err(_) => Err("the agent took no frame for 10 s".into()),
        }
    }
}

fn refuse_frame(reason: &str) -> ControlFlow<String, Option<DaemonFrame>> {
    metrics::counter!(telemetry::FRAMES_REFUSED, "peer" => "agent").increment(1);
    ControlFlow::Break(reason.to_owned())
}

async fn receive_hello(socket: &mut WebSocket) -> Result<Hello, String> {
    loop {
        match socket.recv().await {
            Some(Ok(Message::Text(text))) => match decode(&text, MAX_AGENT_FRAME_BYTES) {
                Ok(AgentFrame::Hello(hello)) if hello.protocol == PROTOCOL_VERSION => {
                    return Ok(hello);
                }
                Ok(AgentFrame::Hello(hello)) => {
                    return Err(format!(
                        "protocol {} is not spoken here, only {PROTOCOL_VERSION}; install the \
                         agent that belongs to this daemon",
                        hello.protocol
                    ));
                }
                Ok(AgentFrame::Status(_) | AgentFrame::Usage(_) | AgentFrame::Answer { .. }) => {
                    return Err("the first frame must be hello".into());
                }
                Err(error) => return Err(error.to_string()),
            },
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Binary(_) | Message::Close(_)) | Err(_)) | None => {
                return Err("the first frame must be hello".into());
            }
        }
    }
}

/// Says goodbye with the reason and closes; a peer that does not listen is left after a while.
async fn part(mut socket: WebSocket, reason: &str, retry_ms: u32) {
    let goodbye = DaemonFrame::Goodbye(RetryAdvice {
        reason: reason.to_owned(),
        retry_ms,
    });
    let farewell = async {
        socket.send(Message::text(encode(&goodbye))).await?;
        let short: String = reason.chars().take(40).collect();
        let close = CloseFrame {
            code: close_code::NORMAL,
            reason: short.into(),
        };
        socket.send(Message::Close(Some(close))).await
    };
    match timeout(Duration::from_secs(1), farewell).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) | Err(_) => tracing::debug!(reason, "the peer was gone before the goodbye"),
    }
}

/// A pause from 0 to [`RETURN_WITHIN_MS`], different for each connection.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the product lies between 0 and the constant"
)]
fn stagger() -> u32 {
    (draw_share() * f64::from(RETURN_WITHIN_MS)) as u32
}
