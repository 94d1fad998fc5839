//! One agent's socket: hello, heartbeats, commands down, status and batches up.
//! It never parses an event and never decides what to send; the session does.

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, Utf8Bytes, WebSocket};
use hidps_wire::{
    AgentFrame, AgentId, Answer, DaemonFrame, EventBatch, Facts, Generation, Hello,
    MAX_AGENT_FRAME_BYTES, PROTOCOL_VERSION, Processes, Question, Usage, Welcome, decode, encode,
    frame_type,
};
use jiff::Timestamp;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::model::{
    ChangeReport, DesiredState, FactsReport, Milestone, Observation, OrgId, OwnedAgent,
    ProcessesReport, UsageReport,
};
use crate::ports::{AgentSession, DesiredSource, EventIntake, RawBatch, Records, SessionFactory};
use crate::steady_clock::steady_now;
use crate::streams::agent_greeting::{RETURN_WITHIN_MS, is_alive, part, receive_hello, stagger};
use crate::streams::client_certificates::PeerCertificate;
use crate::streams::holders::Holder;
use crate::streams::mailbox::{Mailbox, ToAgent};
use crate::streams::presence::{Presence, STOPPING};
use crate::streams::progress::Progress;
use crate::streams::questions::OpenQuestions;
use crate::streams::status_budget::StatusBudget;
use crate::streams::vital_signs::VitalSigns;
use crate::telemetry;

/// Batches an agent may have in flight: 32 of 32 events cover a burst of a thousand lines.
const CREDIT: u32 = 32;

/// Seconds between an agent's pings; three missed ones end the connection.
const HEARTBEAT_SECS: u32 = 15;

/// Silence after which a peer is dead.
const SILENCE: Duration = Duration::from_secs(3 * HEARTBEAT_SECS as u64);

/// Longest wait for `hello`, and for a frame to be taken by the peer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pause before detection is asked again whether it has room.
const STALL: Duration = Duration::from_millis(20);

/// Least time between two usage reports that rules see; an agent sends far fewer.
pub(super) const USAGE_EVERY: Duration = Duration::from_secs(1);

/// Why a connection ends whose agent has a newer one.
const SUPERSEDED: &str = "another connection of this agent took over";

/// Why a connection ends whose key was taken away.
const REVOKED: &str = "its key may not connect any more";

/// Why a connection ends whose key was replaced.
const REKEYED: &str = "its key was replaced; connect with the new one";

/// Why a connection ends whose agent's certificate does.
const EXPIRED: &str = "its certificate has expired; connect with a newer one";

/// What every agent connection needs.
pub struct AgentLinks {
    /// Who is connected, and where that is recorded.
    pub presence: Presence,
    /// Makes the session of a connection.
    pub sessions: Arc<dyn SessionFactory>,
    /// Desired state to follow.
    pub desired: Arc<dyn DesiredSource>,
    /// Where usage, conditions and changes go.
    pub records: Arc<dyn Records>,
    /// Where batches of events go.
    pub intake: Arc<dyn EventIntake>,
    /// Ends every connection.
    pub stop: CancellationToken,
}

impl std::fmt::Debug for AgentLinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentLinks")
            .field("presence", &self.presence)
            .finish_non_exhaustive()
    }
}

impl AgentLinks {
    /// Serves one authenticated connection until it ends.
    pub(super) fn serve(
        &self,
        owned: OwnedAgent,
        from: Option<IpAddr>,
        certificate: PeerCertificate,
        socket: WebSocket,
    ) -> impl Future<Output = ()> + Send {
        // Elsewhere from the first: an argument of a future takes its place in it twice.
        self.serve_boxed(Box::new(owned), from, certificate, Box::new(socket))
    }

    async fn serve_boxed(
        &self,
        owned: Box<OwnedAgent>,
        from: Option<IpAddr>,
        certificate: PeerCertificate,
        mut socket: Box<WebSocket>,
    ) {
        // Each phase is boxed, so that the long steady one does not carry the space of the others.
        let hello = match Box::pin(timeout(PATIENCE, receive_hello(&mut socket))).await {
            Ok(Ok(hello)) => hello,
            Ok(Err(reason)) => {
                metrics::counter!(telemetry::FRAMES_REFUSED, "peer" => "agent").increment(1);
                return Box::pin(part(*socket, &reason, RETURN_WITHIN_MS)).await;
            }
            Err(_) => {
                metrics::counter!(telemetry::SLOW_PEERS, "owed" => "hello").increment(1);
                return Box::pin(part(*socket, "no hello within 10 s", RETURN_WITHIN_MS)).await;
            }
        };
        let agent = owned.agent;
        let (connection, mailbox) = self.presence.enter(*owned, &hello, steady_now());
        self.presence.note_holder(
            agent,
            Holder {
                boot: hello.boot,
                address: from,
            },
        );
        let mut link = Box::new(Link::open(self, *owned, mailbox, *socket, &hello));
        drop(hello);
        link.certificate = certificate;
        link.look_at_certificate(Instant::now());
        let reason = Box::pin(link.run()).await;
        let last = link.signs.take_last_facts(Instant::now());
        link.record_facts(last);
        if reason == STOPPING {
            // What it knows to be taken in it does not send to the next daemon.
            Box::pin(link.acknowledge_rest()).await;
        }
        // An agent that connects anew has let go of its older connection; whoever answers there
        // is another holder of the same key.
        if reason == SUPERSEDED && Box::pin(self.is_answered(&mut link.socket)).await {
            self.presence.observe_twin(agent, from);
        }
        let retry_ms = if reason == REKEYED { 0 } else { stagger() };
        Box::pin(part(link.socket, &reason, retry_ms)).await;
        let left = &reason;
        self.presence.leave(agent, connection, left, steady_now());
        if reason == REVOKED {
            self.presence.expect_silence(agent);
        }
    }

    /// Records the steps of changes; those sent were given to the agent just now.
    pub(super) fn record_milestones(
        &self,
        agent_id: AgentId,
        milestones: Vec<(Generation, Timestamp, Milestone)>,
    ) {
        let now = Timestamp::now();
        for (generation, changed_at, milestone) in milestones {
            let at = |wanted| (milestone == wanted).then_some(now);
            self.records.change(ChangeReport {
                agent_id,
                generation,
                changed_at,
                sent_at: at(Milestone::Sent),
                applied_at: at(Milestone::Applied),
                observed_at: at(Milestone::Observed),
            });
        }
    }

    /// Whether somebody is alive at the other end; a drain does not wait for that.
    async fn is_answered(&self, socket: &mut WebSocket) -> bool {
        tokio::select! {
            is_alive = is_alive(socket) => is_alive,
            () = self.stop.cancelled() => false,
        }
    }
}

struct Link<'a> {
    links: &'a AgentLinks,
    agent: AgentId,
    org: OrgId,
    socket: WebSocket,
    mailbox: Arc<Mailbox>,
    session: Box<dyn AgentSession>,
    desired: watch::Receiver<Option<Arc<DesiredState>>>,
    progress: Arc<Progress>,
    questions: OpenQuestions,
    firewall_active: Option<bool>,
    certificate: PeerCertificate,
    /// When the certificate may have ended.
    certified_until: Option<Instant>,
    heard_at: Instant,
    signs: VitalSigns,
    submitted: u64,
    /// Usage before this time is not shown to rules.
    usage_at: Instant,
    statuses: StatusBudget,
    /// An agent that said too much is not read before this time.
    read_at: Option<Instant>,
    /// A batch detection had no room for; nothing more is read until it has.
    stalled: Option<RawBatch>,
}

enum Wake {
    Frame(Option<Result<Message, axum::Error>>),
    Mail(ToAgent),
    Desired,
    Progress(Result<u64, String>),
    Unstall,
    ReadAgain,
    Deadline,
    Stop,
}

impl<'a> Link<'a> {
    fn open(
        links: &'a AgentLinks,
        OwnedAgent { agent, org, .. }: OwnedAgent,
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
            org,
            socket,
            mailbox,
            session,
            desired,
            progress: Arc::default(),
            questions: OpenQuestions::default(),
            firewall_active: None,
            certificate: PeerCertificate::default(),
            certified_until: None,
            heard_at,
            signs: VitalSigns::new(heard_at),
            submitted: 0,
            usage_at: heard_at,
            statuses: StatusBudget::new(heard_at),
            read_at: None,
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
            let milestones = self.session.poll_milestones();
            self.links.record_milestones(self.agent, milestones);
            let wake = self.wait().await;
            match self.on_wake(wake) {
                ControlFlow::Continue(frame) => next = frame,
                ControlFlow::Break(reason) => return reason,
            }
        }
    }

    /// Acknowledges what would have been acknowledged a moment later.
    async fn acknowledge_rest(&mut self) {
        if let Some(seq) = self.progress.untold() {
            let credit = CREDIT;
            // The connection ends either way.
            self.send(&DaemonFrame::Ack { seq, credit }).await.ok();
        }
    }

    async fn wait(&mut self) -> Wake {
        let silence = self.heard_at + SILENCE;
        let session = self.session.deadline().map(Instant::from_std);
        let deadlines = [session, self.signs.facts_due(), self.certified_until];
        let deadlines = deadlines.into_iter().flatten();
        let deadline = deadlines.fold(silence, Instant::min);
        let is_stalled = self.stalled.is_some();
        let read_at = self.read_at;
        tokio::select! {
            () = self.links.stop.cancelled() => Wake::Stop,
            frame = self.socket.recv(), if !is_stalled && read_at.is_none() => Wake::Frame(frame),
            () = sleep_until(read_at.unwrap_or(silence)), if read_at.is_some() => Wake::ReadAgain,
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
            Wake::Stop => return ControlFlow::Break(STOPPING.into()),
            Wake::Frame(frame) => {
                self.on_heard(now);
                return self.on_frame(frame);
            }
            Wake::Mail(ToAgent::Superseded) => {
                return ControlFlow::Break(SUPERSEDED.into());
            }
            Wake::Mail(ToAgent::Revoked) => {
                return ControlFlow::Break(REVOKED.into());
            }
            Wake::Mail(ToAgent::Rekeyed) => {
                return ControlFlow::Break(REKEYED.into());
            }
            Wake::Mail(ToAgent::Ask { question, reply }) => {
                return ControlFlow::Continue(self.on_question(question, reply));
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
                self.on_heard(now);
                if let Some(batch) = self.stalled.take() {
                    self.submit(batch);
                }
            }
            Wake::ReadAgain => {
                self.on_heard(now);
                self.read_at = None;
            }
            Wake::Deadline if now >= self.heard_at + SILENCE => {
                return ControlFlow::Break("nothing was heard for 45 s".into());
            }
            Wake::Deadline if self.has_expired(now) => {
                return ControlFlow::Break(EXPIRED.into());
            }
            Wake::Deadline => {
                let facts = self.signs.take_facts(now);
                self.record_facts(facts);
                self.session.on_deadline(now.into_std());
            }
        }
        ControlFlow::Continue(None)
    }

    /// Notes when the certificate is to be looked at again.
    fn look_at_certificate(&mut self, now: Instant) {
        self.certified_until = self.certificate.good_for().map(|left| now + left);
    }

    /// Whether the certificate has ended with which this connection was opened.
    fn has_expired(&mut self, now: Instant) -> bool {
        if self.certified_until.is_some_and(|until| until <= now) {
            self.look_at_certificate(now);
        }
        self.certified_until.is_some_and(|until| until <= now)
    }

    /// The frame that asks; a plan that names no document is about what is desired now.
    fn on_question(
        &mut self,
        question: Question,
        reply: oneshot::Sender<Answer>,
    ) -> Option<DaemonFrame> {
        let desired = self.desired.borrow().clone();
        let document = desired.map(|desired| desired.document.clone());
        self.questions.ask(question, document, reply)
    }

    fn on_heard(&mut self, now: Instant) {
        self.heard_at = now;
        if self.signs.is_seen(now) {
            self.links.presence.seen(self.agent, steady_now());
        }
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
                let now = Instant::now();
                self.read_at = self.statuses.take(now);
                self.session.on_status(status, now.into_std());
            }
            Ok(AgentFrame::Usage(usage)) => self.on_usage(usage),
            Ok(AgentFrame::Processes(processes)) => self.on_processes(processes),
            Ok(AgentFrame::Facts(facts)) => self.on_facts(facts),
            Ok(AgentFrame::Answer { id, answer }) => self.questions.answer(id, answer),
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
            org: self.org,
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
        let now = Instant::now();
        if now >= self.usage_at {
            self.usage_at = now + USAGE_EVERY;
            let observed = observed_usage(&usage);
            self.links.presence.observe(self.agent, observed);
        }
        let report = UsageReport::of(self.agent, usage, self.firewall_active);
        if self.signs.is_news(&report, now) {
            self.links.records.usage(report);
        }
    }

    fn on_processes(&mut self, processes: Processes) {
        let now = Instant::now();
        self.read_at = self.statuses.take(now);
        if self.signs.are_processes_news(&processes, now) {
            self.links.records.processes(ProcessesReport {
                agent_id: self.agent,
                org: self.org,
                at: steady_now(),
                processes,
            });
        }
    }

    fn on_facts(&mut self, facts: Box<Facts>) {
        let now = Instant::now();
        self.read_at = self.statuses.take(now);
        self.signs.on_facts(facts);
        let facts = self.signs.take_facts(now);
        self.record_facts(facts);
    }

    fn record_facts(&self, facts: Option<Facts>) {
        if let Some(facts) = facts {
            self.links.records.facts(FactsReport {
                agent_id: self.agent,
                facts,
            });
        }
    }

    async fn send(&mut self, frame: &DaemonFrame) -> Result<(), String> {
        let sent = timeout(PATIENCE, self.socket.send(Message::text(encode(frame)))).await;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("the connection failed: {error}")),
            Err(_) => {
                metrics::counter!(telemetry::SLOW_PEERS, "owed" => "reading").increment(1);
                Err("the agent took no frame for 10 s".into())
            }
        }
    }
}

/// Usage as rules see it.
pub(super) fn observed_usage(usage: &Usage) -> Observation {
    let warmest = usage.sensors.iter().map(|sensor| sensor.celsius);
    Observation::Usage {
        cpu: usage.cpu,
        ram: usage.ram,
        storage: usage.storage,
        load: usage.load,
        celsius: warmest.reduce(f32::max),
    }
}

fn refuse_frame(reason: &str) -> ControlFlow<String, Option<DaemonFrame>> {
    metrics::counter!(telemetry::FRAMES_REFUSED, "peer" => "agent").increment(1);
    ControlFlow::Break(reason.to_owned())
}
