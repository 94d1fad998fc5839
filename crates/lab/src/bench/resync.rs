//! A full comparison with the database when it holds very many agents and few are connected.
//! It never trusts the daemon's own clock: the change of the last agent in order is watched for.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hidps_wire::Generation;
use tokio::time::sleep;

use super::feed_path::FeedPath;
use super::process::read_use;
use super::{Figure, Peer, Percentiles, millis};
use crate::swarm::Swarm;
use crate::swarm::field::{Field, FieldOptions};

/// The counter that goes up when a comparison begins.
const BEGUN: &str = "hidps_realtime_resyncs_total";

/// Seconds between comparisons: the shortest the daemon takes, so that a round is short.
const RESYNC_SECS: u32 = 5;

/// Longest wait for one comparison.
const PATIENCE: Duration = Duration::from_secs(120);

/// Most rounds that may say nothing.
const MAX_VOID: usize = 10;

/// Pause between two looks at the counter; comparisons are measured to this.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How the comparison is measured.
#[derive(Clone, Copy, Debug)]
pub struct ResyncOptions {
    /// Agents in the database that are not connected.
    pub n_agents: usize,
    /// Agents that are, the last in the database's order.
    pub n_connected: usize,
    /// Comparisons measured.
    pub n_rounds: usize,
}

/// Measures on a field of its own.
///
/// # Errors
/// When a part does not come up or a comparison does not end.
pub async fn measure(options: ResyncOptions) -> anyhow::Result<Vec<Figure>> {
    let mut field = Field::start(FieldOptions {
        n_agents: options.n_connected,
        resync_secs: RESYNC_SECS,
    })
    .await?;
    let measured = measure_field(&mut field, options).await;
    field.stop().await?;
    measured
}

async fn measure_field(field: &mut Field, options: ResyncOptions) -> anyhow::Result<Vec<Figure>> {
    let without = measure_rounds(field, options).await?;
    field.daemon.kill()?;
    field.add_asleep(options.n_agents).await?;
    field.daemon.restart().await?;
    let with = measure_rounds(field, options).await?;
    Ok(figures(options.n_agents, without, with))
}

/// What some comparisons cost a daemon that has just been started.
#[derive(Debug)]
struct Rounds {
    millis: Vec<f64>,
    cpu_secs: f64,
    resident_mib: f64,
    peak_mib: f64,
}

async fn measure_rounds(field: &Field, options: ResyncOptions) -> anyhow::Result<Rounds> {
    let swarm = field.start_swarm(options.n_connected, Duration::ZERO);
    swarm.wait_connected(PATIENCE).await?;
    FeedPath::Dead.isolate(&field.stack).await?;
    let measured = watch_rounds(field, &swarm, options.n_rounds).await;
    FeedPath::Dead.restore(&field.stack).await?;
    let used = read_use(field.daemon.id())?;
    Ok(Rounds {
        resident_mib: used.resident_mib,
        peak_mib: used.peak_mib,
        ..measured?
    })
}

async fn watch_rounds(field: &Field, swarm: &Swarm, n_rounds: usize) -> anyhow::Result<Rounds> {
    let n_connected = swarm.n_agents();
    let last = n_connected - 1;
    let wanted = field.read_generations(n_connected).await?;
    swarm.wait_applied(&wanted, PATIENCE).await?;
    let mut generation = wanted[last];
    let mut took = Vec::new();
    let mut cpu_secs = 0.0;
    let mut n_void = 0;
    while took.len() < n_rounds {
        let n_begun = field.daemon.metric(BEGUN).await;
        field.toggle_firewall(last).await?;
        generation.0 += 1;
        let begun = wait_begun(field, n_begun).await?;
        // Looking at the counter costs the daemon time, too.
        let before = read_use(field.daemon.id())?;
        swarm.wait_agent_applied(last, generation, PATIENCE).await?;
        let applied = newest_application(swarm, last, generation)?;
        if applied < begun {
            // The change was made in the middle of a comparison, which took it along.
            n_void += 1;
            ensure!(
                n_void < MAX_VOID,
                "no change could be made between two comparisons"
            );
            sleep(Duration::from_secs(RESYNC_SECS.into()) / 2).await;
            continue;
        }
        took.push(millis(applied - begun));
        cpu_secs += read_use(field.daemon.id())?.cpu_secs - before.cpu_secs;
    }
    Ok(Rounds {
        millis: took,
        cpu_secs: cpu_secs / n_rounds as f64,
        resident_mib: f64::NAN,
        peak_mib: f64::NAN,
    })
}

async fn wait_begun(field: &Field, n_begun: Option<f64>) -> anyhow::Result<Instant> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if field.daemon.metric(BEGUN).await > n_begun {
            return Ok(Instant::now());
        }
        sleep(LOOK_EVERY).await;
    }
    anyhow::bail!("no comparison began within {PATIENCE:?}")
}

fn newest_application(
    swarm: &Swarm,
    agent: usize,
    generation: Generation,
) -> anyhow::Result<Instant> {
    let standing = swarm.standings()[agent];
    let applied_at = standing
        .applied_at
        .filter(|_| standing.generation == Some(generation));
    applied_at.with_context(|| format!("agent {agent} is at {standing:?}, not at {generation}"))
}

fn figures(n_agents: usize, mut without: Rounds, mut with: Rounds) -> Vec<Figure> {
    let (few, many) = (
        Percentiles::of(&mut without.millis),
        Percentiles::of(&mut with.millis),
    );
    let peer = |value| Peer {
        name: "the same with the connected agents alone",
        value,
    };
    let figure = |which: &str, value: f64, unit: &str, peer: Peer<'_>| {
        let metric = format!("{n_agents} agents in the database: {which}");
        Figure::new("resync", metric, value, unit, peer)
    };
    let whole = "begun to the last agent applied";
    vec![
        figure(&format!("{whole}, p50"), many.p50, "ms", peer(few.p50)),
        figure(&format!("{whole}, slowest"), many.max, "ms", peer(few.max)),
        figure(
            "daemon's processor time",
            1_000.0 * with.cpu_secs,
            "ms",
            Peer {
                name: "the time it took, p50",
                value: many.p50,
            },
        ),
        figure(
            "daemon's memory after it",
            with.resident_mib,
            "MiB",
            peer(without.resident_mib),
        ),
        figure(
            "daemon's memory at its most",
            with.peak_mib,
            "MiB",
            peer(without.peak_mib),
        ),
    ]
}
