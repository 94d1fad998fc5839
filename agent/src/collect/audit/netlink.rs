//! The socket on which the kernel tells everybody who may listen what it records.
//! It only listens: it asks the kernel for nothing and takes no part in auditd's work.

use std::io;

use netlink_sys::protocols::NETLINK_AUDIT;
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The multicast group of records, by its bit.
const READLOG: u32 = 1;

/// Room for what the kernel tells while the reader is busy: about ten thousand records. It is memory
/// of the kernel, and used only while it is needed.
const BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// The largest datagram: the kernel's limit of a message and its head.
const DATAGRAM_BYTES: usize = 9 * 1024;

/// The head of a message.
const HEAD_BYTES: usize = 16;

/// Why the kernel does not tell what it records.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The socket cannot be opened.
    #[error("could not open the audit's socket; it needs a kernel with CONFIG_AUDIT")]
    Open(#[source] io::Error),
    /// The group cannot be joined.
    #[error("could not listen to the audit; it needs CAP_AUDIT_READ")]
    Join(#[source] io::Error),
}

impl AuditError {
    /// Whether the kernel has no audit at all.
    pub(super) fn is_absence(&self) -> bool {
        match self {
            Self::Open(error) => {
                let number = error.raw_os_error().map(Errno::from_raw_os_error);
                number == Some(Errno::PROTONOSUPPORT)
            }
            Self::Join(_) => false,
        }
    }
}

/// A socket that the kernel tells on.
pub(super) struct AuditSocket {
    socket: AsyncFd<Socket>,
    datagram: Vec<u8>,
}

/// What came of a look at the socket.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Received {
    /// A record: the number of its kind, and its text.
    Record(u16, String),
    /// Something else.
    Other,
    /// The kernel had more to tell than fits.
    Overrun,
    /// Nothing is waiting.
    Nothing,
}

impl AuditSocket {
    /// Opens the socket and joins those who are told.
    ///
    /// # Errors
    /// Says what keeps the kernel from telling.
    pub(super) fn open() -> Result<Self, AuditError> {
        let mut socket = Socket::new(NETLINK_AUDIT).map_err(AuditError::Open)?;
        // Before joining: what comes in the same moment needs the room.
        if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES).is_err() {
            let set = socket.set_rx_buf_sz(BUFFER_BYTES);
            set.map_err(AuditError::Open)?;
        }
        socket.set_non_blocking(true).map_err(AuditError::Open)?;
        let own = SocketAddr::new(0, READLOG);
        socket.bind(&own).map_err(AuditError::Join)?;
        Ok(Self {
            socket: register(socket).map_err(AuditError::Open)?,
            datagram: Vec::with_capacity(DATAGRAM_BYTES),
        })
    }

    /// Waits until something may have come.
    pub(super) async fn wait(&self) {
        match self.socket.readable().await {
            // The next look says whether it was for nothing.
            Ok(mut ready) => ready.clear_ready(),
            Err(error) => {
                tracing::warn!(%error, "the audit's socket cannot be waited for");
                std::future::pending::<()>().await;
            }
        }
    }

    /// Takes in the next message, if there is one.
    pub(super) fn receive(&mut self) -> Received {
        self.datagram.clear();
        match self.socket.get_ref().recv_from(&mut self.datagram, 0) {
            // Only the kernel speaks from address 0; a program may forge a message.
            Ok((_, sender)) if sender.port_number() == 0 => parse(&self.datagram),
            Ok(_) => Received::Other,
            Err(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::NOBUFS) => Received::Overrun,
                Some(Errno::INTR) => Received::Other,
                _ => Received::Nothing,
            },
        }
    }
}

/// A message; the kernel has told its length in two ways over the years, so a datagram is one.
pub(super) fn parse(datagram: &[u8]) -> Received {
    let kind = datagram.get(4..6).and_then(|kind| kind.try_into().ok());
    match (kind, datagram.get(HEAD_BYTES..)) {
        (Some(kind), Some(text)) => Received::Record(
            u16::from_ne_bytes(kind),
            String::from_utf8_lossy(text).into_owned(),
        ),
        _ => Received::Other,
    }
}

#[expect(
    deprecated,
    reason = "what takes its place asks for a promise about descriptors that a socket keeps by itself"
)]
fn register(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    AsyncFd::with_interest(socket, Interest::READABLE)
}
