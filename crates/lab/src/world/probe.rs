//! Looking from outside: waits with a deadline, plain HTTP, and sockets inside a namespace.
//! It never asks the thing under test how it feels where the outside can be looked at.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::netns::Namespace;

/// How often something that nobody announces is looked at; latencies are exact to this.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A plain HTTP request on this machine takes milliseconds.
const HTTP_DEADLINE: Duration = Duration::from_secs(5);

/// Something did not happen.
#[derive(Debug, thiserror::Error)]
#[error("{wanted} did not happen within {deadline:?}; last seen: {seen}")]
pub struct NotSeen {
    /// What was waited for.
    pub wanted: String,
    /// How long.
    pub deadline: Duration,
    /// What was there instead.
    pub seen: String,
}

/// Looks until a value is there; the look says what it sees instead. Returns the value and how
/// long it took.
///
/// # Errors
/// When the deadline passes, with what was seen last.
pub async fn wait_until<T>(
    wanted: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> Result<(T, Duration), NotSeen> {
    let begun = Instant::now();
    loop {
        match look().await {
            Ok(value) => return Ok((value, begun.elapsed())),
            Err(seen) if begun.elapsed() >= deadline => {
                return Err(NotSeen { wanted: wanted.to_owned(), deadline, seen });
            }
            Err(_) => sleep(LOOK_INTERVAL).await,
        }
    }
}

/// Status and body of a GET request.
///
/// # Errors
/// When nothing answers in HTTP within seconds.
pub async fn http_get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let exchange = async {
        let mut socket = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await?;
        let mut response = String::new();
        socket.read_to_string(&mut response).await?;
        Ok(response)
    };
    let response: io::Result<String> = timeout(HTTP_DEADLINE, exchange).await?;
    let response = response?;
    let malformed = || io::Error::other("the answer is not HTTP");
    let status = response.split(' ').nth(1).and_then(|status| status.parse().ok());
    let (_, body) = response.split_once("\r\n\r\n").ok_or_else(malformed)?;
    Ok((status.ok_or_else(malformed)?, body.to_owned()))
}

/// Does something on a thread that has moved into a namespace; sockets made there stay there.
///
/// # Errors
/// When the namespace cannot be entered, or what was done fails.
pub fn inside<T: Send>(
    place: &Namespace,
    act: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    let namespace = File::open(Path::new("/run/netns").join(place.name()))?;
    std::thread::scope(|scope| {
        let visit = scope.spawn(|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            act()
        });
        visit.join().unwrap_or_else(|_| Err(io::Error::other("the visit panicked")))
    })
}

/// A port below the range that the kernel draws from, free on every address just now.
///
/// # Errors
/// When none is free.
pub fn find_free_port() -> io::Result<u16> {
    let start = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap_or(0);
    (start..32_000)
        .chain(18_000..20_000)
        .find(|port| std::net::TcpListener::bind(("0.0.0.0", *port)).is_ok())
        .ok_or_else(|| io::Error::other("no port between 18000 and 32000 is free"))
}
