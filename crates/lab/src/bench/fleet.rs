//! From the commit of a row to the agent having applied it, beside many other connected agents, by
//! each path of the feed alone. It never waits for one change before it makes the next: a change that
//! is slow must not hide those behind it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hidps_wire::Generation;
use tokio::time::sleep_until;

use super::feed_ear::{FeedEar, Path};
pub use super::feed_path::FeedPath;
use super::process::read_use;
use super::{Figure, Peer, Percentiles, millis};
use crate::swarm::chance::share;
use crate::swarm::field::{Field, FieldOptions};
use crate::swarm::roster::agent_id;
use crate::swarm::{Application, Swarm};

/// Connects begun within a second when a swarm starts: a fleet that grows, not a storm.
const CONNECTS_PER_SEC: f64 = 500.0;

/// Longest wait for a swarm to connect, and for what is desired to be applied; beyond it something
/// is broken, not slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// Changes made before any is measured.
const WARM_UP: usize = 10;

/// Usual time from one change to the next.
const EVERY: Duration = Duration::from_millis(25);

/// The same for `postgres_changes`: Realtime looks for changes every 100 ms while there are some and
/// every 500 ms when there are none, and single changes in a quiet project meet the latter.
const SELDOM: Duration = Duration::from_millis(310);

/// Least time between two changes of one agent: what an agent says is read twice a second and no
/// more often, and a change must not wait for those before it.
const APART: Duration = Duration::from_millis(600);

/// Longest time of one path; where changes are rarer, there are fewer of them.
const LONGEST: Duration = Duration::from_secs(60);

/// What the project has set itself, in milliseconds.
const AIM_BROADCAST_P99: f64 = 300.0;
const AIM_CHANGES: f64 = 1_000.0;

/// How the fleet is measured.
#[derive(Clone, Debug)]
pub struct FleetOptions {
    /// Connected agents, one number after the other.
    pub sizes: Vec<usize>,
    /// Changes for each size and path.
    pub n_changes: usize,
    /// The paths.
    pub paths: Vec<FeedPath>,
    /// Seconds between the daemon's full comparisons.
    pub resync_secs: u32,
}

/// A change that was made.
#[derive(Clone, Copy, Debug)]
struct Change {
    agent: usize,
    generation: Generation,
    committed: Instant,
}

/// What one size and path gave.
struct Run {
    n_agents: usize,
    path: FeedPath,
    /// Milliseconds from commit to applied.
    applied: Vec<f64>,
    /// Milliseconds from commit to a bare subscriber having heard it.
    heard: Vec<f64>,
    /// What `desired_changes` says of the same, the middle of all.
    recorded: f64,
    /// Of one core, while the changes were made and applied.
    cpu_share: f64,
}

/// Measures on a field of its own.
///
/// # Errors
/// When a part does not come up or something desired is not applied.
pub async fn measure(options: &FleetOptions) -> anyhow::Result<Vec<Figure>> {
    let largest = options.sizes.iter().copied().max().unwrap_or_default();
    let field = Field::start(FieldOptions {
        n_agents: largest,
        resync_secs: options.resync_secs,
    })
    .await?;
    let measured = measure_sizes(&field, options).await;
    field.stop().await?;
    measured
}

async fn measure_sizes(field: &Field, options: &FleetOptions) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for n_agents in options.sizes.iter().copied() {
        let spread = Duration::from_secs_f64(n_agents as f64 / CONNECTS_PER_SEC);
        let swarm = field.start_swarm(n_agents, spread);
        swarm.wait_connected(PATIENCE).await?;
        let wanted = field.read_generations(n_agents).await?;
        swarm.wait_applied(&wanted, PATIENCE).await?;
        let mut ear = FeedEar::open(&field.stack).await?;
        for path in options.paths.iter().copied() {
            path.isolate(&field.stack).await?;
            let run = measure_path(field, &swarm, &mut ear, options, path).await;
            let all_at_once = match path {
                FeedPath::Dead => Ok(Vec::new()),
                FeedPath::Broadcast | FeedPath::Changes => {
                    measure_all_at_once(field, &swarm, path).await
                }
            };
            path.restore(&field.stack).await?;
            field.wait_joined().await?;
            figures.extend(run?.figures(options.resync_secs));
            figures.extend(all_at_once?);
        }
    }
    Ok(figures)
}

async fn measure_path(
    field: &Field,
    swarm: &Swarm,
    ear: &mut FeedEar,
    options: &FleetOptions,
    path: FeedPath,
) -> anyhow::Result<Run> {
    let n_agents = swarm.n_agents();
    let mut wanted = field.read_generations(n_agents).await?;
    let every = match path {
        FeedPath::Changes => SELDOM,
        FeedPath::Broadcast | FeedPath::Dead => EVERY,
    };
    let every = every.max(APART.div_f64(n_agents as f64));
    let n_changes = options.n_changes.min(fitting(every));
    make_changes(field, &mut wanted, WARM_UP, every).await?;
    swarm.wait_applied(&wanted, PATIENCE).await?;
    drop((swarm.take_applications(), ear.take_all()));
    let (since, before) = (field.read_time().await?, read_use(field.daemon.id())?);
    let begun = Instant::now();
    let changes = make_changes(field, &mut wanted, n_changes, every).await?;
    swarm.wait_applied(&wanted, PATIENCE).await?;
    let after = read_use(field.daemon.id())?;
    let cpu_share = (after.cpu_secs - before.cpu_secs) / begun.elapsed().as_secs_f64();
    Ok(Run {
        n_agents,
        path,
        applied: latencies(&changes, &swarm.take_applications()),
        heard: hearings(&changes, ear, path),
        recorded: 1_000.0 * field.read_change_time(&since, n_agents).await?,
        cpu_share,
    })
}

/// How many changes fit into the longest time of one path.
fn fitting(every: Duration) -> usize {
    (LONGEST.as_secs_f64() / every.as_secs_f64()) as usize
}

/// Changes one agent after the other, each at its time whatever became of those before: at random
/// times, or they would all meet the same phase of whoever looks for them.
async fn make_changes(
    field: &Field,
    wanted: &mut [Generation],
    n_changes: usize,
    every: Duration,
) -> anyhow::Result<Vec<Change>> {
    let mut at = tokio::time::Instant::now();
    let mut changes = Vec::with_capacity(n_changes);
    for number in 0..n_changes {
        at += every.mul_f64(2.0 * share());
        sleep_until(at).await;
        // A prime step: neighbours among the changes are no neighbours in the database.
        let agent = number * 7_919 % wanted.len();
        field.toggle_firewall(agent).await?;
        let committed = Instant::now();
        wanted[agent].0 += 1;
        changes.push(Change {
            agent,
            generation: wanted[agent],
            committed,
        });
    }
    Ok(changes)
}

/// Milliseconds from each change to the first application of it or of a newer one: what is newer
/// holds it, and a newest-wins daemon may never send it.
fn latencies(changes: &[Change], applications: &[Application]) -> Vec<f64> {
    let mut by_agent: BTreeMap<usize, Vec<&Application>> = BTreeMap::new();
    for application in applications {
        by_agent
            .entry(application.agent)
            .or_default()
            .push(application);
    }
    let took = |change: &Change| {
        let applied = by_agent.get(&change.agent)?;
        let first = applied
            .iter()
            .find(|application| application.generation >= change.generation)?;
        Some(millis(first.at.saturating_duration_since(change.committed)))
    };
    changes.iter().filter_map(took).collect()
}

fn hearings(changes: &[Change], ear: &mut FeedEar, path: FeedPath) -> Vec<f64> {
    let path = match path {
        FeedPath::Broadcast => Path::Broadcast,
        FeedPath::Changes => Path::Change,
        FeedPath::Dead => return Vec::new(),
    };
    let heard: BTreeMap<(String, u64), Instant> = ear
        .take_all()
        .into_iter()
        .filter(|heard| heard.path == path)
        .map(|heard| ((heard.agent, heard.generation), heard.at))
        .collect();
    let took = |change: &Change| {
        let at = heard.get(&(agent_id(change.agent).to_string(), change.generation.0))?;
        Some(millis(at.saturating_duration_since(change.committed)))
    };
    changes.iter().filter_map(took).collect()
}

/// One statement that changes every connected agent, as the switch for a whole organization does.
async fn measure_all_at_once(
    field: &Field,
    swarm: &Swarm,
    path: FeedPath,
) -> anyhow::Result<Vec<Figure>> {
    let n_agents = swarm.n_agents();
    let mut wanted = field.read_generations(n_agents).await?;
    drop(swarm.take_applications());
    let begun = Instant::now();
    field.toggle_firewalls(n_agents).await?;
    let committed = Instant::now();
    let mut changes = Vec::with_capacity(n_agents);
    for (agent, generation) in wanted.iter_mut().enumerate() {
        generation.0 += 1;
        changes.push(Change {
            agent,
            generation: *generation,
            committed,
        });
    }
    swarm.wait_applied(&wanted, PATIENCE).await?;
    let mut applied = latencies(&changes, &swarm.take_applications());
    let of = Percentiles::of(&mut applied);
    let write = Peer {
        name: "the write itself",
        value: millis(committed - begun),
    };
    let figure = |which: &str, value: f64| {
        let path = path.name();
        let metric = format!("{n_agents} agents, {path}: all at once, applied, {which}");
        Figure::new("fleet", metric, value, "ms", write)
    };
    Ok(vec![figure("p50", of.p50), figure("last", of.max)])
}

impl Run {
    fn figures(mut self, resync_secs: u32) -> Vec<Figure> {
        let applied = Percentiles::of(&mut self.applied);
        let heard = Percentiles::of(&mut self.heard);
        let aim = |name, value| Peer { name, value };
        let (middle, slow) = match self.path {
            FeedPath::Broadcast => (
                aim("a bare subscriber hearing the broadcast, p50", heard.p50),
                aim("the aim of 300 ms", AIM_BROADCAST_P99),
            ),
            FeedPath::Changes => (
                aim("a bare subscriber hearing the change, p50", heard.p50),
                aim("the aim of 1 s", AIM_CHANGES),
            ),
            FeedPath::Dead => {
                let interval = f64::from(resync_secs) * 1_000.0;
                let peer = aim("the resync interval, without its jitter", interval);
                (peer, peer)
            }
        };
        let seen = aim("the same as the agents saw it, p50", applied.p50);
        let core = aim("one core", 100.0);
        let (n_agents, path) = (self.n_agents, self.path.name());
        let figure = |which: &str, value: f64, unit: &str, peer: Peer<'_>| {
            let metric = format!("{n_agents} agents, {path}: {which}");
            Figure::new("fleet", metric, value, unit, peer)
        };
        let mut figures = vec![
            figure("committed to applied, p50", applied.p50, "ms", middle),
            figure("committed to applied, p99", applied.p99, "ms", slow),
            figure("committed to applied, slowest", applied.max, "ms", slow),
            figure(
                "daemon's share of a core",
                100.0 * self.cpu_share,
                "%",
                core,
            ),
        ];
        // A change that a newer one overtook was never sent and has no row, so that rows speak of
        // all changes only where none waits for the timer.
        if self.path != FeedPath::Dead {
            figures.push(figure(
                "changed to applied by rows, p50",
                self.recorded,
                "ms",
                seen,
            ));
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_a_newer_one_overtook_counts_until_the_newer_is_applied() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let change = |agent, generation, committed| Change {
            agent,
            generation: Generation(generation),
            committed: at(committed),
        };
        let applied = |agent, generation, when| Application {
            agent,
            generation: Generation(generation),
            at: at(when),
        };
        let changes = [change(0, 2, 0), change(0, 3, 10), change(1, 2, 20)];
        let applications = [applied(1, 1, 1), applied(0, 3, 30), applied(1, 2, 25)];

        let took = latencies(&changes, &applications);

        assert_eq!(took, [30.0, 20.0, 5.0]);
    }
}
