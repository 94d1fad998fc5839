//! Whom the agent takes for the daemon: authorities of the system, one of its own, and pinned keys.
//! Pins only ever narrow what the authorities vouch for; they replace no check of a certificate.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime, pem};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use tokio_rustls::TlsConnector;

use super::client_certificate::ShownCertificate;
use super::dial_error::DialError;
use super::pin::Pin;
use super::way::Way;
use crate::backend::Backend;

/// What is needed to speak TLS with the daemon.
pub(super) struct Tls {
    pub(super) connector: TlsConnector,
    pub(super) name: ServerName<'static>,
    /// What the agent shows of itself, if anything.
    client: Option<Arc<ShownCertificate>>,
}

impl Tls {
    /// Reads what the agent shows as its files are now, beside whatever else goes on.
    pub(super) async fn refresh_client(&self) -> Result<(), DialError> {
        let Some(client) = self.client.clone() else {
            return Ok(());
        };
        let read = tokio::task::spawn_blocking(move || client.refresh()).await;
        // A reader that ended early has been told of; what was shown last is shown again.
        read.unwrap_or(Ok(()))
    }
}

/// Reads the authorities and makes what is needed to speak TLS with the daemon.
pub(super) fn prepare_tls(way: &Way) -> Result<Tls, DialError> {
    let name = server_name(&way.backend)?;
    let roots = Arc::new(read_authorities(way.ca_file.as_deref())?);
    // Named, because another crate of the same build may bring a second provider.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(DialError::Setup)?;
    let builder = if way.pins.is_empty() {
        builder.with_root_certificates(roots)
    } else {
        let authorities = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
        let chain = authorities.build();
        let verifier = PinnedKeys {
            chain: chain.map_err(DialError::Authorities)?,
            pins: way.pins.clone(),
        };
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
    };
    let client = way.client.clone();
    let client = client.map(|files| ShownCertificate::new(files, provider).map(Arc::new));
    let client = client.transpose()?;
    let config = match &client {
        Some(shown) => {
            let shown: Arc<ShownCertificate> = Arc::clone(shown);
            builder.with_client_cert_resolver(shown)
        }
        None => builder.with_no_client_auth(),
    };
    Ok(Tls {
        connector: TlsConnector::from(Arc::new(config)),
        name,
        client,
    })
}

/// What a failed handshake means.
pub(super) fn tls_failure(address: String, source: io::Error) -> DialError {
    let inner = source.get_ref().and_then(|inner| inner.downcast_ref());
    if let Some(Error::InvalidCertificate(CertificateError::Other(OtherError(cause)))) = inner
        && let Some(NotPinned(found)) = cause.downcast_ref()
    {
        let found = *found;
        return DialError::NotPinned { address, found };
    }
    DialError::Tls { address, source }
}

fn server_name(backend: &Backend) -> Result<ServerName<'static>, DialError> {
    let name = ServerName::try_from(backend.host().to_owned());
    name.map_err(|source| DialError::ServerName {
        host: backend.host().to_owned(),
        source,
    })
}

fn read_authorities(ca_file: Option<&Path>) -> Result<RootCertStore, DialError> {
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
    Ok(roots)
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

/// Trusts what the authorities vouch for, if the key is one of these.
#[derive(Debug)]
struct PinnedKeys {
    chain: Arc<WebPkiServerVerifier>,
    pins: BTreeSet<Pin>,
}

/// The key of a certificate that is trusted otherwise.
#[derive(Debug, thiserror::Error)]
#[error("its key has the pin {0}")]
struct NotPinned(Pin);

impl ServerCertVerifier for PinnedKeys {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = &self.chain;
        let verified =
            chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let found = Pin::of(&certificate.subject_public_key_info());
        if self.pins.contains(&found) {
            return Ok(verified);
        }
        let cause = OtherError(Arc::new(NotPinned(found)));
        Err(Error::InvalidCertificate(CertificateError::Other(cause)))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
