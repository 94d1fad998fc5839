//! Where the daemon is, for the packet filter: its addresses now.
//! It waits no longer than a change of the firewall may take.

use std::net::IpAddr;
use std::time::Duration;

use tokio::net::lookup_host;

use crate::backend::Backend;

/// A name that takes longer is as good as not known.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(3);

/// Addresses of one name beyond this are not let through one by one.
const MAX_ADDRESSES: usize = 32;

/// Where the daemon is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DaemonPlace {
    /// Its addresses, in order; empty when they are not known.
    pub addresses: Vec<IpAddr>,
    /// Its port.
    pub port: u16,
}

impl DaemonPlace {
    /// Where packets to the daemon go; a name that cannot be looked up now has no addresses.
    pub async fn find(backend: &Backend) -> Self {
        let lookup = lookup_host((backend.host(), backend.port()));
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
            port: backend.port(),
        }
    }
}
