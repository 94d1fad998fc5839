//! One TCP connection to the daemon, with TLS where the address says so.
//! It speaks no HTTP and never falls back to plaintext.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName, pem};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::backend::Backend;

/// Name, TCP and TLS together; a path that needs longer is not one to work over.
const DEADLINE: Duration = Duration::from_secs(15);

/// A connection, encrypted or not.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Opens connections to one daemon.
pub struct Dialer {
    backend: Backend,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The file with the certificate authority is of no use.
    #[error("could not read the certificate authority {path}")]
    AuthorityFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// A certificate authority is malformed.
    #[error("could not trust the certificate authority {path}")]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::Error,
    },
    /// No certificate authority is known at all.
    #[error("this host trusts no certificate authority; install ca-certificates or set ca_file")]
    NoAuthority,
    /// The host cannot be the name of a certificate.
    #[error("{host} cannot be the name in a certificate")]
    ServerName {
        /// The host.
        host: String,
        /// What is wrong with it.
        #[source]
        source: InvalidDnsNameError,
    },
    /// TLS could not be set up.
    #[error("could not set up TLS")]
    Setup(#[source] rustls::Error),
    /// TCP failed.
    #[error("could not connect to {address}")]
    Connect {
        /// Host and port.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// TLS failed.
    #[error("could not agree on TLS with {address}")]
    Tls {
        /// Host and port.
        address: String,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// It took too long.
    #[error("could not connect to {address} within {} s", DEADLINE.as_secs())]
    Deadline {
        /// Host and port.
        address: String,
    },
}

impl Dialer {
    /// Prepares connections; certificates are read once.
    ///
    /// # Errors
    /// Fails when TLS is wanted and nothing can be trusted.
    pub fn new(backend: Backend, ca_file: Option<&Path>) -> Result<Self, DialError> {
        let tls = if backend.tls() {
            Some(prepare_tls(&backend, ca_file)?)
        } else {
            None
        };
        Ok(Self { backend, tls })
    }

    /// The daemon.
    #[must_use]
    pub const fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Connects.
    ///
    /// # Errors
    /// Says which step failed, and with whom.
    pub async fn dial(&self) -> Result<Box<dyn Stream>, DialError> {
        let (host, port) = (self.backend.host(), self.backend.port());
        let address = || format!("{host}:{port}");
        let connect = async {
            let tcp = TcpStream::connect((host, port)).await.and_then(|tcp| {
                // A status must not wait for the acknowledgement of a batch.
                tcp.set_nodelay(true).map(|()| tcp)
            });
            let tcp = tcp.map_err(|source| DialError::Connect {
                address: address(),
                source,
            })?;
            let Some((connector, name)) = &self.tls else {
                let stream: Box<dyn Stream> = Box::new(tcp);
                return Ok(stream);
            };
            let stream = connector.connect(name.clone(), tcp).await;
            let stream = stream.map_err(|source| DialError::Tls {
                address: address(),
                source,
            })?;
            let stream: Box<dyn Stream> = Box::new(stream);
            Ok(stream)
        };
        tokio::time::timeout(DEADLINE, connect)
            .await
            .map_err(|_| DialError::Deadline { address: address() })?
    }
}

fn prepare_tls(
    backend: &Backend,
    ca_file: Option<&Path>,
) -> Result<(TlsConnector, ServerName<'static>), DialError> {
    let name = ServerName::try_from(backend.host().to_owned());
    let name = name.map_err(|source| DialError::ServerName {
        host: backend.host().to_owned(),
        source,
    })?;
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in system.errors {
        tracing::warn!(%error, "a certificate authority of the system cannot be read");
    }
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = ca_file {
        trust_file(&mut roots, path)?;
    }
    if roots.is_empty() {
        return Err(DialError::NoAuthority);
    }
    // Named, because another crate of the same build may bring a second provider.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(DialError::Setup)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((TlsConnector::from(Arc::new(config)), name))
}

fn trust_file(roots: &mut RootCertStore, path: &Path) -> Result<(), DialError> {
    let unreadable = |source| DialError::AuthorityFile {
        path: path.to_owned(),
        source,
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let mut n_found = 0;
    for certificate in certificates {
        roots
            .add(certificate.map_err(unreadable)?)
            .map_err(|source| DialError::Authority {
                path: path.to_owned(),
                source,
            })?;
        n_found += 1;
    }
    if n_found == 0 {
        return Err(unreadable(pem::Error::NoItemsFound));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;
    use tokio_rustls::TlsAcceptor;

    /// A TLS server on loopback that says one word, and the authority that vouches for it.
    struct TlsServer {
        port: u16,
        ca_file: PathBuf,
        _directory: tempfile::TempDir,
        _tasks: JoinSet<()>,
    }

    impl TlsServer {
        async fn start(name: &str) -> Self {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap());
            let authority = authority.unwrap();
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &authority).unwrap();
            let directory = tempfile::tempdir().unwrap();
            let ca_file = directory.path().join("ca.pem");
            std::fs::write(&ca_file, authority.pem()).unwrap();

            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(
                    vec![certificate.der().clone()],
                    PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
                );
            let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let mut tasks = JoinSet::new();
            tasks.spawn(async move {
                while let Ok((tcp, _)) = listener.accept().await {
                    // A client that refuses the certificate fails the handshake.
                    if let Ok(mut stream) = acceptor.accept(tcp).await {
                        stream.write_all(b"word").await.unwrap();
                        stream.shutdown().await.unwrap();
                    }
                }
            });
            Self {
                port,
                ca_file,
                _directory: directory,
                _tasks: tasks,
            }
        }

        fn dialer(&self, ca_file: Option<&Path>) -> Result<Dialer, DialError> {
            let url = format!("https://localhost:{}", self.port);
            Dialer::new(Backend::parse(&url, false).unwrap(), ca_file)
        }
    }

    #[tokio::test]
    async fn a_daemon_with_a_trusted_certificate_is_talked_to() {
        let server = TlsServer::start("localhost").await;

        let dialer = server.dialer(Some(&server.ca_file)).unwrap();
        let mut stream = dialer.dial().await.unwrap();
        let mut word = String::new();
        stream.read_to_string(&mut word).await.unwrap();

        assert_eq!(word, "word");
    }

    #[tokio::test]
    async fn a_certificate_for_another_name_is_refused() {
        let server = TlsServer::start("other.example").await;

        let refused = server.dialer(Some(&server.ca_file)).unwrap().dial().await;

        assert!(matches!(refused.err(), Some(DialError::Tls { .. })));
    }

    #[tokio::test]
    async fn an_unknown_authority_is_refused() {
        let server = TlsServer::start("localhost").await;
        let other = TlsServer::start("localhost").await;

        let refused = server.dialer(Some(&other.ca_file)).unwrap().dial().await;

        assert!(matches!(refused.err(), Some(DialError::Tls { .. })));
    }

    #[tokio::test]
    async fn a_file_without_certificates_is_told() {
        let server = TlsServer::start("localhost").await;
        std::fs::write(&server.ca_file, "no certificate").unwrap();

        let refused = server.dialer(Some(&server.ca_file)).err();

        assert!(matches!(refused, Some(DialError::AuthorityFile { .. })));
    }
}
