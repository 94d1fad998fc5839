//! Reads the keys that the project's Auth publishes for its access tokens.
//! It never says which of them are good.

use std::error::Error;
use std::time::Duration;

use hidps_tokens::MAX_KEY_SET_BYTES;
use url::Url;

use crate::config::Supabase;
use crate::ports::{SigningKeys, StoreError, StoreErrorKind, StoreResult};

/// Longest wait for the list, and for a connection.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Where the list is, below the project's address.
const PATH: &str = "auth/v1/.well-known/jwks.json";

const OPERATION: &str = "read signing keys";

/// The list of keys of one project.
#[derive(Debug, Clone)]
pub struct PublishedKeys {
    http: reqwest::Client,
    address: Url,
}

impl PublishedKeys {
    /// Prepares; nothing is connected yet.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new(supabase: &Supabase) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let http = reqwest::Client::builder()
            .timeout(ANSWER_WITHIN)
            .connect_timeout(CONNECT_WITHIN)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self {
            http,
            address: supabase.url.join(PATH)?,
        })
    }

    async fn fetch(&self) -> Result<Vec<u8>, StoreError> {
        let answer = self.http.get(self.address.clone()).send().await;
        let mut answer = answer.map_err(|error| failed(StoreErrorKind::Unavailable, error))?;
        let status = answer.status();
        if !status.is_success() {
            let kind = match status.as_u16() {
                429 => StoreErrorKind::RateLimited,
                500.. => StoreErrorKind::Unavailable,
                _ => StoreErrorKind::NotFound,
            };
            return Err(failed(kind, format!("the answer was {status}")));
        }
        let mut bytes = Vec::new();
        while let Some(part) = answer
            .chunk()
            .await
            .map_err(|error| failed(StoreErrorKind::Unavailable, error))?
        {
            if bytes.len() + part.len() > MAX_KEY_SET_BYTES {
                return Err(failed(StoreErrorKind::Malformed, "the answer is too long"));
            }
            bytes.extend_from_slice(&part);
        }
        Ok(bytes)
    }
}

fn failed(kind: StoreErrorKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    StoreError {
        operation: OPERATION,
        kind,
        source: source.into(),
    }
}

impl SigningKeys for PublishedKeys {
    fn read_keys(&self) -> StoreResult<'_, Vec<u8>> {
        Box::pin(self.fetch())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    /// What is asked of an Auth that answers so, and what becomes of it.
    async fn read_from(answer: String) -> (String, Result<Vec<u8>, StoreErrorKind>) {
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let keys = PublishedKeys::new(&Supabase {
            url: format!("http://{address}").parse().expect("a URL"),
            secret_key: "sb_secret_x".to_owned().into(),
            publishable_key: "sb_publishable_x".to_owned().into(),
        });
        let keys = keys.expect("a client");
        let mut reading = JoinSet::new();
        reading.spawn(async move { keys.read_keys().await.map_err(|error| error.kind) });
        let (mut stream, _) = listener.accept().await.expect("it asks");
        let mut head = vec![0; 4096];
        let n_read = stream.read(&mut head).await.expect("it asks");
        // It may hang up before the end of an answer that is too long.
        stream.write_all(answer.as_bytes()).await.ok();
        drop(stream);
        let read = reading.join_next().await.expect("one").expect("it ends");
        (String::from_utf8_lossy(&head[..n_read]).into_owned(), read)
    }

    fn http(status: &str, headers: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
    }

    #[tokio::test]
    async fn the_list_is_asked_of_auth_without_any_key() {
        let (head, read) = read_from(http("200 OK", "", r#"{"keys":[]}"#)).await;

        assert!(
            head.starts_with("GET /auth/v1/.well-known/jwks.json HTTP/1.1"),
            "{head}"
        );
        assert!(!head.contains("sb_"), "{head}");
        assert_eq!(read, Ok(br#"{"keys":[]}"#.to_vec()));
    }

    #[tokio::test]
    async fn what_is_no_list_is_a_failure_of_its_kind() {
        let long = " ".repeat(MAX_KEY_SET_BYTES + 1);
        let elsewhere = "Location: http://127.0.0.1:9/keys\r\n";
        for (answer, kind) in [
            (http("503 Unavailable", "", ""), StoreErrorKind::Unavailable),
            (http("429 Too Many", "", ""), StoreErrorKind::RateLimited),
            (http("404 Not Found", "", ""), StoreErrorKind::NotFound),
            (http("302 Found", elsewhere, ""), StoreErrorKind::NotFound),
            (http("200 OK", "", &long), StoreErrorKind::Malformed),
            (String::new(), StoreErrorKind::Unavailable),
        ] {
            let (_, read) = read_from(answer.clone()).await;
            assert_eq!(read, Err(kind), "{answer:.40}");
        }
    }
}
