//! The certificate the agent shows where the daemon asks for one, as its files are at that moment.
//! It is no proof of who the agent is: that is its key.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::dial_error::DialError;
use super::way::ClientFiles;

/// Shows what the files held when they were last read, which is before each connection: a certificate
/// that was renewed needs no restart, and no handshake waits for a disk.
#[derive(Debug)]
pub(super) struct ShownCertificate {
    files: ClientFiles,
    provider: Arc<CryptoProvider>,
    shown: Mutex<Arc<CertifiedKey>>,
    /// Held by who reads: a disk that hangs has one reader and not one more with each connection.
    reading: Mutex<()>,
}

impl ShownCertificate {
    /// What these files hold; they are read once now, so that a mistake is told at the start.
    pub(super) fn new(
        files: ClientFiles,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, DialError> {
        let shown = Mutex::new(Arc::new(read(&files, &provider)?));
        Ok(Self {
            files,
            provider,
            shown,
            reading: Mutex::default(),
        })
    }

    /// Reads the files again, unless somebody does; it waits for the disk.
    pub(super) fn refresh(&self) -> Result<(), DialError> {
        let Ok(_reading) = self.reading.try_lock() else {
            return Ok(());
        };
        let shown = Arc::new(read(&self.files, &self.provider)?);
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = shown;
        Ok(())
    }
}

/// What these files hold.
fn read(files: &ClientFiles, provider: &CryptoProvider) -> Result<CertifiedKey, DialError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| DialError::ClientFile { path, source }
    };
    let (certificate, key) = (&files.certificate, &files.key);
    let found = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable(certificate))?;
    if found.is_empty() {
        return Err(unreadable(certificate)(pem::Error::NoItemsFound));
    }
    let read = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key))?;
    CertifiedKey::from_der(found, read, provider).map_err(DialError::ClientIdentity)
}

impl ResolvesClientCert for ShownCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&shown))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
