//! Where the daemon is, for the packet filter: its addresses now, or those of the proxy to it.
//! It waits no longer than a change of the firewall may take.

use std::net::IpAddr;
use std::time::Duration;

use tokio::net::lookup_host;

use crate::dial::FirstHop;

/// A name that takes longer is as good as not known.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(3);

/// Addresses of one name beyond this are not let through one by one.
const MAX_ADDRESSES: usize = 32;

/// Where packets to the daemon go: to itself, or to the proxy that leads to it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DaemonPlace {
    /// Its addresses, in order; empty when they are not known.
    pub addresses: Vec<IpAddr>,
    /// Its port.
    pub port: u16,
}

impl DaemonPlace {
    /// The addresses of a host now; a name that cannot be looked up has none.
    pub async fn find(hop: &FirstHop) -> Self {
        let lookup = lookup_host((hop.host.as_str(), hop.port));
        let found = tokio::time::timeout(LOOKUP_DEADLINE, lookup).await;
        let mut addresses: Vec<_> = match found {
            Ok(Ok(found)) => found.map(|it| it.ip().to_canonical()).collect(),
            Ok(Err(_)) | Err(_) => Vec::new(),
        };
        // A name service turns the order at each question.
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(MAX_ADDRESSES);
        Self {
            addresses,
            port: hop.port,
        }
    }
}
