//! The daemon dies with many agents connected, everything desired changes meanwhile, and it is
//! started again. It never helps the agents back: they come by their own patience.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::bail;
use hidps_wire::Generation;
use tokio::time::sleep;

use super::process::{ProcessUse, read_use};
use super::{Figure, Peer};
use crate::swarm::Swarm;
use crate::swarm::field::{Field, FieldOptions};

/// Connects begun within a second when the swarm starts.
const CONNECTS_PER_SEC: f64 = 500.0;

/// Longest wait for everything to be as desired; beyond it something is broken, not slow.
const PATIENCE: Duration = Duration::from_secs(180);

/// Pause between two looks: what they cost must not be what is measured.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What the project has set itself, for 5,000 agents.
const AIM: Peer<'static> = Peer {
    name: "the aim of 20 s",
    value: 20.0,
};

/// How the storm is measured.
#[derive(Clone, Copy, Debug)]
pub struct StormOptions {
    /// Connected agents.
    pub n_agents: usize,
}

/// Measures on a field of its own.
///
/// # Errors
/// When a part does not come up or not everything becomes as desired again.
pub async fn measure(options: StormOptions) -> anyhow::Result<Vec<Figure>> {
    let mut field = Field::start(FieldOptions {
        n_agents: options.n_agents,
        resync_secs: 45,
    })
    .await?;
    let measured = measure_storm(&mut field, options.n_agents).await;
    field.stop().await?;
    measured
}

async fn measure_storm(field: &mut Field, n_agents: usize) -> anyhow::Result<Vec<Figure>> {
    let spread = Duration::from_secs_f64(n_agents as f64 / CONNECTS_PER_SEC);
    let swarm = field.start_swarm(n_agents, spread);
    swarm.wait_connected(PATIENCE).await?;
    wait_confirmed(field, n_agents).await?;
    let calm = read_use(field.daemon.id())?;

    let killed = Instant::now();
    field.daemon.kill()?;
    field.toggle_firewalls(n_agents).await?;
    let wanted = field.read_generations(n_agents).await?;
    let started = Instant::now();
    field.daemon.restart().await?;
    let ready = Instant::now();
    let (connects, applied) = wait_back(&swarm, &wanted, killed).await?;
    let tally = swarm.tally();
    let confirmed = wait_confirmed(field, n_agents).await?;
    let storm = Storm {
        n_agents,
        down: started - killed,
        until_ready: ready - started,
        connects: connects
            .iter()
            .map(|at| at.saturating_duration_since(started))
            .collect(),
        in_vain: tally.in_vain,
        until_applied: applied.saturating_duration_since(started),
        until_confirmed: confirmed - started,
        calm,
        used: read_use(field.daemon.id())?,
    };
    Ok(storm.figures())
}

/// What happened, in times from the start of the new daemon.
struct Storm {
    n_agents: usize,
    /// From the kill to that start.
    down: Duration,
    until_ready: Duration,
    /// Until each was connected, the earliest first.
    connects: Vec<Duration>,
    /// Attempts in vain, by what was in the way.
    in_vain: BTreeMap<String, u64>,
    until_applied: Duration,
    until_confirmed: Duration,
    /// The daemon before the kill.
    calm: ProcessUse,
    /// The new daemon once everything was confirmed.
    used: ProcessUse,
}

impl Storm {
    fn figures(&self) -> Vec<Figure> {
        let figure = |which: &str, value: f64, unit: &str, peer: Peer<'_>| {
            let metric = format!("{} agents: {which}", self.n_agents);
            Figure::new("storm", metric, value, unit, peer)
        };
        let secs = |which, time: Duration, peer| figure(which, time.as_secs_f64(), "s", peer);
        let down = Peer {
            name: "the time it was down",
            value: self.down.as_secs_f64(),
        };
        let wall = Peer {
            name: "the time until all were confirmed",
            value: self.until_confirmed.as_secs_f64(),
        };
        let agents = Peer {
            name: "the agents",
            value: self.n_agents as f64,
        };
        let before = Peer {
            name: "its memory before the kill",
            value: self.calm.resident_mib,
        };
        let attempts = self.in_vain.iter().map(|(reason, count)| {
            let metric = format!("attempts in vain ({reason})");
            figure(&metric, *count as f64, "", agents)
        });
        let mut figures = vec![
            secs("started to ready", self.until_ready, down),
            secs("started to the first connected", self.connected(0), AIM),
            secs("started to half of them connected", self.connected(50), AIM),
            secs("started to nine in ten connected", self.connected(90), AIM),
            secs("started to the last connected", self.connected(100), AIM),
            secs("started to the last applied", self.until_applied, AIM),
            secs(
                "started to all confirmed in the database",
                self.until_confirmed,
                AIM,
            ),
            figure(
                "daemon's processor time until then",
                self.used.cpu_secs,
                "s",
                wall,
            ),
            figure(
                "daemon's memory then",
                self.used.resident_mib,
                "MiB",
                before,
            ),
            figure(
                "daemon's memory at its most",
                self.used.peak_mib,
                "MiB",
                before,
            ),
        ];
        figures.extend(attempts);
        figures
    }

    /// Until so many of a hundred were connected.
    fn connected(&self, percent: usize) -> Duration {
        let last = self.connects.len() - 1;
        self.connects[last * percent / 100]
    }
}

/// Waits until every agent is connected again and has applied what is desired now; gives when each
/// was, the earliest first, and when the last one had.
async fn wait_back(
    swarm: &Swarm,
    wanted: &[Generation],
    killed: Instant,
) -> anyhow::Result<(Vec<Instant>, Instant)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let standings = swarm.standings();
        let connects = standings
            .iter()
            .filter_map(|standing| standing.connected_at);
        let mut connects: Vec<Instant> = connects.filter(|at| *at > killed).collect();
        let applies = standings.iter().zip(wanted);
        let applies = applies.filter(|(standing, wanted)| standing.generation == Some(**wanted));
        let applies: Vec<Instant> = applies
            .filter_map(|(standing, _)| standing.applied_at)
            .collect();
        if connects.len() == wanted.len()
            && applies.len() == wanted.len()
            && let Some(applied) = applies.iter().max()
        {
            connects.sort_unstable();
            return Ok((connects, *applied));
        }
        if Instant::now() > deadline {
            bail!(
                "of {} agents {} came back and {} applied within {PATIENCE:?}; {:?}",
                wanted.len(),
                connects.len(),
                applies.len(),
                swarm.tally()
            );
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Waits until the database says of every agent that it is online and as desired now.
async fn wait_confirmed(field: &Field, n_agents: usize) -> anyhow::Result<Instant> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let n_confirmed = field.count_confirmed().await?;
        if n_confirmed == n_agents {
            return Ok(Instant::now());
        }
        if Instant::now() > deadline {
            bail!("of {n_agents} agents {n_confirmed} were confirmed within {PATIENCE:?}");
        }
        sleep(LOOK_EVERY).await;
    }
}
