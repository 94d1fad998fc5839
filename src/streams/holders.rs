//! Which hosts connected with an agent's key of late, to notice copies that take turns.
//! It never decides who is the right one.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use hidps_wire::AgentId;
use uuid::Uuid;

/// Boots remembered of each agent.
const MAX_BOOTS: usize = 4;

/// Most agents remembered; past them no turns are noticed of further ones.
const MAX_AGENTS: usize = 200_000;

/// Whoever connected with an agent's key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holder {
    /// The boot of the host, as it says.
    pub boot: Option<Uuid>,
    /// Where it came from.
    pub address: Option<IpAddr>,
}

/// The memory.
#[derive(Debug, Default)]
pub(super) struct Holders {
    agents: HashMap<AgentId, VecDeque<Holder>>,
}

impl Holders {
    /// Remembers who connected. Gives the holder before it when a boot is back after another one:
    /// a host never returns to a boot it has left, so there are two.
    pub(super) fn on_connected(&mut self, agent: AgentId, holder: Holder) -> Option<Holder> {
        if self.agents.len() >= MAX_AGENTS && !self.agents.contains_key(&agent) {
            return None;
        }
        let recent = self.agents.entry(agent).or_default();
        let before = recent.back().copied();
        let is_known = holder.boot.is_some() && recent.iter().any(|it| it.boot == holder.boot);
        recent.retain(|it| it.boot != holder.boot);
        recent.push_back(holder);
        if recent.len() > MAX_BOOTS {
            recent.pop_front();
        }
        before.filter(|before| is_known && before.boot.is_some() && before.boot != holder.boot)
    }

    /// Who connected last.
    pub(super) fn latest(&self, agent: AgentId) -> Option<Holder> {
        self.agents.get(&agent)?.back().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: AgentId = AgentId::new(Uuid::from_u128(1));

    fn holder(boot: u128) -> Holder {
        Holder {
            boot: (boot != 0).then_some(Uuid::from_u128(boot)),
            address: Some(IpAddr::from([10, 0, 0, boot as u8])),
        }
    }

    /// The holders that took turns with the one that connected, one after the other.
    fn turns(boots: &[u128]) -> Vec<Option<Holder>> {
        let mut holders = Holders::default();
        let mut connect = |boot: &u128| holders.on_connected(AGENT, holder(*boot));
        boots.iter().map(&mut connect).collect()
    }

    #[test]
    fn a_host_may_reconnect_and_reboot_as_it_likes() {
        assert_eq!(turns(&[1, 1, 2, 2, 3, 4, 5, 6, 6]), [None; 9]);
    }

    #[test]
    fn a_boot_that_comes_back_after_another_is_a_second_host() {
        assert_eq!(
            turns(&[1, 2, 1, 2]),
            [None, None, Some(holder(2)), Some(holder(1))]
        );
        assert_eq!(turns(&[1, 2, 3, 1]).last(), Some(&Some(holder(3))));
    }

    #[test]
    fn agents_that_do_not_tell_their_boot_are_not_accused() {
        assert_eq!(turns(&[0, 1, 0, 1, 0]), [None; 5]);
    }
}
