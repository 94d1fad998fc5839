//! Every switch for a fault, seen by our own Realtime client and by plain clients of the protocol.
//! Never uses the shared stack: a fault is for everybody on it, so these tests take turns on one of their own.

mod channels;
mod deliveries;
mod joins;
mod raw;
mod rest;
mod slots;
mod sockets;

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use hidps_local_supabase::{Faults, Pace, Stack};
use hidps_realtime::{Backoff, Channel, Config, Event, RealtimeError, Subscription};
use serde_json::Value;

use crate::shared::{AGENT, Shared};

/// Far more than anything here takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
/// What the generations of the seed's agent travel as: a table and an event.
const GENERATIONS: [&str; 2] = ["desired_generations", "generation"];

static STACK: LazyLock<Mutex<Shared>> = LazyLock::new(|| {
    Mutex::new(Shared::start(Pace {
        poll_busy: Duration::from_millis(10),
        poll_idle: Duration::from_millis(50),
        resubscribe: Duration::from_millis(200),
        publication: Duration::from_millis(200),
        ..Pace::default()
    }))
});

/// Runs a test alone on the stack and ends its faults.
fn alone(test: impl AsyncFnOnce(&Stack, Faults)) {
    // A test that failed before says so itself; its stack is still good.
    let shared = STACK.lock().unwrap_or_else(PoisonError::into_inner);
    shared.run(async |stack| {
        let faults = stack.faults();
        faults.clear();
        let whole = async {
            faults.restore_slots().await;
            test(stack, faults.clone()).await;
        };
        let in_time = tokio::time::timeout(DEADLINE * 3, whole).await;
        in_time.expect("the test ends in time");
    });
}

/// Describes a private channel with two tables and broadcasts, and patience for a busy machine.
fn config(stack: &Stack) -> Config {
    let channel = Channel::new("faults")
        .private()
        .broadcast()
        .changes("public", "desired_generations")
        .changes("public", "notes");
    let mut config = Config::new(stack.url(), stack.secret_key(), channel);
    config.heartbeat_interval = Duration::from_millis(200);
    config.reply_deadline = DEADLINE;
    config.system_ok_deadline = DEADLINE;
    let brief = Duration::from_millis(20);
    config.backoff = Backoff {
        base: brief,
        cap: brief,
        slow: brief,
        hopeless: brief,
    };
    config
}

fn subscribe(stack: &Stack) -> Subscription {
    Subscription::new(config(stack)).expect("the configuration is right")
}

/// Subscribes with so little patience that an answer which never comes is soon a loss.
fn subscribe_impatiently(stack: &Stack) -> Subscription {
    let mut config = config(stack);
    config.reply_deadline = Duration::from_secs(1);
    config.system_ok_deadline = Duration::from_secs(1);
    Subscription::new(config).expect("the configuration is right")
}

async fn next(subscription: &mut Subscription) -> Event {
    tokio::time::timeout(DEADLINE, subscription.next())
        .await
        .expect("an event in time")
}

async fn until_ready(subscription: &mut Subscription) {
    while !matches!(next(subscription).await, Event::Ready) {}
}

async fn until_lost(subscription: &mut Subscription) -> RealtimeError {
    loop {
        if let Event::Lost { error, .. } = next(subscription).await {
            return error;
        }
    }
}

async fn ready(stack: &Stack) -> Subscription {
    let mut subscription = subscribe(stack);
    until_ready(&mut subscription).await;
    subscription
}

/// Raises the generation of the seed's agent, broadcasts it as well, and gives the new one.
async fn bump(stack: &Stack) -> i64 {
    let bump = format!(
        "with bumped as (
           update public.desired_generations set generation = generation + 1
           where agent_id = '{AGENT}' returning generation
         )
         select generation,
                realtime.send(jsonb_build_object('generation', generation), 'generation', 'faults', true)
         from bumped"
    );
    let rows = stack.sql(&bump).await.expect("the row is there");
    let generation = rows[0]["generation"].as_deref().unwrap_or_default();
    generation.parse().expect("a number")
}

/// What a subscription heard of the generations.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    /// By changes.
    changes: Vec<i64>,
    /// By broadcasts.
    broadcasts: Vec<i64>,
}

impl Heard {
    /// Takes note of an event, unless it is a witness: then gives where it came from.
    fn take(&mut self, event: Event) -> Option<String> {
        match event {
            Event::Change(change) if change.table == GENERATIONS[0] => {
                let generation = change.record.get("generation");
                self.changes.extend(generation.and_then(Value::as_i64));
                None
            }
            Event::Broadcast(broadcast) if broadcast.event == GENERATIONS[1] => {
                let payload = broadcast.payload.as_json();
                self.broadcasts
                    .extend(payload.and_then(|payload| payload["generation"].as_i64()));
                None
            }
            Event::Change(change) => Some(change.table),
            Event::Broadcast(broadcast) => Some(broadcast.event),
            Event::Ready => None,
            Event::Lost { error, .. } => panic!("{error}"),
        }
    }
}

/// Gives what is heard up to a witness that is sent now by each lane, behind everything that was sent before.
async fn heard(stack: &Stack, subscription: &mut Subscription) -> Heard {
    let witness = "with witness as (
           insert into public.notes (owner, body) values (gen_random_uuid(), 'witness') returning id
         )
         select realtime.send('{}', 'witness', 'faults', true) from witness";
    stack.sql(witness).await.expect("a witness is sent");
    let mut heard = Heard::default();
    let mut n_witnesses = 0;
    while n_witnesses < 2 {
        n_witnesses += usize::from(heard.take(next(subscription).await).is_some());
    }
    heard
}

/// Gives what is heard up to a broadcast that is sent now, by a subscription whose changes somebody else waited for.
async fn heard_in_passing(stack: &Stack, subscription: &mut Subscription) -> Heard {
    let last = "select realtime.send('{}', 'last', 'faults', true)";
    stack.sql(last).await.expect("a witness is sent");
    let mut heard = Heard::default();
    while heard.take(next(subscription).await).as_deref() != Some("last") {}
    heard
}
