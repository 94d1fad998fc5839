//! The laws of the ring: nothing is lost uncounted, nothing is reordered, nothing grows without end.

use super::*;
use proptest::prelude::*;

const LIMITS: RingLimits = RingLimits {
    events: 200,
    bytes: 4_000,
};

fn ring() -> EventRing {
    EventRing::new(LIMITS, Duration::ZERO)
}

/// The numbers of the events of a batch; events of these tests are numbers, a note is none.
fn numbers(batch: &Batch) -> Vec<u64> {
    let value: serde_json::Value = serde_json::from_str(&batch.text).unwrap();
    value["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(serde_json::Value::as_u64)
        .collect()
}

fn take(ring: &mut EventRing) -> Option<Batch> {
    take_at(ring, Instant::now())
}

fn take_at(ring: &mut EventRing, now: Instant) -> Option<Batch> {
    let note = |losses: Losses| format!("{{\"lost\":{}}}", losses.total());
    match ring.poll_batch(now, note) {
        Poll::Ready(batch) => Some(batch),
        Poll::At(_) | Poll::Idle => None,
    }
}

/// The places of all events that are waiting or in flight.
fn places(ring: &EventRing) -> Vec<u64> {
    let in_flight = ring.in_flight.iter().flat_map(|flight| &flight.events);
    let waiting = ring.waiting.iter().flat_map(|waiting| &waiting.events);
    let held = in_flight.chain(waiting);
    held.map(|event| event.place).collect()
}

/// The losses a batch tells.
fn told(batch: &Batch) -> Option<u64> {
    let value: serde_json::Value = serde_json::from_str(&batch.text).unwrap();
    value["events"][0]["lost"].as_u64()
}

#[derive(Clone, Debug)]
enum Step {
    Push(Lane, u8),
    Wait(u8),
    Connect(u8),
    Cut,
    Send,
    Acknowledge { back: u8, credit: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    let lane = prop::sample::select(Lane::ALL.to_vec());
    prop_oneof![
        6 => (lane, 1_u8..120).prop_map(|(lane, count)| Step::Push(lane, count)),
        2 => (1_u8..8).prop_map(Step::Wait),
        1 => (0_u8..6).prop_map(Step::Connect),
        1 => Just(Step::Cut),
        4 => Just(Step::Send),
        3 => (0_u8..4, 0_u8..6).prop_map(|(back, credit)| Step::Acknowledge { back, credit }),
    ]
}

/// What a daemon that trusts the protocol knows.
#[derive(Default)]
struct Daemon {
    /// Numbers of the events taken in; acknowledged ones never come back.
    acknowledged: Vec<u64>,
    /// Batches of this connection without an acknowledgement.
    open: VecDeque<(u64, Vec<u64>, u64)>,
    last_seq: u64,
    /// Losses told by acknowledged batches.
    told: u64,
    /// When each note came.
    notes: Vec<Instant>,
}

impl Daemon {
    fn on_batch(&mut self, batch: &Batch, now: Instant) {
        assert_eq!(batch.seq, self.last_seq + 1, "numbers have no gaps");
        assert!(batch.text.len() <= MAX_AGENT_FRAME_BYTES);
        self.last_seq = batch.seq;
        let lost = told(batch);
        self.notes.extend(lost.map(|_| now));
        self.open
            .push_back((batch.seq, numbers(batch), lost.unwrap_or(0)));
    }

    fn on_cut(&mut self) {
        self.open.clear();
        self.last_seq = 0;
    }

    fn acknowledge(&mut self, seq: u64) {
        while self.open.front().is_some_and(|(open, ..)| *open <= seq) {
            let (_, events, lost) = self.open.pop_front().unwrap();
            self.acknowledged.extend(events);
            self.told += lost;
        }
    }
}

proptest! {
    #[test]
    fn every_event_is_acknowledged_held_or_counted_as_lost(
        steps in prop::collection::vec(step(), 1..80)
    ) {
        let (mut ring, mut daemon, mut now) = (ring(), Daemon::default(), Instant::now());
        let mut n_pushed = 0_u64;

        for step in steps {
            match step {
                Step::Push(lane, count) => for _ in 0..count {
                    let before = ring.dropped();
                    ring.push(lane, n_pushed.to_string().into());
                    n_pushed += 1;
                    let now = ring.dropped();
                    let is_gone = |priority| {
                        let lanes = Lane::ALL.iter().zip(&ring.waiting);
                        let mut of_it = lanes.filter(|(lane, _)| lane.priority() == priority);
                        of_it.all(|(_, waiting)| waiting.events.is_empty())
                    };
                    let is_lesser_gone = is_gone(Priority::Telemetry);
                    prop_assert!(now.activity == before.activity || is_lesser_gone);
                    let is_lesser_gone = is_lesser_gone && is_gone(Priority::Activity);
                    prop_assert!(now.security == before.security || is_lesser_gone);
                },
                Step::Wait(seconds) => now += Duration::from_secs(u64::from(seconds)),
                Step::Connect(credit) => {
                    ring.on_connected(u32::from(credit));
                    daemon.on_cut();
                }
                Step::Cut => {
                    ring.on_disconnected();
                    daemon.on_cut();
                }
                Step::Send => if let Some(batch) = take_at(&mut ring, now) {
                    daemon.on_batch(&batch, now);
                },
                Step::Acknowledge { back, credit } => {
                    let seq = daemon.last_seq.saturating_sub(u64::from(back));
                    prop_assert!(ring.on_acknowledged(seq, u32::from(credit)));
                    daemon.acknowledge(seq);
                }
            }
            for waiting in &ring.waiting {
                let bytes: usize = waiting.events.iter().map(|event| event.text.len()).sum();
                prop_assert_eq!(waiting.bytes, bytes);
            }
            let held = ring.n_waiting() + ring.n_in_flight;
            prop_assert!(held <= LIMITS.events && ring.bytes <= LIMITS.bytes);
            let dropped = ring.dropped().total();
            prop_assert_eq!(n_pushed, daemon.acknowledged.len() as u64 + held as u64 + dropped);
            prop_assert!(daemon.acknowledged.is_sorted(), "the order is kept");
            let held_places = places(&ring);
            let oldest = held_places.into_iter().min().unwrap_or(n_pushed);
            prop_assert_eq!((ring.settled(), ring.pushed()), (oldest, n_pushed));
        }

        // Once all is taken in, the losses told are exactly the losses there were.
        ring.on_connected(u32::MAX);
        daemon.on_cut();
        for _ in 0..2 {
            now += NOTE_INTERVAL;
            while let Some(batch) = take_at(&mut ring, now) {
                daemon.on_batch(&batch, now);
            }
        }
        prop_assert!(ring.on_acknowledged(daemon.last_seq, 0));
        daemon.acknowledge(daemon.last_seq);
        prop_assert_eq!(daemon.told, ring.dropped().total());
        prop_assert!(daemon.notes.windows(2).all(|pair| pair[1] - pair[0] >= NOTE_INTERVAL));
        prop_assert_eq!(daemon.acknowledged.len() as u64 + ring.dropped().total(), n_pushed);
        let lost = ring.dropped();
        let parts = lost.files + lost.firewall + lost.remote_logins + lost.logins;
        prop_assert_eq!(parts, lost.security);
    }

    #[test]
    fn whatever_floods_what_keeps_within_its_share_is_kept(
        pushes in prop::collection::vec((0_usize..4, 1_u64..90, 1_usize..30), 1..40)
    ) {
        const SECURITY: [Lane; 4] = [Lane::Files, Lane::Firewall, Lane::RemoteLogins, Lane::Logins];
        let mut ring = ring();
        let mut pushed = [(0, 0); SECURITY.len()];

        for (at, count, n_bytes) in pushes {
            for _ in 0..count {
                ring.push(SECURITY[at], "x".repeat(n_bytes).into());
            }
            pushed[at].0 += count;
            pushed[at].1 += count * n_bytes as u64;
        }

        let lost = ring.dropped();
        let lost = [lost.files, lost.firewall, lost.remote_logins, lost.logins];
        let share = |of_all: usize| (of_all / SECURITY.len()) as u64;
        for ((n_events, n_bytes), lost) in pushed.into_iter().zip(lost) {
            let is_within = n_events <= share(LIMITS.events) && n_bytes <= share(LIMITS.bytes);
            prop_assert!(!is_within || lost == 0, "{n_events} of {n_bytes} bytes: {lost} lost");
        }
    }
}

#[test]
fn telemetry_is_lost_first_and_security_only_when_none_is_left() {
    let mut ring = ring();
    for number in 0..100 {
        ring.push(Lane::Logins, number.to_string().into());
        ring.push(Lane::Lines, "0".into());
    }

    for number in 100..300 {
        ring.push(Lane::Logins, number.to_string().into());
    }
    ring.push(Lane::Lines, "0".into());
    ring.on_connected(8);
    let batches: Vec<_> = std::iter::from_fn(|| take(&mut ring)).collect();

    let expected = Losses {
        telemetry: 101,
        security: 100,
        logins: 100,
        ..Losses::default()
    };
    assert_eq!(ring.dropped(), expected);
    let kept: Vec<_> = batches.iter().flat_map(numbers).collect();
    assert_eq!(kept, (100..300).collect::<Vec<_>>());
}

#[test]
fn what_was_not_acknowledged_is_sent_again_first() {
    let mut ring = ring();
    ring.on_connected(8);
    for number in 0..130 {
        ring.push(Lane::Lines, number.to_string().into());
    }
    let sent: Vec<_> = std::iter::from_fn(|| take(&mut ring)).collect();
    ring.on_acknowledged(1, 8);

    ring.on_disconnected();
    ring.on_connected(8);
    let again: Vec<_> = std::iter::from_fn(|| take(&mut ring)).collect();

    assert_eq!(sent.len(), 3);
    assert_eq!(again.first().map(|batch| batch.seq), Some(1));
    let resent: Vec<_> = again.iter().flat_map(numbers).collect();
    assert_eq!(resent, (64..130).collect::<Vec<_>>());
}

#[test]
fn no_more_batches_than_granted_are_in_flight() {
    let mut ring = ring();
    ring.on_connected(2);
    let mut sent = 0;

    for number in 0..5 {
        ring.push(Lane::Lines, number.to_string().into());
        sent += u32::from(take(&mut ring).is_some());
    }

    assert_eq!(sent, 2);
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_refused() {
    let mut ring = ring();
    ring.on_connected(2);
    ring.push(Lane::Logins, "1".into());
    take(&mut ring).unwrap();

    assert!(!ring.on_acknowledged(2, u32::MAX));
    assert!(!ring.on_acknowledged(u64::MAX, u32::MAX));
    assert!(ring.on_acknowledged(1, u32::MAX));
}

#[test]
fn a_batch_of_long_events_fits_a_frame() {
    let mut ring = EventRing::new(RingLimits::default(), Duration::ZERO);
    ring.on_connected(8);
    let long = format!("\"{}\"", "x".repeat(MAX_AGENT_FRAME_BYTES / 2 - 2));
    for _ in 0..4 {
        ring.push(Lane::Lines, long.clone().into());
    }

    let batches: Vec<_> = std::iter::from_fn(|| take(&mut ring)).collect();

    assert!(
        batches
            .iter()
            .all(|batch| batch.text.len() <= MAX_AGENT_FRAME_BYTES)
    );
    assert_eq!(batches.len(), 4);
}
