//! The one way from every source of events to the link: bounded, ordered, its losses counted.
//! It lives in memory only; no event is ever written to disk.

mod encoding;
mod ring;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hidps_wire::LogEvent;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::agent_note::AgentNote;
use encoding::encode_within_limits;
pub use ring::{Batch, EventRing, Poll, RingLimits};

/// The least time between two batches; what comes meanwhile travels together.
const LINGER: Duration = Duration::from_millis(100);

/// The queue, shared by the sources and the link.
#[derive(Debug)]
pub struct EventQueue {
    ring: Mutex<EventRing>,
    changed: Notify,
}

impl Default for EventQueue {
    fn default() -> Self {
        Self::new(RingLimits::default())
    }
}

impl EventQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(limits: RingLimits) -> Self {
        Self {
            ring: Mutex::new(EventRing::new(limits, LINGER)),
            changed: Notify::new(),
        }
    }

    /// Puts an event at the end; when the queue is full the oldest one is lost and counted.
    pub fn push(&self, event: LogEvent<'_>) {
        let text = encode_within_limits(event);
        self.lock().push(text.into_boxed_str());
        self.changed.notify_one();
    }

    /// Begins a connection: numbers start at 1 and `credit` batches may be sent.
    pub fn on_connected(&self, credit: u32) {
        let n_lost = {
            let mut ring = self.lock();
            ring.on_connected(credit);
            ring.take_untold_losses()
        };
        self.changed.notify_one();
        if n_lost > 0 {
            self.push(AgentNote::EventsLost { lost: n_lost }.into_event());
        }
    }

    /// Forgets what was taken in and grants more; false when the number was never sent.
    pub fn on_acknowledged(&self, seq: u64, credit: u32) -> bool {
        let known = self.lock().on_acknowledged(seq, credit);
        self.changed.notify_one();
        known
    }

    /// Ends a connection: what was not acknowledged will be sent again.
    pub fn on_disconnected(&self) {
        self.lock().on_disconnected();
    }

    /// Events lost since the agent started.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.lock().dropped()
    }

    /// Waits until a batch may be sent and takes it; nothing is lost when the wait is abandoned.
    pub async fn next_batch(&self) -> Batch {
        loop {
            let poll = self.lock().poll_batch(Instant::now());
            match poll {
                Poll::Ready(batch) => return batch,
                Poll::At(time) => {
                    // Either may end the wait; both lead to another look.
                    tokio::time::timeout_at(time, self.changed.notified())
                        .await
                        .ok();
                }
                Poll::Idle => self.changed.notified().await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, EventRing> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hidps_wire::{EventBatch, EventKind, Fields, MAX_AGENT_FRAME_BYTES, decode};

    fn event(message: &str) -> LogEvent<'_> {
        LogEvent {
            timestamp: "2026-11-21T01:02:03Z".into(),
            kind: EventKind::Process,
            service: "test".into(),
            message: message.into(),
            fields: Fields::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_event_travels_at_once_and_the_next_ones_together() {
        let queue = EventQueue::default();
        queue.on_connected(8);
        let started = Instant::now();

        queue.push(event("one"));
        let first = queue.next_batch().await;
        let after_first = started.elapsed();
        queue.push(event("two"));
        queue.push(event("three"));
        let second = queue.next_batch().await;

        assert_eq!(after_first, Duration::ZERO);
        assert_eq!(started.elapsed(), LINGER);
        let messages = |batch: &Batch| -> Vec<String> {
            let batch: EventBatch<'_> = decode(&batch.text, MAX_AGENT_FRAME_BYTES).unwrap();
            batch.events.iter().map(|e| e.message.to_string()).collect()
        };
        assert_eq!(messages(&first), ["one"]);
        assert_eq!(messages(&second), ["two", "three"]);
    }

    #[tokio::test(start_paused = true)]
    async fn losses_are_told_once_the_daemon_listens_again() {
        let queue = EventQueue::new(RingLimits {
            events: 2,
            bytes: 4_096,
        });
        for message in ["lost", "also lost", "kept"] {
            queue.push(event(message));
        }
        queue.push(event("kept too"));

        queue.on_connected(8);
        let text = queue.next_batch().await.text;
        queue.on_connected(8);
        let again = queue.next_batch().await.text;

        assert!(text.contains("2 event(s) were lost"), "{text}");
        // Telling it takes the place of one more.
        assert!(text.contains(r#""dropped":3"#), "{text}");
        assert!(again.contains("1 event(s) were lost"), "{again}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_credit_nothing_is_sent() {
        let queue = EventQueue::default();
        queue.on_connected(0);
        queue.push(event("one"));

        let early = tokio::time::timeout(Duration::from_secs(5), queue.next_batch()).await;
        assert!(early.is_err());
        assert!(queue.on_acknowledged(0, 1));
        let batch = queue.next_batch().await;

        assert_eq!(batch.seq, 1);
    }
}
