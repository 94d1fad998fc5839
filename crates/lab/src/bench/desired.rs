//! From the commit of a row to a real host having confirmed it, and how much of that the feed takes.
//! It never looks inside the daemon: the database, the feed and the host are watched from outside.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::time::{sleep, sleep_until, timeout};

use super::feed_ear::{FeedEar, Path};
use super::{Figure, Peer, Percentiles, millis};
use crate::world::{AGENT, World, WorldOptions};

/// Changes made before any is measured: they fill caches.
const WARM_UP: usize = 5;

/// Least time between two changes: an agent says two words about each, and is read twice a second.
const APART: Duration = Duration::from_millis(1_100);

/// Longest wait for one change; beyond it something is broken, not slow.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pause between two looks: short beside what is measured, long beside what a look costs.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The latencies of all changes, in milliseconds.
#[derive(Debug, Default)]
struct Latencies {
    applied: Vec<f64>,
    broadcast: Vec<f64>,
    change: Vec<f64>,
}

/// Measures so many changes on a world of its own.
///
/// # Errors
/// When a part does not come up or a change is not confirmed.
pub async fn measure(n_changes: usize) -> anyhow::Result<Vec<Figure>> {
    let world = World::start(WorldOptions::default()).await?;
    let measured = measure_changes(&world, n_changes).await;
    world.stop().await?;
    measured
}

async fn measure_changes(world: &World, n_changes: usize) -> anyhow::Result<Vec<Figure>> {
    let mut ear = FeedEar::open(&world.stack).await?;
    let mut latencies = Latencies::default();
    let mut next_at = Instant::now();
    let mut generation = world.outside().read_generation(AGENT).await?;
    for number in 0..n_changes + WARM_UP {
        sleep_until(next_at.into()).await;
        next_at = Instant::now() + APART;
        generation += 1;
        let enabled = number % 2 == 0;
        let write = format!(
            "update agent_stats set firewall_enabled = {enabled} where agent_id = '{AGENT}'"
        );
        world.stack.sql(&write).await?;
        let committed = Instant::now();
        let applied = wait_applied(world, generation, committed).await?;
        if number >= WARM_UP {
            latencies.applied.push(applied);
            collect_feed(&mut latencies, &mut ear, generation, committed).await?;
        }
    }
    Ok(latencies.figures())
}

/// Milliseconds until the database says that the host has confirmed this generation.
async fn wait_applied(world: &World, generation: i64, committed: Instant) -> anyhow::Result<f64> {
    let query = format!(
        "select 1 as seen from agent_conditions where agent_id = '{AGENT}' \
         and type = 'FirewallSynced' and status = 'true' and observed_generation = {generation}"
    );
    while committed.elapsed() < PATIENCE {
        if !world.stack.sql(&query).await?.is_empty() {
            return Ok(millis(committed.elapsed()));
        }
        sleep(LOOK_EVERY).await;
    }
    bail!(
        "generation {generation} was not confirmed within {PATIENCE:?}\n{}",
        world.agent.log()
    )
}

/// Takes both hearings of this generation; the slower path comes after the host has applied.
async fn collect_feed(
    latencies: &mut Latencies,
    ear: &mut FeedEar,
    generation: i64,
    committed: Instant,
) -> anyhow::Result<()> {
    let mut missing = 2;
    while missing > 0 {
        let heard = timeout(PATIENCE, ear.next()).await;
        let heard = heard
            .context("the feed was not heard")?
            .context("the feed ended")?;
        if u64::try_from(generation) != Ok(heard.generation) || heard.agent != AGENT {
            continue;
        }
        missing -= 1;
        let took = millis(heard.at.saturating_duration_since(committed));
        match heard.path {
            Path::Broadcast => latencies.broadcast.push(took),
            Path::Change => latencies.change.push(took),
        }
    }
    Ok(())
}

impl Latencies {
    fn figures(mut self) -> Vec<Figure> {
        let change = Percentiles::of(&mut self.change);
        let broadcast = Percentiles::of(&mut self.broadcast);
        let applied = Percentiles::of(&mut self.applied);
        let limit = Peer {
            name: "the slower feed path alone (postgres_changes), p50, same changes",
            value: change.p50,
        };
        let figure = |metric: &str, value: f64| Figure::new("desired", metric, value, "ms", limit);
        let whole = Peer {
            name: "row committed to host confirmed, p50",
            value: applied.p50,
        };
        let mut share = Figure::new(
            "desired",
            "share of the feed in the whole, p50",
            broadcast.p50,
            "%",
            whole,
        );
        share.value = 100.0 * share.ratio;
        vec![
            figure("row committed to host confirmed, p50", applied.p50),
            figure("row committed to host confirmed, p99", applied.p99),
            figure("row committed to broadcast heard, p50", broadcast.p50),
            figure("row committed to broadcast heard, p99", broadcast.p99),
            figure("row committed to postgres_changes heard, p50", change.p50),
            figure("row committed to postgres_changes heard, p99", change.p99),
            share,
        ]
    }
}
