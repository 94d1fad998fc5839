//! Accepts connections, with or without TLS, and hands them to the routes.
//! It never waits for one peer: a handshake has its deadline, and nobody's keep back another's.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::middleware::AddExtension;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_layer::Layer as _;

use crate::config::Tls;
use crate::streams::client_certificates::{PeerCertificate, client_verifier};
use crate::streams::handshakes::Handshakes;
use crate::streams::open_files::make_room;
use crate::streams::peer::{PeerAddress, TrustedProxies};
use crate::telemetry;

/// Most connections at once, so that a flood ends before memory does; fewer where fewer files may be
/// open.
const MAX_CONNECTIONS: usize = 100_000;

/// Connections the kernel may keep until they are accepted: a fleet that comes back at once must not
/// meet refusals, each of which costs an agent a second or more. The kernel may cap it.
const BACKLOG: u32 = 4_096;

/// Longest TLS handshake, and longest wait for a request's headers.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

/// Longest wait for others' handshakes to end: as long as an agent waits for its connection.
const SEAT_WITHIN: Duration = Duration::from_secs(10);

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
    /// The authority for agents' certificates is none.
    #[error("cannot take {path} as the authority for agents' certificates")]
    ClientAuthority {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Certificate and key do not form an identity.
    #[error("the TLS certificate and key do not fit together")]
    Identity(#[source] rustls::Error),
}

/// Bound addresses, ready to accept.
pub struct Listener {
    sockets: Vec<TcpListener>,
    tls: Option<Secured>,
    proxies: Arc<TrustedProxies>,
    max_connections: usize,
}

/// How connections are secured.
#[derive(Clone)]
struct Secured {
    acceptor: TlsAcceptor,
    /// Who says whether an agent's certificate is good; none where they have to show none.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener")
            .field("sockets", &self.sockets)
            .finish_non_exhaustive()
    }
}

impl Listener {
    /// Binds every address, reads the TLS identity, and makes room for connections.
    ///
    /// # Errors
    /// Names the address or the file.
    #[expect(
        clippy::unused_async,
        reason = "a bound socket belongs to a runtime, and who awaits has one"
    )]
    pub async fn bind(addresses: &[SocketAddr], tls: Option<&Tls>) -> Result<Self, ListenError> {
        let tls = tls.map(prepare_tls).transpose()?;
        let mut sockets = Vec::new();
        for address in addresses.iter().copied() {
            let bound = listen(address);
            sockets.push(bound.map_err(|source| ListenError::Bind { address, source })?);
        }
        let max_connections = make_room(MAX_CONNECTIONS);
        Ok(Self {
            sockets,
            tls,
            proxies: Arc::default(),
            max_connections,
        })
    }

    /// The same, told of proxies that speak for many.
    #[must_use]
    pub fn behind(self, proxies: TrustedProxies) -> Self {
        Self {
            proxies: Arc::new(proxies),
            ..self
        }
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
        let handshakes = Arc::new(Handshakes::new(Arc::clone(&self.proxies)));
        let accept = |socket: TcpListener| {
            accept_all(Acceptor {
                socket,
                tls: self.tls.clone(),
                router: router.clone(),
                connections: connections.clone(),
                handshakes: Arc::clone(&handshakes),
                max_connections: self.max_connections,
                stop: stop.clone(),
            })
        };
        futures_util::future::join_all(self.sockets.into_iter().map(accept)).await;
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    // A daemon that was killed left connections that linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

struct Acceptor {
    socket: TcpListener,
    tls: Option<Secured>,
    router: Router,
    connections: TaskTracker,
    handshakes: Arc<Handshakes>,
    max_connections: usize,
    stop: CancellationToken,
}

async fn accept_all(acceptor: Acceptor) {
    let mut is_full = false;
    loop {
        let accepted = tokio::select! {
            () = acceptor.stop.cancelled() => return,
            accepted = acceptor.socket.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let was_full = is_full;
        is_full = acceptor.connections.len() >= acceptor.max_connections;
        if is_full {
            // Once for all of a flood, which would otherwise be one of the log as well.
            if !was_full {
                let limit = acceptor.max_connections;
                tracing::warn!(limit, "connections are closed: too many are open");
            }
            metrics::counter!(telemetry::CONNECTIONS_CLOSED, "why" => "too_many").increment(1);
            continue;
        }
        let (peer, router, stop) = (
            PeerAddress(peer.ip()),
            acceptor.router.clone(),
            acceptor.stop.clone(),
        );
        let tls = acceptor
            .tls
            .clone()
            .map(|tls| (tls, Arc::clone(&acceptor.handshakes)));
        acceptor.connections.spawn(async move {
            let secured = tokio::select! {
                secured = secure(stream, peer, tls) => secured,
                () = stop.cancelled() => None,
            };
            if let Some((stream, certificate)) = secured {
                let service = Extension(certificate).layer(router);
                let service = Extension(peer).layer(service);
                serve(stream, service, stop).await;
            }
        });
    }
}

/// The routes, and what they are told of a connection.
type Served = AddExtension<AddExtension<Router, PeerCertificate>, PeerAddress>;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The stream of a peer, after its TLS handshake where there has to be one; in a box, because most
/// of its life a connection is beyond it.
async fn secure(
    stream: TcpStream,
    peer: PeerAddress,
    tls: Option<(Secured, Arc<Handshakes>)>,
) -> Option<(Box<dyn Stream>, PeerCertificate)> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the peer was gone at once");
        return None;
    }
    let Some((tls, handshakes)) = tls else {
        return Some((Box::new(stream), PeerCertificate::default()));
    };
    Box::pin(shake_hands(stream, peer, tls, handshakes)).await
}

async fn shake_hands(
    stream: TcpStream,
    peer: PeerAddress,
    tls: Secured,
    handshakes: Arc<Handshakes>,
) -> Option<(Box<dyn Stream>, PeerCertificate)> {
    let Ok(_seat) = timeout(SEAT_WITHIN, handshakes.enter(peer.0)).await else {
        metrics::counter!(telemetry::CONNECTIONS_CLOSED, "why" => "handshakes").increment(1);
        return None;
    };
    match timeout(HANDSHAKE_WITHIN, tls.acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let shown = |verifier| PeerCertificate::of(stream.get_ref().1, verifier);
            let certificate = tls.verifier.as_ref().map(shown);
            Some((Box::new(stream), certificate.unwrap_or_default()))
        }
        Ok(Err(error)) => {
            metrics::counter!(telemetry::BAD_REQUESTS, "why" => "handshake").increment(1);
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            metrics::counter!(telemetry::SLOW_PEERS, "owed" => "handshake").increment(1);
            None
        }
    }
}

async fn serve(stream: Box<dyn Stream>, service: Served, stop: CancellationToken) {
    let service = TowerToHyperService::new(service);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE_WITHIN)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service)
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
        count_failed(&error);
        tracing::debug!(%error, "an HTTP connection failed");
    }
}

fn count_failed(error: &hyper::Error) {
    if error.is_timeout() {
        metrics::counter!(telemetry::SLOW_PEERS, "owed" => "headers").increment(1);
        return;
    }
    let why = if error.is_parse_too_large() {
        "too_large"
    } else if error.is_parse() {
        "malformed"
    } else {
        "broken_off"
    };
    metrics::counter!(telemetry::BAD_REQUESTS, "why" => why).increment(1);
}

fn prepare_tls(tls: &Tls) -> Result<Secured, ListenError> {
    let pem = |path: &PathBuf| {
        let path = path.clone();
        move |source| ListenError::Pem { path, source }
    };
    let chain = CertificateDer::pem_file_iter(&tls.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(pem(&tls.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(pem(&tls.key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(ListenError::Identity)?;
    let authority = tls.client_ca.as_ref();
    let verifier = authority.map(|path| client_verifier(path, &provider));
    let verifier = verifier.transpose()?;
    let builder = match &verifier {
        Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(ListenError::Identity)?;
    // One ticket is enough for a peer that holds one connection; none where a certificate is to be
    // looked at each time, for it expires.
    config.send_tls13_tickets = usize::from(tls.client_ca.is_none());
    if tls.client_ca.is_some() {
        config.session_storage = Arc::new(NoServerSessionStorage {});
    }
    Ok(Secured {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        verifier,
    })
}
