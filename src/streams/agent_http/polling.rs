//! Agents that ask over HTTP: when each was heard of, and what of it was recorded.
//! It is bounded, and forgets whoever has not asked for a while.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use hidps_wire::AgentId;
use tokio::time::Instant;

use crate::streams::agent_http::HttpWays;
use crate::streams::presence::Heard;
use crate::streams::status_budget::StatusBudget;
use crate::streams::vital_signs::VitalSigns;

/// Most agents remembered; more than that belong on sockets.
const MAX_AGENTS: usize = 10_000;

/// After so long an agent is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(90);

/// After such a pause an agent is new again: its lease of 90 s in the database may have ended, for a
/// sign of life is recorded twice a minute.
const NEW_AFTER: Duration = Duration::from_secs(55);

/// The agents.
#[derive(Debug, Default)]
pub(super) struct PollingAgents(HashMap<AgentId, Polling>);

/// What is remembered of one.
#[derive(Debug)]
pub(super) struct Polling {
    /// What was recorded of it.
    pub(super) signs: VitalSigns,
    /// How often it may say how its host is.
    pub(super) statuses: StatusBudget,
    /// Whether its firewall was on, as it said last.
    pub(super) firewall_active: Option<bool>,
    /// Usage before this time is not shown to rules.
    pub(super) usage_at: Instant,
    heard_at: Instant,
}

impl PollingAgents {
    /// Remembers that an agent was heard of; none where there is no room for it.
    fn hear(&mut self, agent: AgentId, now: Instant) -> Option<Heard> {
        let is_gone = |polling: &Polling| now >= polling.heard_at + FORGET_AFTER;
        if self.0.get(&agent).is_some_and(is_gone) {
            self.0.remove(&agent);
        }
        if let Some(polling) = self.0.get_mut(&agent) {
            let is_new = now >= polling.heard_at + NEW_AFTER;
            polling.heard_at = now;
            let is_due = polling.signs.is_seen(now);
            return Some(Heard { is_new, is_due });
        }
        if self.0.len() >= MAX_AGENTS {
            self.0.retain(|_, polling| !is_gone(polling));
        }
        if self.0.len() >= MAX_AGENTS {
            return None;
        }
        let polling = Polling {
            signs: VitalSigns::new(now),
            statuses: StatusBudget::new(now),
            firewall_active: None,
            usage_at: now,
            heard_at: now,
        };
        self.0.insert(agent, polling);
        Some(Heard {
            is_new: true,
            is_due: true,
        })
    }
}

impl HttpWays {
    /// Remembers that an agent was heard of; none where there is no room for it.
    pub(super) fn with_polling(&self, agent: AgentId, now: Instant) -> Option<Heard> {
        let mut agents = self.polling.lock().unwrap_or_else(PoisonError::into_inner);
        agents.hear(agent, now)
    }

    /// Acts on what is remembered of an agent that was heard of just now.
    pub(super) fn on_polling<T>(
        &self,
        agent: AgentId,
        act: impl FnOnce(&mut Polling) -> T,
    ) -> Option<T> {
        let mut agents = self.polling.lock().unwrap_or_else(PoisonError::into_inner);
        agents.0.get_mut(&agent).map(act)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn agent(number: usize) -> AgentId {
        AgentId::new(Uuid::from_u128(number as u128))
    }

    #[tokio::test(start_paused = true)]
    async fn a_sign_of_life_is_recorded_at_first_and_then_now_and_then() {
        let mut agents = PollingAgents::default();
        let begin = Instant::now();
        let hear = |agents: &mut PollingAgents, seconds| {
            let heard = agents.hear(agent(1), begin + Duration::from_secs(seconds));
            heard.map(|heard| (heard.is_new, heard.is_due))
        };

        assert_eq!(hear(&mut agents, 0), Some((true, true)));
        assert_eq!(hear(&mut agents, 1), Some((false, false)));
        assert_eq!(hear(&mut agents, 40), Some((false, true)));
        assert_eq!(hear(&mut agents, 100), Some((true, true)));
        assert_eq!(hear(&mut agents, 200), Some((true, true)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_agents_is_bounded_and_those_that_are_gone_make_room() {
        let mut agents = PollingAgents::default();
        let begin = Instant::now();
        for number in 0..MAX_AGENTS {
            assert!(agents.hear(agent(number), begin).is_some());
        }

        assert_eq!(agents.hear(agent(MAX_AGENTS), begin), None);
        assert!(agents.hear(agent(7), begin).is_some());
        let later = begin + FORGET_AFTER;
        assert!(agents.hear(agent(MAX_AGENTS), later).is_some());
        assert_eq!(agents.0.len(), 1);
    }
}
