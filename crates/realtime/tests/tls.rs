//! The secure path: certificates are verified, and nothing is ever sent in plain text instead.
//! Never uses a certificate from a file; each test makes its own.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hidps_realtime::{Backoff, Channel, Config, ConfigError, Event, RealtimeError, Subscription};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;

/// Far more than anything here takes.
const DEADLINE: Duration = Duration::from_secs(30);

/// A server with a certificate for `localhost` that nobody trusts by default.
struct SecureServer {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    certificate: Vec<u8>,
}

impl SecureServer {
    async fn start() -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has the versions")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("key and certificate fit");
        Self {
            listener: TcpListener::bind("127.0.0.1:0")
                .await
                .expect("a port is free"),
            acceptor: TlsAcceptor::from(Arc::new(config)),
            certificate: cert.der().to_vec(),
        }
    }

    fn config(&self) -> Config {
        let port = self
            .listener
            .local_addr()
            .expect("the server listens")
            .port();
        let url = format!("https://localhost:{port}");
        let mut config = Config::new(url, "sb_secret_x", Channel::new("feed").broadcast());
        let brief = Duration::from_millis(10);
        config.backoff = Backoff {
            base: brief,
            cap: brief,
            slow: brief,
            hopeless: brief,
        };
        config
    }

    /// Accepts a connection, its TLS and its join, and confirms the join.
    async fn serve(&self) {
        let (tcp, _) = self.listener.accept().await.expect("a client connects");
        let tls = self
            .acceptor
            .accept(tcp)
            .await
            .expect("the client trusts us");
        let mut socket = tokio_tungstenite::accept_async(tls)
            .await
            .expect("the client upgrades");
        let join = socket
            .next()
            .await
            .expect("the client stays")
            .expect("a frame");
        let join: Value = serde_json::from_str(join.to_text().expect("text")).expect("json");
        let payload = json!({ "status": "ok", "response": { "postgres_changes": [] } });
        let reply = json!([join[0], join[1], join[2], "phx_reply", payload]);
        socket
            .send(Message::text(reply.to_string()))
            .await
            .expect("the client stays");
    }
}

async fn next(subscription: &mut Subscription) -> Event {
    tokio::time::timeout(DEADLINE, subscription.next())
        .await
        .expect("an event in time")
}

#[tokio::test]
async fn a_trusted_server_is_joined_over_tls() {
    let server = SecureServer::start().await;
    let mut config = server.config();
    config.extra_roots.push(server.certificate.clone());
    let mut subscription = Subscription::new(config).expect("the configuration is right");

    let (event, ()) = tokio::join!(next(&mut subscription), server.serve());

    assert!(matches!(event, Event::Ready), "{event:?}");
}

#[tokio::test]
async fn a_server_nobody_vouches_for_is_refused() {
    let server = SecureServer::start().await;
    let mut subscription = Subscription::new(server.config()).expect("the configuration is right");

    let accept = async {
        let (tcp, _) = server.listener.accept().await.expect("a client connects");
        server.acceptor.accept(tcp).await.map(|_| ())
    };
    let (event, accepted) = tokio::join!(next(&mut subscription), accept);

    let Event::Lost {
        error: RealtimeError::Connect { source, .. },
        ..
    } = event
    else {
        panic!("expected a refusal, got {event:?}")
    };
    assert!(source.to_string().contains("certificate"), "{source}");
    assert!(accepted.is_err());
}

#[test]
fn a_root_that_is_no_certificate_is_refused_at_once() {
    let mut config = Config::new("https://localhost", "sb_secret_x", Channel::new("feed"));
    config.extra_roots.push(b"nonsense".to_vec());

    let refused = Subscription::new(config).err();

    assert!(
        matches!(refused, Some(ConfigError::Tls { .. })),
        "{refused:?}"
    );
}
