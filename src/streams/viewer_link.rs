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
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::streams::access::{AccessCheck, Denied, Person};
use crate::streams::fanout::Fanout;
use crate::streams::mailbox::ToAgent;
use crate::streams::registry::Registry;
use crate::streams::viewer_queue::{Pending, ViewerQueue};
use crate::telemetry;

/// Longest wait for a host's answer, and for a frame to be taken by the viewer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Time between two checks that the person may still see what they watch.
const RECHECK_EVERY: Duration = Duration::from_secs(10);

/// Longest time a stream goes on while no check can be made.
const BLIND_FOR: Duration = Duration::from_secs(60);

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
    pub(super) stop: CancellationToken,
}

struct Link {
    links: ViewerLinks,
    socket: WebSocket,
    queue: Arc<ViewerQueue>,
    person: Option<Person>,
    subscribed: BTreeSet<AgentId>,
    requests: FuturesUnordered<BoxFuture<'static, Outcome>>,
    recheck_at: Instant,
    checked_at: Instant,
    is_authenticating: bool,
    bad_frames: u32,
}

/// How a request ended.
enum Outcome {
    Authenticated(Result<Person, Denied>),
    Subscribed {
        agent: AgentId,
        verdict: Result<(), Refusal>,
    },
    Answered {
        id: Uuid,
        agent: AgentId,
        answer: Result<Answer, Refusal>,
    },
    Rechecked {
        asked: Vec<AgentId>,
        verdict: Result<Vec<AgentId>, Refusal>,
    },
}

enum Wake {
    Frame(Option<Result<Message, axum::Error>>),
    Events(Pending),
    Outcome(Outcome),
    Recheck,
    Stop,
}

type Flow = ControlFlow<(), Vec<StreamFrame<'static>>>;

/// Serves one viewer until it ends; `token` is what the handshake carried.
pub(super) async fn serve(links: ViewerLinks, token: Option<String>, socket: WebSocket) {
    metrics::gauge!(telemetry::VIEWERS_CONNECTED).increment(1.0);
    let mut link = Box::new(Link {
        links,
        socket,
        queue: Arc::default(),
        person: None,
        subscribed: BTreeSet::new(),
        requests: FuturesUnordered::new(),
        recheck_at: Instant::now() + PATIENCE,
        checked_at: Instant::now(),
        is_authenticating: false,
        bad_frames: 0,
    });
    if let Some(token) = token {
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
            () = sleep_until(self.recheck_at) => Wake::Recheck,
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

    fn subscribe(&self, person: Person, agent: AgentId) {
        let access = self.links.access.clone();
        self.requests.push(Box::pin(async move {
            Outcome::Subscribed {
                agent,
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
        self.requests.push(Box::pin(async move {
            let answer = match may_read(&access, &person, agent).await {
                Ok(()) => ask_host(&registry, agent, question).await,
                Err(refusal) => Err(refusal),
            };
            Outcome::Answered { id, agent, answer }
        }));
    }

    fn on_outcome(&mut self, outcome: Outcome) -> Flow {
        let frame = match outcome {
            Outcome::Authenticated(Ok(person)) => {
                self.is_authenticating = false;
                self.checked_at = Instant::now();
                let frame = StreamFrame::Ready {
                    user_id: person.user_id,
                    expires_in: person.expires_in(),
                };
                self.person = Some(person);
                // Whoever it was before may have seen other agents.
                self.recheck_at = Instant::now();
                frame
            }
            Outcome::Authenticated(Err(Denied { reason, message })) => {
                self.is_authenticating = false;
                self.bad_frames += 1;
                match message {
                    Some(message) => refused(reason, message, None, None),
                    None => explain(reason, None, None),
                }
            }
            Outcome::Subscribed {
                agent,
                verdict: Ok(()),
            } => {
                self.subscribed.insert(agent);
                self.links.fanout.subscribe(agent, &self.queue);
                StreamFrame::Subscribed { agent_id: agent }
            }
            Outcome::Subscribed {
                agent,
                verdict: Err(reason),
            } => explain(reason, None, Some(agent)),
            Outcome::Answered {
                id,
                agent,
                answer: Ok(answer),
            } => StreamFrame::Answer {
                id,
                agent_id: agent,
                answer,
            },
            Outcome::Answered {
                id,
                agent,
                answer: Err(reason),
            } => explain(reason, Some(id), Some(agent)),
            Outcome::Rechecked { asked, verdict } => return self.on_rechecked(&asked, verdict),
        };
        Flow::Continue(vec![frame])
    }

    /// Asks again whether the person may see what they watch; without a person the wait is over.
    fn on_recheck(&mut self) -> Flow {
        self.recheck_at = Instant::now() + RECHECK_EVERY;
        if self.checked_at.elapsed() > BLIND_FOR {
            let watched = std::mem::take(&mut self.subscribed).into_iter();
            let end = |agent| self.unsubscribe(agent, Refusal::Unavailable);
            return Flow::Continue(watched.map(end).collect());
        }
        let Some(person) = self.person.clone() else {
            return Flow::Break(());
        };
        let access = self.links.access.clone();
        let asked: Vec<AgentId> = self.subscribed.iter().copied().collect();
        self.requests.push(Box::pin(async move {
            let verdict = access.readable(&person, asked.clone()).await;
            Outcome::Rechecked { asked, verdict }
        }));
        Flow::Continue(Vec::new())
    }

    /// Ends what may no longer be seen; an agent that was not asked about, because it was subscribed
    /// to since, is no loss.
    fn on_rechecked(&mut self, asked: &[AgentId], verdict: Result<Vec<AgentId>, Refusal>) -> Flow {
        let (lost, reason): (Vec<AgentId>, _) = match verdict {
            Ok(readable) => {
                self.checked_at = Instant::now();
                let is_lost = |agent: &&AgentId| !readable.contains(agent);
                (
                    asked.iter().filter(is_lost).copied().collect(),
                    Refusal::Forbidden,
                )
            }
            // A short outage proves nothing; the streams go on until an answer says otherwise or
            // nobody has been able to check for too long.
            Err(Refusal::Unavailable) => return Flow::Continue(Vec::new()),
            Err(reason) => {
                self.person = None;
                (self.subscribed.iter().copied().collect(), reason)
            }
        };
        let lost = lost
            .into_iter()
            .filter(|agent| self.subscribed.contains(agent));
        let lost: Vec<AgentId> = lost.collect();
        let end = |agent| self.unsubscribe(agent, reason);
        Flow::Continue(lost.into_iter().map(end).collect())
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
