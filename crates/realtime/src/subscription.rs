//! Keeps one channel subscribed: connects, drives the session, waits, connects again.
//! Never decides what a frame means, never spawns a task, never buffers more than one frame's worth of output.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::{Sink, Stream};
use tokio::sync::watch;
use tokio::time::Sleep;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::backoff::draw_chance;
use crate::config::{AccessToken, Config};
use crate::endpoint::{Endpoint, Socket};
use crate::error::{ConfigError, RealtimeError, Remedy};
use crate::event::Event;
use crate::secret::Secret;
use crate::session::{Output, Patience, Session};

/// A channel that stays subscribed for as long as it is polled.
///
/// Heartbeats and reconnects happen inside [`Subscription::next`], so call it in a loop of its own: a pause of more
/// than about 30 s between calls costs the connection (and is then reported as [`Event::Lost`]).
pub struct Subscription {
    config: Config,
    endpoint: Endpoint,
    token_change: Option<TokenChange>,
    failures: u32,
    phase: Phase,
    doubt: Option<&'static str>,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("topic", &self.config.channel.topic)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

/// Frames read before the timer is asked although more have arrived: a flood must not silence heartbeats.
const MOST_UNASKED: u8 = 64;

type TokenChange = Pin<Box<dyn Future<Output = Option<watch::Receiver<Secret>>> + Send>>;
type Connecting = Pin<Box<dyn Future<Output = Result<Socket, RealtimeError>> + Send>>;

/// Where in the cycle a subscription is.
enum Phase {
    /// Pausing before the next attempt; a new token may end some pauses early.
    Waiting {
        pause: Pin<Box<Sleep>>,
        new_token_helps: bool,
    },
    /// Opening a connection.
    Connecting(Connecting),
    /// Connected.
    Open(Box<Link>),
}

/// A connection with its session.
struct Link {
    socket: Socket,
    session: Session,
    timer: Pin<Box<Sleep>>,
    /// A frame the socket has not taken yet.
    unsent: Option<Message>,
    /// Frames read since the timer was last asked.
    n_unasked: u8,
}

impl Subscription {
    /// Checks the configuration; nothing is connected before the first [`Subscription::next`].
    ///
    /// # Errors
    /// If the configuration can never work.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        if config.channel.topic.is_empty() {
            return Err(ConfigError::Topic);
        }
        let endpoint = Endpoint::parse(&config.url, &config.api_key, &config.extra_roots)?;
        let token_change = match &config.access_token {
            AccessToken::ApiKey => None,
            AccessToken::Watched(tokens) => Some(wait_for_token(tokens.clone())),
        };
        let phase = Phase::Connecting(start_connecting(&endpoint, &config));
        Ok(Self {
            config,
            endpoint,
            token_change,
            failures: 0,
            phase,
            doubt: None,
        })
    }

    /// Waits for the next event; never ends, and errors are events.
    ///
    /// Cancel-safe: dropping the future loses nothing.
    pub async fn next(&mut self) -> Event {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Leaves a connection that its owner no longer believes, such as one whose events stopped
    /// while its heartbeats go on; told as [`RealtimeError::Doubted`] by the next
    /// [`Subscription::next`], and followed by a new join. Between two connections it does nothing.
    pub fn rejoin(&mut self, reason: &'static str) {
        if !matches!(self.phase, Phase::Waiting { .. }) {
            self.doubt = Some(reason);
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if let Some(reason) = self.doubt.take() {
            return Poll::Ready(self.end(RealtimeError::Doubted { reason }));
        }
        loop {
            let token_came = self.poll_token(cx);
            match &mut self.phase {
                Phase::Waiting {
                    pause,
                    new_token_helps,
                } => {
                    let over = pause.as_mut().poll(cx).is_ready();
                    if !(over || token_came && *new_token_helps) {
                        return Poll::Pending;
                    }
                    self.phase = Phase::Connecting(start_connecting(&self.endpoint, &self.config));
                }
                Phase::Connecting(connecting) => match connecting.as_mut().poll(cx) {
                    Poll::Ready(Ok(socket)) => self.phase = Phase::Open(self.open(socket)),
                    Poll::Ready(Err(error)) => return Poll::Ready(self.lose(error, None)),
                    Poll::Pending => return Poll::Pending,
                },
                Phase::Open(link) => {
                    if token_came {
                        link.session.on_token(current_token(&self.config), now());
                    }
                    return match link.poll(cx) {
                        Poll::Ready(Ok(event)) => Poll::Ready(event),
                        Poll::Ready(Err(error)) => Poll::Ready(self.end(error)),
                        Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }

    fn poll_token(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(change) = &mut self.token_change else {
            return false;
        };
        match change.as_mut().poll(cx) {
            Poll::Ready(tokens) => {
                let came = tokens.is_some();
                self.token_change = tokens.map(wait_for_token);
                // The new future has not been polled; ask to be polled again so that it is.
                cx.waker().wake_by_ref();
                came
            }
            Poll::Pending => false,
        }
    }

    fn open(&self, socket: Socket) -> Box<Link> {
        let token = current_token(&self.config);
        let patience = Patience::from(&self.config);
        let session = Session::join(self.config.channel.clone(), patience, token, now());
        let timer = Box::pin(tokio::time::sleep_until(session.deadline().into()));
        Box::new(Link {
            socket,
            session,
            timer,
            unsent: None,
            n_unasked: 0,
        })
    }

    /// Leaves the connection; one that was ready for long begins the backoff anew.
    fn end(&mut self, error: RealtimeError) -> Event {
        let Phase::Open(link) = &self.phase else {
            return self.lose(error, None);
        };
        let used = link.session.token().clone();
        if link.session.ready_for(now()) >= Some(self.config.backoff.cap) {
            self.failures = 0;
        }
        self.lose(error, Some(&used))
    }

    /// Leaves the connection and plans the next one.
    fn lose(&mut self, error: RealtimeError, used: Option<&Secret>) -> Event {
        let mut remedy = error.remedy();
        if remedy == Remedy::NewToken && self.has_newer_token(used) {
            remedy = Remedy::Retry;
        }
        let retry_in = self
            .config
            .backoff
            .pause(remedy, self.failures, draw_chance());
        self.failures = self.failures.saturating_add(1);
        tracing::debug!(topic = self.config.channel.topic, ?retry_in, %error, "realtime channel lost");
        let new_token_helps = matches!(remedy, Remedy::NewToken | Remedy::GiveUp);
        let pause = Box::pin(tokio::time::sleep(retry_in));
        self.phase = Phase::Waiting {
            pause,
            new_token_helps,
        };
        Event::Lost { error, retry_in }
    }

    /// Tells whether the next join will carry another token than the one that was refused.
    fn has_newer_token(&self, used: Option<&Secret>) -> bool {
        match &self.config.access_token {
            // The gateway makes a new token out of an opaque key at each connect.
            AccessToken::ApiKey => self.config.api_key.is_opaque_key(),
            // It may have come while the old one was being refused.
            AccessToken::Watched(tokens) => used.is_some_and(|used| *used != *tokens.borrow()),
        }
    }
}

impl Link {
    /// Moves the connection on until something is to be told.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, RealtimeError>> {
        loop {
            if let Some(told) = self.poll_outputs(cx)? {
                return Poll::Ready(Ok(told));
            }
            if self.n_unasked >= MOST_UNASKED && self.poll_time(cx).is_ready() {
                continue;
            }
            match Pin::new(&mut self.socket).poll_next(cx) {
                Poll::Ready(Some(Ok(message))) => {
                    self.n_unasked = self.n_unasked.saturating_add(1);
                    self.on_message(message)?;
                }
                Poll::Ready(Some(Err(source))) => return Poll::Ready(Err(socket_failed(source))),
                Poll::Ready(None) => {
                    return Poll::Ready(Err(RealtimeError::SocketClosed { code: None }));
                }
                // Only now: what has arrived may be what a deadline waits for.
                Poll::Pending if self.poll_time(cx).is_ready() => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Tells the session the time when it is due.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.n_unasked = 0;
        self.timer.as_mut().reset(self.session.deadline().into());
        self.timer
            .as_mut()
            .poll(cx)
            .map(|()| self.session.on_time(now()))
    }

    /// Sends what the session wants sent, up to the first event.
    fn poll_outputs(&mut self, cx: &mut Context<'_>) -> Result<Option<Event>, RealtimeError> {
        while self.poll_send(cx)?.is_ready() {
            match self.session.poll_output() {
                Some(Output::Send(text)) => self.unsent = Some(Message::text(text)),
                Some(Output::Emit(event)) => return Ok(Some(event)),
                Some(Output::Fail(error)) => return Err(error),
                None => break,
            }
        }
        Ok(None)
    }

    /// Is ready once no frame waits; a peer that takes none is noticed by the session's deadlines.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, RealtimeError> {
        let mut socket = Pin::new(&mut self.socket);
        if self.unsent.is_some() {
            if socket
                .as_mut()
                .poll_ready(cx)
                .map_err(socket_failed)?
                .is_pending()
            {
                return Ok(Poll::Pending);
            }
            if let Some(message) = self.unsent.take() {
                socket.as_mut().start_send(message).map_err(socket_failed)?;
            }
        }
        // Also carries the answers to pings, which tungstenite queues by itself.
        match socket.poll_flush(cx) {
            Poll::Ready(Err(source)) => Err(socket_failed(source)),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(Poll::Ready(())),
        }
    }

    fn on_message(&mut self, message: Message) -> Result<(), RealtimeError> {
        match message {
            Message::Text(text) => self.session.on_text(text.as_str(), now()),
            Message::Binary(bytes) => self.session.on_binary(&bytes),
            Message::Close(frame) => {
                let code = frame.map(|frame| frame.code.into());
                return Err(RealtimeError::SocketClosed { code });
            }
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
        Ok(())
    }
}

fn start_connecting(endpoint: &Endpoint, config: &Config) -> Connecting {
    Box::pin(endpoint.clone().connect(config.connect_deadline))
}

fn wait_for_token(mut tokens: watch::Receiver<Secret>) -> TokenChange {
    Box::pin(async move { tokens.changed().await.is_ok().then_some(tokens) })
}

/// Gives the token a join should carry now.
fn current_token(config: &Config) -> Secret {
    match &config.access_token {
        AccessToken::ApiKey => config.api_key.clone(),
        AccessToken::Watched(tokens) => tokens.borrow().clone(),
    }
}

fn socket_failed(source: tungstenite::Error) -> RealtimeError {
    let closed = matches!(
        source,
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed
    );
    if closed {
        return RealtimeError::SocketClosed { code: None };
    }
    RealtimeError::Socket {
        source: Box::new(source),
    }
}

/// Reads the runtime's clock, which tests can stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[expect(
    dead_code,
    reason = "keeps the promise that a subscription may move between threads"
)]
fn assert_send(subscription: Subscription) -> impl Send {
    (subscription, Duration::ZERO)
}
