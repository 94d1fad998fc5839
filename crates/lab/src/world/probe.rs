//! Looking from outside: waits with a deadline, and plain HTTP.
//! It never asks the thing under test how it feels where the outside can be looked at.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::command::pause_after;

/// How often something that nobody announces is looked at; latencies are exact to this.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A plain HTTP request on this machine takes milliseconds, and seconds where all is busy.
const HTTP_DEADLINE: Duration = Duration::from_secs(30);

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
        let looked = Instant::now();
        match look().await {
            Ok(value) => return Ok((value, begun.elapsed())),
            Err(seen) if begun.elapsed() >= deadline => {
                return Err(NotSeen {
                    wanted: wanted.to_owned(),
                    deadline,
                    seen,
                });
            }
            Err(_) => sleep(pause_after(looked.elapsed(), LOOK_INTERVAL)).await,
        }
    }
}

/// Status and body of a GET request.
///
/// # Errors
/// When nothing answers in HTTP within half a minute.
pub async fn http_get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let exchange = async {
        let mut socket = TcpStream::connect(address).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await?;
        let mut response = String::new();
        socket.read_to_string(&mut response).await?;
        Ok(response)
    };
    let response: io::Result<String> = timeout(HTTP_DEADLINE, exchange).await?;
    let response = response?;
    let malformed = || io::Error::other("the answer is not HTTP");
    let status = response
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let (_, body) = response.split_once("\r\n\r\n").ok_or_else(malformed)?;
    Ok((status.ok_or_else(malformed)?, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_in_vain_says_what_was_there_instead() {
        let look = async || Err::<(), _>("nothing but dust".to_owned());

        let error = wait_until("a sign", Duration::from_millis(50), look).await;

        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("a sign") && text.contains("nothing but dust"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn an_answer_over_http_is_a_status_and_a_body() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let n_read = socket.read(&mut request).await.unwrap();
            assert!(request[..n_read].starts_with(b"GET /readyz HTTP/1.1\r\n"));
            let answer = b"HTTP/1.1 503 Service Unavailable\r\nX: y\r\n\r\nnot yet\n";
            socket.write_all(answer).await.unwrap();
        };

        let (answer, ()) = tokio::join!(http_get(address, "/readyz"), serve);

        assert_eq!(answer.unwrap(), (503, "not yet\n".to_owned()));
    }
}
