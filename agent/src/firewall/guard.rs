//! What stays open whatever the rules say, so that nobody locks the host's people out by mistake.
//! It holds addresses and ports, and looks nothing up.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;

use super::DaemonPlace;

/// How long somebody who was logged in when a firewall was loaded may come back.
pub(super) const PEERS_FOR: Duration = Duration::from_secs(10 * 60);

/// More sessions than this at once are no people.
pub(super) const MAX_PEERS: usize = 64;

/// As long as others wait for a place, no network of IPv6 (/64) or IPv4 (/24) gets more of them.
pub(super) const MAX_OF_NETWORK: usize = 16;

/// Somebody with a session of SSH, and the port of the host it goes to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SshPeer {
    /// The other end.
    pub address: IpAddr,
    /// The host's port.
    pub port: u16,
}

impl fmt::Display for SshPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (port {})", self.address, self.port)
    }
}

/// What is kept open.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Guards {
    /// Where the daemon is; outgoing rules never stop packets to it.
    pub(super) daemon: DaemonPlace,
    /// Whether the daemon has to be looked up by name before it can be reached.
    pub(super) is_daemon_named: bool,
    /// Who may come back for a while.
    pub(super) peers: BTreeSet<SshPeer>,
    /// How many others were connected by SSH, beyond whom the agent keeps in mind.
    pub(super) n_left_out: usize,
}

/// Who may come back although the rules would keep them out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Returning {
    /// Whoever was connected by SSH when the firewall was loaded.
    pub peers: BTreeSet<SshPeer>,
    /// How many others were connected and may not, for want of places.
    pub n_left_out: usize,
    /// Until when.
    pub until: Timestamp,
}

impl Guards {
    /// Who may come back, if anybody.
    pub(super) fn returning(&self, until: Timestamp) -> Option<Returning> {
        let is_anybody = !self.peers.is_empty();
        is_anybody.then(|| Returning {
            peers: self.peers.clone(),
            n_left_out: self.n_left_out,
            until,
        })
    }
}
