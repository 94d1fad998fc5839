//! The sockets as peers see them: real connections on loopback, stand-ins behind the ports.

mod agent_hosts;
mod agent_http;
mod agents;
mod client_certificates;
mod frames;
mod hostile;
mod installer;
mod key_requests;
mod rate_limits;
mod refusals;
mod rotation;
mod routes;
mod tls;
mod viewers;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hidps_wire::{AgentFrame, AgentId, Applied, CONNECT_PATH, DaemonFrame, Hello, decode, encode};
use jiff::Timestamp;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{AgentHttp, Tls};
use crate::health::Health;
use crate::model::KeyStatus;
use crate::reconcile::Sessions;
use crate::streams::fakes::{
    AGENT, FakeAccess, FakeDesired, FakeDirectory, PublishedKey, Recorder, sign_connect,
    token_settings,
};
use crate::streams::{
    AccessCheck, AgentAuth, AgentLinks, Fanout, Gateway, HttpWays, Installer, KeyHints, KeyLookups,
    Keyring, Listener, Origins, Presence, RefusalReports, TrustedProxies, Watchers, router,
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// All of the older ways, as no daemon has them unless it is told to.
const OPEN: AgentHttp = AgentHttp {
    token: true,
    events: true,
    desired: true,
};

/// The sockets, running on a free port.
struct World {
    address: SocketAddr,
    recorder: Arc<Recorder>,
    desired: Arc<FakeDesired>,
    fanout: Arc<Fanout>,
    access: Arc<FakeAccess>,
    directory: Arc<FakeDirectory>,
    ways: Arc<HttpWays>,
    links: Arc<AgentLinks>,
    watchers: Arc<Watchers>,
    key_hints: Arc<KeyHints>,
    /// Ends the daemon's sockets.
    stop: CancellationToken,
    _tasks: JoinSet<()>,
}

async fn world(status: KeyStatus) -> World {
    let health = Arc::new(Health::default());
    health.set_open();
    build(status, health, Duration::ZERO, (None, no_programs()), OPEN).await
}

/// A world whose daemon is as open as `health` says, and lets agents wait so long for it.
async fn world_starting(health: Arc<Health>, open_within: Duration) -> World {
    build(
        KeyStatus::Admitted,
        health,
        open_within,
        (None, no_programs()),
        OPEN,
    )
    .await
}

async fn world_on(tls: Option<&Tls>) -> World {
    let served = (tls, no_programs());
    build(
        KeyStatus::Admitted,
        Arc::default(),
        Duration::ZERO,
        served,
        OPEN,
    )
    .await
}

fn no_programs() -> Installer {
    Installer::serving(None, false, None)
}

async fn build(
    status: KeyStatus,
    health: Arc<Health>,
    open_within: Duration,
    served: (Option<&Tls>, Installer),
    open: AgentHttp,
) -> World {
    let starting = (health, open_within);
    build_with(status, starting, served, open, |_| {}).await
}

/// The same with something changed of what the daemon knows.
async fn build_with(
    status: KeyStatus,
    (health, open_within): (Arc<Health>, Duration),
    (tls, installer): (Option<&Tls>, Installer),
    open: AgentHttp,
    change: impl FnOnce(&mut Gateway),
) -> World {
    let ways = Arc::new(HttpWays::begun(open, Timestamp::UNIX_EPOCH));
    let (recorder, fanout) = (Arc::new(Recorder::default()), Arc::new(Fanout::default()));
    let desired = Arc::new(FakeDesired {
        slot: watch::Sender::new(None),
    });
    let access = Arc::new(FakeAccess::default());
    let directory = Arc::new(FakeDirectory::with_status(status));
    let stop = CancellationToken::new();
    let links = Arc::new(links_to(&recorder, &desired, &stop));
    let loopback_network = "127.0.0.0/8".parse().expect("a network");
    let (watchers, key_hints) = (Arc::new(Watchers::default()), Arc::new(KeyHints::default()));
    let (key_lookups, keys) = KeyLookups::new(Arc::clone(&directory) as _);
    let (refusals, refusal_log) = RefusalReports::new(Arc::clone(&directory) as _);
    let (keyring, key_reads) = Keyring::new(Arc::new(PublishedKey("current")), Arc::clone(&health));
    let mut gateway = Gateway {
        agent_hosts: Arc::default(),
        auth: Arc::new(AgentAuth::new(keys)),
        links: Arc::clone(&links),
        directory: Arc::clone(&directory) as _,
        key_changes: Arc::clone(&key_hints) as _,
        access: AccessCheck::new(Arc::clone(&access) as _, &token_settings(), keyring),
        limits: Arc::default(),
        refusals: refusal_log,
        ways: Arc::clone(&ways),
        trusted_proxies: Arc::new(TrustedProxies::new(vec![loopback_network])),
        fanout: Arc::clone(&fanout),
        watchers: Arc::clone(&watchers),
        recheck_every: Duration::from_secs(300),
        origins: Origins::new(&["https://console.acme.test".to_owned()]),
        health,
        open_within,
        installer: Arc::new(installer),
        render_metrics: Arc::new(String::new),
        connections: TaskTracker::new(),
    };
    change(&mut gateway);
    let listener = bound(tls).await;
    let address = listener.addresses()[0];
    let mut tasks = JoinSet::new();
    tasks.spawn(key_lookups.run(stop.clone()));
    tasks.spawn(key_reads.run(stop.clone()));
    tasks.spawn(refusals.run(stop.clone()));
    tasks.spawn(listener.run(router(gateway), TaskTracker::new(), stop.clone()));
    World {
        address,
        recorder,
        desired,
        fanout,
        access,
        directory,
        ways,
        links,
        watchers,
        key_hints,
        stop,
        _tasks: tasks,
    }
}

/// A listener on a free port.
async fn bound(tls: Option<&Tls>) -> Listener {
    let loopback = "127.0.0.1:0".parse().expect("an address");
    let bound = Listener::bind(&[loopback], tls).await;
    bound.expect("loopback can be bound")
}

fn links_to(
    recorder: &Arc<Recorder>,
    desired: &Arc<FakeDesired>,
    stop: &CancellationToken,
) -> AgentLinks {
    AgentLinks {
        presence: Presence::new(
            Arc::default(),
            Arc::clone(recorder) as _,
            Arc::clone(recorder) as _,
        ),
        sessions: Arc::new(Sessions::default()),
        desired: Arc::clone(desired) as _,
        records: Arc::clone(recorder) as _,
        intake: Arc::clone(recorder) as _,
        stop: stop.clone(),
    }
}

impl World {
    /// Opens the agents' socket with a good signature.
    async fn connect(&self) -> Result<Socket, Error> {
        self.connect_as(AGENT).await
    }

    /// The same for another agent.
    async fn connect_as(&self, agent: AgentId) -> Result<Socket, Error> {
        let host = self.address.to_string();
        let mut request = format!("ws://{host}{CONNECT_PATH}").into_client_request()?;
        let headers = sign_connect(agent, &host, Timestamp::now().as_second());
        request.headers_mut().extend(headers);
        connect_async(request).await.map(|(socket, _)| socket)
    }

    /// Opens the agents' socket and greets.
    async fn agent(&self, applied: Option<Applied>) -> Socket {
        let mut socket = self.connect().await.expect("the signature is good");
        send(&mut socket, &hello(1, applied)).await;
        let welcome = receive(&mut socket).await;
        assert!(matches!(welcome, DaemonFrame::Welcome(_)), "{welcome:?}");
        socket
    }
}

fn hello(protocol: u32, applied: Option<Applied>) -> String {
    encode(&AgentFrame::Hello(Hello {
        protocol,
        agent_version: "0".into(),
        hostname: "web".into(),
        os: "linux".into(),
        arch: "x86_64".into(),
        boot: None,
        retires_keys: false,
        applied,
    }))
}

/// A program that speaks HTTP with the daemon itself, whatever proxy the environment names.
fn http_client() -> reqwest::Client {
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let client = reqwest::Client::builder().no_proxy();
    let client = client.timeout(Duration::from_secs(60)).build();
    client.expect("a client can be made")
}

async fn send(socket: &mut Socket, text: &str) {
    socket
        .send(Message::text(text))
        .await
        .expect("the peer listens");
}

/// The next text frame.
async fn receive_text(socket: &mut Socket) -> String {
    let next = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Text(text))) => return text.to_string(),
                Some(Ok(_)) => {}
                ended => panic!("a frame was expected, not {ended:?}"),
            }
        }
    };
    timeout(Duration::from_secs(30), next)
        .await
        .expect("a frame comes within 5 s")
}

/// The next frame to an agent.
async fn receive(socket: &mut Socket) -> DaemonFrame {
    decode(&receive_text(socket).await, usize::MAX).expect("the daemon speaks the protocol")
}

/// Waits until a value is as wanted.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(30), waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("unpoisoned")
}
