//! Certificates of agents over real TLS: none, another authority's, another agent's, one that has
//! expired, and the right one; and that nobody else is asked for one.

use std::path::Path;

use hidps_wire::rotate_path;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::client::TlsStream;

use super::*;
use crate::config::Tls;
use crate::streams::fakes::{NEIGHBOUR, public_key};

/// Whoever vouches for certificates.
type Authority = CertifiedIssuer<'static, KeyPair>;

/// A certificate and its key.
type Shown = (CertificateDer<'static>, PrivateKeyDer<'static>);

fn authority() -> Authority {
    authority_named("agents")
}

fn authority_named(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed")
}

/// A certificate with this name, whose time ends in that year.
fn certificate(authority: &Authority, name: &str, until: i32) -> Shown {
    let until = date_time_ymd(until, 1, 1).unix_timestamp();
    certificate_until(authority, name, u64::try_from(until).expect("after 1970"))
}

/// The same with its end in seconds since 1970.
fn certificate_until(authority: &Authority, name: &str, until: u64) -> Shown {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(until);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let made = params.signed_by(&key, authority).expect("signed");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    (made.der().clone(), key)
}

/// A daemon that wants certificates of this authority, and its own certificate.
async fn world_with(folder: &Path, authority: &Authority) -> (World, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let tls = Tls {
        certificate: folder.join("cert.pem"),
        key: folder.join("key.pem"),
        client_ca: Some(folder.join("agents.pem")),
    };
    let files = [
        (&tls.certificate, made.cert.pem()),
        (&tls.key, made.signing_key.serialize_pem()),
        (&folder.join("agents.pem"), authority.pem()),
    ];
    for (path, text) in files {
        std::fs::write(path, text).expect("the file can be written");
    }
    let health = Arc::new(Health::default());
    health.set_open();
    let served = (Some(&tls), no_programs());
    let world = build(KeyStatus::Admitted, health, Duration::ZERO, served, OPEN).await;
    (world, made.cert.der().clone())
}

/// How a client that trusts this daemon and shows this certificate speaks TLS.
fn client(trusted: &CertificateDer<'static>, shown: Option<&Shown>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_root_certificates(roots);
    Arc::new(match shown {
        Some((certificate, key)) => config
            .with_client_auth_cert(vec![certificate.clone()], key.clone_key())
            .expect("they fit"),
        None => config.with_no_client_auth(),
    })
}

/// What a request over TLS is answered and by which kind of handshake, or why there is no answer.
async fn exchange(
    world: &World,
    client: &Arc<ClientConfig>,
    request: &str,
) -> Result<(String, Option<HandshakeKind>), std::io::Error> {
    let stream = TcpStream::connect(world.address).await.expect("loopback");
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(client));
    let mut stream = connector.connect(name, stream).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await;
    read.expect("it answers or closes")?;
    let kind = stream.get_ref().1.handshake_kind();
    Ok((String::from_utf8_lossy(&answer).into_owned(), kind))
}

/// What a request is answered on a connection of its own.
async fn ask(
    (world, trusted): &(World, CertificateDer<'static>),
    shown: Option<&Shown>,
    request: &str,
) -> Result<String, std::io::Error> {
    let answered = exchange(world, &client(trusted, shown), request).await;
    answered.map(|(answer, _)| answer)
}

/// A connect of an agent, signed.
fn connect() -> String {
    let headers = sign_connect(AGENT, "localhost", Timestamp::now().as_second());
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}\r\n", value.to_str().expect("text")))
        .collect();
    // Not an upgrade, so that the answer has an end.
    format!("GET {CONNECT_PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n")
}

fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Every route of agents, as somebody asks it who has everything but the certificate.
fn requests() -> [String; 4] {
    let enroll = r#"{"public_key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","hostname":"h","os":"o","arch":"a","agent_version":"0"}"#;
    let form = format!("grant_type=client_credentials&client_id={AGENT}&client_secret=x");
    [
        connect(),
        post(&format!("/v1/agents/{AGENT}/enroll"), enroll),
        post(&rotate_path(AGENT), r#"{"public_key":"x","proof":"x"}"#),
        post("/v1/agent/token", &form).replace("json", "x-www-form-urlencoded"),
    ]
}

/// What an agent asks and posts over HTTP with a token that is its own.
fn requests_with_token(world: &World) -> [String; 2] {
    let now = Timestamp::now().as_second();
    let whose = (AGENT.uuid(), uuid::Uuid::from_u128(10));
    let token = world.ways.tokens.issue(whose, &public_key(), now);
    let bearer = format!(
        "HTTP/1.1\r\nAuthorization: Bearer {}\r\n",
        token.expect("claims can be written")
    );
    let desired =
        "GET /v1/agent/desired?hash=x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let usage = r#"{"type":"usage","cpu":1.0,"ram":1.0,"storage":1.0}"#;
    [desired.to_owned(), post("/v1/agent/events", usage)]
        .map(|request| request.replacen("HTTP/1.1\r\n", &bearer, 1))
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[tokio::test]
async fn the_right_certificate_is_let_through_to_the_signature_and_proves_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let authority = authority();
    let world = world_with(folder.path(), &authority).await;
    let own = certificate(&authority, &AGENT.to_string(), 2096);
    let [connect, enroll, rotate, token] = requests();
    let unsigned = format!("GET {CONNECT_PATH} HTTP/1.1\r\nHost: localhost\r\n");
    let unsigned = format!("{unsigned}x-hidps-agent: {AGENT}\r\nConnection: close\r\n\r\n");

    // Everything is well but that this is no upgrade.
    let connected = ask(&world, Some(&own), &connect).await.expect("an answer");
    assert_eq!(status(&connected), "400", "{connected}");
    assert!(connected.to_lowercase().contains("upgrade"), "{connected}");
    let enrolled = ask(&world, Some(&own), &enroll).await.expect("an answer");
    assert_eq!(status(&enrolled), "200", "{enrolled}");
    for (request, expected) in requests_with_token(&world.0).iter().zip(["400", "200"]) {
        // What it says to have applied is incomplete, which is looked at after the certificate.
        let answered = ask(&world, Some(&own), request).await.expect("an answer");
        assert_eq!(status(&answered), expected, "{answered}");
    }
    for unproven in [rotate, unsigned, token] {
        let refused = ask(&world, Some(&own), &unproven).await.expect("an answer");
        assert_eq!(status(&refused), "401", "{refused}");
    }
}

#[tokio::test]
async fn an_agent_without_its_own_certificate_is_refused_on_every_route() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let authority = authority();
    let world = world_with(folder.path(), &authority).await;
    let neighbours = certificate(&authority, &NEIGHBOUR.to_string(), 2096);
    let nameless = certificate(&authority, "agents.example", 2096);

    for shown in [None, Some(&neighbours), Some(&nameless)] {
        for request in requests().into_iter().chain(requests_with_token(&world.0)) {
            let refused = ask(&world, shown, &request).await.expect("an answer");

            assert_eq!(status(&refused), "403", "{refused}");
            assert!(refused.contains("client certificate"), "{refused}");
        }
    }
    // Before the token that these want is looked at.
    let desired = "GET /v1/agent/desired HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for request in [desired.to_owned(), post("/v1/agent/events", "{}")] {
        let refused = ask(&world, None, &request).await.expect("an answer");

        assert_eq!(status(&refused), "403", "{refused}");
    }
}

#[tokio::test]
async fn a_certificate_that_expired_or_that_somebody_else_signed_is_refused_by_tls() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let authority = authority();
    let world = world_with(folder.path(), &authority).await;
    let expired = certificate(&authority, &AGENT.to_string(), 2001);
    let forged = certificate(&self::authority(), &AGENT.to_string(), 2096);
    let strangers = certificate(&authority_named("others"), &AGENT.to_string(), 2096);

    for (shown, reason) in [
        (expired, "expired"),
        (forged, "decrypt"),
        (strangers, "unknownca"),
    ] {
        let refused = ask(&world, Some(&shown), &connect()).await;

        let said = refused.expect_err("no answer").to_string();
        assert!(said.to_lowercase().contains(reason), "{said}");
    }
}

#[tokio::test]
async fn a_certificate_is_looked_at_on_each_connection() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let authority = authority();
    let (world, trusted) = world_with(folder.path(), &authority).await;
    let own = certificate(&authority, &AGENT.to_string(), 2096);
    let client = client(&trusted, Some(&own));

    for _ in 0..2 {
        let answered = exchange(&world, &client, &requests()[1]).await;

        let (answer, kind) = answered.expect("an answer");
        assert_eq!(status(&answer), "200", "{answer}");
        assert_eq!(kind, Some(HandshakeKind::Full));
    }
}

#[tokio::test]
async fn nobody_but_agents_is_asked_for_a_certificate() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let world = world_with(folder.path(), &authority()).await;
    let get =
        |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");

    for (path, expected) in [("/livez", "200"), ("/v1/viewers/connect", "400")] {
        let answer = ask(&world, None, &get(path)).await.expect("an answer");

        assert_eq!(status(&answer), expected, "{answer}");
    }
}

#[tokio::test]
async fn a_file_without_an_authority_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let tls = Tls {
        certificate: folder.path().join("cert.pem"),
        key: folder.path().join("key.pem"),
        client_ca: Some(folder.path().join("agents.pem")),
    };
    std::fs::write(&tls.certificate, made.cert.pem()).expect("the file can be written");
    std::fs::write(&tls.key, made.signing_key.serialize_pem()).expect("the file can be written");
    let address = "127.0.0.1:0".parse().expect("an address");

    for text in ["", "no certificate", &made.signing_key.serialize_pem()] {
        std::fs::write(folder.path().join("agents.pem"), text).expect("it can be written");

        let refused = Listener::bind(&[address], Some(&tls)).await;

        let said = refused.expect_err("no authority").to_string();
        assert!(said.contains("agents.pem"), "{said}");
    }
}

/// A connection of an agent whose certificate ends after so many seconds, or none if it has by now.
async fn connect_for(
    (world, trusted): &(World, CertificateDer<'static>),
    authority: &Authority,
    seconds: u64,
) -> Option<WebSocketStream<TlsStream<TcpStream>>> {
    let now = Timestamp::now().as_second();
    let until = u64::try_from(now).expect("after 1970") + seconds;
    let shown = certificate_until(authority, &AGENT.to_string(), until);
    let stream = TcpStream::connect(world.address).await.expect("loopback");
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = tokio_rustls::TlsConnector::from(client(trusted, Some(&shown)));
    let stream = connector.connect(name, stream).await.ok()?;
    let mut request = format!("ws://localhost{CONNECT_PATH}").into_client_request();
    let headers = request.as_mut().expect("an address").headers_mut();
    headers.extend(sign_connect(AGENT, "localhost", now));
    let shaken = tokio_tungstenite::client_async(request.expect("an address"), stream).await;
    let (mut socket, _) = shaken.ok()?;
    let said = socket.send(Message::text(hello(1, None))).await;
    said.ok().map(|()| socket)
}

#[tokio::test]
async fn a_connection_ends_when_its_agents_certificate_does() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let authority = authority();
    let world = world_with(folder.path(), &authority).await;
    let ended = async {
        // A busy machine may take longer to connect than the first ones last.
        for seconds in [2, 4, 8, 16] {
            let Some(mut socket) = connect_for(&world, &authority, seconds).await else {
                continue;
            };
            let mut was_welcome = false;
            while let Some(Ok(message)) = socket.next().await {
                let text = message.into_text().unwrap_or_default();
                was_welcome |= text.contains("welcome");
                if was_welcome && text.contains("certificate has expired") {
                    return true;
                }
            }
        }
        false
    };

    let ended = timeout(Duration::from_secs(120), ended).await;

    assert!(
        ended.expect("it ends"),
        "no connection was ended with the reason"
    );
}
