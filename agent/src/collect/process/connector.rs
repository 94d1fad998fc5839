//! The socket on which the kernel tells of processes, as they begin and end.
//! It decides nothing: what a message means and what becomes of it is the observer's.

use std::io;
use std::os::fd::AsFd;

use netlink_sys::protocols::NETLINK_CONNECTOR;
use netlink_sys::{Socket, SocketAddr};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::message::{News, Notice, parse, request};

/// The multicast group of news of processes.
const GROUP: u32 = 1;

/// Room for what the kernel tells while the reader is busy: about ten thousand messages, a second
/// of a very busy host. It is memory of the kernel, and used only while it is needed.
const BUFFER_BYTES: usize = 16 * 1024 * 1024;

/// The largest datagram; messages of processes have less than a hundred bytes.
const DATAGRAM_BYTES: usize = 4_096;

/// How long the kernel may take to answer; it does so at once or never.
const ANSWER_SECS: i64 = 2;

/// Why the kernel does not tell of processes.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// The socket cannot be opened.
    #[error("could not open the process connector; it needs a kernel with CONFIG_PROC_EVENTS")]
    Open(#[source] io::Error),
    /// The group cannot be joined.
    #[error("could not join the process connector; it needs CAP_NET_ADMIN")]
    Join(#[source] io::Error),
    /// The request cannot be sent.
    #[error(
        "could not ask the process connector; it answers in the initial network namespace only"
    )]
    Ask(#[source] io::Error),
    /// There is no answer.
    #[error(
        "the process connector did not answer; it does so in the initial namespaces for users and \
         processes only"
    )]
    NoAnswer,
    /// The answer is an error.
    #[error("the process connector refused")]
    Refused(#[source] io::Error),
    /// Messages cannot be read.
    #[error("could not read from the process connector")]
    Read(#[source] io::Error),
}

/// A socket that the kernel tells on.
pub struct Connector {
    socket: Socket,
    datagram: Vec<u8>,
}

/// What came of a look at the socket.
pub(super) enum Received {
    /// Messages.
    Notices(Vec<Notice>),
    /// The kernel had more to tell than fits; how much is seen by the numbers that follow.
    Overrun,
    /// Nothing is waiting.
    Nothing,
}

impl Connector {
    /// Opens the socket and waits until the kernel says that it tells.
    ///
    /// # Errors
    /// Says what keeps the kernel from telling.
    pub fn open() -> Result<Self, ConnectorError> {
        let mut socket = Socket::new(NETLINK_CONNECTOR).map_err(ConnectorError::Open)?;
        let own = SocketAddr::new(0, GROUP);
        socket.bind(&own).map_err(ConnectorError::Join)?;
        // With the privilege that joining needs the limit for everybody does not apply.
        if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES).is_err() {
            socket
                .set_rx_buf_sz(BUFFER_BYTES)
                .map_err(ConnectorError::Open)?;
        }
        socket
            .set_non_blocking(true)
            .map_err(ConnectorError::Open)?;
        let mut connector = Self {
            socket,
            datagram: Vec::with_capacity(DATAGRAM_BYTES),
        };
        connector.ask(true).map_err(ConnectorError::Ask)?;
        connector.wait_for_answer()?;
        Ok(connector)
    }

    fn ask(&self, on: bool) -> io::Result<()> {
        let kernel = SocketAddr::new(0, 0);
        let request = request(on, std::process::id());
        self.socket.send_to(&request, &kernel, 0).map(drop)
    }

    fn wait_for_answer(&mut self) -> Result<(), ConnectorError> {
        loop {
            match self.receive()? {
                Received::Notices(notices) => {
                    let answer = notices.iter().find_map(|notice| match notice.news {
                        News::Answer(code) => Some(code),
                        News::Forked { .. }
                        | News::Executed { .. }
                        | News::Exited { .. }
                        | News::Other => None,
                    });
                    match answer {
                        Some(0) => return Ok(()),
                        Some(code) => {
                            let code = i32::try_from(code).unwrap_or(i32::MAX);
                            let error = io::Error::from_raw_os_error(code);
                            return Err(ConnectorError::Refused(error));
                        }
                        None => {}
                    }
                }
                Received::Overrun => {}
                Received::Nothing => {
                    let patience = Timespec {
                        tv_sec: ANSWER_SECS,
                        tv_nsec: 0,
                    };
                    let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
                    let n_ready = poll(&mut fds, Some(&patience));
                    if n_ready.map_err(|e| ConnectorError::Read(e.into()))? == 0 {
                        return Err(ConnectorError::NoAnswer);
                    }
                }
            }
        }
    }

    /// Takes in the next datagram, if there is one.
    pub(super) fn receive(&mut self) -> Result<Received, ConnectorError> {
        self.datagram.clear();
        match self.socket.recv_from(&mut self.datagram, 0) {
            // Only the kernel speaks from address 0; a program may forge a message.
            Ok((_, sender)) if sender.port_number() == 0 => {
                Ok(Received::Notices(parse(&self.datagram).collect()))
            }
            Ok(_) => Ok(Received::Notices(Vec::new())),
            Err(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::AGAIN) => Ok(Received::Nothing),
                Some(Errno::NOBUFS) => Ok(Received::Overrun),
                Some(Errno::INTR) => Ok(Received::Notices(Vec::new())),
                _ => Err(ConnectorError::Read(error)),
            },
        }
    }

    /// Waits for news, for the end of `stop`, or for some nanoseconds; true when it is to stop.
    pub(super) fn wait(
        &self,
        stop: impl AsFd,
        within: Option<u64>,
    ) -> Result<bool, ConnectorError> {
        let mut fds = [
            PollFd::new(&self.socket, PollFlags::IN),
            PollFd::new(&stop, PollFlags::IN),
        ];
        let within = within.map(|nanos| Timespec {
            tv_sec: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(nanos % 1_000_000_000).unwrap_or_default(),
        });
        match poll(&mut fds, within.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(ConnectorError::Read(error.into())),
        }
        Ok(fds[1].revents().intersects(PollFlags::IN | PollFlags::HUP))
    }
}

impl Drop for Connector {
    /// Kernels before 6.6 go on telling nobody unless they are asked to end.
    fn drop(&mut self) {
        self.ask(false).ok();
    }
}
