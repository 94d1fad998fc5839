//! Finds out whether the daemon can be reached now: by a fresh connection, and over the link.
//! It sends nothing that says who the agent is, and believes no answer of before.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use crate::dial::{DialError, Dialer};
use crate::error_chain::chain;
use crate::link::LinkPulse;

/// What is asked for. Any answer will do, as a proxy may keep this path for itself.
const PATH: &str = "/livez";

/// A host that is cut off sends its first packets again after 1 and 3 s; a probe that takes longer
/// than this is better begun anew.
const DEADLINE: Duration = Duration::from_secs(5);

/// What the loop needs of a probe.
pub trait Probe: Send + Sync + 'static {
    /// Whether the daemon can be reached, or why not in one sentence.
    fn probe(&self) -> impl Future<Output = Result<(), String>> + Send;
}

/// A probe of the configured daemon.
#[derive(Clone)]
pub struct DaemonProbe {
    dialer: Arc<Dialer>,
    pulse: LinkPulse,
}

#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error("could not reach the daemon by a fresh connection")]
    Dial(#[source] DialError),
    #[error("the daemon did not answer over a fresh connection")]
    Http(#[source] hyper::Error),
    #[error("the daemon did not answer over a fresh connection within {} s", DEADLINE.as_secs())]
    FreshDeadline,
    #[error("the daemon did not answer over the link within {} s", DEADLINE.as_secs())]
    LinkDeadline,
}

impl DaemonProbe {
    /// A probe by these connections and of this link.
    #[must_use]
    pub const fn new(dialer: Arc<Dialer>, pulse: LinkPulse) -> Self {
        Self { dialer, pulse }
    }

    async fn connect(&self) -> Result<(), ProbeError> {
        let fresh = tokio::time::timeout(DEADLINE, ask(&self.dialer));
        fresh.await.map_err(|_| ProbeError::FreshDeadline)?
    }

    async fn beat(&self) -> Result<(), ProbeError> {
        let beat = tokio::time::timeout(DEADLINE, self.pulse.beat());
        beat.await.map_err(|_| ProbeError::LinkDeadline)
    }
}

impl Probe for DaemonProbe {
    async fn probe(&self) -> Result<(), String> {
        let both = tokio::try_join!(self.connect(), self.beat());
        both.map(drop).map_err(|error| chain(&error))
    }
}

async fn ask(dialer: &Dialer) -> Result<(), ProbeError> {
    let stream = dialer.dial().await.map_err(ProbeError::Dial)?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(ProbeError::Http)?;
    // The answer comes only while the connection is driven; dropping the set ends it.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let backend = dialer.backend();
    let request = Request::get(backend.target(PATH))
        .header(HOST, backend.host_header())
        .body(Empty::<Bytes>::new())
        .expect("a parsed address makes a request");
    sender
        .send_request(request)
        .await
        .map(drop)
        .map_err(ProbeError::Http)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::dial::Way;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// Probes a daemon that answers every request with this text.
    async fn probe(answer: &'static str) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x/", listener.local_addr().unwrap());
        let dialer = Dialer::new(Way::direct(Backend::parse(&url, false).unwrap(), None)).unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 512];
            let n = stream.read(&mut request).await.unwrap();
            assert!(request[..n].starts_with(b"GET /x/livez HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).await.unwrap();
            drop(stream);
        };
        let (asked, ()) = tokio::join!(ask(&dialer), serve);
        asked.map_err(|error| chain(&error))
    }

    #[tokio::test]
    async fn any_answer_shows_that_the_daemon_can_be_reached() {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        ] {
            assert_eq!(probe(answer).await, Ok(()));
        }
    }

    #[tokio::test]
    async fn a_connection_without_an_answer_shows_nothing() {
        for silence in ["", "SSH-2.0-OpenSSH_9.2\r\n"] {
            let error = probe(silence).await.unwrap_err();

            assert!(error.contains("over a fresh connection"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_fresh_connection_alone_is_not_enough() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let dialer = Dialer::new(Way::direct(Backend::parse(&url, false).unwrap(), None)).unwrap();
        let pulse = LinkPulse::default();
        let probe = DaemonProbe::new(Arc::new(dialer), pulse.clone());
        let serve = async {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4];
                stream.read_exact(&mut request).await.unwrap();
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer).await.unwrap();
            }
        };

        tokio::time::pause();
        let silent = tokio::select! {
            result = probe.probe() => result,
            () = serve => Ok(()),
        };

        assert!(silent.unwrap_err().contains("over the link"));
    }
}
