//! Who is connected, and how that is recorded: the newest connection of an agent wins, and the end
//! of an older one says nothing. It never reads a clock: its times are the steady clock's.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hidps_wire::{AgentId, ConditionStatus, Hello, printable};
use jiff::{SignedDuration, Timestamp};

use crate::model::{
    ConditionKind, ConditionReport, HostFacts, Observation, OwnedAgent, PresenceReport, TwinSign,
    Unheard,
};
use crate::ports::{Observations, Records};
use crate::streams::holders::{Holder, Holders};
use crate::streams::mailbox::Mailbox;
use crate::streams::registry::{ConnectionId, Registry};
use crate::streams::silence::{Missed, Silences};

/// Longest claim of a host that is recorded or logged, in characters.
const MAX_CLAIM: usize = 255;

/// How often the wrong clock of one agent is told while it tries to connect.
const TELL_SKEW_EVERY: SignedDuration = SignedDuration::from_secs(60);

/// Most wrong clocks remembered within that time; past them each is told as often as it comes.
const MAX_SKEWS: usize = 10_000;

/// The reason of a connection that this daemon ended because it stops.
pub(super) const STOPPING: &str = "the daemon is stopping";

/// What is to be recorded of an agent that was heard of over HTTP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Heard {
    /// It was not heard of for a while: its lease may have ended.
    pub(super) is_new: bool,
    /// Its last sign of life was recorded a while ago.
    pub(super) is_due: bool,
}

/// Records who comes and goes.
pub struct Presence {
    registry: Arc<Registry>,
    records: Arc<dyn Records>,
    observations: Arc<dyn Observations>,
    silences: Mutex<Silences>,
    holders: Mutex<Holders>,
    /// When each wrong clock was last told.
    skews: Mutex<BTreeMap<AgentId, Timestamp>>,
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
            holders: Mutex::default(),
            skews: Mutex::default(),
        }
    }

    /// Tells the rules what was observed about an agent.
    pub fn observe(&self, agent: AgentId, observation: Observation) {
        self.observations.observe(agent, observation);
    }

    /// Remembers who connected with an agent's key, and tells the rules when two take turns.
    pub fn note_holder(&self, agent: AgentId, holder: Holder) {
        let Some(before) = self.holders().on_connected(agent, holder) else {
            return;
        };
        tracing::warn!(%agent, "two holders of an agent's key take turns");
        let twin = Observation::Twin {
            sign: TwinSign::Turns,
            addresses: [holder.address, before.address],
        };
        self.observe(agent, twin);
    }

    /// Tells the rules that an agent's older connection, from there, is alive beside the newer one.
    pub fn observe_twin(&self, agent: AgentId, older: Option<IpAddr>) {
        tracing::warn!(%agent, "two holders of an agent's key are alive at once");
        let newer = self.holders().latest(agent);
        let twin = Observation::Twin {
            sign: TwinSign::Alive,
            addresses: [newer.and_then(|newer| newer.address), older],
        };
        self.observe(agent, twin);
    }

    fn holders(&self) -> MutexGuard<'_, Holders> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the rules that an agent's clock is wrong, once in a while: whoever tries to connect all
    /// the time must not crowd out what is observed of others.
    pub fn observe_skew(&self, agent: AgentId, seconds: i64, now: Timestamp) {
        let mut skews = self.skews.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |at: &Timestamp| now.duration_since(*at) < TELL_SKEW_EVERY;
        if skews.get(&agent).is_some_and(is_recent) {
            return;
        }
        if skews.len() >= MAX_SKEWS {
            skews.retain(|_, at| is_recent(at));
        }
        if skews.len() < MAX_SKEWS {
            skews.insert(agent, now);
        }
        drop(skews);
        self.observe(agent, Observation::ClockSkew { seconds });
    }

    /// An agent that ought to be there was last heard of before this daemon started.
    pub fn expect_return(&self, unheard: Unheard, now: Timestamp) {
        self.silences().on_missed(unheard, now);
    }

    /// The agents whose silence is about to be told, or all silent ones.
    #[must_use]
    pub fn list_silent(&self, now: Timestamp, all: bool) -> Vec<AgentId> {
        self.silences().list(now, all)
    }

    /// Tells every silence that has become long enough.
    pub fn tell_silences(&self, now: Timestamp) {
        let tell = |agent, observation| self.observations.observe(agent, observation);
        // Held, so that whoever comes back meanwhile is recorded after this.
        let mut silences = self.silences();
        for (agent, missed) in silences.tell_due(now, tell) {
            let (word, message) = match missed {
                Missed::NotReturned => (
                    "NotReturned",
                    "nothing was heard of the agent since the daemon restarted",
                ),
                Missed::StoppedAsking => (
                    "StoppedAsking",
                    "the agent asked over HTTP regularly, and nothing is heard of it any more",
                ),
            };
            // So that the next daemon does not tell it once more.
            self.record_condition(agent, ConditionStatus::False, word, message.to_owned());
        }
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
        owned: OwnedAgent,
        hello: &Hello,
        at: Timestamp,
    ) -> (ConnectionId, Arc<Mailbox>) {
        let OwnedAgent { agent, key, .. } = owned;
        let host = HostFacts {
            hostname: printable(&hello.hostname, MAX_CLAIM),
            os: printable(&hello.os, MAX_CLAIM),
            arch: printable(&hello.arch, MAX_CLAIM),
            agent_version: printable(&hello.agent_version, MAX_CLAIM),
            retires_keys: hello.retires_keys,
        };
        tracing::info!(%agent, version = host.agent_version, "an agent connected");
        let message = format!("the agent is connected (version {})", host.agent_version);
        self.registry.enter(agent, key, || {
            self.record(agent, true, at, Some(host));
            let back = self.silences().on_entered(agent, at);
            self.record_condition(agent, ConditionStatus::True, "Connected", message);
            self.tell_back(agent, back);
        })
    }

    fn tell_back(&self, agent: AgentId, back: Option<Observation>) {
        if let Some(back @ Observation::Back { seconds }) = back
            && !self.observations.observe(agent, back)
        {
            self.silences().keep_back(agent, seconds);
        }
    }

    /// Records that an agent was heard of over HTTP; where it holds no connection, that is all there is.
    /// Answers whether it was, or might have been, something else until now.
    pub(super) fn on_asked(&self, agent: AgentId, heard: Heard, at: Timestamp) -> bool {
        if heard.is_due {
            self.record(agent, true, at, None);
        }
        let mut is_news = false;
        self.registry.unless_connected(agent, || {
            let asked = self.silences().on_asked(agent, at);
            is_news = asked.is_news;
            if heard.is_new || is_news {
                self.record_polling(agent, asked.is_expected);
            }
            self.tell_back(agent, asked.back);
        });
        is_news
    }

    /// The same agent asked for what comes at its times, or told how it is.
    pub(super) fn on_beat(&self, agent: AgentId, at: Timestamp) {
        self.registry.unless_connected(agent, || {
            let news = self.silences().on_beat(agent, at);
            if let Some(is_expected) = news {
                self.record_polling(agent, is_expected);
            }
        });
    }

    fn record_polling(&self, agent: AgentId, is_expected: bool) {
        let (word, message) = if is_expected {
            ("Polling", "the agent asks over HTTP regularly")
        } else {
            ("Polled", "the agent asked over HTTP, not regularly so far")
        };
        let message = format!("{message}; it holds no connection");
        self.record_condition(agent, ConditionStatus::True, word, message);
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
            // Whether it goes on living is for the next daemon to find out.
            let (status, word) = match reason {
                STOPPING => (ConditionStatus::Unknown, "DaemonStopped"),
                _ => (ConditionStatus::False, "Disconnected"),
            };
            self.record_condition(agent, status, word, reason.to_owned());
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
