//! One request to the daemon over HTTP, outside of its WebSocket: sent once, answered within bounds.
//! It never follows a redirect and never tries again.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, DATE, HOST, HeaderName, RETRY_AFTER};
use hyper::{Request, Response, StatusCode, http::request};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::backoff::parse_retry_after;
use crate::clock::parse_http_date;
use crate::dial::{DialError, Dialer};

/// The answer is a few words; the daemon may ask the database first.
const DEADLINE: Duration = Duration::from_secs(20);

/// Longest answer that is read.
pub(crate) const MAX_BODY_BYTES: usize = 16 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// There is no connection.
    #[error("could not reach the daemon")]
    Dial(#[source] DialError),
    /// The request could not be sent or its answer not be read.
    #[error("could not exchange a request with the daemon")]
    Http(#[source] hyper::Error),
    /// The answer could not be read.
    #[error("could not read the daemon's answer: {0}")]
    Body(String),
    /// It took too long.
    #[error("the daemon did not answer within {} s", DEADLINE.as_secs())]
    Deadline,
}

/// What the daemon answered.
#[derive(Debug)]
pub(crate) struct Answered {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body.
    pub text: String,
    /// The daemon's time.
    pub date: Option<Timestamp>,
    /// When to come back, if it said so.
    pub retry_after: Option<Duration>,
}

impl Answered {
    /// Whether the daemon itself refused: what stands before it, such as a proxy or somebody else's
    /// server, does not say so as the daemon does, in an object with one sentence.
    pub(crate) fn is_daemons_refusal(&self) -> bool {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Refusal {
            #[serde(rename = "error")]
            _error: String,
        }
        serde_json::from_str::<Refusal>(&self.text).is_ok()
    }
}

/// The beginning of a request with a body in JSON to a path of the daemon.
pub(crate) fn post(dialer: &Dialer, path: &str) -> request::Builder {
    let backend = dialer.backend();
    Request::post(backend.target(path))
        .header(HOST, backend.host_header())
        .header(CONTENT_TYPE, "application/json")
}

/// Sends a request and reads its answer.
pub(crate) async fn exchange(
    dialer: &Dialer,
    request: Request<Full<Bytes>>,
) -> Result<Answered, ExchangeError> {
    tokio::time::timeout(DEADLINE, send(dialer, request))
        .await
        .map_err(|_| ExchangeError::Deadline)?
}

async fn send(dialer: &Dialer, request: Request<Full<Bytes>>) -> Result<Answered, ExchangeError> {
    let stream = dialer.dial().await.map_err(ExchangeError::Dial)?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(ExchangeError::Http)?;
    // The answer comes only while the connection is driven; dropping the set ends it.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request).await;
    read_answer(response.map_err(ExchangeError::Http)?).await
}

async fn read_answer(response: Response<Incoming>) -> Result<Answered, ExchangeError> {
    let status = response.status();
    let header = |name: HeaderName| response.headers().get(name)?.to_str().ok();
    let date = header(DATE).and_then(parse_http_date);
    let retry_after = header(RETRY_AFTER).and_then(|text| parse_retry_after(text, date));
    let body = Limited::new(response.into_body(), MAX_BODY_BYTES)
        .collect()
        .await;
    let body = body
        .map_err(|error| ExchangeError::Body(error.to_string()))?
        .to_bytes();
    Ok(Answered {
        status,
        text: String::from_utf8_lossy(&body).into_owned(),
        date,
        retry_after,
    })
}
