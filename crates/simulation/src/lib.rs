//! Deterministic simulation: thousands of random schedules of changes and faults over the daemon's
//! and the agent's real decisions (mirror, sessions, presence, the agent's core and ledger), on
//! simulated time and network, against a reference that knows only the rows.
//!
//! Not simulated: sockets and their frames, the feed's canary, the outbox's lanes and everything
//! that only carries; those are tested where they are, and together on the local stack.

mod check;
mod daemon;
mod edit;
mod fault;
mod host;
mod rows;
mod time;
mod world;

pub use time::Millis;
pub use world::{Trace, World};

use crate::fault::CHAOS;

/// How long a world may take to converge once the faults are over: connects back off for seconds,
/// a comparison comes within a minute, and a document is sent again after at most two.
const PATIENCE: Millis = 240_000;

/// The same where a firewall is on trial: one whose trials were all disturbed waits for minutes
/// before the next.
const TRIAL_PATIENCE: Millis = 3 * 3_600_000;

/// How long a converged world is watched for commands nobody needs.
const CALM: Millis = 130_000;

/// Time between two looks, and between two releases of what is held.
const LOOK: Millis = 5_000;

/// What a run did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Things that happened.
    pub events: u64,
    /// Documents that were sent.
    pub commands: u64,
    /// Changes that were made.
    pub changes: u64,
}

impl Summary {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            commands: self.commands + other.commands,
            changes: self.changes + other.changes,
        }
    }
}

/// What was wrong in a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The run.
    pub seed: u64,
    /// When it was, and what.
    pub what: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seed, what } = self;
        write!(
            f,
            "seed {seed}: {what}\nto see it again: cargo x simulate --seed {seed} --trace"
        )
    }
}

impl std::error::Error for Failure {}

/// Runs one schedule; `on_event` is called with the time and each event before it happens.
///
/// # Errors
/// The first thing that was wrong.
pub fn run(seed: u64, on_event: &mut Trace<'_>) -> Result<Summary, Failure> {
    let mut world = World::new(seed);
    let result = drive(&mut world, on_event);
    result.map_err(|what| Failure { seed, what })?;
    let total = |counts: &std::collections::BTreeMap<_, u64>| counts.values().sum();
    Ok(Summary {
        events: world.counts.events,
        commands: total(&world.counts.commands),
        changes: total(&world.rows.n_changes),
    })
}

fn drive(world: &mut World, trace: &mut Trace<'_>) -> Result<(), String> {
    until(world, CHAOS, trace)?;
    world.heal();
    let mut patience = PATIENCE;
    while let Some(what) = world.unsettled() {
        // A trial that has just ended is told a little later.
        if world.has_trials() {
            patience = TRIAL_PATIENCE;
        }
        if world.agenda.now() > CHAOS + patience {
            return Err(format!("it did not converge in time: {what}"));
        }
        for agent in 0..world.plan.n_agents {
            world.release(agent);
        }
        until(world, world.agenda.now() + LOOK, trace)?;
    }
    world.check_counts();
    let commands = world.steady_commands();
    until(world, world.agenda.now() + CALM, trace)?;
    if let Some(what) = world.unsettled() {
        return Err(format!("it did not stay converged: {what}"));
    }
    if world.steady_commands() != commands {
        return Err("commands were sent to converged hosts".to_owned());
    }
    world.check_counts();
    world.fault.take().map_or(Ok(()), Err)
}

fn until(world: &mut World, end: Millis, trace: &mut Trace<'_>) -> Result<(), String> {
    world.mark(end);
    while world.step(trace) {
        if let Some(fault) = world.fault.take() {
            return Err(fault);
        }
    }
    Ok(())
}
