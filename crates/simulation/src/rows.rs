//! The database as a reference: what is desired, what was reported, and the rules its functions
//! keep. It knows nothing of feeds, sockets and hosts.

use std::collections::{BTreeMap, BTreeSet};

use hidps::model::{
    ConditionKind, ConditionReport, DesiredState, DesiredVersion, HoldMark, PresenceReport,
};
use hidps_wire::{AgentId, ConditionStatus, ContentHash, DesiredDocument, Generation};
use jiff::Timestamp;

use crate::time::Millis;

/// How long an agent of whom nothing is heard stays online.
pub(crate) const LEASE: Millis = 90_000;

/// What is desired of one agent.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Bumped with every change.
    pub(crate) generation: u64,
    /// What is desired.
    pub(crate) document: DesiredDocument,
    /// When that was made; no two changes share it.
    pub(crate) changed_at: Timestamp,
    /// Whether the change is held back.
    pub(crate) is_held: bool,
    /// The generation that somebody let through.
    pub(crate) released: Option<u64>,
}

/// Whether an agent is shown as connected.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shown {
    /// The column.
    pub(crate) is_online: bool,
    /// When something was heard last, by the database's clock.
    pub(crate) last_seen: Millis,
}

/// The tables.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// Desired state.
    pub(crate) desired: BTreeMap<AgentId, Row>,
    /// Every document there ever was, by generation and hash.
    pub(crate) history: BTreeSet<(AgentId, u64, String)>,
    /// Documents that were held when they were made, and never made without.
    pub(crate) held: BTreeSet<(AgentId, u64, String)>,
    /// Documents that somebody released.
    pub(crate) released: BTreeSet<(AgentId, u64, String)>,
    /// What the daemon reported.
    pub(crate) conditions: BTreeMap<(AgentId, ConditionKind), ConditionReport>,
    /// Who is shown as connected.
    pub(crate) shown: BTreeMap<AgentId, Shown>,
    n_times: i64,
    /// Changes made so far, for each agent.
    pub(crate) n_changes: BTreeMap<AgentId, u64>,
}

/// The content hash of a document: its text, which is as unique.
#[must_use]
pub(crate) fn hash_of(document: &DesiredDocument) -> String {
    format!("{document:?}")
}

impl Rows {
    /// Adds an agent of whom nothing is desired yet.
    pub(crate) fn add(&mut self, agent: AgentId) {
        let row = Row {
            generation: 1,
            document: DesiredDocument::default(),
            changed_at: Timestamp::UNIX_EPOCH,
            is_held: false,
            released: None,
        };
        self.remember(agent, &row);
        self.desired.insert(agent, row);
        self.shown.insert(agent, Shown::default());
    }

    /// Changes what is desired, in one transaction; gives the generation, or none if nothing
    /// really changed.
    pub(crate) fn change(
        &mut self,
        agent: AgentId,
        hold: bool,
        edit: impl FnOnce(&mut DesiredDocument),
    ) -> Option<u64> {
        let mut row = self.desired.get(&agent)?.clone();
        let before = row.document.clone();
        edit(&mut row.document);
        if row.document == before {
            return None;
        }
        row.generation += 1;
        row.changed_at = self.next_time();
        row.is_held |= hold;
        let generation = row.generation;
        self.put(agent, row);
        Some(generation)
    }

    /// Lets what is held of an agent through, beyond everything it has reported.
    pub(crate) fn release(&mut self, agent: AgentId) -> Option<u64> {
        let is_reported = self.is_true(agent, ConditionKind::Held);
        let observed = self.observed(agent);
        let mut row = self.desired.get(&agent)?.clone();
        if !row.is_held && !is_reported {
            return None;
        }
        row.generation = row.generation.max(observed) + 1;
        row.changed_at = self.next_time();
        row.released = Some(row.generation);
        row.is_held = false;
        let generation = row.generation;
        self.put(agent, row);
        Some(generation)
    }

    /// Sets one agent's desired state back, as a restored backup does.
    pub(crate) fn restore(&mut self, agent: AgentId, backup: Row) {
        self.put(agent, backup);
    }

    /// The answer of `rpc/desired_state` about one agent.
    #[must_use]
    pub(crate) fn desired_state(&self, agent: AgentId) -> Option<DesiredState> {
        let row = self.desired.get(&agent)?;
        Some(DesiredState {
            generation: Generation(row.generation),
            hash: ContentHash(hash_of(&row.document)),
            document: row.document.clone(),
            changed_at: row.changed_at,
            hold: row.is_held.then_some(HoldMark::BlastRadius),
            released: row.released == Some(row.generation),
        })
    }

    /// A page of generations after an agent.
    #[must_use]
    pub(crate) fn list(&self, after: Option<AgentId>, limit: usize) -> Vec<DesiredVersion> {
        let later = self.desired.iter().filter(|(id, _)| Some(**id) > after);
        later
            .take(limit)
            .map(|(agent_id, row)| DesiredVersion {
                agent_id: *agent_id,
                generation: Generation(row.generation),
                changed_at: row.changed_at,
            })
            .collect()
    }

    /// `rpc/report_conditions`.
    pub(crate) fn report(&mut self, report: ConditionReport) {
        self.conditions
            .insert((report.agent_id, report.kind), report);
    }

    /// `rpc/record_presence`, of a report that is so old.
    pub(crate) fn record_presence(&mut self, report: &PresenceReport, age: Millis, now: Millis) {
        let Some(shown) = self.shown.get_mut(&report.agent_id) else {
            return;
        };
        let at = now.saturating_sub(age);
        if report.online || at >= shown.last_seen {
            shown.is_online = report.online;
            shown.last_seen = shown.last_seen.max(at);
            let key = (report.agent_id, ConditionKind::Connected);
            if let Some(condition) = self.conditions.get_mut(&key)
                && report.online
                && condition.status == ConditionStatus::Unknown
            {
                condition.status = ConditionStatus::True;
            }
        }
    }

    /// `rpc/reset_presence`: nobody is connected to a daemon that has just started.
    pub(crate) fn reset_presence(&mut self) {
        for shown in self.shown.values_mut() {
            shown.is_online = false;
        }
        for ((_, kind), condition) in &mut self.conditions {
            if *kind == ConditionKind::Connected && condition.status == ConditionStatus::True {
                condition.status = ConditionStatus::Unknown;
            }
        }
    }

    /// `rpc/expire_presence`.
    pub(crate) fn expire_presence(&mut self, now: Millis) {
        for (agent, shown) in &mut self.shown {
            if shown.is_online && now.saturating_sub(shown.last_seen) > LEASE {
                shown.is_online = false;
                let connected = self.conditions.get_mut(&(*agent, ConditionKind::Connected));
                if let Some(condition) = connected {
                    condition.status = ConditionStatus::Unknown;
                }
            }
        }
    }

    /// Whether a condition is reported as true.
    #[must_use]
    pub(crate) fn is_true(&self, agent: AgentId, kind: ConditionKind) -> bool {
        let found = self.conditions.get(&(agent, kind));
        found.is_some_and(|condition| condition.status == ConditionStatus::True)
    }

    fn observed(&self, agent: AgentId) -> u64 {
        let of_agent = self.conditions.iter().filter(|((id, _), _)| *id == agent);
        of_agent
            .filter_map(|(_, condition)| condition.observed_generation)
            .map(|generation| generation.0)
            .max()
            .unwrap_or(0)
    }

    fn next_time(&mut self) -> Timestamp {
        self.n_times += 1;
        Timestamp::from_millisecond(self.n_times).unwrap_or(Timestamp::MAX)
    }

    fn put(&mut self, agent: AgentId, row: Row) {
        self.remember(agent, &row);
        *self.n_changes.entry(agent).or_default() += 1;
        self.desired.insert(agent, row);
    }

    fn remember(&mut self, agent: AgentId, row: &Row) {
        let key = (agent, row.generation, hash_of(&row.document));
        let is_first = self.history.insert(key.clone());
        if row.released == Some(row.generation) {
            self.released.insert(key.clone());
        }
        if row.is_held && is_first {
            self.held.insert(key);
        } else if !row.is_held {
            self.held.remove(&key);
        }
    }
}
