//! Nonces of recent connects, so that a captured handshake cannot be used again.
//! It never grows beyond its bound: a full memory refuses, it does not forget.

use std::collections::{HashSet, VecDeque};

use hidps_wire::AgentId;

/// Most nonces remembered: at 64 bytes each a few megabytes, for 50,000 connects in two minutes.
const MAX_REMEMBERED: usize = 50_000;

/// The memory.
#[derive(Debug, Default)]
pub(super) struct Nonces {
    seen: HashSet<(AgentId, String)>,
    by_age: VecDeque<(u64, (AgentId, String))>,
}

impl Nonces {
    /// Remembers a nonce until `expires`; `false` when it was seen before or nothing more fits.
    pub(super) fn insert(&mut self, agent: AgentId, nonce: &str, now: u64, expires: u64) -> bool {
        while self.by_age.front().is_some_and(|(expiry, _)| *expiry < now) {
            if let Some((_, key)) = self.by_age.pop_front() {
                self.seen.remove(&key);
            }
        }
        let key = (agent, nonce.to_owned());
        if self.seen.len() >= MAX_REMEMBERED || !self.seen.insert(key.clone()) {
            return false;
        }
        self.by_age.push_back((expires, key));
        true
    }
}
