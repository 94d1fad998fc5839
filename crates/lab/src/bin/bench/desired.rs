//! From the commit of a row to the host having applied it, and how much of that the feed takes.
//! It never looks inside the daemon: the database, the feed and the host are watched from outside.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hidps_lab::world::{AGENT, World, WorldOptions};
use hidps_realtime::{Channel, Config, Event, Subscription};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::Figure;

/// Changes measured; enough for a 99th percentile that is not the worst one.
const CHANGES: usize = 220;

/// Longest wait for one change; beyond it something is broken, not slow.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pause between two looks: short beside what is measured, long beside what a look costs.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// When one generation was heard, by which way.
#[derive(Debug, Clone, Copy)]
struct Heard {
    generation: i64,
    way: Way,
    at: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Broadcast,
    Change,
}

/// The latencies of all changes, in milliseconds.
#[derive(Debug, Default)]
struct Latencies {
    applied: Vec<f64>,
    broadcast: Vec<f64>,
    change: Vec<f64>,
}

/// Measures on a world of its own.
pub(crate) async fn measure() -> anyhow::Result<Vec<Figure>> {
    let world = World::start(WorldOptions::default()).await?;
    let measured = measure_changes(&world).await;
    world.stop().await?;
    measured
}

async fn measure_changes(world: &World) -> anyhow::Result<Vec<Figure>> {
    let (heard_tx, mut heard) = mpsc::channel(1_024);
    let mut tasks = JoinSet::new();
    tasks.spawn(listen(subscription(world)?, heard_tx));
    let mut latencies = Latencies::default();
    let mut generation = world.outside().read_generation(AGENT).await?;
    // The first ones fill caches and wait for the feed to be joined.
    for number in 0..CHANGES + 20 {
        generation += 1;
        let enabled = number % 2 == 0;
        let write = format!(
            "update agent_stats set firewall_enabled = {enabled} where agent_id = '{AGENT}'"
        );
        world.stack.sql(&write).await?;
        let committed = Instant::now();
        let applied = wait_applied(world, generation, committed).await?;
        if number >= 20 {
            latencies.applied.push(applied);
            collect_feed(&mut latencies, &mut heard, generation, committed).await?;
        }
    }
    Ok(latencies.figures())
}

fn subscription(world: &World) -> anyhow::Result<Subscription> {
    let channel = Channel::new("hidps:feed")
        .private()
        .broadcast()
        .changes("public", "desired_generations");
    let config = Config::new(world.stack.url(), world.stack.secret_key(), channel);
    Subscription::new(config).context("the bench cannot subscribe to the feed")
}

async fn listen(mut subscription: Subscription, heard: mpsc::Sender<Heard>) {
    loop {
        let event = subscription.next().await;
        let at = Instant::now();
        let (way, generation) = match &event {
            Event::Broadcast(message) if message.event == "generation" => {
                let payload = message.payload.as_json();
                (
                    Way::Broadcast,
                    payload.and_then(|payload| payload["generation"].as_i64()),
                )
            }
            Event::Change(change) => (
                Way::Change,
                change.record.get("generation").and_then(Value::as_i64),
            ),
            Event::Broadcast(_) | Event::Ready | Event::Lost { .. } => continue,
        };
        let Some(generation) = generation else {
            continue;
        };
        if heard
            .send(Heard {
                generation,
                way,
                at,
            })
            .await
            .is_err()
        {
            return;
        }
    }
}

/// Milliseconds until the database says that the host has confirmed this generation.
async fn wait_applied(world: &World, generation: i64, committed: Instant) -> anyhow::Result<f64> {
    let query = format!(
        "select 1 as seen from agent_conditions where agent_id = '{AGENT}' \
         and type = 'FirewallSynced' and status = 'true' and observed_generation = {generation}"
    );
    while committed.elapsed() < PATIENCE {
        if !world.stack.sql(&query).await?.is_empty() {
            return Ok(committed.elapsed().as_secs_f64() * 1_000.0);
        }
        sleep(LOOK_EVERY).await;
    }
    bail!(
        "generation {generation} was not confirmed within {PATIENCE:?}\n{}",
        world.agent.log()
    )
}

/// Takes both hearings of this generation; the slower way comes after the host has applied.
async fn collect_feed(
    latencies: &mut Latencies,
    heard: &mut mpsc::Receiver<Heard>,
    generation: i64,
    committed: Instant,
) -> anyhow::Result<()> {
    let mut missing = 2;
    while missing > 0 {
        let next = timeout(PATIENCE, heard.recv()).await;
        let heard = next
            .context("the feed was not heard")?
            .context("the feed ended")?;
        if heard.generation != generation {
            continue;
        }
        missing -= 1;
        let millis = heard.at.saturating_duration_since(committed).as_secs_f64() * 1_000.0;
        match heard.way {
            Way::Broadcast => latencies.broadcast.push(millis),
            Way::Change => latencies.change.push(millis),
        }
    }
    Ok(())
}

impl Latencies {
    fn figures(mut self) -> Vec<Figure> {
        let limit = "the slower feed path alone (postgres_changes), p50, same changes";
        let change = Percentiles::of(&mut self.change);
        let broadcast = Percentiles::of(&mut self.broadcast);
        let applied = Percentiles::of(&mut self.applied);
        let figure = |metric: &str, value: f64, unit: &str, peer: &str, ratio: f64| Figure {
            bench: "desired".to_owned(),
            metric: metric.to_owned(),
            value,
            unit: unit.to_owned(),
            peer: peer.to_owned(),
            ratio,
        };
        let millis =
            |metric: &str, value: f64| figure(metric, value, "ms", limit, value / change.p50);
        vec![
            millis("row committed to host confirmed, p50", applied.p50),
            millis("row committed to host confirmed, p99", applied.p99),
            millis("row committed to broadcast heard, p50", broadcast.p50),
            millis("row committed to broadcast heard, p99", broadcast.p99),
            millis("row committed to postgres_changes heard, p50", change.p50),
            millis("row committed to postgres_changes heard, p99", change.p99),
            figure(
                "share of the feed in the whole, p50",
                100.0 * broadcast.p50 / applied.p50,
                "%",
                "row committed to host confirmed, p50",
                broadcast.p50 / applied.p50,
            ),
        ]
    }
}

struct Percentiles {
    p50: f64,
    p99: f64,
}

impl Percentiles {
    fn of(values: &mut [f64]) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |share: usize| {
            values.get((values.len() * share / 100).min(values.len().saturating_sub(1)))
        };
        Self {
            p50: at(50).copied().unwrap_or(f64::NAN),
            p99: at(99).copied().unwrap_or(f64::NAN),
        }
    }
}
