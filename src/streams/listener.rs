//! Accepts connections, with or without TLS, and hands them to the routes.
//! It never waits for one peer: a handshake has its deadline, and their number is bounded.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Tls;

/// Handshakes that may be under way at once; more wait in the backlog.
const MAX_HANDSHAKES: usize = 256;

/// Most connections at once, so that a flood ends before memory or file descriptors do.
const MAX_CONNECTIONS: usize = 100_000;

/// Longest TLS handshake, and longest wait for a request's headers.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

/// Pause after a failed accept: out of file descriptors, which only time frees.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the daemon cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A PEM file cannot be read.
    #[error("cannot read the TLS file {path}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not form an identity.
    #[error("the TLS certificate and key do not fit together")]
    Identity(#[source] rustls::Error),
}

/// Bound addresses, ready to accept.
pub struct Listener {
    sockets: Vec<TcpListener>,
    tls: Option<TlsAcceptor>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener")
            .field("sockets", &self.sockets)
            .finish_non_exhaustive()
    }
}

impl Listener {
    /// Binds every address and reads the TLS identity.
    ///
    /// # Errors
    /// Names the address or the file.
    pub async fn bind(addresses: &[SocketAddr], tls: Option<&Tls>) -> Result<Self, ListenError> {
        let tls = tls.map(acceptor).transpose()?;
        let mut sockets = Vec::new();
        for address in addresses.iter().copied() {
            let bound = TcpListener::bind(address).await;
            sockets.push(bound.map_err(|source| ListenError::Bind { address, source })?);
        }
        Ok(Self { sockets, tls })
    }

    /// The addresses really bound.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets
            .iter()
            .filter_map(|socket| socket.local_addr().ok())
            .collect()
    }

    /// Accepts until it is told to stop; every connection is followed by `connections`.
    pub async fn run(self, router: Router, connections: TaskTracker, stop: CancellationToken) {
        let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
        let accept = |socket: TcpListener| {
            accept_all(Acceptor {
                socket,
                tls: self.tls.clone(),
                router: router.clone(),
                connections: connections.clone(),
                handshakes: Arc::clone(&handshakes),
                stop: stop.clone(),
            })
        };
        futures_util::future::join_all(self.sockets.into_iter().map(accept)).await;
    }
}

struct Acceptor {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    connections: TaskTracker,
    handshakes: Arc<Semaphore>,
    stop: CancellationToken,
}

async fn accept_all(acceptor: Acceptor) {
    loop {
        let Ok(permit) = Arc::clone(&acceptor.handshakes).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            () = acceptor.stop.cancelled() => return,
            accepted = acceptor.socket.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if acceptor.connections.len() >= MAX_CONNECTIONS {
            tracing::warn!(
                limit = MAX_CONNECTIONS,
                "a connection was closed: too many are open"
            );
            continue;
        }
        let (tls, router, stop) = (
            acceptor.tls.clone(),
            acceptor.router.clone(),
            acceptor.stop.clone(),
        );
        acceptor.connections.spawn(async move {
            let Some(stream) = secure(stream, tls).await else {
                return;
            };
            drop(permit);
            serve(stream, router, stop).await;
        });
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn secure(stream: TcpStream, tls: Option<TlsAcceptor>) -> Option<Box<dyn Stream>> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the peer was gone at once");
        return None;
    }
    let Some(tls) = tls else {
        return Some(Box::new(stream));
    };
    match timeout(HANDSHAKE_WITHIN, tls.accept(stream)).await {
        Ok(Ok(stream)) => Some(Box::new(stream)),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}

async fn serve(stream: Box<dyn Stream>, router: Router, stop: CancellationToken) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE_WITHIN)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection failed");
    }
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, ListenError> {
    let pem = |path: &PathBuf| {
        let path = path.clone();
        move |source| ListenError::Pem { path, source }
    };
    let chain = CertificateDer::pem_file_iter(&tls.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(pem(&tls.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(pem(&tls.key))?;
    let mut config = rustls::ServerConfig::builder_with_provider(
        rustls::crypto::ring::default_provider().into(),
    )
    .with_safe_default_protocol_versions()
    .map_err(ListenError::Identity)?
    .with_no_client_auth()
    .with_single_cert(chain, key)
    .map_err(ListenError::Identity)?;
    // One ticket is enough for a peer that holds one connection.
    config.send_tls13_tickets = 1;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
