//! Which agents are connected: agent id to the one live connection.
//! It never hands out a guard, and a connection that ends removes only its own entry.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::{DashMap, Entry as Slot};
use hidps_wire::AgentId;

use crate::model::PublicKey;
use crate::streams::mailbox::{Mailbox, ToAgent};
use crate::telemetry;

/// Names one connection within this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionId(u64);

#[derive(Debug, Clone)]
struct Entry {
    connection: ConnectionId,
    key: PublicKey,
    mailbox: Arc<Mailbox>,
}

/// The live connections.
#[derive(Debug, Default)]
pub struct Registry {
    entries: DashMap<AgentId, Entry>,
    next: AtomicU64,
}

impl Registry {
    /// Enters a connection and calls `recorded` while no other of this agent can enter or leave;
    /// the older one of the same agent, if any, is told to close.
    pub fn enter(
        &self,
        agent: AgentId,
        key: PublicKey,
        recorded: impl FnOnce(),
    ) -> (ConnectionId, Arc<Mailbox>) {
        let connection = ConnectionId(self.next.fetch_add(1, Ordering::Relaxed));
        let mailbox = Arc::new(Mailbox::default());
        let entry = Entry {
            connection,
            key,
            mailbox: Arc::clone(&mailbox),
        };
        let slot = self.entries.entry(agent);
        recorded();
        match slot {
            Slot::Occupied(mut older) => {
                older.insert(entry).mailbox.push(ToAgent::Superseded);
            }
            Slot::Vacant(free) => drop(free.insert(entry)),
        }
        self.measure();
        (connection, mailbox)
    }

    /// Removes a connection and calls `if_current` while nobody else can enter; neither happens
    /// when a newer connection has taken its place.
    pub fn leave(&self, agent: AgentId, connection: ConnectionId, if_current: impl FnOnce()) {
        self.entries.remove_if(&agent, |_, entry| {
            let is_current = entry.connection == connection;
            if is_current {
                if_current();
            }
            is_current
        });
        self.measure();
    }

    /// Acts while an agent holds no connection and can enter none; does nothing if it holds one.
    pub fn unless_connected(&self, agent: AgentId, act: impl FnOnce()) {
        if let Slot::Vacant(_free) = self.entries.entry(agent) {
            act();
        }
    }

    /// Every live connection, in no order.
    #[must_use]
    pub fn connections(&self) -> Vec<(AgentId, ConnectionId)> {
        let named = self.entries.iter();
        named
            .map(|entry| (*entry.key(), entry.connection))
            .collect()
    }

    /// The live connection of an agent.
    #[must_use]
    pub fn connection(&self, agent: AgentId) -> Option<ConnectionId> {
        self.entries.get(&agent).map(|entry| entry.connection)
    }

    /// The mailbox of a connected agent.
    #[must_use]
    pub fn mailbox(&self, agent: AgentId) -> Option<Arc<Mailbox>> {
        self.entries
            .get(&agent)
            .map(|entry| Arc::clone(&entry.mailbox))
    }

    /// Tells an agent's connection to close if it is one that is meant; what it signed with says so,
    /// or which it is.
    pub fn end_if(
        &self,
        agent: AgentId,
        is_meant: impl FnOnce(ConnectionId, &PublicKey) -> bool,
        why: ToAgent,
    ) {
        if let Some(entry) = self.entries.get(&agent)
            && is_meant(entry.connection, &entry.key)
        {
            entry.mailbox.push(why);
        }
    }

    fn measure(&self) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a gauge; there are far fewer than 2^52"
        )]
        metrics::gauge!(telemetry::AGENTS_CONNECTED).set(self.entries.len() as f64);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const AGENT: AgentId = AgentId::new(Uuid::from_u128(1));
    const KEY: PublicKey = [7; 32];

    #[tokio::test]
    async fn the_newest_connection_wins_and_the_older_is_told() {
        let registry = Registry::default();
        let (_, older) = registry.enter(AGENT, KEY, || {});

        let (_, newer) = registry.enter(AGENT, KEY, || {});

        assert!(matches!(older.next().await, ToAgent::Superseded));
        let current = registry.mailbox(AGENT).expect("the agent is connected");
        assert!(Arc::ptr_eq(&current, &newer));
    }

    #[test]
    fn the_end_of_an_older_connection_leaves_the_newer_one_entered() {
        let registry = Registry::default();
        let (older, _) = registry.enter(AGENT, KEY, || {});
        let (newer, _) = registry.enter(AGENT, KEY, || {});

        registry.leave(AGENT, older, || panic!("the older one is not current"));
        assert!(registry.mailbox(AGENT).is_some());
        registry.leave(AGENT, newer, || {});
        assert!(registry.mailbox(AGENT).is_none());
    }

    #[tokio::test]
    async fn a_connection_ends_only_if_it_is_the_one_that_is_meant() {
        let registry = Registry::default();
        let (older, _) = registry.enter(AGENT, KEY, || {});
        let (_, newer) = registry.enter(AGENT, KEY, || {});

        registry.end_if(AGENT, |_, key| *key == [8; 32], ToAgent::Rekeyed);
        registry.end_if(AGENT, |connection, _| connection == older, ToAgent::Revoked);
        assert!(newer.is_empty());
        registry.end_if(AGENT, |_, key| *key == KEY, ToAgent::Rekeyed);

        assert!(matches!(newer.next().await, ToAgent::Rekeyed));
    }
}
