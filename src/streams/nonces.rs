//! Nonces of recent connects, so that a captured handshake cannot be used again.
//! It never grows beyond its bounds, and one agent's connects never use up another's.

use std::collections::HashMap;

use hidps_wire::AgentId;

/// Most nonces remembered of one agent: an honest one connects a few times a minute at worst.
const MAX_OF_AGENT: usize = 64;

/// Agents after which those without a fresh nonce are swept out.
const SWEEP_AT: usize = 4_096;

/// What became of a nonce.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It is new.
    Fresh,
    /// It was used before.
    Replayed,
    /// This agent connected too often to remember one more.
    TooMany,
}

/// The memory.
#[derive(Debug, Default)]
pub(super) struct Nonces {
    /// In no order: of two assertions the later one may expire first.
    seen: HashMap<AgentId, Vec<(u64, String)>>,
    sweep_at: usize,
}

impl Nonces {
    /// Remembers a nonce until `expires`, both in seconds.
    pub(super) fn insert(
        &mut self,
        agent: AgentId,
        nonce: &str,
        now: u64,
        expires: u64,
    ) -> Verdict {
        self.sweep(now);
        let seen = self.seen.entry(agent).or_default();
        seen.retain(|(expiry, _)| *expiry >= now);
        if seen.iter().any(|(_, known)| known == nonce) {
            return Verdict::Replayed;
        }
        if seen.len() >= MAX_OF_AGENT {
            return Verdict::TooMany;
        }
        seen.push((expires, nonce.to_owned()));
        Verdict::Fresh
    }

    /// Forgets agents whose nonces have all expired, each time their number has doubled.
    fn sweep(&mut self, now: u64) {
        if self.seen.len() < self.sweep_at.max(SWEEP_AT) {
            return;
        }
        let is_fresh = |(expiry, _): &(u64, String)| *expiry >= now;
        self.seen.retain(|_, seen| seen.iter().any(is_fresh));
        self.sweep_at = self.seen.len() * 2;
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const AGENT: AgentId = AgentId::new(Uuid::from_u128(1));
    const OTHER: AgentId = AgentId::new(Uuid::from_u128(2));

    #[test]
    fn one_agents_flood_never_locks_out_another() {
        let mut nonces = Nonces::default();
        for number in 0..MAX_OF_AGENT {
            assert_eq!(
                nonces.insert(AGENT, &number.to_string(), 0, 60),
                Verdict::Fresh
            );
        }

        assert_eq!(nonces.insert(AGENT, "one more", 0, 60), Verdict::TooMany);
        assert_eq!(nonces.insert(OTHER, "first", 0, 60), Verdict::Fresh);
        assert_eq!(nonces.insert(AGENT, "later", 61, 121), Verdict::Fresh);
    }

    #[test]
    fn a_nonce_counts_as_used_until_its_signature_is_too_old() {
        let mut nonces = Nonces::default();
        assert_eq!(nonces.insert(AGENT, "n", 0, 60), Verdict::Fresh);

        assert_eq!(nonces.insert(AGENT, "n", 60, 120), Verdict::Replayed);
    }

    #[test]
    fn a_nonce_is_remembered_as_long_as_it_lives_whatever_came_after_it() {
        let mut nonces = Nonces::default();
        assert_eq!(nonces.insert(AGENT, "short", 0, 10), Verdict::Fresh);
        assert_eq!(nonces.insert(AGENT, "long", 0, 300), Verdict::Fresh);
        assert_eq!(nonces.insert(AGENT, "shorter", 0, 5), Verdict::Fresh);
        for number in 0..SWEEP_AT {
            let agent = AgentId::new(Uuid::from_u128(number as u128 + 2));
            nonces.insert(agent, "n", 0, 300);
        }

        assert_eq!(nonces.insert(AGENT, "long", 20, 320), Verdict::Replayed);
        assert_eq!(nonces.insert(AGENT, "short", 20, 30), Verdict::Fresh);
        let remembered = &nonces.seen[&AGENT];
        assert_eq!(remembered.len(), 2, "{remembered:?}");
    }

    #[test]
    fn agents_that_are_gone_are_forgotten() {
        let mut nonces = Nonces::default();
        for number in 0..SWEEP_AT {
            nonces.insert(AgentId::new(Uuid::from_u128(number as u128)), "n", 0, 60);
        }

        nonces.insert(AGENT, "later", 61, 121);

        assert_eq!(nonces.seen.len(), 1);
    }
}
