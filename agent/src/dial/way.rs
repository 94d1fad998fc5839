//! The way to the daemon as it is configured: its address, whom to trust, and the proxy between.
//! It opens nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use super::pin::Pin;
use super::proxy::Proxy;
use crate::backend::Backend;

/// How the daemon is reached.
#[derive(Clone, Debug)]
pub struct Way {
    /// The daemon.
    pub backend: Backend,
    /// A certificate authority to trust beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// The public keys of which the daemon has to have one; any that is trusted if there are none.
    pub pins: BTreeSet<Pin>,
    /// What the agent shows of itself, where the daemon asks for a certificate.
    pub client: Option<ClientFiles>,
    /// The proxy that leads there; none where the agent connects by itself.
    pub proxy: Option<Proxy>,
}

impl Way {
    /// A way without a proxy or pins.
    #[must_use]
    pub const fn direct(backend: Backend, ca_file: Option<PathBuf>) -> Self {
        Self {
            backend,
            ca_file,
            pins: BTreeSet::new(),
            client: None,
            proxy: None,
        }
    }

    /// Where packets to the daemon go first: the proxy, or the daemon itself.
    #[must_use]
    pub fn first_hop(&self) -> FirstHop {
        let proxy = self.proxy.as_ref().map(|proxy| proxy.hop().clone());
        proxy.unwrap_or_else(|| FirstHop::of_backend(&self.backend))
    }
}

/// The files of a client certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientFiles {
    /// PEM chain, leaf first.
    pub certificate: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
}

/// A host and port that packets go to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FirstHop {
    /// The name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl FirstHop {
    /// The daemon's own.
    #[must_use]
    pub fn of_backend(backend: &Backend) -> Self {
        Self {
            host: backend.host().to_owned(),
            port: backend.port(),
        }
    }
}

impl fmt::Display for FirstHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
