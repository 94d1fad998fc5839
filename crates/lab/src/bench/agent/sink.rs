//! The far end of everybody's connection: plain lines, or the daemon's side of the protocol as far as
//! an agent needs it to be content. It checks no signature and stores nothing but what it counts.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hidps_wire::{
    AgentFrame, Apply, ContentHash, DaemonFrame, DesiredDocument, EventBatch, Generation,
    MAX_AGENT_FRAME_BYTES, PROTOCOL_VERSION, Welcome, decode, encode, frame_type,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message, WebSocket};

use super::arrivals::Arrivals;
use super::certificate::Certificate;

/// What the daemon grants.
const CREDIT: u32 = 32;

/// What the daemon asks for.
const HEARTBEAT_SECS: u32 = 15;

/// How many batches the daemon acknowledges together.
const TOLD_TOGETHER: u32 = 8;

/// Within which it acknowledges the first of them.
const TOLD_WITHIN: Duration = Duration::from_millis(100);

/// Longest line of a request.
const MAX_HEAD_BYTES: u64 = 16 * 1024;

/// What a peer speaks.
#[derive(Clone, Debug)]
pub(super) enum Speech {
    /// Lines over TCP.
    Lines,
    /// WebSocket over TCP: the agent's protocol, or one event a frame.
    Frames,
    /// The same over TLS.
    Sealed(Arc<Certificate>),
}

/// A far end.
#[derive(Debug)]
pub(super) struct Sink {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    arrivals: Mutex<Arrivals>,
    is_connected: AtomicBool,
    is_open: AtomicBool,
    program: String,
    document: DesiredDocument,
}

impl Sink {
    /// Listens on a free port of loopback; `program` is that of the storm, and the document is what
    /// an agent is told is desired.
    pub(super) fn open(
        speech: Speech,
        began: Instant,
        program: &Path,
        document: DesiredDocument,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            arrivals: Mutex::new(Arrivals::since(began)),
            is_connected: AtomicBool::new(false),
            is_open: AtomicBool::new(true),
            program: program.display().to_string(),
            document,
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if !accepting.is_open.load(Ordering::Relaxed) {
                    return;
                }
                let (speech, shared) = (speech.clone(), Arc::clone(&accepting));
                thread::spawn(move || {
                    if let Err(error) = serve(stream, &speech, &shared) {
                        tracing::debug!("a connection ended: {error:#}");
                    }
                });
            }
        });
        Ok(Self { port, shared })
    }

    /// Where it listens.
    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// What has arrived.
    pub(super) fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        self.shared.lock()
    }

    /// Whether somebody is or was connected.
    pub(super) fn is_connected(&self) -> bool {
        self.shared.is_connected.load(Ordering::Relaxed)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.is_open.store(false, Ordering::Relaxed);
        // Wakes the thread, so that the port is free.
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Arrivals> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_connected(&self) {
        self.is_connected.store(true, Ordering::Relaxed);
    }
}

fn serve(stream: TcpStream, speech: &Speech, shared: &Shared) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let connection = stream.try_clone()?;
    match speech {
        Speech::Lines => serve_lines(stream, shared),
        Speech::Frames => serve_http(stream, &connection, shared),
        Speech::Sealed(certificate) => serve_http(certificate.accept(stream)?, &connection, shared),
    }
}

fn serve_lines(mut stream: impl Read, shared: &Shared) -> anyhow::Result<()> {
    shared.on_connected();
    let (mut waiting, mut space) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        let n_read = stream.read(&mut space)?;
        if n_read == 0 {
            return Ok(());
        }
        waiting.extend_from_slice(&space[..n_read]);
        let whole = waiting.iter().rposition(|byte| *byte == b'\n');
        let whole = whole.map_or(0, |end| end + 1);
        shared
            .lock()
            .on_text(&String::from_utf8_lossy(&waiting[..whole]));
        waiting.drain(..whole);
    }
}

/// Answers an enrollment or a probe, or goes on as a WebSocket.
fn serve_http(
    stream: impl Read + Write,
    connection: &TcpStream,
    shared: &Shared,
) -> anyhow::Result<()> {
    let mut stream = BufReader::new(stream);
    let head = read_head(&mut stream)?;
    let header = |name: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(found, _)| found.eq_ignore_ascii_case(name))
    };
    let Some((_, key)) = header("sec-websocket-key") else {
        let length = header("content-length").map_or(Ok(0), |(_, length)| length.trim().parse())?;
        io::copy(&mut stream.by_ref().take(length), &mut io::sink())?;
        let body = r#"{"enrollment":"admitted"}"#;
        return Ok(write!(
            stream.get_mut(),
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{body}",
            body.len()
        )?);
    };
    let accept = derive_accept_key(key.trim().as_bytes());
    write!(
        stream.get_mut(),
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-accept: {accept}\r\n\r\n"
    )?;
    stream.get_mut().flush()?;
    // A peer says nothing before it has the answer, so that nothing is left in the buffer.
    serve_frames(stream.into_inner(), connection, shared)
}

fn read_head(stream: &mut impl io::BufRead) -> io::Result<String> {
    let mut head = String::new();
    let mut stream = stream.take(MAX_HEAD_BYTES);
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

fn serve_frames(
    stream: impl Read + Write,
    connection: &TcpStream,
    shared: &Shared,
) -> anyhow::Result<()> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_AGENT_FRAME_BYTES))
        .max_frame_size(Some(MAX_AGENT_FRAME_BYTES));
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, Some(config));
    shared.on_connected();
    let mut untold = Untold::default();
    loop {
        connection.set_read_timeout(untold.wait(Instant::now()))?;
        match socket.read() {
            Ok(Message::Text(text)) => {
                for answer in on_frame(&text, shared, &mut untold)? {
                    socket.send(Message::text(encode(&answer)))?;
                }
            }
            Ok(_) => {}
            Err(WebSocketError::Io(error)) if is_timeout(&error) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(answer) = untold.take(Instant::now()) {
            socket.send(Message::text(encode(&answer)))?;
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// Batches that the agent has not been told of: as the daemon does, several are acknowledged together.
#[derive(Default)]
struct Untold {
    seq: u64,
    n_batches: u32,
    since: Option<Instant>,
}

impl Untold {
    fn on_batch(&mut self, seq: u64) {
        self.seq = seq;
        self.n_batches += 1;
        self.since.get_or_insert_with(Instant::now);
    }

    /// How long the next frame may be waited for; without end while nothing is owed.
    fn wait(&self, now: Instant) -> Option<Duration> {
        let left = TOLD_WITHIN.saturating_sub(now.duration_since(self.since?));
        // No time at all is refused by the kernel.
        Some(left.max(Duration::from_millis(1)))
    }

    fn take(&mut self, now: Instant) -> Option<DaemonFrame> {
        let is_late = now.duration_since(self.since?) >= TOLD_WITHIN;
        if !is_late && self.n_batches < TOLD_TOGETHER {
            return None;
        }
        let seq = self.seq;
        *self = Self::default();
        let credit = CREDIT;
        Some(DaemonFrame::Ack { seq, credit })
    }
}

/// Takes a frame in and says what the daemon would answer.
fn on_frame(text: &str, shared: &Shared, untold: &mut Untold) -> anyhow::Result<Vec<DaemonFrame>> {
    let name = frame_type(text);
    if name.as_deref() == Some(EventBatch::TYPE) {
        let batch: EventBatch<'_> = decode(text, MAX_AGENT_FRAME_BYTES)?;
        let mut arrivals = shared.lock();
        arrivals.on_text(text);
        arrivals.on_batch(&batch, &shared.program);
        untold.on_batch(batch.seq);
        return Ok(Vec::new());
    }
    let Ok(AgentFrame::Hello(_)) = decode(text, MAX_AGENT_FRAME_BYTES) else {
        shared.lock().on_text(text);
        return Ok(Vec::new());
    };
    Ok(vec![
        DaemonFrame::Welcome(Welcome {
            protocol: PROTOCOL_VERSION,
            credit: CREDIT,
            heartbeat_secs: HEARTBEAT_SECS,
        }),
        DaemonFrame::Apply(Apply {
            generation: Generation(1),
            hash: ContentHash("bench".to_owned()),
            document: shared.document.clone(),
        }),
    ])
}
