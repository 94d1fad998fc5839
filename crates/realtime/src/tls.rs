//! TLS towards the project: the machine's trust store and a provider named explicitly.
//! Never falls back to plain text.

use std::io;

use tokio::net::TcpStream;
use tokio_tungstenite::MaybeTlsStream;

use crate::error::ConfigError;

/// What is needed to verify a server.
#[derive(Clone)]
pub(crate) struct Tls {
    #[cfg(feature = "rustls")]
    config: std::sync::Arc<rustls::ClientConfig>,
}

#[cfg(feature = "rustls")]
impl Tls {
    /// Loads the machine's trust store and adds `extra_roots` (DER) to it.
    pub(crate) fn prepare(extra_roots: &[Vec<u8>]) -> Result<Self, ConfigError> {
        use std::sync::Arc;

        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for der in extra_roots {
            roots
                .add(der.clone().into())
                .map_err(|error| ConfigError::Tls {
                    reason: error.to_string(),
                })?;
        }
        if roots.is_empty() {
            let reason = "no certificate authorities found; install ca-certificates".to_owned();
            return Err(ConfigError::Tls { reason });
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| ConfigError::Tls {
                reason: error.to_string(),
            })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// Makes the TLS handshake.
    pub(crate) async fn wrap(
        &self,
        host: &str,
        tcp: TcpStream,
    ) -> io::Result<MaybeTlsStream<TcpStream>> {
        let name = rustls::pki_types::ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::clone(&self.config));
        connector
            .connect(name, tcp)
            .await
            .map(MaybeTlsStream::Rustls)
    }
}

#[cfg(not(feature = "rustls"))]
impl Tls {
    /// Refuses: this build has no TLS.
    pub(crate) fn prepare(_extra_roots: &[Vec<u8>]) -> Result<Self, ConfigError> {
        Err(ConfigError::Tls {
            reason: "this build lacks the feature `rustls`".to_owned(),
        })
    }

    /// Refuses: this build has no TLS.
    #[expect(clippy::unused_async, reason = "the same signature as with TLS")]
    pub(crate) async fn wrap(
        &self,
        _host: &str,
        _tcp: TcpStream,
    ) -> io::Result<MaybeTlsStream<TcpStream>> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "no tls in this build",
        ))
    }
}
