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
