//! A daemon that does what a test says, step by step, and checks what an agent may send.
//! It keeps no state of its own and never repairs a step that did not happen.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use hidps_wire::{
    AgentFrame, AgentId, Answer, Apply, ConditionStatus, ConnectClaim, ContentHash, DaemonFrame,
    DesiredDocument, EnrollRequest, EventBatch, FacetCondition, Generation, HEADER_AGENT,
    HEADER_NONCE, HEADER_SIGNATURE, HEADER_TIMESTAMP, Hello, LogEvent, MAX_AGENT_FRAME_BYTES,
    PROTOCOL_VERSION, Question, Status, Welcome, decode, encode, frame_type,
};
use jiff::Timestamp;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message, WebSocket, accept_hdr};
use uuid::Uuid;

/// Longer than any step takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(240);

/// A listening daemon. It answers probes by itself, as a daemon does whatever else it is doing.
pub(crate) struct ScriptedDaemon {
    address: SocketAddr,
    visits: Receiver<TcpStream>,
    n_probes: Arc<AtomicUsize>,
    /// Takes visits until the daemon is gone.
    listening: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
    /// Seconds by which its clock is ahead.
    pub(crate) clock_ahead: i64,
}

/// What an agent wants.
pub(crate) enum Visit {
    /// To enroll.
    Enroll(EnrollVisit),
    /// To connect; the handshake is not answered yet.
    Connect(TcpStream),
}

/// An enrollment to be answered.
pub(crate) struct EnrollVisit {
    pub(crate) request: EnrollRequest,
    pub(crate) token: Option<String>,
    pub(crate) path: String,
    stream: TcpStream,
}

impl EnrollVisit {
    pub(crate) fn answer(mut self, status: u16, body: &str) {
        let text = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Sends the agent elsewhere.
    pub(crate) fn redirect(mut self, status: u16, location: &str) {
        let text =
            format!("HTTP/1.1 {status} X\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        self.stream.write_all(text.as_bytes()).unwrap();
    }
}

impl ScriptedDaemon {
    pub(crate) fn start(ip: IpAddr) -> Self {
        Self::start_at(SocketAddr::from((ip, 0)))
    }

    pub(crate) fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (visits_tx, visits) = mpsc::channel();
        let n_probes = Arc::new(AtomicUsize::new(0));
        let listening = Arc::new(AtomicBool::new(true));
        let (count, is_wanted) = (Arc::clone(&n_probes), Arc::clone(&listening));
        let listener = thread::spawn(move || {
            for stream in listener.incoming() {
                if !is_wanted.load(Ordering::SeqCst) {
                    return;
                }
                let (visits, count) = (visits_tx.clone(), Arc::clone(&count));
                // One that says nothing must not keep others out.
                thread::spawn(move || sort_visit(stream.unwrap(), &visits, &count));
            }
        });
        Self {
            address,
            visits,
            n_probes,
            listening,
            listener: Some(listener),
            clock_ahead: 0,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens no more, as a daemon that is gone; connections are for the test to cut.
    pub(crate) fn stop(&mut self) {
        let Some(listener) = self.listener.take() else {
            return;
        };
        self.listening.store(false, Ordering::SeqCst);
        // Wakes the thread, so that it ends and the port is free.
        TcpStream::connect(self.address).ok();
        listener.join().unwrap();
    }

    /// How often somebody asked whether the daemon can be reached.
    pub(crate) fn n_probes(&self) -> usize {
        self.n_probes.load(Ordering::SeqCst)
    }

    /// The next visit of an agent.
    pub(crate) fn next_visit(&self) -> Visit {
        let visit = self.visits.recv_timeout(DEADLINE);
        let mut stream = visit.expect("the agent visits");
        let mut method = [0; 4];
        stream.peek(&mut method).unwrap();
        if &method == b"POST" {
            Visit::Enroll(read_enrollment(&mut stream))
        } else {
            Visit::Connect(stream)
        }
    }

    /// Whether nobody comes within a while.
    pub(crate) fn is_left_alone_for(&self, while_: Duration) -> bool {
        self.visits.recv_timeout(while_).is_err()
    }

    pub(crate) fn next_enrollment(&self) -> EnrollVisit {
        match self.next_visit() {
            Visit::Enroll(visit) => visit,
            Visit::Connect(_) => panic!("the agent connects instead of enrolling"),
        }
    }

    /// Admits the agent and takes its connect; returns the key it enrolled.
    pub(crate) fn admit(&self) -> (Connection, String) {
        let visit = self.next_enrollment();
        let key = visit.request.public_key.clone();
        visit.answer(200, r#"{"enrollment":"admitted"}"#);
        (self.accept(&key), key)
    }

    /// Takes a connect that must be signed by this key.
    pub(crate) fn accept(&self, key: &str) -> Connection {
        self.try_accept(key)
            .expect("the connect is signed for this moment")
    }

    /// Takes a connect; one with a wrong time is refused as the real daemon does.
    pub(crate) fn try_accept(&self, key: &str) -> Result<Connection, StatusCode> {
        let Visit::Connect(stream) = self.next_visit() else {
            panic!("the agent enrolls instead of connecting");
        };
        let (host, now) = (self.address().to_string(), Timestamp::now().as_second());
        let now = now + self.clock_ahead;
        let mut refused = None;
        #[expect(
            clippy::result_large_err,
            reason = "the library's callback has this form"
        )]
        let check =
            |request: &Request, response: Response| match check_signature(request, key, &host, now)
            {
                Ok(()) => Ok(response),
                Err(status) => {
                    refused = Some(status);
                    Err(refusal(status, now))
                }
            };
        match accept_hdr(stream, check).map_err(|error| error.to_string()) {
            Ok(socket) => Ok(Connection::new(socket)),
            Err(error) => Err(refused.unwrap_or_else(|| panic!("{error}"))),
        }
    }

    /// Answers a connect with a refusal.
    pub(crate) fn refuse(&self, status: StatusCode, body: &str) {
        let Visit::Connect(stream) = self.next_visit() else {
            panic!("the agent enrolls instead of connecting");
        };
        #[expect(
            clippy::result_large_err,
            reason = "the library's callback has this form"
        )]
        let refuse = |_: &Request, _: Response| -> Result<Response, ErrorResponse> {
            let mut response = refusal(status, Timestamp::now().as_second());
            *response.body_mut() = Some(body.to_owned());
            Err(response)
        };
        assert!(accept_hdr(stream, refuse).is_err());
    }
}

/// Answers a probe, and hands on everything else.
fn sort_visit(mut stream: TcpStream, visits: &Sender<TcpStream>, n_probes: &AtomicUsize) {
    const PROBE: &[u8] = b"GET /livez";
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut begin = [0; PROBE.len()];
    let n = loop {
        match stream.peek(&mut begin) {
            Ok(n) if n == 0 || n == PROBE.len() || !PROBE.starts_with(&begin[..n]) => break n,
            Ok(_) => thread::yield_now(),
            Err(_) => return,
        }
    };
    if &begin[..n] == PROBE {
        n_probes.fetch_add(1, Ordering::SeqCst);
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nok\n";
        // A peer that is cut off by now is what a test is about.
        stream.write_all(answer.as_bytes()).ok();
    } else {
        // A test that has ended takes no visits.
        visits.send(stream).ok();
    }
}

fn refusal(status: StatusCode, now: i64) -> ErrorResponse {
    let date = Timestamp::from_second(now).unwrap();
    let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let mut response = ErrorResponse::new(Some("the scripted daemon refuses".to_owned()));
    *response.status_mut() = status;
    response.headers_mut().insert("date", date.parse().unwrap());
    response
}

fn check_signature(request: &Request, key: &str, host: &str, now: i64) -> Result<(), StatusCode> {
    let header = |name: &str| {
        let value = request
            .headers()
            .get(name)
            .unwrap_or_else(|| panic!("{name} is missing"));
        value.to_str().unwrap().to_owned()
    };
    assert_eq!(request.uri().path(), "/v1/agents/connect");
    assert_eq!(header("host"), host);
    let timestamp: u64 = header(HEADER_TIMESTAMP).parse().unwrap();
    let nonce = header(HEADER_NONCE);
    assert_eq!(nonce.len(), 32);
    let agent_id: AgentId = header(HEADER_AGENT).parse().unwrap();
    let claim = ConnectClaim {
        agent_id,
        host,
        timestamp,
        nonce: &nonce,
    };
    let key = VerifyingKey::try_from(BASE64.decode(key).unwrap().as_slice()).unwrap();
    let signature = BASE64.decode(header(HEADER_SIGNATURE)).unwrap();
    let signature = Signature::from_slice(&signature).unwrap();
    if key.verify(&claim.signing_bytes(), &signature).is_err() {
        return Err(StatusCode::FORBIDDEN);
    }
    if timestamp.abs_diff(u64::try_from(now).unwrap()) > 60 {
        return Err(StatusCode::UNAUTHORIZED);
    }
    Ok(())
}

fn read_enrollment(stream: &mut TcpStream) -> EnrollVisit {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let header = |name: &str| {
        head.lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_owned())
    };
    let mut body = vec![0; header("content-length").unwrap().parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    EnrollVisit {
        request: serde_json::from_slice(&body).unwrap(),
        token: header("x-api-key"),
        path: head.split(' ').nth(1).unwrap().to_owned(),
        stream: stream.try_clone().unwrap(),
    }
}

/// A frame of an agent.
pub(crate) enum Frame {
    Control(AgentFrame),
    Batch {
        seq: u64,
        events: Vec<LogEvent<'static>>,
    },
}

/// A connection with an agent.
pub(crate) struct Connection {
    socket: WebSocket<TcpStream>,
}

impl Connection {
    fn new(socket: WebSocket<TcpStream>) -> Self {
        // Short, so that every wait can look at its deadline.
        let timeout = Some(Duration::from_millis(50));
        socket.get_ref().set_read_timeout(timeout).unwrap();
        // An agent that reads nothing any more is named by the test that waits for it.
        socket.get_ref().set_write_timeout(Some(DEADLINE)).unwrap();
        Self { socket }
    }

    /// Reads hello and answers with welcome.
    pub(crate) fn greet(&mut self, credit: u32, heartbeat_secs: u32) -> Hello {
        let Frame::Control(AgentFrame::Hello(hello)) = self.next_frame() else {
            panic!("the first frame is not hello");
        };
        assert_eq!(hello.protocol, PROTOCOL_VERSION);
        self.send(&DaemonFrame::Welcome(Welcome {
            protocol: PROTOCOL_VERSION,
            credit,
            heartbeat_secs,
        }));
        hello
    }

    pub(crate) fn send(&mut self, frame: &DaemonFrame) {
        self.send_raw(Message::text(encode(frame)));
    }

    pub(crate) fn send_raw(&mut self, message: Message) {
        self.socket.send(message).unwrap();
    }

    pub(crate) fn apply(&mut self, generation: u64, hash: &str, document: DesiredDocument) {
        self.send(&DaemonFrame::Apply(Apply {
            generation: Generation(generation),
            hash: ContentHash(hash.to_owned()),
            document,
        }));
    }

    /// Sends to an agent that may have had enough.
    pub(crate) fn try_send_raw(&mut self, message: Message) {
        self.socket.send(message).ok();
    }

    /// Sends bytes that may be no frame; false when the agent takes none any more.
    pub(crate) fn try_send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.socket.get_mut().write_all(bytes).is_ok()
    }

    /// Reads what is there already, so that an agent that answers is not stuck.
    pub(crate) fn drain(&mut self) {
        self.socket.get_ref().set_nonblocking(true).unwrap();
        while self.socket.read().is_ok() {}
        self.socket.get_ref().set_nonblocking(false).unwrap();
    }

    /// The next batch, without an acknowledgement.
    pub(crate) fn next_batch(&mut self) -> (u64, Vec<LogEvent<'static>>) {
        self.poll_batch(DEADLINE).expect("a batch comes")
    }

    /// Takes a batch in.
    pub(crate) fn acknowledge(&mut self, seq: u64) {
        self.send(&DaemonFrame::Ack { seq, credit: 8 });
    }

    /// A batch, if one comes within a while; it is not acknowledged.
    pub(crate) fn poll_batch(&mut self, while_: Duration) -> Option<(u64, Vec<LogEvent<'static>>)> {
        let end = Instant::now() + while_;
        while Instant::now() < end {
            if let Some(Frame::Batch { seq, events, .. }) = self.poll_frame() {
                return Some((seq, events));
            }
        }
        None
    }

    /// The wanted event among these or the next ones.
    pub(crate) fn next_event_in(
        &mut self,
        known: Vec<LogEvent<'static>>,
        wanted: impl Fn(&LogEvent<'_>) -> bool,
    ) -> LogEvent<'static> {
        let found = known.into_iter().find(|event| wanted(event));
        found.unwrap_or_else(|| self.next_event(wanted))
    }

    /// The next message, or none when the agent sends nothing for a while.
    pub(crate) fn next_message(&mut self, deadline: Duration) -> Option<Message> {
        let end = Instant::now() + deadline;
        while Instant::now() < end {
            match self.socket.read() {
                Ok(message) => return Some(message),
                Err(WebSocketError::Io(error)) if is_timeout(&error) => {}
                Err(error) => panic!("the connection broke: {error}"),
            }
        }
        None
    }

    /// The next frame of the protocol.
    pub(crate) fn next_frame(&mut self) -> Frame {
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end {
            let Some(Message::Text(text)) = self.next_message(DEADLINE) else {
                continue;
            };
            return parse_frame(&text);
        }
        panic!("the agent sent no frame within {DEADLINE:?}");
    }

    /// The next status that is as wanted.
    pub(crate) fn next_status(&mut self, wanted: impl Fn(&Status) -> bool) -> Status {
        let mut seen = Vec::new();
        let status = self.poll_status(DEADLINE, |status| {
            seen.push(status.clone());
            wanted(status)
        });
        status.unwrap_or_else(|| panic!("the wanted status did not come, only {seen:#?}"))
    }

    /// A status that is as wanted, if one comes within a while.
    pub(crate) fn poll_status(
        &mut self,
        while_: Duration,
        mut wanted: impl FnMut(&Status) -> bool,
    ) -> Option<Status> {
        let end = Instant::now() + while_;
        while Instant::now() < end {
            if let Some(Frame::Control(AgentFrame::Status(status))) = self.poll_frame()
                && wanted(&status)
            {
                return Some(status);
            }
        }
        None
    }

    /// The status of a generation, once its firewall is no longer on trial.
    pub(crate) fn status_of(&mut self, generation: u64) -> Status {
        self.next_status(|status| {
            let is_of_it = applied_generation(status) == Some(generation);
            is_of_it && condition(status, FacetCondition::FirewallSynced).1 != "Confirming"
        })
    }

    /// The next event that is as wanted; every batch is acknowledged.
    pub(crate) fn next_event(
        &mut self,
        wanted: impl Fn(&LogEvent<'_>) -> bool,
    ) -> LogEvent<'static> {
        let mut seen = Vec::new();
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end {
            let Some(Frame::Batch { seq, events, .. }) = self.poll_frame() else {
                continue;
            };
            self.send(&DaemonFrame::Ack { seq, credit: 8 });
            for event in events {
                if wanted(&event) {
                    return event;
                }
                seen.push(event);
            }
        }
        panic!("the wanted event did not come, only {seen:#?}");
    }

    pub(crate) fn ask(&mut self, question: Question) -> Answer {
        let id = Uuid::from_u128(u128::from(std::process::id()) << 32 | u128::from(line!()));
        self.send(&DaemonFrame::Ask {
            id,
            question: question.clone(),
        });
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end {
            if let Some(Frame::Control(AgentFrame::Answer {
                id: answered,
                answer,
            })) = self.poll_frame()
            {
                assert_eq!(answered, id);
                return answer;
            }
        }
        panic!("{question:?} was not answered");
    }

    /// Ends the connection without a word.
    pub(crate) fn cut(self) {
        drop(self.socket);
    }

    fn poll_frame(&mut self) -> Option<Frame> {
        match self.next_message(Duration::from_millis(50))? {
            Message::Text(text) => Some(parse_frame(&text)),
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => None,
            other @ (Message::Binary(_) | Message::Frame(_)) => panic!("the agent sent {other:?}"),
        }
    }
}

fn parse_frame(text: &str) -> Frame {
    assert!(text.len() <= MAX_AGENT_FRAME_BYTES);
    if frame_type(text).is_some_and(|name| &*name == EventBatch::TYPE) {
        let batch: EventBatch<'_> = decode(text, MAX_AGENT_FRAME_BYTES).unwrap();
        assert!(batch.events.iter().all(LogEvent::is_within_limits));
        return Frame::Batch {
            seq: batch.seq,
            events: batch.events.into_iter().map(LogEvent::into_owned).collect(),
        };
    }
    Frame::Control(decode(text, MAX_AGENT_FRAME_BYTES).unwrap())
}

fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), TimedOut | WouldBlock)
}

/// The generation a status is about.
pub(crate) fn applied_generation(status: &Status) -> Option<u64> {
    status.applied.as_ref().map(|applied| applied.generation.0)
}

/// The condition of a facet: its status and reason.
pub(crate) fn condition(status: &Status, facet: FacetCondition) -> (ConditionStatus, &str) {
    let condition = status.conditions.iter().find(|c| c.facet == facet);
    let condition = condition.unwrap_or_else(|| panic!("{facet:?} is missing in {status:?}"));
    (condition.status, &condition.reason)
}
