//! A rotation of the key that power failed in, at any step: afterwards agent and daemon agree.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, VerifyingKey};
use hidps_wire::{
    ConnectClaim, HEADER_AGENT, HEADER_NONCE, HEADER_SIGNATURE, HEADER_TIMESTAMP, RotateClaim,
    RotateRequest,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;
use crate::identity::{PRESENT, SUCCESSOR};

/// A daemon that knows one key of the agent, and those it had before.
struct Daemon {
    key: String,
    gone: BTreeSet<String>,
    n_rotations: usize,
    n_enrollments: usize,
}

/// What becomes of a request.
enum Reply {
    /// A WebSocket, by the key that the client drew.
    Upgrade(String),
    /// A status and a body.
    Plain(u16, String),
}

/// A request as it is read off a stream.
struct Asked {
    path: String,
    headers: BTreeMap<String, String>,
    body: String,
}

async fn read_request(stream: &mut DuplexStream) -> Asked {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let pairs = head.lines().filter_map(|line| line.split_once(": "));
    let headers: BTreeMap<_, _> = pairs
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").map_or("0", String::as_str);
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    let body = String::from_utf8(body).unwrap();
    Asked {
        path,
        headers,
        body,
    }
}

fn is_signed(key: &str, bytes: &[u8], signature: &str) -> bool {
    let key: [u8; 32] = BASE64.decode(key).unwrap().try_into().unwrap();
    let signature = BASE64.decode(signature).unwrap();
    let signature = Signature::from_slice(&signature).unwrap();
    let key = VerifyingKey::from_bytes(&key).unwrap();
    key.verify_strict(bytes, &signature).is_ok()
}

impl Daemon {
    fn knowing(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            gone: BTreeSet::new(),
            n_rotations: 0,
            n_enrollments: 0,
        }
    }

    /// Does what a request asks for.
    fn serve(&mut self, asked: &Asked) -> Reply {
        let header = |name: &str| asked.headers.get(name).map_or("", String::as_str);
        if asked.path.ends_with("/enroll") {
            self.n_enrollments += 1;
            return Reply::Plain(403, "no".to_owned());
        }
        let agent_id = header(HEADER_AGENT).parse().unwrap();
        let timestamp = header(HEADER_TIMESTAMP).parse().unwrap();
        let (host, nonce, signature) = (
            header("host"),
            header(HEADER_NONCE),
            header(HEADER_SIGNATURE),
        );
        if !asked.path.ends_with("/rotate") {
            let claim = ConnectClaim {
                agent_id,
                host,
                timestamp,
                nonce,
            };
            if is_signed(&self.key, &claim.signing_bytes(), signature) {
                return Reply::Upgrade(header("sec-websocket-key").to_owned());
            }
            return Reply::Plain(401, "another key".to_owned());
        }
        let request: RotateRequest = decode(&asked.body, 16_384).unwrap();
        let claim = RotateClaim {
            agent_id,
            host,
            timestamp,
            nonce,
            public_key: &request.public_key,
        };
        let claim = claim.signing_bytes();
        assert!(is_signed(&request.public_key, &claim, &request.proof));
        if !is_signed(&self.key, &claim, signature) {
            return Reply::Plain(401, "another key".to_owned());
        }
        if self.gone.contains(&request.public_key) {
            return Reply::Plain(409, "in use before".to_owned());
        }
        self.n_rotations += 1;
        let former = std::mem::replace(&mut self.key, request.public_key);
        self.gone.insert(former);
        Reply::Plain(200, format!(r#"{{"public_key":"{}"}}"#, self.key))
    }

    /// Serves one visit; the socket, if it is one that stays.
    async fn answer(&mut self, mut visit: DuplexStream) -> Option<WebSocketStream<DuplexStream>> {
        let asked = read_request(&mut visit).await;
        self.reply(visit, &asked).await
    }

    /// Answers what was asked.
    async fn reply(
        &mut self,
        mut visit: DuplexStream,
        asked: &Asked,
    ) -> Option<WebSocketStream<DuplexStream>> {
        match self.serve(asked) {
            Reply::Upgrade(key) => {
                let accept = derive_accept_key(key.as_bytes());
                let head = format!(
                    "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Accept: {accept}\r\n\r\n"
                );
                visit.write_all(head.as_bytes()).await.unwrap();
                Some(WebSocketStream::from_raw_socket(visit, Role::Server, None).await)
            }
            Reply::Plain(status, body) => {
                let length = body.len();
                let text = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}");
                visit.write_all(text.as_bytes()).await.unwrap();
                visit.shutdown().await.unwrap();
                None
            }
        }
    }
}

/// What a run left on the disk.
struct Disk {
    _directory: tempfile::TempDir,
    state: StateDir,
    present: String,
}

impl Disk {
    /// One key, which the daemon knows.
    fn new() -> (Self, Daemon) {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(&directory.path().join("state")).unwrap();
        let present = Identity::load_or_create(&state).unwrap().public_key();
        let daemon = Daemon::knowing(&present);
        let disk = Self {
            _directory: directory,
            state,
            present,
        };
        (disk, daemon)
    }

    fn make_successor(&self) -> String {
        let successor = Identity::create(&self.state, SUCCESSOR).unwrap();
        successor.public_key()
    }

    fn key(&self) -> String {
        Identity::load(&self.state).unwrap().unwrap().public_key()
    }

    /// Lets an agent come back, whose daemon serves it until it is connected.
    async fn come_back(&self, daemon: &mut Daemon) {
        let mut rig = start_link_with(self.state.clone(), always(0));
        for _ in 0..5 {
            let visit = rig.visit().await;
            if let Some(mut socket) = daemon.answer(visit).await {
                let hello = socket.next().await.unwrap().unwrap();
                assert!(hello.to_text().unwrap().contains("hello"));
                assert_eq!(self.key(), daemon.key, "the disk has the key that holds");
                assert!(!self.state.has(SUCCESSOR), "and no other");
                assert_eq!(daemon.n_enrollments, 0);
                return;
            }
        }
        panic!("the agent did not come back");
    }

    /// Lets power fail when the daemon has taken so many requests in, the last one without its
    /// answer.
    async fn lose_power_after(&self, daemon: &mut Daemon, n_requests: usize) {
        let mut rig = start_link_with(self.state.clone(), always(0));
        for _ in 1..n_requests {
            let visit = rig.visit().await;
            if daemon.answer(visit).await.is_some() {
                return;
            }
        }
        let mut visit = rig.visit().await;
        let asked = read_request(&mut visit).await;
        daemon.serve(&asked);
        rig.tasks.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_made_and_not_asked_for_takes_its_place_later() {
    let (disk, mut daemon) = Disk::new();
    let successor = disk.make_successor();

    disk.come_back(&mut daemon).await;

    assert_eq!((daemon.key, daemon.n_rotations), (successor, 1));
}

#[tokio::test(start_paused = true)]
async fn half_a_key_is_no_key() {
    let (disk, mut daemon) = Disk::new();
    disk.state.write("agent.key.next.new", b"c2hv").unwrap();

    disk.come_back(&mut daemon).await;

    assert_eq!((daemon.key, daemon.n_rotations), (disk.present, 0));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_the_daemon_took_without_an_answer_takes_its_place() {
    let (disk, mut daemon) = Disk::new();
    let successor = disk.make_successor();
    daemon.key.clone_from(&successor);

    disk.come_back(&mut daemon).await;

    assert_eq!((daemon.key, daemon.n_rotations), (successor, 0));
}

#[tokio::test(start_paused = true)]
async fn a_key_in_its_place_is_used_at_once() {
    let (disk, mut daemon) = Disk::new();
    let successor = disk.make_successor();
    daemon.key.clone_from(&successor);
    disk.state.rename(SUCCESSOR, PRESENT).unwrap();

    disk.come_back(&mut daemon).await;

    assert_eq!(daemon.key, successor);
}

#[tokio::test(start_paused = true)]
async fn power_that_fails_again_and_again_loses_no_key() {
    for first in 1..=4 {
        for second in 1..=4 {
            let (disk, mut daemon) = Disk::new();
            let successor = disk.make_successor();

            disk.lose_power_after(&mut daemon, first).await;
            disk.lose_power_after(&mut daemon, second).await;
            disk.come_back(&mut daemon).await;

            assert_eq!(daemon.key, successor, "{first} {second}");
            assert_eq!(daemon.n_rotations, 1, "{first} {second}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_can_never_be_the_agents_is_given_up() {
    let (disk, mut daemon) = Disk::new();
    let used = disk.make_successor();
    daemon.gone.insert(used);

    disk.come_back(&mut daemon).await;

    assert_eq!((daemon.key, daemon.n_rotations), (disk.present, 0));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_somebody_else_replaced_waits_beside_its_successor() {
    let (disk, mut daemon) = Disk::new();
    let successor = disk.make_successor();
    daemon.key = BASE64.encode(
        ed25519_dalek::SigningKey::from_bytes(&[9; 32])
            .verifying_key()
            .as_bytes(),
    );
    let mut rig = start_link_with(disk.state.clone(), always(0));

    while daemon.n_enrollments < 2 {
        let visit = rig.visit().await;
        assert!(daemon.answer(visit).await.is_none(), "neither key holds");
    }

    assert_eq!(disk.key(), disk.present);
    let waiting = Identity::load_from(&disk.state, SUCCESSOR).unwrap();
    assert_eq!(waiting.unwrap().public_key(), successor);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_another_process_replaced_while_the_agent_ran_is_used_at_once() {
    let (disk, mut daemon) = Disk::new();
    let mut rig = start_link_with(disk.state.clone(), always(0));
    let visit = rig.visit().await;
    let socket = daemon.answer(visit).await.expect("the first key holds");
    let successor = disk.make_successor();
    daemon.key.clone_from(&successor);
    disk.state.rename(SUCCESSOR, PRESENT).unwrap();

    drop(socket);
    let visit = rig.visit().await;

    assert!(daemon.answer(visit).await.is_some(), "the new key is used");
    assert_eq!(daemon.n_enrollments, 0);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_another_process_asks_for_is_left_to_that_process() {
    let (disk, mut daemon) = Disk::new();
    let command = disk.state.lock_key().unwrap().expect("nobody has it");
    disk.make_successor();
    let mut rig = start_link_with(disk.state.clone(), always(0));

    let visit = rig.visit().await;
    let socket = daemon.answer(visit).await;

    assert!(socket.is_some(), "the present key holds");
    assert_eq!(daemon.n_rotations, 0);
    // The command is refused, as for asking too often, and takes its key back.
    disk.state.remove(SUCCESSOR).unwrap();
    drop(command);
    assert_eq!(disk.key(), daemon.key, "the disk has the key that holds");
}

#[tokio::test(start_paused = true)]
async fn while_the_agent_asks_for_a_key_no_other_process_does() {
    let (disk, mut daemon) = Disk::new();
    let successor = disk.make_successor();
    let mut rig = start_link_with(disk.state.clone(), always(0));

    for step in ["the new key connects", "it is asked for"] {
        let mut visit = rig.visit().await;
        let asked = read_request(&mut visit).await;
        assert!(disk.state.lock_key().unwrap().is_none(), "{step}");
        daemon.reply(visit, &asked).await;
    }
    let visit = rig.visit().await;
    let socket = daemon.answer(visit).await;

    assert!(socket.is_some(), "the new key holds");
    assert_eq!((disk.key(), daemon.key), (successor.clone(), successor));
    assert!(disk.state.lock_key().unwrap().is_some(), "it is over");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_taken_back_before_the_agent_had_the_lock_is_not_asked_for() {
    let (disk, mut daemon) = Disk::new();
    disk.make_successor();
    let (mut rig, mut link) = make_link(disk.state.clone(), always(0));
    assert!(link.keys.successor().is_some(), "it was seen");
    disk.state.remove(SUCCESSOR).unwrap();
    let mut course = Course {
        must_enroll: false,
        offset: ClockOffset::default(),
        backoff: Backoff::default(),
    };

    let visited = async {
        let visit = rig.visit().await;
        daemon.answer(visit).await
    };
    let (opened, socket) = tokio::join!(link.open(&mut course), visited);

    assert!(opened.is_some_and(|opened| opened.is_ok()) && socket.is_some());
    assert_eq!((daemon.n_rotations, disk.key()), (0, daemon.key));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_holds_already_is_used_while_another_process_has_the_lock() {
    let (disk, mut daemon) = Disk::new();
    let command = disk.state.lock_key().unwrap().expect("nobody has it");
    let successor = disk.make_successor();
    daemon.key.clone_from(&successor);
    let mut rig = start_link_with(disk.state.clone(), always(0));

    let visit = rig.visit().await;
    assert!(
        daemon.answer(visit).await.is_none(),
        "the former is refused"
    );
    let visit = rig.visit().await;
    let socket = daemon.answer(visit).await;

    assert!(socket.is_some(), "the new key holds");
    assert_eq!((daemon.n_rotations, daemon.n_enrollments), (0, 0));
    assert_eq!(disk.key(), disk.present, "the disk is left alone");
    assert!(disk.state.has(SUCCESSOR));
    drop(command);
}

#[tokio::test(start_paused = true)]
async fn nobody_enrolls_while_another_process_finds_out_which_key_holds() {
    let (disk, mut daemon) = Disk::new();
    let _command = disk.state.lock_key().unwrap().expect("nobody has it");
    disk.make_successor();
    daemon.key = BASE64.encode(
        ed25519_dalek::SigningKey::from_bytes(&[9; 32])
            .verifying_key()
            .as_bytes(),
    );
    let mut rig = start_link_with(disk.state.clone(), always(0));

    for _ in 0..6 {
        let visit = rig.visit().await;
        assert!(daemon.answer(visit).await.is_none(), "neither key holds");
    }

    assert_eq!((daemon.n_rotations, daemon.n_enrollments), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_the_disk_does_not_give_leaves_the_files_alone() {
    let (disk, mut daemon) = Disk::new();
    let successor = disk.make_successor();
    std::fs::create_dir(disk.state.path().join("key.lock")).unwrap();
    daemon.key.clone_from(&successor);
    let mut rig = start_link_with(disk.state.clone(), always(0));

    let visit = rig.visit().await;
    assert!(
        daemon.answer(visit).await.is_none(),
        "the former is refused"
    );
    let visit = rig.visit().await;
    let socket = daemon.answer(visit).await;
    let mut socket = socket.expect("the new key holds");
    assert_eq!((daemon.n_rotations, daemon.n_enrollments), (0, 0));
    assert_eq!(disk.key(), disk.present);
    let welcome = DaemonFrame::Welcome(Welcome {
        protocol: PROTOCOL_VERSION,
        credit: 1,
        heartbeat_secs: 15,
    });
    send(&mut socket, &welcome).await;

    std::fs::remove_dir(disk.state.path().join("key.lock")).unwrap();
    let filed = async {
        // Each frame that comes is answered, which keeps the connection.
        while disk.key() != successor {
            socket.next().await.unwrap().unwrap();
        }
    };
    let filed = tokio::time::timeout(Duration::from_secs(600), filed).await;
    filed.expect("it is put into its file while the link is up");
    assert!(!disk.state.has(SUCCESSOR));
}
