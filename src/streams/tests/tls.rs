//! TLS on the listener: a peer that trusts the certificate is served, plaintext is not, and files
//! that form no identity are refused by name.

use std::path::PathBuf;

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::config::Tls;

/// A certificate for `localhost` and its key, as files.
fn identity(folder: &std::path::Path) -> (Tls, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let tls = Tls {
        certificate: folder.join("cert.pem"),
        key: folder.join("key.pem"),
        client_ca: None,
    };
    std::fs::write(&tls.certificate, made.cert.pem()).expect("the file can be written");
    std::fs::write(&tls.key, made.signing_key.serialize_pem()).expect("the file can be written");
    (tls, made.cert.der().clone())
}

#[tokio::test]
async fn a_peer_that_trusts_the_certificate_is_served_and_plaintext_is_not() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (tls, certificate) = identity(folder.path());
    let world = world_on(Some(&tls)).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).expect("a certificate");
    let config = rustls::ClientConfig::builder_with_provider(
        rustls::crypto::ring::default_provider().into(),
    );
    let config = config
        .with_safe_default_protocol_versions()
        .expect("ring has them");
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());

    let stream = TcpStream::connect(world.address).await.expect("loopback");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = tokio_rustls::TlsConnector::from(config)
        .connect(name, stream)
        .await
        .expect("trusted");
    let request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.expect("taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");

    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut plain = TcpStream::connect(world.address).await.expect("loopback");
    plain.write_all(request).await.expect("taken");
    let mut bytes = Vec::new();
    plain.read_to_end(&mut bytes).await.ok();
    assert!(!bytes.starts_with(b"HTTP"), "plaintext was answered");
}

#[tokio::test]
async fn files_that_form_no_identity_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (good, _) = identity(folder.path());
    let missing = Tls {
        key: PathBuf::from("/nonexistent/key.pem"),
        ..good.clone()
    };
    let swapped = Tls {
        certificate: good.key.clone(),
        key: good.certificate,
        client_ca: None,
    };
    let address = "127.0.0.1:0".parse().expect("an address");

    let missing = Listener::bind(&[address], Some(&missing))
        .await
        .expect_err("no key");
    let swapped = Listener::bind(&[address], Some(&swapped))
        .await
        .expect_err("no identity");

    assert!(
        missing.to_string().contains("/nonexistent/key.pem"),
        "{missing}"
    );
    assert!(swapped.to_string().contains("key.pem") || swapped.to_string().contains("TLS"));
}
