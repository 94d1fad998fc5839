//! Who has joined what, and the queues to their sockets.
//! Never waits for a socket: one that does not keep up is cut off and counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::{Notify, mpsc};

use super::claims::Claims;
use super::frame::Broadcast;
use super::join::Binding;
use super::pgchange::Kind;

/// Messages that may wait for one socket; a reader that is this far behind is dead or stopped.
pub(crate) const QUEUE: usize = 4096;

/// A message for one channel of one socket.
#[derive(Debug, Clone)]
pub(crate) struct Push {
    /// Topic of the channel, with its prefix.
    pub(crate) topic: String,
    /// What is to be sent.
    pub(crate) what: What,
}

/// Kinds of messages the hub delivers.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// A change of a row, for these ids.
    Change(Vec<u32>, Arc<Value>),
    /// A broadcast.
    Broadcast(Arc<Broadcast>),
}

/// A joined channel.
#[derive(Debug)]
pub(crate) struct Member {
    /// Queue to its socket.
    pub(crate) queue: mpsc::Sender<Push>,
    /// Tells the socket that its queue overflowed, so that the loss is not silent.
    pub(crate) cut_off: Arc<Notify>,
    /// Whether it joined privately.
    pub(crate) private: bool,
    /// Who joined.
    pub(crate) claims: Arc<Claims>,
    /// Change filters that are in force.
    pub(crate) bindings: Vec<Binding>,
}

/// Somebody who asked for a change.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    /// Where to send it.
    pub(crate) key: Key,
    /// Who it is.
    pub(crate) claims: Arc<Claims>,
    /// The filters that cover it.
    pub(crate) bindings: Vec<Binding>,
}

/// Number of the socket and topic of the channel.
pub(crate) type Key = (u64, String);

/// All joined channels of a stack.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    members: Mutex<BTreeMap<Key, Member>>,
    sockets: AtomicU64,
    n_cut_off: AtomicU64,
}

impl Hub {
    /// Numbers a new socket.
    pub(crate) fn number_socket(&self) -> u64 {
        self.sockets.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds a channel, or replaces it.
    pub(crate) fn join(&self, key: Key, member: Member) {
        self.members().insert(key, member);
    }

    /// Puts change filters in force.
    pub(crate) fn activate(&self, key: &Key, bindings: Vec<Binding>) {
        if let Some(member) = self.members().get_mut(key) {
            member.bindings = bindings;
        }
    }

    /// Changes who a channel belongs to.
    pub(crate) fn reclaim(&self, key: &Key, claims: Arc<Claims>) {
        if let Some(member) = self.members().get_mut(key) {
            member.claims = claims;
        }
    }

    /// Removes a channel.
    pub(crate) fn leave(&self, key: &Key) {
        self.members().remove(key);
    }

    /// Removes all channels of a socket.
    pub(crate) fn leave_all(&self, socket: u64) {
        self.members().retain(|(owner, _), _| *owner != socket);
    }

    /// Lists who asked for a change.
    pub(crate) fn list_listeners(&self, schema: &str, table: &str, kind: Kind) -> Vec<Listener> {
        let listener = |(key, member): (&Key, &Member)| {
            let covering = member
                .bindings
                .iter()
                .filter(|one| one.covers(schema, table, kind));
            let bindings: Vec<Binding> = covering.cloned().collect();
            let claims = Arc::clone(&member.claims);
            (!bindings.is_empty()).then(|| Listener {
                key: key.clone(),
                claims,
                bindings,
            })
        };
        self.members().iter().filter_map(listener).collect()
    }

    /// Sends a change to one channel.
    pub(crate) fn push_change(&self, key: &Key, ids: Vec<u32>, data: Arc<Value>) {
        self.push(&mut self.members(), key, What::Change(ids, data));
    }

    /// Sends a broadcast to everybody on a topic, possibly except one socket.
    pub(crate) fn broadcast(
        &self,
        topic: &str,
        private: bool,
        except: Option<u64>,
        broadcast: Broadcast,
    ) {
        let broadcast = Arc::new(broadcast);
        let mut members = self.members();
        let is_addressed = |(key, member): (&Key, &Member)| {
            let addressed = key.1 == topic && member.private == private && Some(key.0) != except;
            addressed.then(|| key.clone())
        };
        let keys: Vec<Key> = members.iter().filter_map(is_addressed).collect();
        for key in keys {
            self.push(&mut members, &key, What::Broadcast(Arc::clone(&broadcast)));
        }
    }

    fn push(&self, members: &mut BTreeMap<Key, Member>, key: &Key, what: What) {
        let Some(member) = members.get(key) else {
            return;
        };
        let push = Push {
            topic: key.1.clone(),
            what,
        };
        if member.queue.try_send(push).is_err() {
            let n_cut_off = self.n_cut_off.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::warn!(
                n_cut_off,
                "a realtime socket does not keep up and is cut off"
            );
            member.cut_off.notify_one();
            members.retain(|(owner, _), _| *owner != key.0);
        }
    }

    fn members(&self) -> MutexGuard<'_, BTreeMap<Key, Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
