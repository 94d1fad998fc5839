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
pub use ring::{Batch, EventRing, Held, Lane, Losses, Poll, Priority, RingLimits};

/// The least time between two batches; what comes meanwhile travels together. It is shorter than
/// the pause between two looks at a log, so that what a look finds never waits a second time.
const LINGER: Duration = Duration::from_millis(12);

/// The queue, shared by the sources and the link.
#[derive(Debug)]
pub struct EventQueue {
    ring: Mutex<EventRing>,
    changed: Notify,
    /// Whether anything came since that was last asked.
    stirred: Notify,
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
            stirred: Notify::new(),
        }
    }

    /// Puts an event at the end; when the queue is full the oldest one of what there is most of, of
    /// the least priority, is lost and counted.
    pub fn push(&self, event: LogEvent<'_>) {
        let lane = Lane::of(&event);
        let text = encode_within_limits(event);
        self.lock().push(lane, text.into_boxed_str());
        self.changed.notify_one();
        self.stirred.notify_one();
    }

    /// Waits until an event has come since this last returned: something goes on on the host. It is
    /// for one to ask.
    pub async fn stirred(&self) {
        self.stirred.notified().await;
    }

    /// Begins a connection: numbers start at 1 and `credit` batches may be sent.
    pub fn on_connected(&self, credit: u32) {
        self.lock().on_connected(credit);
        self.changed.notify_one();
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

    /// How many events were ever pushed: the place of the next one.
    #[must_use]
    pub fn pushed(&self) -> u64 {
        self.lock().pushed()
    }

    /// The place up to which every event was taken in by the daemon, or lost and counted; whoever
    /// reads on from there after a restart leaves nothing out.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.lock().settled()
    }

    /// How much is held for the daemon.
    #[must_use]
    pub fn held(&self) -> Held {
        self.lock().held()
    }

    /// Events lost since the agent started.
    #[must_use]
    pub fn dropped(&self) -> Losses {
        self.lock().dropped()
    }

    /// Waits until a batch may be sent and takes it; nothing is lost when the wait is abandoned.
    pub async fn next_batch(&self) -> Batch {
        loop {
            let poll = self.lock().poll_batch(Instant::now(), encode_note);
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

fn encode_note(losses: Losses) -> String {
    encode_within_limits(AgentNote::EventsLost(losses).into_event())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hidps_wire::{EventBatch, EventKind, FieldValue, Fields, MAX_AGENT_FRAME_BYTES, decode};

    const SMALL: RingLimits = RingLimits {
        events: 2,
        bytes: 4_096,
    };

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
    async fn what_looks_fifteen_milliseconds_apart_find_does_not_wait_again() {
        let queue = EventQueue::default();
        queue.on_connected(8);
        let started = Instant::now();

        for _ in 0..3 {
            queue.push(event("one"));
            queue.push(event("two"));
            queue.next_batch().await;
            tokio::time::advance(Duration::from_millis(15)).await;
        }

        assert_eq!(started.elapsed(), Duration::from_millis(45));
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_look_finds_travels_at_once_in_as_many_batches_as_it_takes() {
        let queue = EventQueue::default();
        queue.on_connected(8);
        let started = Instant::now();

        for _ in 0..100 {
            queue.push(event("one of many"));
        }
        for _ in 0..2 {
            queue.next_batch().await;
        }
        let after_all = started.elapsed();
        queue.push(event("a late one"));
        queue.next_batch().await;

        assert_eq!(after_all, Duration::ZERO);
        assert_eq!(started.elapsed(), LINGER);
    }

    /// The losses told by a batch, and the total it carries.
    fn losses(batch: &Batch) -> (Option<FieldValue<'static>>, u64) {
        let batch: EventBatch<'_> = decode(&batch.text, MAX_AGENT_FRAME_BYTES).unwrap();
        let name = FieldValue::from("events_lost");
        let mut events = batch.events.into_iter().map(LogEvent::into_owned);
        let note = events.find(|event| event.fields.get("event") == Some(&name));
        let lost = note.and_then(|note| note.fields.get("lost").cloned());
        (lost, batch.dropped)
    }

    #[tokio::test(start_paused = true)]
    async fn losses_are_told_when_the_daemon_listens_and_anew_when_the_link_was_cut() {
        let queue = EventQueue::new(SMALL);
        for message in ["lost", "also lost", "kept", "kept too"] {
            queue.push(event(message));
        }

        queue.on_connected(8);
        let told = queue.next_batch().await;
        queue.on_disconnected();
        queue.push(event("one too many"));
        queue.on_connected(8);
        let soon = queue.next_batch().await;
        let anew = queue.next_batch().await;

        assert_eq!(losses(&told), (Some(FieldValue::Integer(2)), 2));
        assert_eq!(losses(&soon), (None, 3));
        assert_eq!(losses(&anew), (Some(FieldValue::Integer(3)), 3));
    }

    #[tokio::test(start_paused = true)]
    async fn losses_are_told_while_connected_and_at_most_every_ten_seconds() {
        let queue = EventQueue::new(SMALL);
        queue.on_connected(100);
        let started = Instant::now();
        let mut told = Vec::new();

        // A flood of two losses a second for 25 s, and then nothing.
        for _ in 0..25 {
            for _ in 0..4 {
                queue.push(event("flood"));
            }
            let batch = queue.next_batch().await;
            queue.on_acknowledged(batch.seq, 100);
            told.extend(
                losses(&batch)
                    .0
                    .map(|lost| (started.elapsed().as_secs(), lost)),
            );
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let last = queue.next_batch().await;

        let expected = [(0, 2), (10, 20), (20, 20)];
        assert_eq!(
            told,
            expected.map(|(at, lost)| (at, FieldValue::Integer(lost)))
        );
        assert_eq!(started.elapsed(), Duration::from_secs(30));
        assert_eq!(losses(&last), (Some(FieldValue::Integer(8)), 50));
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_is_kept_where_processes_are_lost() {
        let queue = EventQueue::new(SMALL);
        let login = LogEvent {
            kind: EventKind::Login,
            ..event("a login")
        };

        queue.push(login);
        for message in ["one", "two", "three"] {
            queue.push(event(message));
        }
        queue.on_connected(8);
        let text = queue.next_batch().await.text;

        assert!(text.contains("a login") && text.contains("three"), "{text}");
        let expected = Losses {
            telemetry: 2,
            ..Losses::default()
        };
        assert_eq!(queue.dropped(), expected);
    }

    #[test]
    fn how_dear_an_event_is_follows_from_what_it_is_about() {
        let check = |kind, service: &str, field: Option<&str>, expected| {
            let mut fields = Fields::default();
            if let Some(field) = field {
                fields.push(field.to_owned(), "x");
            }
            let event = LogEvent {
                kind,
                service: service.to_owned().into(),
                fields,
                ..event("a line")
            };
            assert_eq!(
                Lane::of(&event).priority(),
                expected,
                "{kind:?} {service} {field:?}"
            );
        };
        let process = EventKind::Process;

        check(EventKind::Login, "sudo", None, Priority::Security);
        check(EventKind::Firewall, "nftables", None, Priority::Security);
        check(
            EventKind::FileMonitoring,
            "inotify",
            None,
            Priority::Security,
        );
        check(process, "process", Some("Image"), Priority::Activity);
        check(process, "network", Some("port"), Priority::Activity);
        check(
            process,
            "network",
            Some("DestinationIp"),
            Priority::Activity,
        );
        check(process, "auditd", Some("type"), Priority::Activity);
        check(
            EventKind::AgentInfo,
            "agent",
            Some("lost"),
            Priority::Activity,
        );
        check(process, "process", Some("ExitCode"), Priority::Telemetry);
        check(process, "process", Some("Signal"), Priority::Telemetry);
        check(process, "named", None, Priority::Telemetry);
        check(EventKind::SystemUsage, "usage", None, Priority::Telemetry);
    }

    #[tokio::test(start_paused = true)]
    async fn a_storm_of_programs_costs_no_login_and_a_flood_of_lines_no_program() {
        let queue = EventQueue::new(RingLimits {
            events: 4,
            ..RingLimits::default()
        });
        let of = |kind, message: &'static str, field: &'static str| {
            let mut fields = Fields::default();
            fields.push(field, "x");
            LogEvent {
                kind,
                fields,
                ..event(message)
            }
        };

        queue.push(of(EventKind::Login, "a login", "user"));
        for _ in 0..5 {
            queue.push(of(EventKind::Process, "a program", "Image"));
        }
        for _ in 0..100 {
            queue.push(event("a line"));
        }
        queue.push(of(EventKind::Login, "another", "user"));
        queue.on_connected(8);
        let text = queue.next_batch().await.text;

        assert_eq!(text.matches("a program").count(), 2);
        assert!(
            text.contains("a login") && text.contains("another"),
            "{text}"
        );
        let expected = Losses {
            telemetry: 100,
            activity: 3,
            ..Losses::default()
        };
        assert_eq!(queue.dropped(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_file_events_or_of_guesses_costs_no_sudo() {
        let queue = EventQueue::new(RingLimits {
            events: 40,
            ..RingLimits::default()
        });
        let of = |kind, message: &'static str, field: &'static str| {
            let mut fields = Fields::default();
            fields.push(field, "x");
            LogEvent {
                kind,
                fields,
                ..event(message)
            }
        };

        for _ in 0..10 {
            queue.push(of(EventKind::Login, "a sudo", "user"));
        }
        for _ in 0..200 {
            queue.push(of(EventKind::FileMonitoring, "a change", "TargetFilename"));
            queue.push(of(EventKind::Login, "a guess", "src_ip"));
        }
        queue.on_connected(8);
        let text = queue.next_batch().await.text;

        assert_eq!(text.matches("a sudo").count(), 10);
        assert_eq!(text.matches("a change").count(), 15);
        assert_eq!(text.matches("a guess").count(), 15);
        let expected = Losses {
            security: 370,
            files: 185,
            remote_logins: 185,
            ..Losses::default()
        };
        assert_eq!(queue.dropped(), expected);
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
