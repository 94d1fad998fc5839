//! A real TLS server, and who it is talked to by.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData as _,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// A TLS server on loopback that says one word, and the authority that vouches for it.
struct TlsServer {
    port: u16,
    ca_file: PathBuf,
    pin: Pin,
    _directory: tempfile::TempDir,
    _tasks: JoinSet<()>,
}

impl TlsServer {
    async fn start(name: &str) -> Self {
        Self::start_asking(name, None).await
    }

    /// A server that asks for a certificate of an authority, if it is given one.
    async fn start_asking(name: &str, client_ca: Option<&CertificateDer<'static>>) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap());
        let authority = authority.unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let pin = Pin::of(&key.subject_public_key_info().as_slice().into());
        let directory = tempfile::tempdir().unwrap();
        let ca_file = directory.path().join("ca.pem");
        std::fs::write(&ca_file, authority.pem()).unwrap();

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = match client_ca {
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.clone()).unwrap();
                let roots = Arc::new(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                config.with_client_cert_verifier(verifier.build().unwrap())
            }
            None => config.with_no_client_auth(),
        };
        let config = config.with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        );
        let mut config = config.unwrap();
        // Each connection shows its certificate anew, as the daemon has it.
        config.send_tls13_tickets = 0;
        let acceptor = TlsAcceptor::from(Arc::new(config));
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
            pin,
            _directory: directory,
            _tasks: tasks,
        }
    }

    fn way(&self, ca_file: Option<&Path>) -> Way {
        let url = format!("https://localhost:{}", self.port);
        let backend = Backend::parse(&url, false).unwrap();
        Way::direct(backend, ca_file.map(Path::to_owned))
    }

    fn dialer(&self, ca_file: Option<&Path>) -> Result<Dialer, DialError> {
        Dialer::new(self.way(ca_file))
    }

    /// What comes of talking to it when it has to have one of these keys.
    async fn talk_with_pins(&self, pins: &[Pin]) -> Result<String, DialError> {
        let mut way = self.way(Some(&self.ca_file));
        way.pins = pins.iter().copied().collect();
        let mut stream = Dialer::new(way)?.dial().await?;
        let mut word = String::new();
        stream.read_to_string(&mut word).await.unwrap();
        Ok(word)
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

#[tokio::test]
async fn a_pinned_key_is_talked_to_and_so_is_the_next_one() {
    let server = TlsServer::start("localhost").await;
    let next: Pin = "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
        .parse()
        .unwrap();

    let alone = server.talk_with_pins(&[server.pin]).await.unwrap();
    let beside_another = server.talk_with_pins(&[next, server.pin]).await.unwrap();

    assert_eq!((alone.as_str(), beside_another.as_str()), ("word", "word"));
}

#[tokio::test]
async fn a_trusted_certificate_of_another_key_is_refused_and_its_pin_told() {
    let server = TlsServer::start("localhost").await;
    let other = TlsServer::start("localhost").await;

    let refused = server.talk_with_pins(&[other.pin]).await.unwrap_err();

    assert!(matches!(&refused, DialError::NotPinned { found, .. } if *found == server.pin));
    let said = refused.to_string();
    assert!(said.contains("none of pinned_keys") && said.contains(&server.pin.to_string()));
}

#[tokio::test]
async fn a_pin_makes_no_authority() {
    let server = TlsServer::start("localhost").await;
    let other = TlsServer::start("localhost").await;
    let mut way = server.way(Some(&other.ca_file));
    way.pins = [server.pin].into();

    let refused = Dialer::new(way).unwrap().dial().await;

    assert!(matches!(refused.err(), Some(DialError::Tls { .. })));
}

/// A client's certificate in files, and who vouches for it.
struct ClientIdentity {
    files: ClientFiles,
    authority: CertificateDer<'static>,
    _directory: tempfile::TempDir,
}

impl ClientIdentity {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let files = ClientFiles {
            certificate: directory.path().join("client.pem"),
            key: directory.path().join("client.key"),
        };
        let authority = Self::write(&files);
        Self {
            files,
            authority,
            _directory: directory,
        }
    }

    /// Writes a new certificate of a new authority.
    fn write(files: &ClientFiles) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap());
        let authority = authority.unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["an-agent".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        authority.der().clone()
    }

    fn dialer_to(&self, server: &TlsServer) -> Result<Dialer, DialError> {
        let mut way = server.way(Some(&server.ca_file));
        way.client = Some(self.files.clone());
        Dialer::new(way)
    }
}

/// The word that a server says to whom it lets in.
async fn hear(dialer: &Dialer) -> io::Result<String> {
    let mut word = String::new();
    let dialed = dialer.dial().await;
    let mut stream = dialed.map_err(|error| io::Error::other(error.to_string()))?;
    stream.read_to_string(&mut word).await?;
    Ok(word)
}

#[tokio::test]
async fn the_client_certificate_is_shown_to_who_asks_for_one() {
    let client = ClientIdentity::new();
    let asking = TlsServer::start_asking("localhost", Some(&client.authority)).await;
    let other = TlsServer::start("localhost").await;

    let shown = hear(&client.dialer_to(&asking).unwrap()).await;
    let unasked = hear(&client.dialer_to(&other).unwrap()).await;
    let bare = hear(&asking.dialer(Some(&asking.ca_file)).unwrap()).await;

    assert_eq!(
        (shown.unwrap().as_str(), unasked.unwrap().as_str()),
        ("word", "word")
    );
    let said = bare.unwrap_err().to_string();
    assert!(said.contains("CertificateRequired"), "{said}");
}

#[tokio::test]
async fn a_client_certificate_that_was_renewed_needs_no_restart() {
    let client = ClientIdentity::new();
    let dialer_of = |server: &TlsServer| client.dialer_to(server).unwrap();
    let first = TlsServer::start_asking("localhost", Some(&client.authority)).await;
    let dialer = dialer_of(&first);
    assert!(hear(&dialer).await.is_ok());

    let renewed = ClientIdentity::write(&client.files);

    assert!(hear(&dialer).await.is_err(), "the new authority is another");
    let second = TlsServer::start_asking("localhost", Some(&renewed)).await;
    assert!(hear(&dialer_of(&second)).await.is_ok());
}

#[tokio::test]
async fn a_client_certificate_that_breaks_while_the_agent_runs_is_named_and_not_the_daemon() {
    let client = ClientIdentity::new();
    let server = TlsServer::start_asking("localhost", Some(&client.authority)).await;
    let dialer = client.dialer_to(&server).unwrap();
    let whole = std::fs::read(&client.files.certificate).unwrap();

    std::fs::write(&client.files.certificate, "none").unwrap();
    let refused = dialer.dial().await.err().unwrap();
    std::fs::write(&client.files.certificate, whole).unwrap();

    let is_named =
        matches!(&refused, DialError::ClientFile { path, .. } if *path == client.files.certificate);
    assert!(is_named, "{refused:?}");
    assert!(hear(&dialer).await.is_ok(), "it is whole again");
}

#[tokio::test]
async fn a_disk_that_hangs_keeps_no_agent_from_showing_what_it_has_read() {
    let client = ClientIdentity::new();
    let server = TlsServer::start_asking("localhost", Some(&client.authority)).await;
    let dialer = client.dialer_to(&server).unwrap();
    std::fs::remove_file(&client.files.certificate).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let (fifo, at) = (rustix::fs::FileType::Fifo, rustix::fs::CWD);
    rustix::fs::mknodat(at, &client.files.certificate, fifo, mode, 0).unwrap();

    let heard = [hear(&dialer).await, hear(&dialer).await];

    // Lets the one reader end.
    let writer = std::fs::File::options()
        .write(true)
        .open(&client.files.certificate);
    drop(writer.unwrap());
    assert!(heard.iter().all(Result::is_ok), "{heard:?}");
}

#[tokio::test]
async fn files_that_are_no_client_certificate_are_told_at_the_start() {
    let client = ClientIdentity::new();
    let server = TlsServer::start("localhost").await;
    let refusal = |client: &ClientIdentity| {
        let refused = client.dialer_to(&server).err().unwrap();
        crate::error_chain::chain(&refused)
    };

    let other = ClientIdentity::new();
    std::fs::copy(&other.files.key, &client.files.key).unwrap();
    let unfit = refusal(&client);
    std::fs::write(&client.files.certificate, "none").unwrap();
    let empty = refusal(&client);
    std::fs::remove_file(&client.files.key).unwrap();
    std::fs::copy(&other.files.certificate, &client.files.certificate).unwrap();
    let missing = refusal(&client);

    assert!(unfit.contains("do not fit together"), "{unfit}");
    assert!(empty.contains("client.pem"), "{empty}");
    assert!(missing.contains("client.key"), "{missing}");
}

fn plain(url: &str) -> Dialer {
    Dialer::new(Way::direct(Backend::parse(url, true).unwrap(), None)).unwrap()
}

#[tokio::test]
async fn each_step_of_the_way_fails_in_its_own_words() {
    // Too long for any name service, so none is asked.
    let nameless = plain(&format!("http://{}.example", "x".repeat(70)));
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let shut = plain(&format!("http://127.0.0.1:{port}"));
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let server = TlsServer::start("localhost").await;
    let mut way = server.way(Some(&server.ca_file));
    way.backend = Backend::parse(&format!("https://127.0.0.1:{port}"), false).unwrap();
    let mute = Dialer::new(way).unwrap();

    let name = nameless.dial().await.err().unwrap().to_string();
    let refused = shut.dial().await.err().unwrap().to_string();
    tokio::time::pause();
    let unanswered = mute.dial().await.err().unwrap().to_string();

    assert!(
        name.starts_with("could not find the address of xxx"),
        "{name}"
    );
    assert!(
        refused.starts_with("could not connect to 127.0.0.1:"),
        "{refused}"
    );
    assert!(unanswered.contains("did not answer TLS"), "{unanswered}");
    drop(silent);
}

#[tokio::test]
async fn a_full_backlog_is_a_way_on_which_nothing_comes_back() {
    // A listener that takes nobody: once its backlog is full, further packets are dropped.
    let listener = tokio::net::TcpSocket::new_v4().unwrap();
    listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let _listener = listener.listen(1).unwrap();
    let mut waiting = JoinSet::new();
    for _ in 0..64 {
        waiting.spawn(TcpStream::connect(address));
    }
    let is_full = async {
        while timeout(Duration::from_millis(300), waiting.join_next())
            .await
            .is_ok()
        {}
    };
    is_full.await;

    tokio::time::pause();
    let lost = plain(&format!("http://{address}")).dial().await;

    let said = lost.err().unwrap().to_string();
    assert!(
        said.starts_with("nothing came back from 127.0.0.1"),
        "{said}"
    );
}

#[tokio::test]
async fn a_dead_address_does_not_hide_one_that_lives() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let lives = listener.local_addr().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = closed.local_addr().unwrap();
    drop(closed);
    let hop = FirstHop {
        host: "a.name".to_owned(),
        port: lives.port(),
    };

    let connected = connect(&hop, &[dead, lives], Instant::now() + DEADLINE).await;

    assert_eq!(connected.unwrap().peer_addr().unwrap(), lives);
}
