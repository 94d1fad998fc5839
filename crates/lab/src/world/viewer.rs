//! A viewer's socket: the live log of an agent and questions to its host, with a person's token.
//! It keeps what it saw, so that a test can also say what did not come.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hidps_wire::{
    AgentId, Answer, LogEvent, MAX_DAEMON_FRAME_BYTES, Question, Refusal, StreamFrame, ViewerFrame,
    decode, encode,
};
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use uuid::Uuid;

/// Path of the viewers' socket.
const PATH: &str = "/v1/viewers/connect";

/// Why a viewer did not see what was wanted.
#[derive(Debug, thiserror::Error)]
pub enum ViewerError {
    /// The socket could not be opened.
    #[error("could not connect to {address} as a viewer")]
    Connect {
        /// The daemon.
        address: SocketAddr,
        /// What the library said.
        #[source]
        source: SocketError,
    },
    /// The socket broke.
    #[error("the viewer's socket broke while waiting for {wanted}")]
    Broken {
        /// What was waited for.
        wanted: String,
    },
    /// Nothing came in time.
    #[error("{wanted} did not come within {deadline:?}; {seen} frames came")]
    Deadline {
        /// What was waited for.
        wanted: String,
        /// How long.
        deadline: Duration,
        /// How many frames came instead.
        seen: usize,
    },
    /// The daemon said no.
    #[error("the daemon refused: {reason:?}: {message}")]
    Refused {
        /// The class.
        reason: Refusal,
        /// What it said.
        message: String,
    },
}

/// A connected viewer.
#[derive(Debug)]
pub struct Viewer {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    events: Vec<LogEvent<'static>>,
    next_event: usize,
}

/// What came of one frame.
enum Arrival {
    Events,
    Ready,
    Subscribed(AgentId),
    Ended(AgentId, Refusal),
    Answer(Uuid, Answer),
    Refused(Refusal, String),
    Other,
}

impl Viewer {
    /// Connects with a token in the header.
    ///
    /// # Errors
    /// When the daemon cannot be reached or refuses the token.
    pub async fn connect(address: SocketAddr, token: &str) -> Result<Self, ViewerError> {
        let failed = |source| ViewerError::Connect { address, source };
        let mut request = format!("ws://{address}{PATH}")
            .into_client_request()
            .map_err(failed)?;
        let bearer = format!("Bearer {token}").parse().map_err(|_| {
            failed(SocketError::Io(std::io::Error::other(
                "the token does not fit in a header",
            )))
        })?;
        request.headers_mut().insert("authorization", bearer);
        let (socket, _) = connect_async(request).await.map_err(failed)?;
        let mut viewer = Self {
            socket,
            events: Vec::new(),
            next_event: 0,
        };
        viewer
            .wait_for("the daemon's ready", Duration::from_secs(30), |arrival| {
                matches!(arrival, Arrival::Ready).then_some(())
            })
            .await?;
        Ok(viewer)
    }

    /// Shows a newer token over the open socket, as programs do before theirs expires.
    ///
    /// # Errors
    /// With the reason, when the daemon refuses it.
    pub async fn renew(&mut self, token: &str) -> Result<(), ViewerError> {
        let token = token.to_owned();
        self.send(&ViewerFrame::Authenticate { token }).await?;
        self.wait_for("the daemon's ready", Duration::from_secs(30), |arrival| {
            matches!(arrival, Arrival::Ready).then_some(())
        })
        .await
    }

    /// Subscribes to an agent.
    ///
    /// # Errors
    /// With the reason, when the daemon refuses.
    pub async fn subscribe(&mut self, agent_id: AgentId) -> Result<(), ViewerError> {
        self.send(&ViewerFrame::Subscribe { agent_id }).await?;
        self.wait_for("the subscription", Duration::from_secs(30), |arrival| {
            matches!(arrival, Arrival::Subscribed(agent) if *agent == agent_id).then_some(())
        })
        .await
    }

    /// Waits until the daemon ends the live log of an agent, and gives why.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn wait_ended(
        &mut self,
        agent_id: AgentId,
        deadline: Duration,
    ) -> Result<Refusal, ViewerError> {
        self.wait_for(
            "the end of the live log",
            deadline,
            |arrival| match arrival {
                Arrival::Ended(agent, reason) if *agent == agent_id => Some(*reason),
                Arrival::Ended(..)
                | Arrival::Events
                | Arrival::Ready
                | Arrival::Subscribed(_)
                | Arrival::Answer(..)
                | Arrival::Refused(..)
                | Arrival::Other => None,
            },
        )
        .await
    }

    /// Asks a host.
    ///
    /// # Errors
    /// With the reason, when the daemon refuses.
    pub async fn ask(
        &mut self,
        agent_id: AgentId,
        question: Question,
    ) -> Result<Answer, ViewerError> {
        let id = Uuid::new_v4();
        self.send(&ViewerFrame::Ask {
            id,
            agent_id,
            question,
        })
        .await?;
        self.wait_for("the host's answer", Duration::from_secs(60), |arrival| {
            let Arrival::Answer(of, answer) = arrival else {
                return None;
            };
            (*of == id).then(|| answer.clone())
        })
        .await
    }

    /// The next event that is wanted, among those not yet looked at.
    ///
    /// # Errors
    /// When it does not come in time.
    pub async fn next_event(
        &mut self,
        wanted: &str,
        deadline: Duration,
        matches: impl Fn(&LogEvent<'_>) -> bool,
    ) -> Result<LogEvent<'static>, ViewerError> {
        let end = tokio::time::Instant::now() + deadline;
        loop {
            while let Some(event) = self.events.get(self.next_event) {
                self.next_event += 1;
                if matches(event) {
                    return Ok(event.clone());
                }
            }
            let Ok(arrival) = timeout_at(end, self.read(wanted)).await else {
                return Err(ViewerError::Deadline {
                    wanted: wanted.to_owned(),
                    deadline,
                    seen: self.events.len(),
                });
            };
            arrival?;
        }
    }

    /// Every event that came so far.
    #[must_use]
    pub fn events(&self) -> &[LogEvent<'static>] {
        &self.events
    }

    async fn send(&mut self, frame: &ViewerFrame) -> Result<(), ViewerError> {
        let broken = |_| ViewerError::Broken {
            wanted: "the sending of a frame".to_owned(),
        };
        self.socket
            .send(Message::text(encode(frame)))
            .await
            .map_err(broken)
    }

    async fn wait_for<T>(
        &mut self,
        wanted: &str,
        deadline: Duration,
        matches: impl Fn(&Arrival) -> Option<T>,
    ) -> Result<T, ViewerError> {
        let end = tokio::time::Instant::now() + deadline;
        let mut seen = 0;
        loop {
            let Ok(arrival) = timeout_at(end, self.read(wanted)).await else {
                return Err(ViewerError::Deadline {
                    wanted: wanted.to_owned(),
                    deadline,
                    seen,
                });
            };
            seen += 1;
            let arrival = arrival?;
            if let Arrival::Refused(reason, message) = arrival {
                return Err(ViewerError::Refused { reason, message });
            }
            if let Some(value) = matches(&arrival) {
                return Ok(value);
            }
        }
    }

    async fn read(&mut self, wanted: &str) -> Result<Arrival, ViewerError> {
        let broken = || ViewerError::Broken {
            wanted: wanted.to_owned(),
        };
        let message = self
            .socket
            .next()
            .await
            .ok_or_else(broken)?
            .map_err(|_| broken())?;
        let Message::Text(text) = message else {
            return Ok(Arrival::Other);
        };
        let frame = decode::<StreamFrame<'_>>(&text, MAX_DAEMON_FRAME_BYTES);
        let frame = frame.map_err(|_| broken())?;
        Ok(match frame {
            StreamFrame::Ready { .. } => Arrival::Ready,
            StreamFrame::Subscribed { agent_id } => Arrival::Subscribed(agent_id),
            StreamFrame::Answer { id, answer, .. } => Arrival::Answer(id, answer),
            StreamFrame::Refused {
                reason, message, ..
            } => Arrival::Refused(reason, message),
            StreamFrame::Events { events, .. } => {
                self.events
                    .extend(events.into_iter().map(LogEvent::into_owned));
                Arrival::Events
            }
            StreamFrame::Unsubscribed { agent_id, reason } => Arrival::Ended(agent_id, reason),
            StreamFrame::Lagged { .. } => Arrival::Other,
        })
    }
}
