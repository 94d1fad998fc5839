//! A proxy that ends TLS before the daemon, as operators have one; it can break off downloads.
//! It reads nothing of what it carries.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// A listening proxy.
pub(super) struct Front {
    address: SocketAddr,
    /// The authority that vouches for its certificate, as PEM.
    pub(super) authority: String,
    limit: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Front {
    /// Listens at an address and carries everything to the daemon.
    pub(super) async fn start(ip: IpAddr, daemon: SocketAddr) -> Self {
        let (config, authority) = identity(ip);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((ip, 0)).await.expect("the cable's end");
        let address = listener.local_addr().expect("it is bound");
        let limit = Arc::new(AtomicUsize::new(usize::MAX));
        let (mut tasks, carried) = (JoinSet::new(), Arc::clone(&limit));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, limit) = (acceptor.clone(), Arc::clone(&carried));
                connections.spawn(async move {
                    // A peer that does not trust the certificate is gone at once.
                    let Ok(outside) = acceptor.accept(tcp).await else {
                        return;
                    };
                    let Ok(inside) = TcpStream::connect(daemon).await else {
                        return;
                    };
                    carry(outside, inside, &limit).await;
                });
            }
        });
        Self {
            address,
            authority,
            limit,
            _tasks: tasks,
        }
    }

    /// Where hosts reach it.
    pub(super) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Breaks connections off after so many bytes of the daemon's.
    pub(super) fn cut_after(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::SeqCst);
    }
}

async fn carry(
    outside: tokio_rustls::server::TlsStream<TcpStream>,
    inside: TcpStream,
    limit: &AtomicUsize,
) {
    let (mut from_host, mut to_host) = tokio::io::split(outside);
    let (mut from_daemon, mut to_daemon) = inside.into_split();
    let up = async {
        tokio::io::copy(&mut from_host, &mut to_daemon).await.ok();
        to_daemon.shutdown().await.ok();
        // The answer is still to come.
        std::future::pending::<()>().await;
    };
    let down = async {
        let mut buffer = vec![0; 16 * 1024];
        let mut sent = 0;
        while let Ok(n) = from_daemon.read(&mut buffer).await {
            let left = limit.load(Ordering::SeqCst).saturating_sub(sent);
            let part = &buffer[..n.min(left)];
            if part.is_empty() || to_host.write_all(part).await.is_err() {
                break;
            }
            sent += part.len();
        }
        let closed = tokio::time::timeout(Duration::from_secs(5), to_host.shutdown());
        closed.await.ok();
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

/// A certificate for an address, by an authority of its own.
fn identity(ip: IpAddr) -> (ServerConfig, String) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // A certificate whose issuer has its own name would look as if it had signed itself.
    let name = "authority of a fresh host's tests";
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![ip.to_string()]).expect("an address");
    let certificate = params.signed_by(&key, &authority).expect("signed");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
        );
    (config.expect("an identity"), authority.pem())
}
