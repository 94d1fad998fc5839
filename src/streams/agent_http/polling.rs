//! Agents that ask over HTTP: when each was heard of, and what of it was recorded.
//! It is bounded, and forgets whoever has not asked for a while.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use hidps_wire::{AgentId, Applied, Facts};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::model::{FactsReport, OrgId, OwnedAgent};
use crate::ports::{AgentSession, Records};
use crate::streams::agent_http::HttpWays;
use crate::streams::agent_http::seats::{Full, count_down};
use crate::streams::presence::Heard;
use crate::streams::status_budget::StatusBudget;
use crate::streams::vital_signs::VitalSigns;

/// Most agents remembered; more than that belong on sockets.
const MAX_AGENTS: usize = 10_000;

/// Most of one organization, so that others find room beside it.
const MAX_OF_ORG: usize = MAX_AGENTS / 2;

/// After so long an agent is forgotten: longer than the pauses of any that asks regularly.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// After such a pause an agent is new again: its lease of 90 s in the database may have ended, for a
/// sign of life is recorded twice a minute.
const NEW_AFTER: Duration = Duration::from_secs(55);

/// How often it is looked for what is due, and for who is to be forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// The agents.
#[derive(Default)]
pub(super) struct PollingAgents {
    agents: HashMap<AgentId, Polling>,
    by_org: HashMap<OrgId, usize>,
}

/// What is remembered of one.
pub(super) struct Polling {
    org: OrgId,
    /// What was recorded of it.
    pub(super) signs: VitalSigns,
    /// How often it may say how its host is.
    pub(super) statuses: StatusBudget,
    /// Whether its firewall was on, as it said last.
    pub(super) firewall_active: Option<bool>,
    /// Usage before this time is not shown to rules.
    pub(super) usage_at: Instant,
    /// Decides what it is told.
    pub(super) session: Box<dyn AgentSession>,
    /// What it said last of what it has applied, if it has asked at all.
    pub(super) claimed: Option<Option<Applied>>,
    /// Why the change it would be told of is held back.
    pub(super) held: Option<String>,
    heard_at: Instant,
}

impl PollingAgents {
    /// Remembers that an agent was heard of.
    ///
    /// # Errors
    /// Says for whom there is no room.
    fn hear(
        &mut self,
        OwnedAgent { agent, org, .. }: OwnedAgent,
        now: Instant,
        open: impl FnOnce() -> Box<dyn AgentSession>,
    ) -> Result<Heard, Full> {
        if let Some(polling) = self.agents.get_mut(&agent) {
            let is_new = now >= polling.heard_at + NEW_AFTER;
            polling.heard_at = now;
            let is_due = polling.signs.is_seen(now);
            return Ok(Heard { is_new, is_due });
        }
        if self.by_org.get(&org).is_some_and(|n| *n >= MAX_OF_ORG) {
            return Err(Full::Organization);
        }
        if self.agents.len() >= MAX_AGENTS {
            return Err(Full::All);
        }
        let polling = Polling {
            org,
            signs: VitalSigns::new(now),
            statuses: StatusBudget::new(now),
            firewall_active: None,
            usage_at: now,
            session: open(),
            claimed: None,
            held: None,
            heard_at: now,
        };
        self.agents.insert(agent, polling);
        *self.by_org.entry(org).or_default() += 1;
        Ok(Heard {
            is_new: true,
            is_due: true,
        })
    }

    /// Forgets whoever has not asked for a while; gives the facts that are due, and all of theirs.
    fn sweep(&mut self, now: Instant) -> Vec<(AgentId, Facts)> {
        let mut due = Vec::new();
        let by_org = &mut self.by_org;
        self.agents.retain(|agent, polling| {
            let is_gone = now >= polling.heard_at + FORGET_AFTER;
            let facts = if is_gone {
                count_down(by_org, polling.org);
                polling.signs.take_last_facts(now)
            } else {
                polling.signs.take_facts(now)
            };
            due.extend(facts.map(|facts| (*agent, facts)));
            !is_gone
        });
        due
    }

    /// The facts of all, due or not.
    fn take_last_facts(&mut self, now: Instant) -> Vec<(AgentId, Facts)> {
        let all = self.agents.iter_mut();
        let facts = all.filter_map(|(agent, polling)| {
            let facts = polling.signs.take_last_facts(now);
            facts.map(|facts| (*agent, facts))
        });
        facts.collect()
    }
}

/// Records facts that came too soon after others once they are due, until it is told to stop.
pub async fn watch_polling(
    ways: Arc<HttpWays>,
    records: Arc<dyn Records>,
    stop: CancellationToken,
) {
    let mut timer = interval(SWEEP_EVERY);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let record = |facts: Vec<(AgentId, Facts)>| {
        for (agent_id, facts) in facts {
            records.facts(FactsReport { agent_id, facts });
        }
    };
    loop {
        tokio::select! {
            now = timer.tick() => record(ways.with_all(|agents| agents.sweep(now))),
            () = stop.cancelled() => break,
        }
    }
    record(ways.with_all(|agents| agents.take_last_facts(Instant::now())));
}

impl HttpWays {
    /// Remembers that an agent was heard of.
    ///
    /// # Errors
    /// Says for whom there is no room.
    pub(super) fn hear(
        &self,
        owned: OwnedAgent,
        now: Instant,
        open: impl FnOnce() -> Box<dyn AgentSession>,
    ) -> Result<Heard, Full> {
        self.with_all(|agents| agents.hear(owned, now, open))
    }

    /// Acts on what is remembered of an agent that was heard of just now.
    pub(super) fn on_polling<T>(
        &self,
        agent: AgentId,
        act: impl FnOnce(&mut Polling) -> T,
    ) -> Option<T> {
        self.with_all(|agents| agents.agents.get_mut(&agent).map(act))
    }

    fn with_all<T>(&self, act: impl FnOnce(&mut PollingAgents) -> T) -> T {
        let mut agents = self.polling.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut agents)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ports::SessionFactory as _;
    use crate::reconcile::Sessions;

    fn owned(number: usize, org: usize) -> OwnedAgent {
        OwnedAgent {
            agent: AgentId::new(Uuid::from_u128(number as u128)),
            org: OrgId(Uuid::from_u128(org as u128)),
            key: [0; 32],
        }
    }

    fn hear(agents: &mut PollingAgents, owned: OwnedAgent, now: Instant) -> Result<Heard, Full> {
        agents.hear(owned, now, || Sessions::default().open(owned.agent))
    }

    #[tokio::test(start_paused = true)]
    async fn a_sign_of_life_is_recorded_at_first_and_then_now_and_then() {
        let mut agents = PollingAgents::default();
        let begin = Instant::now();
        let mut hear = |seconds| {
            let heard = hear(
                &mut agents,
                owned(1, 1),
                begin + Duration::from_secs(seconds),
            );
            heard.map(|heard| (heard.is_new, heard.is_due))
        };

        assert_eq!(hear(0), Ok((true, true)));
        assert_eq!(hear(1), Ok((false, false)));
        assert_eq!(hear(40), Ok((false, true)));
        assert_eq!(hear(100), Ok((true, true)));
        assert_eq!(hear(2_000), Ok((true, true)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_agents_is_bounded_by_organization_and_those_that_are_gone_make_room() {
        let mut agents = PollingAgents::default();
        let begin = Instant::now();
        for number in 0..MAX_OF_ORG {
            assert!(hear(&mut agents, owned(number, 1), begin).is_ok());
        }
        let one_more = owned(MAX_OF_ORG, 1);
        assert_eq!(hear(&mut agents, one_more, begin), Err(Full::Organization));
        for number in MAX_OF_ORG..MAX_AGENTS {
            assert!(hear(&mut agents, owned(number, 2), begin).is_ok());
        }
        let stranger = owned(MAX_AGENTS, 3);
        assert_eq!(hear(&mut agents, stranger, begin), Err(Full::All));
        assert!(hear(&mut agents, owned(7, 1), begin).is_ok());

        let later = begin + FORGET_AFTER;
        hear(&mut agents, owned(7, 1), later - Duration::from_secs(1)).expect("it is known");
        agents.sweep(later);
        assert_eq!((agents.agents.len(), agents.by_org.len()), (1, 1));
        assert!(hear(&mut agents, stranger, later).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn facts_that_came_too_soon_are_recorded_although_the_host_says_nothing_more() {
        let mut agents = PollingAgents::default();
        let begin = Instant::now();
        let facts = |kernel: &str| {
            let text =
                format!(r#"{{"hostname":"h","kernel":"{kernel}","arch":"a","interfaces":[]}}"#);
            Box::new(hidps_wire::decode::<Facts>(&text, usize::MAX).expect("facts"))
        };
        hear(&mut agents, owned(1, 1), begin).expect("there is room");
        let polling = agents.agents.get_mut(&owned(1, 1).agent).expect("heard");
        polling.signs.on_facts(facts("1"));
        assert!(polling.signs.take_facts(begin).is_some());
        polling.signs.on_facts(facts("2"));
        assert!(polling.signs.take_facts(begin).is_none());

        assert_eq!(agents.sweep(begin + Duration::from_secs(29)), []);
        let due = agents.sweep(begin + Duration::from_secs(30));
        assert_eq!(due, [(owned(1, 1).agent, *facts("2"))]);
        let polling = agents.agents.get_mut(&owned(1, 1).agent).expect("heard");
        polling.signs.on_facts(facts("3"));
        assert_eq!(
            agents
                .take_last_facts(begin + Duration::from_secs(31))
                .len(),
            1
        );
    }
}
