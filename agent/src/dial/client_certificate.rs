//! The certificate the agent shows where the daemon asks for one, as its files are at that moment.
//! It is no proof of who the agent is: that is its key.

use std::path::Path;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::dial_error::DialError;
use super::way::ClientFiles;
use crate::error_chain::chain;

/// Reads the files for each connection, so that a certificate that was renewed needs no restart.
#[derive(Debug)]
pub(super) struct ShownCertificate {
    files: ClientFiles,
    provider: Arc<CryptoProvider>,
}

impl ShownCertificate {
    /// What these files hold; they are read once now, so that a mistake is told at the start.
    pub(super) fn new(
        files: ClientFiles,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, DialError> {
        let shown = Self { files, provider };
        shown.read()?;
        Ok(shown)
    }

    fn read(&self) -> Result<CertifiedKey, DialError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| DialError::ClientFile { path, source }
        };
        let (certificate, key) = (&self.files.certificate, &self.files.key);
        let found = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(unreadable(certificate))?;
        if found.is_empty() {
            return Err(unreadable(certificate)(pem::Error::NoItemsFound));
        }
        let read = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key))?;
        CertifiedKey::from_der(found, read, &self.provider).map_err(DialError::ClientIdentity)
    }
}

impl ResolvesClientCert for ShownCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        match self.read() {
            Ok(shown) => Some(Arc::new(shown)),
            Err(error) => {
                tracing::warn!(reason = chain(&error), "no client certificate is shown");
                None
            }
        }
    }

    fn has_certs(&self) -> bool {
        true
    }
}
