//! What the agents of a swarm saw, with the times: connects, refusals, documents applied.
//! It never grows beyond its bound, and what does not fit is counted.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hidps_wire::Generation;

/// Most applications kept until they are taken: more than any bench makes between two looks.
const MAX_APPLICATIONS: usize = 1_000_000;

/// Most reasons kept apart; each is one sentence.
const MAX_REASONS: usize = 16;

/// A document that an agent applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Application {
    /// The agent, counted from 0.
    pub agent: usize,
    /// The generation.
    pub generation: Generation,
    /// When it was applied.
    pub at: Instant,
}

/// How one agent is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// Since when it is connected, if it is.
    pub connected_at: Option<Instant>,
    /// The newest generation it applied.
    pub generation: Option<Generation>,
    /// When it applied that.
    pub applied_at: Option<Instant>,
}

/// How the swarm is, all told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Agents connected now.
    pub connected: usize,
    /// Connects that were welcomed so far.
    pub welcomed: u64,
    /// Attempts that did not lead to a welcome so far.
    pub failed: u64,
    /// Connections that ended so far.
    pub ended: u64,
    /// Why the last one failed or ended.
    pub last_reason: String,
    /// The failed attempts by their reasons, of which only the first are kept apart.
    pub in_vain: BTreeMap<String, u64>,
    /// Applications that were not kept.
    pub forgotten: u64,
}

/// The journal of a swarm.
#[derive(Debug)]
pub(super) struct Journal {
    pages: Mutex<Pages>,
}

#[derive(Debug)]
struct Pages {
    standings: Vec<Standing>,
    applications: Vec<Application>,
    tally: Tally,
}

impl Journal {
    /// An empty one for so many agents.
    pub(super) fn new(n_agents: usize) -> Self {
        Self {
            pages: Mutex::new(Pages {
                standings: vec![Standing::default(); n_agents],
                applications: Vec::new(),
                tally: Tally::default(),
            }),
        }
    }

    pub(super) fn on_welcomed(&self, agent: usize) {
        let mut pages = self.pages();
        pages.tally.connected += 1;
        pages.tally.welcomed += 1;
        pages.standings[agent].connected_at = Some(Instant::now());
    }

    pub(super) fn on_ended(&self, agent: usize, reason: String) {
        let mut pages = self.pages();
        pages.tally.connected -= 1;
        pages.tally.ended += 1;
        pages.tally.last_reason = reason;
        pages.standings[agent].connected_at = None;
    }

    pub(super) fn on_failed(&self, reason: String) {
        let mut pages = self.pages();
        let tally = &mut pages.tally;
        tally.failed += 1;
        tally.last_reason.clone_from(&reason);
        let is_room = tally.in_vain.len() < MAX_REASONS || tally.in_vain.contains_key(&reason);
        let reason = if is_room { reason } else { "other".to_owned() };
        *tally.in_vain.entry(reason).or_default() += 1;
    }

    pub(super) fn on_applied(&self, agent: usize, generation: Generation) {
        let at = Instant::now();
        let mut pages = self.pages();
        pages.standings[agent].generation = Some(generation);
        pages.standings[agent].applied_at = Some(at);
        if pages.applications.len() < MAX_APPLICATIONS {
            pages.applications.push(Application {
                agent,
                generation,
                at,
            });
        } else {
            pages.tally.forgotten += 1;
        }
    }

    /// How each agent is.
    pub(super) fn standings(&self) -> Vec<Standing> {
        self.pages().standings.clone()
    }

    /// How one agent is.
    pub(super) fn standing(&self, agent: usize) -> Standing {
        self.pages().standings[agent]
    }

    /// How the swarm is.
    pub(super) fn tally(&self) -> Tally {
        self.pages().tally.clone()
    }

    /// Everything applied since this was last asked, in the order it was applied.
    pub(super) fn take_applications(&self) -> Vec<Application> {
        std::mem::take(&mut self.pages().applications)
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_comes_and_goes_is_counted_once_each_time() {
        let journal = Journal::new(2);

        journal.on_failed("refused".to_owned());
        journal.on_welcomed(1);
        journal.on_applied(1, Generation(3));
        journal.on_ended(1, "closed".to_owned());

        let tally = journal.tally();
        assert_eq!((tally.connected, tally.welcomed), (0, 1));
        assert_eq!((tally.failed, tally.ended), (1, 1));
        assert_eq!(journal.standing(1).generation, Some(Generation(3)));
        assert_eq!(journal.take_applications().len(), 1);
        assert!(journal.take_applications().is_empty());
    }
}
