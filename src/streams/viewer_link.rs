//! One viewer's socket: token, subscriptions, live events and answers from hosts.
//! It never shows an agent that Postgres would not show this person, and never waits for a host.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt as _, StreamExt as _};
use hidps_wire::{
    AgentId, Answer, MAX_VIEWER_FRAME_BYTES, Question, Refusal, StreamFrame, ViewerFrame, decode,
    encode,
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::streams::access::{AccessCheck, Denied, Person};
use crate::streams::fanout::Fanout;
use crate::streams::mailbox::ToAgent;
use crate::streams::registry::Registry;
use crate::streams::viewer_queue::{Pending, ViewerQueue};
use crate::streams::viewer_rights::{Cause, Epoch, Rights};
use crate::streams::watchers::{Seat, Watchers};
use crate::telemetry;

/// Longest wait for a host's answer, and for a frame to be taken by the viewer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Most agents one viewer may watch at once, and most requests that may be under way.
const MAX_SUBSCRIPTIONS: usize = 64;
const MAX_REQUESTS: usize = 16;

/// Unreadable frames after which a viewer is taken for a broken program.
const MAX_BAD_FRAMES: u32 = 16;

/// What every viewer connection needs.
#[derive(Debug, Clone)]
pub(super) struct ViewerLinks {
    pub(super) access: AccessCheck,
    pub(super) registry: Arc<Registry>,
    pub(super) fanout: Arc<Fanout>,
    pub(super) watchers: Arc<Watchers>,
    /// Time between two checks that people may still see what they watch.
    pub(super) recheck_every: Duration,
    pub(super) stop: CancellationToken,
}

/// What a viewer came with.
pub(super) struct Arrival {
    /// The token of the handshake, if it carried one.
    pub(super) token: Option<String>,
    /// Its place among sockets of nobody known.
    pub(super) unknown: OwnedSemaphorePermit,
}

struct Link {
    links: ViewerLinks,
    socket: WebSocket,
    queue: Arc<ViewerQueue>,
    person: Option<Person>,
    /// The place among viewers of the person; none before there is one.
    seat: Option<Seat>,
    /// The place among sockets of nobody known; none once somebody was known.
    unknown: Option<OwnedSemaphorePermit>,
    rights: Rights,
    subscribed: BTreeSet<AgentId>,
    requests: FuturesUnordered<BoxFuture<'static, Outcome>>,
    is_authenticating: bool,
    bad_frames: u32,
}

/// How a request ended; `epoch` is when Postgres was asked.
enum Outcome {
    Authenticated(Result<Person, Denied>),
    Subscribed {
        agent: AgentId,
        epoch: Epoch,
        verdict: Result<(), Refusal>,
    },
    Answered {
        id: Uuid,
        agent: AgentId,
        epoch: Epoch,
        answer: Result<Answer, Refusal>,
    },
    Rechecked {
        asked: Vec<AgentId>,
        epoch: Epoch,
        cause: Cause,
        verdict: Result<Vec<AgentId>, Refusal>,
    },
}

enum Wake {
    Frame(Option<Result<Message, axum::Error>>),
    Events(Pending),
    Outcome(Outcome),
    Changed,
    Recheck,
    Stop,
}

type Flow = ControlFlow<(), Vec<StreamFrame<'static>>>;

/// Serves one viewer until it ends.
pub(super) async fn serve(links: ViewerLinks, arrival: Arrival, socket: WebSocket) {
    metrics::gauge!(telemetry::VIEWERS_CONNECTED).increment(1.0);
    let rights = Rights::new(PATIENCE, links.recheck_every);
    let mut link = Box::new(Link {
        links,
        socket,
        queue: Arc::default(),
        person: None,
        seat: None,
        unknown: Some(arrival.unknown),
        rights,
        subscribed: BTreeSet::new(),
        requests: FuturesUnordered::new(),
        is_authenticating: false,
        bad_frames: 0,
    });
    if let Some(token) = arrival.token {
        link.authenticate(token);
    }
    link.run().await;
    for agent in &link.subscribed {
        link.links.fanout.unsubscribe(*agent, &link.queue);
    }
    metrics::gauge!(telemetry::VIEWERS_CONNECTED).decrement(1.0);
}

impl Link {
    async fn run(&mut self) {
        loop {
            let frames = match self.wait().await {
                Wake::Stop => return,
                Wake::Frame(frame) => self.on_frame(frame),
                Wake::Outcome(outcome) => self.on_outcome(outcome),
                Wake::Changed => {
                    self.rights.on_change();
                    continue;
                }
                Wake::Recheck => self.on_recheck(),
                Wake::Events(pending) => {
                    if self.send_events(pending).await.is_break() {
                        return;
                    }
                    continue;
                }
            };
            let ControlFlow::Continue(frames) = frames else {
                return;
            };
            for frame in frames {
                if self.send(Message::text(encode(&frame))).await.is_break() {
                    return;
                }
            }
        }
    }

    async fn wait(&mut self) -> Wake {
        tokio::select! {
            () = self.links.stop.cancelled() => Wake::Stop,
            frame = self.socket.recv() => Wake::Frame(frame),
            Some(outcome) = self.requests.next() => Wake::Outcome(outcome),
            pending = self.queue.drain() => Wake::Events(pending),
            () = rung(self.seat.as_ref()) => Wake::Changed,
            () = sleep_until(self.rights.wake_at()) => Wake::Recheck,
        }
    }

    fn on_frame(&mut self, frame: Option<Result<Message, axum::Error>>) -> Flow {
        match frame {
            Some(Ok(Message::Text(text))) => match decode(&text, MAX_VIEWER_FRAME_BYTES) {
                Ok(frame) => self.on_request(frame),
                Err(error) => self.on_bad_frame(error.to_string()),
            },
            Some(Ok(Message::Binary(_))) => self.on_bad_frame("binary frames are not read".into()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Flow::Continue(Vec::new()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => Flow::Break(()),
        }
    }

    fn on_bad_frame(&mut self, message: String) -> Flow {
        metrics::counter!(telemetry::FRAMES_REFUSED, "peer" => "viewer").increment(1);
        self.bad_frames += 1;
        if self.bad_frames > MAX_BAD_FRAMES {
            return Flow::Break(());
        }
        Flow::Continue(vec![refused(Refusal::BadFrame, message, None, None)])
    }

    fn on_request(&mut self, frame: ViewerFrame) -> Flow {
        if let ViewerFrame::Authenticate { token } = frame {
            return self.on_authenticate(token);
        }
        let (agent, id) = match &frame {
            ViewerFrame::Ask { id, agent_id, .. } => (Some(*agent_id), Some(*id)),
            ViewerFrame::Subscribe { agent_id } | ViewerFrame::Unsubscribe { agent_id } => {
                (Some(*agent_id), None)
            }
            ViewerFrame::Authenticate { .. } => (None, None),
        };
        let Some(person) = self.person.clone() else {
            return Flow::Continue(vec![explain(Refusal::Unauthenticated, id, agent)]);
        };
        let adds = matches!(frame, ViewerFrame::Subscribe { .. });
        let is_full = adds && self.subscribed.len() >= MAX_SUBSCRIPTIONS;
        if is_full || self.requests.len() >= MAX_REQUESTS {
            return Flow::Continue(vec![explain(Refusal::TooMany, id, agent)]);
        }
        match frame {
            ViewerFrame::Authenticate { .. } => {}
            ViewerFrame::Subscribe { agent_id } if self.rights.is_granted(agent_id) => {
                return Flow::Continue(vec![self.begin_stream(agent_id)]);
            }
            ViewerFrame::Subscribe { agent_id } => self.subscribe(person, agent_id),
            ViewerFrame::Unsubscribe { agent_id } => {
                return Flow::Continue(vec![self.unsubscribe(agent_id, Refusal::Requested)]);
            }
            ViewerFrame::Ask {
                id,
                agent_id,
                question,
            } => self.ask(person, id, agent_id, question),
        }
        Flow::Continue(Vec::new())
    }

    /// One check at a time: each costs a request to Supabase, and anybody may ask for it.
    fn on_authenticate(&mut self, token: String) -> Flow {
        if self.is_authenticating {
            return self.on_bad_frame("a token is being checked; wait for its verdict".into());
        }
        self.authenticate(token);
        Flow::Continue(Vec::new())
    }

    fn authenticate(&mut self, token: String) {
        self.is_authenticating = true;
        let access = self.links.access.clone();
        self.requests.push(Box::pin(async move {
            Outcome::Authenticated(access.person(token).await)
        }));
    }

    fn begin_stream(&mut self, agent: AgentId) -> StreamFrame<'static> {
        self.subscribed.insert(agent);
        self.links.fanout.subscribe(agent, &self.queue);
        StreamFrame::Subscribed { agent_id: agent }
    }

    fn subscribe(&self, person: Person, agent: AgentId) {
        let (access, epoch) = (self.links.access.clone(), self.rights.epoch());
        self.requests.push(Box::pin(async move {
            Outcome::Subscribed {
                agent,
                epoch,
                verdict: may_read(&access, &person, agent).await,
            }
        }));
    }

    fn unsubscribe(&mut self, agent: AgentId, reason: Refusal) -> StreamFrame<'static> {
        self.subscribed.remove(&agent);
        self.links.fanout.unsubscribe(agent, &self.queue);
        StreamFrame::Unsubscribed {
            agent_id: agent,
            reason,
        }
    }

    fn ask(&self, person: Person, id: Uuid, agent: AgentId, question: Question) {
        let (access, registry) = (self.links.access.clone(), Arc::clone(&self.links.registry));
        let (epoch, is_granted) = (self.rights.epoch(), self.rights.is_granted(agent));
        self.requests.push(Box::pin(async move {
            let allowed = match is_granted {
                true => Ok(()),
                false => may_read(&access, &person, agent).await,
            };
            let answer = match allowed {
                Ok(()) => ask_host(&registry, agent, question).await,
                Err(refusal) => Err(refusal),
            };
            Outcome::Answered {
                id,
                agent,
                epoch,
                answer,
            }
        }));
    }

    /// Rights may have changed while the host thought: the answer waits for another look.
    fn answer_if_still_allowed(&self, id: Uuid, agent: AgentId, answer: Answer) -> Flow {
        let Some(person) = self.person.clone() else {
            return Flow::Continue(vec![explain(
                Refusal::Unauthenticated,
                Some(id),
                Some(agent),
            )]);
        };
        let (access, epoch) = (self.links.access.clone(), self.rights.epoch());
        self.requests.push(Box::pin(async move {
            let allowed = may_read(&access, &person, agent).await;
            Outcome::Answered {
                id,
                agent,
                epoch,
                answer: allowed.map(|()| answer),
            }
        }));
        Flow::Continue(Vec::new())
    }

    fn on_outcome(&mut self, outcome: Outcome) -> Flow {
        let frame = match outcome {
            Outcome::Authenticated(result) => self.on_authenticated(result),
            Outcome::Subscribed {
                agent,
                epoch,
                verdict: Ok(()),
            } => match self.person.clone() {
                None => explain(Refusal::Unauthenticated, None, Some(agent)),
                Some(person) if epoch != self.rights.epoch() => {
                    self.subscribe(person, agent);
                    return Flow::Continue(Vec::new());
                }
                Some(_) => {
                    self.rights.on_answer(epoch, &[agent]);
                    self.begin_stream(agent)
                }
            },
            Outcome::Subscribed {
                agent,
                verdict: Err(reason),
                ..
            } => explain(reason, None, Some(agent)),
            Outcome::Answered {
                id,
                agent,
                epoch,
                answer: Ok(answer),
            } if epoch != self.rights.epoch() => {
                return self.answer_if_still_allowed(id, agent, answer);
            }
            Outcome::Answered {
                id,
                agent,
                epoch,
                answer: Ok(answer),
            } => {
                self.rights.on_answer(epoch, &[agent]);
                StreamFrame::Answer {
                    id,
                    agent_id: agent,
                    answer,
                }
            }
            Outcome::Answered {
                id,
                agent,
                answer: Err(reason),
                ..
            } => explain(reason, Some(id), Some(agent)),
            Outcome::Rechecked {
                asked,
                epoch,
                cause,
                verdict,
            } => return self.on_rechecked((&asked, epoch, cause), verdict),
        };
        Flow::Continue(vec![frame])
    }

    fn on_authenticated(&mut self, result: Result<Person, Denied>) -> StreamFrame<'static> {
        self.is_authenticating = false;
        let person = match result {
            Ok(person) => person,
            Err(Denied { reason, message }) => {
                self.bad_frames += 1;
                return match message {
                    Some(message) => refused(reason, message, None, None),
                    None => explain(reason, None, None),
                };
            }
        };
        let has_seat = self.seat.as_ref();
        if !has_seat.is_some_and(|seat| seat.is_of(person.user_id)) {
            let Some(seat) = self.links.watchers.seat(person.user_id) else {
                let message = "too many viewers of yours are connected; close one first";
                return refused(Refusal::TooMany, message.to_owned(), None, None);
            };
            self.seat = Some(seat);
        }
        self.unknown = None;
        self.rights
            .on_token(Duration::from_secs(person.expires_in()));
        let frame = StreamFrame::Ready {
            user_id: person.user_id,
            expires_in: person.expires_in(),
        };
        self.person = Some(person);
        frame
    }

    /// Asks again whether the person may see what they watch; without a person the wait is over.
    fn on_recheck(&mut self) -> Flow {
        if self.rights.is_expired() {
            return Flow::Continue(self.end_person(Refusal::Unauthenticated, "expiry"));
        }
        let cause = self.rights.begin_check();
        if self.rights.is_blind() {
            let watched = std::mem::take(&mut self.subscribed).into_iter();
            let end = |agent| self.unsubscribe(agent, Refusal::Unavailable);
            return Flow::Continue(watched.map(end).collect());
        }
        let Some(person) = self.person.clone() else {
            return Flow::Break(());
        };
        let (access, epoch) = (self.links.access.clone(), self.rights.epoch());
        let asked: Vec<AgentId> = self.subscribed.iter().copied().collect();
        self.requests.push(Box::pin(async move {
            let verdict = access.readable(&person, asked.clone()).await;
            Outcome::Rechecked {
                asked,
                epoch,
                cause,
                verdict,
            }
        }));
        Flow::Continue(Vec::new())
    }

    /// Ends what may no longer be seen; an agent that was not asked about, because it was subscribed
    /// to since, is no loss.
    fn on_rechecked(
        &mut self,
        (asked, epoch, cause): (&[AgentId], Epoch, Cause),
        verdict: Result<Vec<AgentId>, Refusal>,
    ) -> Flow {
        let readable = match verdict {
            Ok(readable) => readable,
            // A short outage proves nothing; the streams go on until an answer says otherwise or
            // nobody has been able to check for too long.
            Err(Refusal::Unavailable) => return Flow::Continue(Vec::new()),
            // Asked with a token that was replaced meanwhile.
            Err(_) if epoch != self.rights.epoch() => return Flow::Continue(Vec::new()),
            Err(reason) => return Flow::Continue(self.end_person(reason, cause.word())),
        };
        self.rights.on_answer(epoch, &readable);
        let is_lost = |agent: &&AgentId| !readable.contains(agent);
        let lost: Vec<AgentId> = asked
            .iter()
            .filter(is_lost)
            .filter(|agent| self.subscribed.contains(agent))
            .copied()
            .collect();
        count_ended(lost.len(), cause.word());
        let end = |agent| self.unsubscribe(agent, Refusal::Forbidden);
        Flow::Continue(lost.into_iter().map(end).collect())
    }

    /// Ends everything of the person, who may show another token before the socket is closed.
    fn end_person(&mut self, reason: Refusal, cause: &'static str) -> Vec<StreamFrame<'static>> {
        (self.person, self.seat) = (None, None);
        self.rights.on_end(PATIENCE);
        let watched = std::mem::take(&mut self.subscribed);
        count_ended(watched.len(), cause);
        if watched.is_empty() {
            return vec![explain(reason, None, None)];
        }
        let end = |agent| self.unsubscribe(agent, reason);
        watched.into_iter().map(end).collect()
    }

    /// Writes all that waits and flushes once, so that a burst costs one system call.
    async fn send_events(&mut self, pending: Pending) -> ControlFlow<()> {
        let watched = |agent: &AgentId| self.subscribed.contains(agent);
        let lags = pending.dropped.iter().filter(|(agent, _)| watched(agent));
        let lags: Vec<Message> = lags
            .map(|(agent_id, dropped)| StreamFrame::Lagged {
                agent_id: *agent_id,
                dropped: *dropped,
            })
            .map(|frame| Message::text(encode(&frame)))
            .collect();
        let frames = pending
            .frames
            .into_iter()
            .filter(|(agent, _)| watched(agent));
        let frames: Vec<Message> = frames.map(|(_, frame)| Message::Text(frame)).collect();
        let socket = &mut self.socket;
        let written = timeout(PATIENCE, async {
            for message in lags.into_iter().chain(frames) {
                socket.feed(message).await?;
            }
            socket.flush().await
        });
        match written.await {
            Ok(Ok(())) => ControlFlow::Continue(()),
            Ok(Err(_)) | Err(_) => ControlFlow::Break(()),
        }
    }

    async fn send(&mut self, message: Message) -> ControlFlow<()> {
        match timeout(PATIENCE, self.socket.send(message)).await {
            Ok(Ok(())) => ControlFlow::Continue(()),
            Ok(Err(_)) | Err(_) => ControlFlow::Break(()),
        }
    }
}

/// Waits until the person's rights may have changed; forever without a person.
async fn rung(seat: Option<&Seat>) {
    match seat {
        Some(seat) => seat.rung().await,
        None => std::future::pending().await,
    }
}

fn count_ended(n: usize, cause: &'static str) {
    let n = u64::try_from(n).unwrap_or(u64::MAX);
    metrics::counter!(telemetry::STREAMS_ENDED, "cause" => cause).increment(n);
}

async fn may_read(access: &AccessCheck, person: &Person, agent: AgentId) -> Result<(), Refusal> {
    let readable = access.readable(person, vec![agent]).await?;
    if readable.contains(&agent) {
        Ok(())
    } else {
        Err(Refusal::Forbidden)
    }
}

async fn ask_host(
    registry: &Registry,
    agent: AgentId,
    question: Question,
) -> Result<Answer, Refusal> {
    let mailbox = registry.mailbox(agent).ok_or(Refusal::AgentOffline)?;
    let (reply, answer) = oneshot::channel();
    if !mailbox.push(ToAgent::Ask { question, reply }) {
        return Err(Refusal::TooMany);
    }
    match timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(Refusal::AgentOffline),
        Err(_) => Err(Refusal::Timeout),
    }
}

fn explain(reason: Refusal, id: Option<Uuid>, agent_id: Option<AgentId>) -> StreamFrame<'static> {
    let message = match reason {
        Refusal::Unauthenticated => "send a valid Supabase access token first",
        Refusal::Forbidden => "you may not read this agent",
        Refusal::AgentOffline => "the agent is not connected",
        Refusal::Timeout => "the agent did not answer within 10 s",
        Refusal::BadFrame => "the frame cannot be read",
        Refusal::TooMany => "too many subscriptions or requests at once; end some first",
        Refusal::Unavailable => "access cannot be checked just now; try again",
        Refusal::Requested => "as asked",
    };
    refused(reason, message.to_owned(), id, agent_id)
}

const fn refused(
    reason: Refusal,
    message: String,
    id: Option<Uuid>,
    agent_id: Option<AgentId>,
) -> StreamFrame<'static> {
    StreamFrame::Refused {
        reason,
        message,
        id,
        agent_id,
    }
}
