//! Hundreds of peers that owe the daemon something: others are served meanwhile, each is counted, and
//! none of them costs much memory.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hidps_lab::command::Running;
use hidps_lab::netns::{self, Namespace};
use hidps_lab::ports::free_port;
use hidps_lab::say_skipped;
use hidps_lab::world::probe::wait_until;
use rustls::pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::turn::take_turn;

/// Long enough for a machine busy with builds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Far more than handshakes are worked at at once.
const N_SLOW: usize = 400;

/// How often they come, until another is served before the time of the first is up.
const ATTEMPTS: usize = 6;

/// Peers that begin a request, or one that does not end.
const N_BEGUN: usize = 200;

/// Most that one of them may cost, in KiB.
const KIB_EACH: u64 = 64;

/// A daemon with TLS, on loopback and one address more, and what its peers have to trust.
struct Secured {
    daemon: Running,
    port: u16,
    tls: TlsConnector,
    _folder: TempDir,
}

impl Secured {
    /// Supabase is away, which is nothing to peers that never get that far.
    async fn start(also: Ipv4Addr) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        let (certificate, key) = (
            folder.path().join("cert.pem"),
            folder.path().join("key.pem"),
        );
        fs::write(&certificate, made.cert.pem()).expect("written");
        fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        let port = free_port(Ipv4Addr::UNSPECIFIED.into()).expect("a port is free");
        let mut command = Command::new(env!("CARGO_BIN_EXE_hidpsd"));
        let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/detection-rules");
        command.env_clear().envs([
            ("SUPABASE_URL", "http://127.0.0.1:9"),
            ("SUPABASE_SECRET_KEY", "sb_secret_x"),
            ("SUPABASE_PUBLISHABLE_KEY", "sb_publishable_x"),
            ("HIDPS_RULES_DIR", rules),
        ]);
        command.env("HIDPS_STATE_DIR", folder.path());
        command.env("HIDPS_LISTEN", format!("127.0.0.1:{port},{also}:{port}"));
        command
            .env("HIDPS_TLS_CERT", &certificate)
            .env("HIDPS_TLS_KEY", &key);
        let daemon = Running::start("hidpsd", command).expect("it starts");
        let secured = Self {
            daemon,
            port,
            tls: trusting(made.cert.der().clone()),
            _folder: folder,
        };
        let live = wait_until("liveness", PATIENCE, async || {
            secured.metrics().await.map(drop)
        });
        live.await
            .unwrap_or_else(|error| panic!("{error}\n{}", secured.daemon.log()));
        secured
    }

    async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        self.tls.connect(name, stream).await
    }

    async fn metrics(&self) -> Result<String, String> {
        let asked = async {
            let mut stream = self.connect().await?;
            let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            stream.write_all(request).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        let answer = asked.await.map_err(|error| error.to_string())?;
        match answer.starts_with("HTTP/1.1 200") {
            true => Ok(answer),
            false => Err(answer),
        }
    }

    async fn count(&self, series: &str) -> u64 {
        let asked = wait_until("an answer", PATIENCE, async || self.metrics().await);
        let (metrics, _) = asked.await.expect("it answers");
        let value = metrics.lines().find_map(|line| line.strip_prefix(series));
        value.map_or(0, |value| value.trim().parse().expect("a count"))
    }

    /// Waits until these series have counted so many in all.
    async fn wait_counted(&self, what: &str, series: &[&str], wanted: u64) {
        let counted = wait_until(what, PATIENCE, async || {
            let mut all = 0;
            for one in series {
                all += self.count(one).await;
            }
            match all >= wanted {
                true => Ok(()),
                false => Err(format!("{all} of {wanted}")),
            }
        });
        counted.await.expect("every one is counted");
    }

    /// What it holds in memory, in KiB.
    fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.daemon.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.expect("the kernel says")
    }

    fn assert_cheap(&self, before: u64, n_peers: usize) {
        let grown = self.resident().saturating_sub(before);
        let most = n_peers as u64 * KIB_EACH;
        assert!(grown <= most, "{n_peers} peers cost {grown} KiB");
    }
}

fn trusting(certificate: CertificateDer<'static>) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).expect("a certificate");
    let provider = rustls::crypto::ring::default_provider();
    let config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .expect("ring has them");
    Arc::new(config.with_root_certificates(roots).with_no_client_auth()).into()
}

/// Connects and sends the beginning of a handshake.
fn begin_handshake(address: SocketAddr) -> std::io::Result<std::net::TcpStream> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.write_all(&[0x16, 0x03, 0x01])?;
    Ok(stream)
}

#[tokio::test]
async fn slow_handshakes_of_one_address_keep_back_nobody_else_and_each_is_counted() {
    let _turn = take_turn().await;
    if let Err(missing) = netns::check() {
        return say_skipped("slow handshakes from elsewhere", &missing);
    }
    let elsewhere = Namespace::new("slow").expect("a namespace");
    let cable = elsewhere.link_to_machine().expect("a cable");
    let secured = Secured::start(cable.far).await;
    let before = secured.resident();

    let address = SocketAddr::from((cable.far, secured.port));
    let owed = r#"hidps_slow_peers_total{owed="handshake"}"#;
    let closed = r#"hidps_connections_closed_total{why="handshakes"}"#;
    let mut n_opened = 0;
    // A machine that is busy may need longer than a slow peer has; then it begins anew.
    let is_served_meanwhile = loop {
        let ended_before = secured.count(owed).await;
        let open = || (0..N_SLOW).map(|_| begin_handshake(address)).collect();
        let slow: std::io::Result<Vec<_>> = elsewhere.run_inside(open).expect("inside");
        let slow = slow.expect("the kernel takes them");
        n_opened += N_SLOW;
        let is_served_meanwhile = secured.count(owed).await == ended_before;
        secured.assert_cheap(before, N_SLOW);
        let all = n_opened as u64;
        secured
            .wait_counted("the end of all", &[owed, closed], all)
            .await;
        drop(slow);
        if is_served_meanwhile || n_opened >= ATTEMPTS * N_SLOW {
            break is_served_meanwhile;
        }
    };

    assert!(
        is_served_meanwhile,
        "nobody's time was up when another was served"
    );
}

#[tokio::test]
async fn requests_that_do_not_end_and_headers_that_are_too_long_are_counted_and_cost_little() {
    let _turn = take_turn().await;
    let secured = Secured::start(Ipv4Addr::new(127, 0, 0, 2)).await;
    let before = secured.resident();

    let mut begun = Vec::new();
    for _ in 0..N_BEGUN {
        let mut stream = secured.connect().await.expect("trusted");
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: h\r\nX: ")
            .await
            .expect("taken");
        begun.push(stream);
    }
    secured.assert_cheap(before, N_BEGUN);
    let owed = r#"hidps_slow_peers_total{owed="headers"}"#;
    secured
        .wait_counted("requests without an end", &[owed], N_BEGUN as u64)
        .await;

    let long = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}", "a".repeat(1 << 20));
    for _ in 0..N_BEGUN {
        let mut stream = secured.connect().await.expect("trusted");
        // It hangs up in the middle.
        stream.write_all(long.as_bytes()).await.ok();
    }
    // Some are gone before they could be told why.
    let refused = [
        r#"hidps_bad_requests_total{why="too_large"}"#,
        r#"hidps_bad_requests_total{why="broken_off"}"#,
    ];
    secured
        .wait_counted("long headers", &refused, N_BEGUN as u64)
        .await;
    assert!(secured.count(refused[0]).await > 0, "none was told");
    secured.assert_cheap(before, N_BEGUN);
}
