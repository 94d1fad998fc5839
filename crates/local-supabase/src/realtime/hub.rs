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
use crate::faults::{Fate, Faults, Lane};

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

/// One change or broadcast and everybody it goes to.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// How it goes.
    pub(crate) lane: Lane,
    /// Table of the change, or event of the broadcast.
    pub(crate) name: String,
    /// What each channel gets.
    pub(crate) receivers: Vec<(Key, What)>,
}

/// All joined channels of a stack.
#[derive(Debug)]
pub(crate) struct Hub {
    faults: Faults,
    members: Mutex<BTreeMap<Key, Member>>,
    /// Deliveries that a fault holds back, by lane.
    held: Mutex<BTreeMap<Lane, Vec<Delivery>>>,
    sockets: AtomicU64,
    n_cut_off: AtomicU64,
}

impl Hub {
    /// Starts without a channel.
    pub(crate) fn new(faults: Faults) -> Self {
        Self {
            faults,
            members: Mutex::default(),
            held: Mutex::default(),
            sockets: AtomicU64::new(0),
            n_cut_off: AtomicU64::new(0),
        }
    }

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

    /// Takes the change filters of all channels out of force.
    pub(crate) fn deactivate_all(&self) {
        for member in self.members().values_mut() {
            member.bindings.clear();
        }
    }

    /// Sends a broadcast to everybody on a topic, possibly except one socket.
    pub(crate) fn broadcast(
        &self,
        topic: &str,
        private: bool,
        except: Option<u64>,
        broadcast: Broadcast,
    ) {
        let (name, broadcast) = (broadcast.event.clone(), Arc::new(broadcast));
        let receiver = |(key, member): (&Key, &Member)| {
            let addressed = key.1 == topic && member.private == private && Some(key.0) != except;
            addressed.then(|| (key.clone(), What::Broadcast(Arc::clone(&broadcast))))
        };
        let receivers = self.members().iter().filter_map(receiver).collect();
        self.deliver(Delivery {
            lane: Lane::Broadcasts,
            name,
            receivers,
        });
    }

    /// Sends something to its receivers, or does what a fault says instead.
    pub(crate) fn deliver(&self, delivery: Delivery) {
        if delivery.receivers.is_empty() {
            return;
        }
        let lane = delivery.lane;
        let n_copies = match self.faults.take_fate(lane, &delivery.name) {
            Fate::Lost => return,
            Fate::Held(n_awaited) => {
                self.held().entry(lane).or_default().push(delivery);
                if n_awaited == 0 {
                    self.release(lane);
                }
                return;
            }
            Fate::Sent => 1,
            Fate::Doubled => 2,
        };
        if !self.faults.is_holding(lane) {
            // What a fault held back and no longer does is late, but not later than what comes now.
            self.release(lane);
        }
        for _ in 0..n_copies {
            self.send(&delivery);
        }
    }

    /// Sends what was held back, the last first.
    fn release(&self, lane: Lane) {
        let held = self.held().remove(&lane).unwrap_or_default();
        for delivery in held.iter().rev() {
            self.send(delivery);
        }
    }

    fn send(&self, delivery: &Delivery) {
        let mut members = self.members();
        for (key, what) in &delivery.receivers {
            self.push(&mut members, key, what.clone());
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

    fn held(&self) -> MutexGuard<'_, BTreeMap<Lane, Vec<Delivery>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
