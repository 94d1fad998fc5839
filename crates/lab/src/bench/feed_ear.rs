//! A bare subscriber to the daemon's feed: when a generation was heard, and by which path.
//! It reads nothing from the database and acts on nothing.

use std::time::Instant;

use anyhow::Context as _;
use hidps_local_supabase::Stack;
use hidps_realtime::{Channel, Config, Event, Subscription};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Hearings that may wait to be looked at.
const QUEUE: usize = 65_536;

/// One generation of one agent, heard.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) agent: String,
    pub(super) generation: u64,
    pub(super) path: Path,
    pub(super) at: Instant,
}

/// The ways a change comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    Broadcast,
    Change,
}

/// The subscriber; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct FeedEar {
    heard: mpsc::Receiver<Heard>,
    _task: JoinSet<()>,
}

impl FeedEar {
    /// Subscribes and waits until the feed is joined.
    pub(super) async fn open(stack: &Stack) -> anyhow::Result<Self> {
        let channel = Channel::new("hidps:feed")
            .private()
            .broadcast()
            .changes("public", "desired_generations");
        let config = Config::new(stack.url(), stack.secret_key(), channel);
        let mut subscription =
            Subscription::new(config).context("the bench cannot subscribe to the feed")?;
        while !matches!(subscription.next().await, Event::Ready) {}
        let (heard_tx, heard) = mpsc::channel(QUEUE);
        let mut task = JoinSet::new();
        task.spawn(listen(subscription, heard_tx));
        Ok(Self { heard, _task: task })
    }

    /// The next hearing, or none when the subscriber is gone.
    pub(super) async fn next(&mut self) -> Option<Heard> {
        self.heard.recv().await
    }

    /// Everything heard and not yet looked at.
    pub(super) fn take_all(&mut self) -> Vec<Heard> {
        std::iter::from_fn(|| self.heard.try_recv().ok()).collect()
    }
}

async fn listen(mut subscription: Subscription, heard_tx: mpsc::Sender<Heard>) {
    loop {
        let event = subscription.next().await;
        let at = Instant::now();
        let heard = match &event {
            Event::Broadcast(message) if message.event == "generation" => {
                let payload = message.payload.as_json().and_then(Value::as_object);
                payload.and_then(|payload| read(payload, Path::Broadcast, at))
            }
            Event::Change(change) => read(&change.record, Path::Change, at),
            Event::Broadcast(_) | Event::Ready | Event::Lost { .. } => None,
        };
        if let Some(heard) = heard
            && heard_tx.send(heard).await.is_err()
        {
            return;
        }
    }
}

fn read(record: &Map<String, Value>, path: Path, at: Instant) -> Option<Heard> {
    Some(Heard {
        agent: record.get("agent_id")?.as_str()?.to_owned(),
        generation: record.get("generation")?.as_u64()?,
        path,
        at,
    })
}
