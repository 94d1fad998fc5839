//! Frames to the daemon: answers, states and pings first, log batches when nothing else waits.
//! It never waits for the daemon without a deadline.

use std::sync::Arc;
use std::time::Duration;

use futures_util::SinkExt as _;
use futures_util::stream::SplitSink;
use hidps_wire::{AgentFrame, Question, Status, encode};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_tungstenite::tungstenite::{Bytes, Message};
use uuid::Uuid;

use super::Link;
use super::answers::{HostView, MAX_OPEN_QUESTIONS, answer, refuse};
use super::handshake::Socket;
use super::session::{SessionEnd, SessionError};
use crate::collect::readings::Readings;
use crate::event_queue::{Batch, EventQueue};
use crate::firewall::Firewall;
use crate::shutdown::Shutdown;
use crate::status_queue::StatusQueue;

/// A frame of 256 KiB crosses the slowest line of today in less.
const WRITE_DEADLINE: Duration = Duration::from_secs(15);

/// A goodbye is worth no longer wait.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// The writing half of a connection.
pub(super) struct Writer<'l, F> {
    sink: SplitSink<Socket, Message>,
    host: HostView<F>,
    events: &'l Arc<EventQueue>,
    statuses: &'l StatusQueue,
    readings: Readings,
    questions: mpsc::Receiver<(Uuid, Question)>,
    /// Answers being found; they end with the connection, for nobody waits for them afterwards.
    answers: JoinSet<AgentFrame>,
    ping: Interval,
    /// Numbered pings somebody wants to be answered.
    asked: watch::Receiver<u64>,
    shutdown: Shutdown,
}

/// What is to be written next.
enum Wake {
    Shutdown,
    Question(Uuid, Question),
    Answer(AgentFrame),
    Status(Status),
    Usage,
    Processes,
    Facts,
    Ping,
    NumberedPing,
    Batch(Batch),
}

impl<'l, F: Firewall> Writer<'l, F> {
    pub(super) fn new(
        sink: SplitSink<Socket, Message>,
        link: &'l Link<F>,
        questions: mpsc::Receiver<(Uuid, Question)>,
        heartbeat: Duration,
    ) -> Self {
        let mut ping = interval_at(Instant::now() + heartbeat, heartbeat);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            sink,
            host: HostView {
                firewall: Arc::clone(&link.firewall),
                record: link.record.clone(),
                dialer: Arc::clone(&link.dialer),
            },
            events: &link.events,
            statuses: &link.statuses,
            readings: link.readings.clone(),
            questions,
            answers: JoinSet::new(),
            ping,
            asked: link.pulse.asked(),
            shutdown: link.shutdown.clone(),
        }
    }

    /// Writes until the connection ends.
    pub(super) async fn run(mut self) -> SessionEnd {
        loop {
            let message = match self.wait().await {
                Wake::Shutdown => {
                    self.close().await;
                    return SessionEnd::Shutdown;
                }
                Wake::Question(id, question) => self.on_question(id, question),
                Wake::Answer(frame) => Some(Message::text(encode(&frame))),
                Wake::Status(status) => Some(Message::text(encode(&AgentFrame::Status(status)))),
                Wake::Usage => latest(&mut self.readings.usage, |usage| {
                    AgentFrame::Usage(usage.clone())
                }),
                Wake::Processes => latest(&mut self.readings.processes, |processes| {
                    AgentFrame::Processes(processes.clone())
                }),
                Wake::Facts => latest(&mut self.readings.facts, |facts| {
                    AgentFrame::Facts(Box::new(facts.clone()))
                }),
                Wake::Ping => Some(Message::Ping(Bytes::new())),
                Wake::NumberedPing => {
                    let number = *self.asked.borrow_and_update();
                    let payload = number.to_be_bytes().to_vec();
                    Some(Message::Ping(payload.into()))
                }
                Wake::Batch(batch) => Some(Message::text(batch.text)),
            };
            if let Some(message) = message
                && let Err(error) = self.write(message).await
            {
                return SessionEnd::Failed(error);
            }
        }
    }

    /// In order of importance: a flood of logs can delay nothing else by more than one batch.
    async fn wait(&mut self) -> Wake {
        let is_answering = !self.answers.is_empty();
        tokio::select! {
            biased;
            () = self.shutdown.requested() => Wake::Shutdown,
            Some((id, question)) = self.questions.recv() => Wake::Question(id, question),
            Some(Ok(frame)) = self.answers.join_next(), if is_answering => Wake::Answer(frame),
            status = self.statuses.next() => Wake::Status(status),
            Ok(()) = self.readings.usage.changed() => Wake::Usage,
            Ok(()) = self.asked.changed() => Wake::NumberedPing,
            _ = self.ping.tick() => Wake::Ping,
            Ok(()) = self.readings.facts.changed() => Wake::Facts,
            Ok(()) = self.readings.processes.changed() => Wake::Processes,
            batch = self.events.next_batch() => Wake::Batch(batch),
        }
    }

    fn on_question(&mut self, id: Uuid, question: Question) -> Option<Message> {
        if self.answers.len() >= MAX_OPEN_QUESTIONS {
            return Some(Message::text(encode(&refuse(id))));
        }
        self.answers.spawn(answer(self.host.clone(), id, question));
        None
    }

    async fn write(&mut self, message: Message) -> Result<(), SessionError> {
        match tokio::time::timeout(WRITE_DEADLINE, self.sink.send(message)).await {
            Ok(sent) => sent.map_err(SessionError::Socket),
            Err(_) => Err(SessionError::Stalled(WRITE_DEADLINE)),
        }
    }

    async fn close(&mut self) {
        // The daemon notices the end of the connection anyway.
        tokio::time::timeout(CLOSE_DEADLINE, self.sink.close())
            .await
            .ok();
    }
}

/// The newest reading as a message; none before the first.
fn latest<T>(
    reading: &mut watch::Receiver<Option<Arc<T>>>,
    frame: impl Fn(&T) -> AgentFrame,
) -> Option<Message> {
    let newest = reading.borrow_and_update().clone()?;
    Some(Message::text(encode(&frame(&newest))))
}
