//! An authority and a certificate for loopback, made for one run. It is trusted by nobody else.

use std::fs;
use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What a server on loopback shows, and what its peers have to trust.
#[derive(Debug)]
pub(super) struct Certificate {
    config: Arc<ServerConfig>,
}

impl Certificate {
    /// Makes both, and writes the authority into a file.
    pub(super) fn make(ca_file: &Path) -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(vec!["localhost".to_owned()])?;
        let certificate = params.signed_by(&key, &authority)?;
        fs::write(ca_file, authority.pem()).context("cannot write the authority")?;
        let key = PrivateKeyDer::try_from(key.serialize_der());
        let key = key.map_err(|reason| anyhow::anyhow!("the key is of no use: {reason}"))?;
        // Named, because another crate of the same build may bring a second provider.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// The server's side of a connection; the handshake is part of the first read.
    pub(super) fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<StreamOwned<ServerConnection, TcpStream>> {
        let connection = ServerConnection::new(Arc::clone(&self.config));
        Ok(StreamOwned::new(
            connection.map_err(io::Error::other)?,
            stream,
        ))
    }
}
