//! One connection to the daemon: name, TCP, the proxy if there is one, and TLS where the address says so.
//! It speaks no HTTP but a proxy's, follows no redirect and never falls back to plaintext.

mod client_certificate;
mod dial_error;
mod pin;
mod proxy;
mod tls;
mod way;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};

use crate::backend::Backend;
use tls::{Tls, prepare_tls, tls_failure};

pub use dial_error::DialError;
pub use pin::{Pin, PinError};
pub use proxy::{Proxy, ProxyAnswer, ProxyError, ProxyUrlError, TunnelError, parse_answer};
pub use way::{ClientFiles, FirstHop, Way};

/// Name, TCP, proxy and TLS together; a path that needs longer is not one to work over.
const DEADLINE: Duration = Duration::from_secs(15);

/// A name service that takes longer is as good as none.
const NAME_DEADLINE: Duration = Duration::from_secs(10);

/// A disk that takes longer for two small files does not answer.
const CLIENT_FILES_DEADLINE: Duration = Duration::from_secs(3);

/// Addresses of one name that are tried, each for its share of the time.
const MAX_TRIED: usize = 4;

/// A connection, encrypted or not.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Opens connections to one daemon.
pub struct Dialer {
    way: Way,
    tls: Option<Tls>,
    #[cfg(test)]
    memory: Option<tokio::sync::mpsc::Sender<tokio::io::DuplexStream>>,
}

impl Dialer {
    /// Prepares connections; certificates are read once.
    ///
    /// # Errors
    /// Fails when TLS is wanted and nothing can be trusted.
    pub fn new(way: Way) -> Result<Self, DialError> {
        let tls = way.backend.tls().then(|| prepare_tls(&way)).transpose()?;
        Ok(Self {
            way,
            tls,
            #[cfg(test)]
            memory: None,
        })
    }

    /// A dialer whose every connection is handed to a test; none is answered while the test has
    /// not taken the one before.
    #[cfg(test)]
    pub(crate) fn in_memory(
        backend: Backend,
    ) -> (Self, tokio::sync::mpsc::Receiver<tokio::io::DuplexStream>) {
        let (memory, connections) = tokio::sync::mpsc::channel(1);
        let way = Way::direct(backend, None);
        let dialer = Self {
            way,
            tls: None,
            memory: Some(memory),
        };
        (dialer, connections)
    }

    /// The daemon.
    #[must_use]
    pub const fn backend(&self) -> &Backend {
        &self.way.backend
    }

    /// Where packets to the daemon go first.
    #[must_use]
    pub fn first_hop(&self) -> FirstHop {
        self.way.first_hop()
    }

    /// Connects.
    ///
    /// # Errors
    /// Says which step failed, and with whom.
    pub async fn dial(&self) -> Result<Box<dyn Stream>, DialError> {
        #[cfg(test)]
        if let Some(memory) = &self.memory {
            return dial_memory(memory);
        }
        let give_up = Instant::now() + DEADLINE;
        self.refresh_client(give_up).await?;
        let hop = self.first_hop();
        let addresses = find_addresses(&hop).await?;
        let mut tcp = connect(&hop, &addresses, give_up).await?;
        let daemon = FirstHop::of_backend(&self.way.backend);
        if let Some(proxy) = &self.way.proxy {
            let tunnel = timeout_at(give_up, proxy.open_tunnel(&mut tcp, &daemon)).await;
            let opened = tunnel.unwrap_or(Err(TunnelError::Silent));
            opened.map_err(|source| DialError::Proxy(ProxyError { hop, source }))?;
        }
        let Some(tls) = &self.tls else {
            return Ok(Box::new(tcp));
        };
        let address = daemon.to_string();
        match timeout_at(give_up, tls.connector.connect(tls.name.clone(), tcp)).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(tls_failure(address, error)),
            Err(_) => Err(DialError::TlsDeadline { address }),
        }
    }
}

impl Dialer {
    /// Reads what the agent shows of itself before the daemon waits for it. A disk that does not
    /// answer keeps nobody from showing what was read before.
    async fn refresh_client(&self, give_up: Instant) -> Result<(), DialError> {
        let Some(tls) = &self.tls else {
            return Ok(());
        };
        let patience = give_up.min(Instant::now() + CLIENT_FILES_DEADLINE);
        let read = timeout_at(patience, tls.refresh_client()).await;
        read.unwrap_or(Ok(()))
    }
}

async fn find_addresses(hop: &FirstHop) -> Result<Vec<SocketAddr>, DialError> {
    if let Ok(ip) = hop.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::from((ip, hop.port))]);
    }
    let host = hop.host.clone();
    let looked_up = timeout(NAME_DEADLINE, lookup_host((hop.host.as_str(), hop.port)));
    match looked_up.await {
        Ok(Ok(found)) => {
            let found: Vec<_> = found.take(MAX_TRIED).collect();
            if found.is_empty() {
                return Err(DialError::NameDeadline { host });
            }
            Ok(found)
        }
        Ok(Err(source)) => Err(DialError::Name { host, source }),
        Err(_) => Err(DialError::NameDeadline { host }),
    }
}

/// Tries one address after the other, so that one that is dead does not hide another that lives.
async fn connect(
    hop: &FirstHop,
    addresses: &[SocketAddr],
    give_up: Instant,
) -> Result<TcpStream, DialError> {
    let mut failure = None;
    for (n_tried, address) in addresses.iter().enumerate() {
        let left = give_up.saturating_duration_since(Instant::now());
        let n_left = u32::try_from(addresses.len() - n_tried).unwrap_or(1);
        let connected = timeout(left / n_left, TcpStream::connect(address)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            // A status must not wait for the acknowledgement of a batch.
            Ok(tcp) if tcp.set_nodelay(true).is_ok() => return Ok(tcp),
            Ok(_) => {}
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    let address = hop.to_string();
    Err(match failure {
        Some(error) if error.kind() == io::ErrorKind::TimedOut => DialError::NoAnswer { address },
        Some(source) => DialError::Connect { address, source },
        None => DialError::NoAnswer { address },
    })
}

#[cfg(test)]
fn dial_memory(
    memory: &tokio::sync::mpsc::Sender<tokio::io::DuplexStream>,
) -> Result<Box<dyn Stream>, DialError> {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    match memory.try_send(theirs) {
        Ok(()) => Ok(Box::new(ours)),
        Err(_) => Err(DialError::Connect {
            address: "memory".to_owned(),
            source: io::ErrorKind::ConnectionRefused.into(),
        }),
    }
}

#[cfg(test)]
mod tests;
