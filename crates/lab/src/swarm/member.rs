//! One agent of the swarm: connects, greets, applies what it is sent, and comes back when cut off.
//! It never gives up and never acts but on what came over its connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use futures_util::{SinkExt as _, StreamExt as _};
use hidps_wire::{
    AgentFrame, AgentId, Answer, DaemonFrame, Hello, MAX_DAEMON_FRAME_BYTES, PROTOCOL_VERSION,
    Question, Usage, Welcome, decode, encode,
};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::backoff::Backoff;
use super::chance::{draw, share};
use super::connect::{Socket, connect};
use super::journal::Journal;
use super::ledger::{Ledger, Verdict};

/// The daemon answers hello from what it holds in memory.
const WELCOME_WITHIN: Duration = Duration::from_secs(15);

/// How often the agent program tells its load, unless it is configured otherwise.
const USAGE_EVERY: Duration = Duration::from_secs(30);

/// Heartbeats without a word from the daemon after which it is gone.
const SILENT_HEARTBEATS: u32 = 3;

/// One agent.
pub(super) struct Member {
    pub(super) number: usize,
    pub(super) id: AgentId,
    pub(super) key: SigningKey,
    pub(super) address: SocketAddr,
    pub(super) journal: Arc<Journal>,
    pub(super) ledger: Ledger,
}

/// Why a connection or an attempt ended.
enum End {
    /// The daemon said when to come back.
    Advised(Duration),
    /// Something failed.
    Failed(String),
}

impl Member {
    /// Keeps the link for ever, beginning after a pause.
    pub(super) async fn run(mut self, first_pause: Duration) {
        let mut backoff = Backoff::default();
        sleep(first_pause).await;
        loop {
            let wait = self.attempt(&mut backoff).await;
            sleep(wait).await;
        }
    }

    /// One connection from its beginning to its end; gives the wait after it.
    async fn attempt(&mut self, backoff: &mut Backoff) -> Duration {
        // In boxes: these phases are large, and most of its life an agent waits in neither.
        let connected = Box::pin(connect(self.address, self.id, &self.key)).await;
        let mut socket = match connected {
            Ok(socket) => socket,
            Err(error) => {
                self.journal.on_failed(error.to_string());
                let wait = backoff.next_wait(draw());
                return error.retry_after().map_or(wait, |asked| asked + wait);
            }
        };
        let welcome = match Box::pin(timeout(WELCOME_WITHIN, self.greet(&mut socket))).await {
            Ok(Ok(welcome)) => welcome,
            Ok(Err(end)) => return self.on_unwelcome(end, backoff),
            Err(_) => return self.on_unwelcome(failed("no welcome in time"), backoff),
        };
        self.journal.on_welcomed(self.number);
        let started = Instant::now();
        let end = self.talk(socket, &welcome).await;
        backoff.on_end(started.elapsed());
        let (reason, wait) = match end {
            End::Advised(asked) => ("goodbye".into(), Backoff::advised_wait(asked, draw())),
            End::Failed(reason) => (reason, backoff.next_wait(draw())),
        };
        self.journal.on_ended(self.number, reason);
        wait
    }

    fn on_unwelcome(&self, end: End, backoff: &mut Backoff) -> Duration {
        let (reason, wait) = match end {
            End::Advised(asked) => ("goodbye".into(), Backoff::advised_wait(asked, draw())),
            End::Failed(reason) => (reason, backoff.next_wait(draw())),
        };
        self.journal.on_failed(reason);
        wait
    }

    async fn greet(&self, socket: &mut Socket) -> Result<Welcome, End> {
        let hello = AgentFrame::Hello(Hello {
            protocol: PROTOCOL_VERSION,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            hostname: format!("swarm-{}", self.number),
            os: "linux".to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            boot: None,
            retires_keys: false,
            applied: self.ledger.applied().cloned(),
        });
        send(socket, &hello).await?;
        loop {
            match receive(socket).await? {
                Some(DaemonFrame::Welcome(welcome)) => return Ok(welcome),
                Some(DaemonFrame::Goodbye(advice)) => {
                    return Err(End::Advised(Duration::from_millis(advice.retry_ms.into())));
                }
                Some(DaemonFrame::Apply(_) | DaemonFrame::Ack { .. } | DaemonFrame::Ask { .. }) => {
                    return Err(failed("hello was not answered by welcome"));
                }
                None => {}
            }
        }
    }

    /// Talks until the connection ends; the state of the host is told first, as agents do.
    async fn talk(&mut self, mut socket: Socket, welcome: &Welcome) -> End {
        let heartbeat = Duration::from_secs(welcome.heartbeat_secs.max(1).into());
        let silence = heartbeat * SILENT_HEARTBEATS;
        let mut ping = ticks(heartbeat, heartbeat);
        // Agents are not started at the same instant, nor do they tell their load at the same.
        let mut usage = ticks(USAGE_EVERY.mul_f64(share()), USAGE_EVERY);
        let mut next = Some(AgentFrame::Status(self.ledger.status()));
        loop {
            if let Some(frame) = next.take()
                && let Err(end) = send(&mut socket, &frame).await
            {
                return end;
            }
            let woken = tokio::select! {
                frame = timeout(silence, receive(&mut socket)) => match frame {
                    Ok(frame) => frame.and_then(|frame| self.on_frame(frame)),
                    Err(_) => Err(failed("the daemon was silent for three heartbeats")),
                },
                _ = ping.tick() => {
                    let sent = socket.send(Message::Ping(Bytes::new())).await;
                    sent.map(|()| None).map_err(|error| failed(&error.to_string()))
                }
                _ = usage.tick() => Ok(Some(AgentFrame::Usage(made_up_usage()))),
            };
            match woken {
                Ok(frame) => next = frame,
                Err(end) => return end,
            }
        }
    }

    fn on_frame(&mut self, frame: Option<DaemonFrame>) -> Result<Option<AgentFrame>, End> {
        match frame {
            None | Some(DaemonFrame::Ack { .. }) => Ok(None),
            Some(DaemonFrame::Apply(apply)) => {
                if self.ledger.accept(&apply) == Verdict::Applied
                    && let Some(generation) = self.ledger.generation()
                {
                    self.journal.on_applied(self.number, generation);
                }
                Ok(Some(AgentFrame::Status(self.ledger.status())))
            }
            Some(DaemonFrame::Ask { id, question }) => {
                let answer = self.answer(&question);
                Ok(Some(AgentFrame::Answer { id, answer }))
            }
            Some(DaemonFrame::Goodbye(advice)) => {
                Err(End::Advised(Duration::from_millis(advice.retry_ms.into())))
            }
            Some(DaemonFrame::Welcome(_)) => Err(failed("a second welcome")),
        }
    }

    fn answer(&self, question: &Question) -> Answer {
        match question {
            Question::FirewallStatus => Answer::FirewallStatus {
                active: self.ledger.status().firewall_active == Some(true),
            },
            Question::FirewallRules | Question::Plan { .. } => Answer::Failed {
                message: "an agent of the swarm has no host".to_owned(),
            },
        }
    }
}

async fn send(socket: &mut Socket, frame: &AgentFrame) -> Result<(), End> {
    let sent = socket.send(Message::text(encode(frame))).await;
    sent.map_err(|error| failed(&error.to_string()))
}

/// The next frame, or none for what the library answers by itself.
async fn receive(socket: &mut Socket) -> Result<Option<DaemonFrame>, End> {
    match socket.next().await {
        Some(Ok(Message::Text(text))) => decode(&text, MAX_DAEMON_FRAME_BYTES)
            .map(Some)
            .map_err(|error| failed(&error.to_string())),
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(None),
        Some(Ok(Message::Close(_))) | None => Err(failed("the daemon closed")),
        Some(Ok(Message::Binary(_) | Message::Frame(_))) => Err(failed("a binary frame")),
        Some(Err(error)) => Err(failed(&error.to_string())),
    }
}

fn failed(reason: &str) -> End {
    End::Failed(reason.to_owned())
}

fn ticks(first: Duration, every: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + first, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// A load that differs from the last one, so that the daemon has something to write.
fn made_up_usage() -> Usage {
    let percent = || (share() * 100.0) as f32;
    Usage {
        cpu: percent(),
        ram: percent(),
        storage: percent(),
        ..Usage::default()
    }
}
