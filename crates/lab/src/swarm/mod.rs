//! Many agents in one process: each speaks the whole protocol over a signed socket of its own.
//! They have no hosts, and never take a short cut: what they applied came over the wire.

mod backoff;
pub(crate) mod chance;
pub mod connect;
pub mod field;
mod journal;
mod ledger;
mod member;
pub mod roster;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hidps_wire::Generation;
use tokio::task::JoinSet;

pub use journal::{Application, Standing, Tally};

use crate::world::probe::{NotSeen, wait_until};
use journal::Journal;
use ledger::Ledger;
use member::Member;
use roster::{agent_id, signing_key};

/// A running swarm; dropping it cuts every connection, as if the hosts lost their power.
#[derive(Debug)]
pub struct Swarm {
    journal: Arc<Journal>,
    n_agents: usize,
    /// The agents; they end with the swarm.
    _members: JoinSet<()>,
}

impl Swarm {
    /// Starts agents `0..n_agents`, whose rows and keys are written already, spread over a time.
    #[must_use]
    pub fn start(address: SocketAddr, n_agents: usize, spread: Duration) -> Self {
        let journal = Arc::new(Journal::new(n_agents));
        let mut members = JoinSet::new();
        for number in 0..n_agents {
            let member = Member {
                number,
                id: agent_id(number),
                key: signing_key(number),
                address,
                journal: Arc::clone(&journal),
                ledger: Ledger::default(),
            };
            let share = number as f64 / n_agents as f64;
            members.spawn(member.run(spread.mul_f64(share)));
        }
        Self {
            journal,
            n_agents,
            _members: members,
        }
    }

    /// How many agents there are.
    #[must_use]
    pub const fn n_agents(&self) -> usize {
        self.n_agents
    }

    /// How the swarm is.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.journal.tally()
    }

    /// How each agent is.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        self.journal.standings()
    }

    /// Everything applied since this was last asked, in the order it was applied.
    #[must_use]
    pub fn take_applications(&self) -> Vec<Application> {
        self.journal.take_applications()
    }

    /// Waits until every agent is connected.
    ///
    /// # Errors
    /// When the deadline passes, with how many are and why the last one failed.
    pub async fn wait_connected(&self, deadline: Duration) -> Result<Duration, NotSeen> {
        let connected = wait_until("every agent's connect", deadline, async || {
            let tally = self.tally();
            if tally.connected == self.n_agents {
                return Ok(());
            }
            let Tally {
                connected,
                last_reason,
                ..
            } = tally;
            Err(format!(
                "{connected} of {} are connected; the last failure: {last_reason}",
                self.n_agents
            ))
        });
        connected.await.map(|((), took)| took)
    }

    /// Waits until every agent has applied at least its generation among these.
    ///
    /// # Errors
    /// When the deadline passes, with how many have.
    pub async fn wait_applied(
        &self,
        wanted: &[Generation],
        deadline: Duration,
    ) -> Result<Duration, NotSeen> {
        let applied = wait_until("every agent's apply", deadline, async || {
            let standings = self.standings();
            let is_applied =
                |(standing, wanted): (&Standing, &Generation)| standing.generation >= Some(*wanted);
            let n_applied = standings
                .iter()
                .zip(wanted)
                .filter(|pair| is_applied(*pair))
                .count();
            if n_applied == self.n_agents {
                Ok(())
            } else {
                Err(format!("{n_applied} of {} have applied", self.n_agents))
            }
        });
        applied.await.map(|((), took)| took)
    }

    /// Waits until one agent has applied at least a generation.
    ///
    /// # Errors
    /// When the deadline passes, with what it has applied.
    pub async fn wait_agent_applied(
        &self,
        agent: usize,
        wanted: Generation,
        deadline: Duration,
    ) -> Result<Duration, NotSeen> {
        let applied = wait_until("an agent's apply", deadline, async || {
            let standing = self.journal.standing(agent);
            if standing.generation >= Some(wanted) {
                Ok(())
            } else {
                Err(format!("{standing:?}"))
            }
        });
        applied.await.map(|((), took)| took)
    }
}
