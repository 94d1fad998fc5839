//! How many bodies are read at once: of one agent, of one organization, and of all.
//! It never waits; who gets no seat comes again.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hidps_wire::AgentId;

use crate::model::{OrgId, OwnedAgent};

/// Bodies that are read at once: 32 MiB at the very worst.
const ALL: usize = 128;

/// Those of one organization, so that two others find room beside the busiest.
const OF_ORG: usize = ALL / 2;

/// Those of one agent: one that comes in while another is with detection, and as many to spare.
pub(in crate::streams) const OF_AGENT: usize = 4;

/// The seats.
#[derive(Debug, Default)]
pub(super) struct Seats(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_org: HashMap<OrgId, usize>,
    by_agent: HashMap<AgentId, usize>,
}

/// One seat; it is free again when this is gone.
#[derive(Debug)]
pub(super) struct Seat<'a> {
    seats: &'a Seats,
    org: OrgId,
    agent: AgentId,
}

/// Whose seats are all taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Full {
    /// The agent's own.
    Agent,
    /// Those of its organization.
    Organization,
    /// All.
    All,
}

impl Full {
    /// As metrics name it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Organization => "organization",
            Self::All => "all",
        }
    }
}

impl Seats {
    /// A seat for a body of this agent.
    ///
    /// # Errors
    /// Says whose seats are all taken.
    pub(super) fn take(&self, OwnedAgent { agent, org, .. }: OwnedAgent) -> Result<Seat<'_>, Full> {
        let mut taken = self.lock();
        let count = |n: Option<&usize>| n.copied().unwrap_or(0);
        if count(taken.by_agent.get(&agent)) >= OF_AGENT {
            return Err(Full::Agent);
        }
        if count(taken.by_org.get(&org)) >= OF_ORG {
            return Err(Full::Organization);
        }
        if taken.all >= ALL {
            return Err(Full::All);
        }
        taken.all += 1;
        *taken.by_org.entry(org).or_default() += 1;
        *taken.by_agent.entry(agent).or_default() += 1;
        let seats = self;
        Ok(Seat { seats, org, agent })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut taken = self.seats.lock();
        taken.all -= 1;
        count_down(&mut taken.by_org, self.org);
        count_down(&mut taken.by_agent, self.agent);
    }
}

/// Takes one off, and leaves nothing behind at zero.
pub(super) fn count_down<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn owned(agent: usize, org: usize) -> OwnedAgent {
        OwnedAgent {
            agent: AgentId::new(Uuid::from_u128(agent as u128)),
            org: OrgId(Uuid::from_u128(org as u128)),
            key: [0; 32],
        }
    }

    #[test]
    fn neither_an_agent_nor_an_organization_takes_the_seats_of_others() {
        let seats = Seats::default();
        let of_one: Vec<_> = (0..OF_AGENT).map(|_| seats.take(owned(0, 0))).collect();
        assert!(of_one.iter().all(Result::is_ok));
        assert_eq!(seats.take(owned(0, 0)).unwrap_err(), Full::Agent);

        let of_org: Vec<_> = (1..).map_while(|n| seats.take(owned(n, 0)).ok()).collect();
        assert_eq!(of_one.len() + of_org.len(), OF_ORG);
        assert_eq!(seats.take(owned(999, 0)).unwrap_err(), Full::Organization);

        let others: Vec<_> = (1_000..)
            .map_while(|n| seats.take(owned(n, n)).ok())
            .collect();
        assert_eq!(of_one.len() + of_org.len() + others.len(), ALL);
        assert_eq!(seats.take(owned(999, 1)).unwrap_err(), Full::All);
    }

    #[test]
    fn a_seat_is_free_again_and_nothing_is_remembered_of_it() {
        let seats = Seats::default();
        for n in 0..1_000 {
            drop(seats.take(owned(n, n)));
        }

        let taken = seats.lock();
        assert_eq!(
            (taken.all, taken.by_org.len(), taken.by_agent.len()),
            (0, 0, 0)
        );
    }
}
