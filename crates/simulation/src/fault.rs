//! What people and bad luck do during a run, drawn from the seed.
//! It decides what and when; the world decides what that means.

use fastrand::Rng;

use crate::time::Millis;

/// How long things happen before everything is healed.
pub(crate) const CHAOS: Millis = 180_000;

/// One thing that happens. Hosts and agents are named by their number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    /// Somebody changes what is desired of an agent; the number picks how.
    Edit(usize, u32),
    /// One transaction changes all agents and is held for it.
    EditAll(u32),
    /// Somebody lets through what is held of an agent.
    Release(usize),
    /// A backup of the database is made.
    Backup,
    /// The backup is restored.
    Restore,
    /// Realtime is away for so long.
    FeedAway(Millis),
    /// Requests to the database fail for so long.
    RestFails(Millis),
    /// Answers of the database lack rows for so long.
    RestPartial(Millis),
    /// The daemon is killed and starts again after so long.
    KillDaemon(Millis),
    /// Another host with the identity of an agent runs for so long.
    Twin(usize, Millis),
    /// Something happens to a host.
    OnHost(usize, HostAct),
    /// The daemon's clock jumps by so many milliseconds.
    ClockJump(i64),
}

/// One thing that happens to a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HostAct {
    /// The agent is killed and starts again after so long.
    Kill(Millis),
    /// It reboots and takes so long.
    Reboot(Millis),
    /// The agent is killed and its ledger is gone when it starts again.
    LoseLedger(Millis),
    /// It has no network for so long.
    Cut(Millis),
    /// Somebody deletes the agent's table; the flag says whether the kernel's word arrives.
    DeleteTable(bool),
    /// A path appears or vanishes.
    TogglePath(u32),
    /// The disk is full for so long.
    DiskFull(Millis),
    /// The packet filter cannot be changed for so long.
    NftBroken(Millis),
}

/// How hints travel during a run, each share in percent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HintWeather {
    /// Lost.
    pub(crate) lost: u32,
    /// Doubled.
    pub(crate) doubled: u32,
    /// Longest delay; hints overtake each other within it.
    pub(crate) delay: Millis,
}

/// All of a run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// How many agents there are.
    pub(crate) n_agents: usize,
    /// Whether each agent's host loses the daemon while the table is loaded.
    pub(crate) loses_daemon: Vec<bool>,
    /// How many rules each agent's host bears before it loses the daemon.
    pub(crate) most_rules: Vec<usize>,
    /// How hints travel.
    pub(crate) hints: HintWeather,
    /// Most rows in a page of the database.
    pub(crate) page: usize,
    /// What happens when.
    pub(crate) acts: Vec<(Millis, Act)>,
}

impl Plan {
    /// Draws a plan.
    #[must_use]
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let n_agents = rng.usize(1..=4);
        let n_acts = rng.usize(5..=40);
        let mut acts: Vec<_> = (0..n_acts)
            .map(|_| (rng.u64(0..CHAOS), draw_act(rng, n_agents)))
            .collect();
        acts.sort_by_key(|(at, _)| *at);
        Self {
            n_agents,
            loses_daemon: (0..n_agents).map(|_| rng.u32(0..12) == 0).collect(),
            most_rules: (0..n_agents)
                .map(|_| [usize::MAX, usize::MAX, 2][rng.usize(0..3)])
                .collect(),
            hints: HintWeather {
                lost: [0, 10, 50, 100][rng.usize(0..4)],
                doubled: [0, 20][rng.usize(0..2)],
                delay: [5, 200, 5_000][rng.usize(0..3)],
            },
            page: [1, 2, 1_000][rng.usize(0..3)],
            acts,
        }
    }
}

fn draw_act(rng: &mut Rng, n_agents: usize) -> Act {
    let agent = rng.usize(0..n_agents);
    let pick = rng.u32(..);
    let long = rng.u64(100..90_000);
    match rng.u32(0..40) {
        0..=13 => Act::Edit(agent, pick),
        14 => Act::EditAll(pick),
        15 => Act::Release(agent),
        16 => Act::Backup,
        17 => Act::Restore,
        18 | 19 => Act::FeedAway(long),
        20 | 21 => Act::RestFails(long),
        22 => Act::RestPartial(long),
        23 | 24 => Act::KillDaemon(rng.u64(100..20_000)),
        25 => Act::Twin(agent, long),
        26 | 27 => Act::ClockJump(rng.i64(-3_600_000..3_600_000)),
        _ => Act::OnHost(agent, draw_host_act(rng)),
    }
}

fn draw_host_act(rng: &mut Rng) -> HostAct {
    let long = rng.u64(100..90_000);
    match rng.u32(0..12) {
        0 | 1 => HostAct::Kill(rng.u64(10..20_000)),
        2 => HostAct::Reboot(rng.u64(5_000..30_000)),
        3 => HostAct::LoseLedger(rng.u64(10..5_000)),
        4 | 5 => HostAct::Cut(long),
        6 | 7 => HostAct::DeleteTable(rng.bool()),
        8 => HostAct::TogglePath(rng.u32(..)),
        9 | 10 => HostAct::DiskFull(long),
        _ => HostAct::NftBroken(long),
    }
}
