//! Who is connected, and how that is recorded: the newest connection of an agent wins, and the end
//! of an older one says nothing. It never reads a clock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hidps_wire::{AgentId, ConditionStatus, Hello, printable};
use jiff::Timestamp;

use crate::model::{ConditionKind, ConditionReport, HostFacts, Observation, PresenceReport};
use crate::ports::{Observations, Records};
use crate::streams::mailbox::Mailbox;
use crate::streams::registry::{ConnectionId, Registry};
use crate::streams::silence::Silences;

/// Longest claim of a host that is recorded or logged, in characters.
const MAX_CLAIM: usize = 255;

/// Records who comes and goes.
pub struct Presence {
    registry: Arc<Registry>,
    records: Arc<dyn Records>,
    observations: Arc<dyn Observations>,
    silences: Mutex<Silences>,
}

impl std::fmt::Debug for Presence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Presence")
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

impl Presence {
    /// Presence over a registry, recorded there, and told to the rules.
    #[must_use]
    pub fn new(
        registry: Arc<Registry>,
        records: Arc<dyn Records>,
        observations: Arc<dyn Observations>,
    ) -> Self {
        Self {
            registry,
            records,
            observations,
            silences: Mutex::default(),
        }
    }

    /// Tells the rules what was observed about an agent.
    pub fn observe(&self, agent: AgentId, observation: Observation) {
        self.observations.observe(agent, observation);
    }

    /// Tells every silence that has become long enough.
    pub fn tell_silences(&self, now: Timestamp) {
        let tell = |agent, observation| self.observations.observe(agent, observation);
        self.silences().tell_due(now, tell);
    }

    /// That an agent is not heard of is what somebody wanted.
    pub fn expect_silence(&self, agent: AgentId) {
        self.silences().forget(agent);
    }

    fn silences(&self) -> MutexGuard<'_, Silences> {
        self.silences.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The live connections.
    #[must_use]
    pub const fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Enters a connection that said hello; an older one of the same agent is told to close.
    pub fn enter(
        &self,
        agent: AgentId,
        hello: &Hello,
        at: Timestamp,
    ) -> (ConnectionId, Arc<Mailbox>) {
        let host = HostFacts {
            hostname: printable(&hello.hostname, MAX_CLAIM),
            os: printable(&hello.os, MAX_CLAIM),
            arch: printable(&hello.arch, MAX_CLAIM),
            agent_version: printable(&hello.agent_version, MAX_CLAIM),
        };
        tracing::info!(%agent, version = host.agent_version, "an agent connected");
        let message = format!("the agent is connected (version {})", host.agent_version);
        self.registry.enter(agent, || {
            self.record(agent, true, at, Some(host));
            self.record_condition(agent, ConditionStatus::True, "Connected", message);
            let back = self.silences().on_entered(agent, at);
            if let Some(back) = back {
                self.observe(agent, back);
            }
        })
    }

    /// Records that a connected agent is alive.
    pub fn seen(&self, agent: AgentId, at: Timestamp) {
        self.record(agent, true, at, None);
    }

    /// Marks the agent offline unless a newer connection has taken over; the record is made
    /// before a newer one can be entered, so that it cannot overtake that one's.
    pub fn leave(&self, agent: AgentId, connection: ConnectionId, reason: &str, at: Timestamp) {
        tracing::info!(%agent, reason, "an agent's connection ended");
        self.registry.leave(agent, connection, || {
            self.record(agent, false, at, None);
            let reason = reason.to_owned();
            self.record_condition(agent, ConditionStatus::False, "Disconnected", reason);
            self.silences().on_left(agent, at);
        });
    }

    fn record(&self, agent_id: AgentId, online: bool, at: Timestamp, host: Option<HostFacts>) {
        self.records.presence(PresenceReport {
            agent_id,
            online,
            at,
            host,
        });
    }

    fn record_condition(
        &self,
        agent_id: AgentId,
        status: ConditionStatus,
        reason: &str,
        message: String,
    ) {
        self.records.conditions(vec![ConditionReport {
            agent_id,
            kind: ConditionKind::Connected,
            status,
            reason: reason.to_owned(),
            message,
            observed_generation: None,
            subjects: Vec::new(),
            transition_at: None,
        }]);
    }
}
