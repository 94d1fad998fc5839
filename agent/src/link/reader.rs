//! Frames from the daemon, each handed to whoever it is for.
//! It believes nothing: what is not of the protocol is refused, logged and counted.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::SplitStream;
use hidps_wire::{Apply, DaemonFrame, MAX_DAEMON_FRAME_BYTES, Question, decode};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use super::MAX_QUOTE_BYTES;
use super::handshake::Socket;
use super::pulse::LinkPulse;
use super::session::{SessionEnd, SessionError, close_reason};
use crate::event_queue::EventQueue;
use crate::text::printable;

/// A daemon that sent so many wrong frames will not get better.
const MAX_REFUSED_FRAMES: u32 = 16;

/// The reading half of a connection.
pub(super) struct Reader<'l> {
    /// Where frames come from.
    pub(super) stream: SplitStream<Socket>,
    /// Who wants acknowledgements.
    pub(super) events: &'l Arc<EventQueue>,
    /// Who wants documents.
    pub(super) applies: &'l mpsc::Sender<Apply>,
    /// Who wants questions.
    pub(super) questions: mpsc::Sender<(Uuid, Question)>,
    /// Who wants to know that the daemon answers.
    pub(super) pulse: &'l LinkPulse,
    /// How long the daemon may be silent.
    pub(super) silence: Duration,
    /// Frames refused so far.
    pub(super) n_refused: u32,
    /// Frames of the protocol that came too fast to be taken.
    pub(super) n_left_out: u64,
}

impl Reader<'_> {
    /// Reads until the connection ends.
    pub(super) async fn run(mut self) -> SessionEnd {
        loop {
            let next = tokio::time::timeout(self.silence, self.stream.next()).await;
            let message = match next {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => return SessionEnd::Failed(SessionError::Socket(error)),
                Ok(None) => return closed(String::new()),
                Err(_) => return SessionEnd::Failed(SessionError::Silent(self.silence)),
            };
            let end = match message {
                Message::Text(text) => self.on_text(&text),
                Message::Binary(_) | Message::Frame(_) => self.refuse("a binary frame"),
                Message::Pong(payload) => {
                    self.pulse.on_pong(&payload);
                    None
                }
                // Its arrival is what counts; the library answers it.
                Message::Ping(_) => None,
                Message::Close(close) => Some(closed(close_reason(close.as_ref()))),
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    fn on_text(&mut self, text: &str) -> Option<SessionEnd> {
        let frame = match decode(text, MAX_DAEMON_FRAME_BYTES) {
            Ok(frame) => frame,
            Err(error) => return self.refuse(&printable(&error.to_string(), MAX_QUOTE_BYTES)),
        };
        match frame {
            DaemonFrame::Welcome(_) => self.refuse("a second welcome"),
            DaemonFrame::Apply(apply) => {
                // The loop is busy with older ones; the daemon sends it again.
                if self.applies.try_send(apply).is_err() {
                    self.leave_out("a desired document");
                }
                None
            }
            DaemonFrame::Ack { seq, credit } => {
                if self.events.on_acknowledged(seq, credit) {
                    None
                } else {
                    self.refuse("an acknowledgement of a batch that was never sent")
                }
            }
            DaemonFrame::Ask { id, question } => {
                if self.questions.try_send((id, question)).is_err() {
                    self.leave_out("a question");
                }
                None
            }
            DaemonFrame::Goodbye(advice) => Some(SessionEnd::Advised(advice)),
        }
    }

    /// Counts what came too fast, and says so ever more rarely: a flood is not to fill the log.
    fn leave_out(&mut self, what: &str) {
        self.n_left_out += 1;
        if self.n_left_out.is_power_of_two() {
            let total = self.n_left_out;
            tracing::warn!(
                what,
                total,
                "a frame of the daemon came too fast and was left out"
            );
        }
    }

    fn refuse(&mut self, what: &str) -> Option<SessionEnd> {
        self.n_refused += 1;
        tracing::warn!(what, "refused a frame of the daemon");
        let is_hopeless = self.n_refused >= MAX_REFUSED_FRAMES;
        is_hopeless.then_some(SessionEnd::Failed(SessionError::Nonsense(self.n_refused)))
    }
}

fn closed(reason: String) -> SessionEnd {
    SessionEnd::Failed(SessionError::Closed(reason))
}
