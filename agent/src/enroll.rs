//! Enrollment: hands the public key to the daemon and learns whether it may connect.
//! The token travels in one header and is never logged or stored.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hidps_wire::{AgentId, EnrollRequest, EnrollResponse, Enrollment};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use hyper::{Request, StatusCode};

use crate::config::{Token, TokenSource};
use crate::dial::Dialer;
use crate::exchange::{Answered, ExchangeError, MAX_BODY_BYTES, exchange, post};
use crate::host_facts::{AGENT_VERSION, HostFacts};
use crate::identity::Identity;
use crate::text::printable;

/// Longest part of an answer that is quoted.
const MAX_QUOTE_BYTES: usize = 300;

/// Why the daemon did not enroll this agent.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The token's file cannot be read.
    #[error("could not read the token file {path}")]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The token cannot be part of a header.
    #[error(
        "the enrollment token has characters that no token has; check HIDPS_TOKEN or the token file"
    )]
    TokenText,
    /// There is no answer.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The daemon refused.
    #[error("{}: {text}", advice(*status, *is_daemons))]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// Whether it was the daemon, and not what stands before it.
        is_daemons: bool,
        /// What it said.
        text: String,
        /// When to come back, if it said so.
        retry_after: Option<Duration>,
    },
    /// The answer is not one of the protocol.
    #[error("the daemon answered something else than an enrollment: {0}")]
    Answer(String),
}

impl EnrollError {
    /// When the daemon wants to be asked again.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::TokenFile { .. } | Self::TokenText | Self::Exchange(_) | Self::Answer(_) => None,
        }
    }

    /// Whether it is this agent the daemon does not want: its token, its certificate or its row.
    #[must_use]
    pub fn is_about_agent(&self) -> bool {
        matches!(
            self,
            Self::Refused { status, is_daemons: true, .. }
                if matches!(status.as_u16(), 401 | 403 | 404)
        )
    }
}

fn advice(status: StatusCode, is_daemons: bool) -> String {
    match status.as_u16() {
        code @ (401 | 403 | 404) if !is_daemons => format!(
            "something else than the daemon answered with HTTP status {code}; check backend_url \
             and what stands before the daemon"
        ),
        401 | 403 => "the daemon refused the enrollment; use a valid token, or let an admin \
                      approve or create this agent anew"
            .to_owned(),
        404 => "the daemon knows no such agent; check agent_id and backend_url".to_owned(),
        300..=399 => "the daemon's address answered with a redirect, which is never followed; \
                      check backend_url"
            .to_owned(),
        429 => "the daemon has had too many enrollments and is asked again later".to_owned(),
        other => format!("the daemon answered with HTTP status {other}"),
    }
}

/// Asks the daemon to take this agent's key.
///
/// # Errors
/// Says what failed and, for a refusal, what to do.
pub async fn enroll(
    dialer: &Dialer,
    agent_id: AgentId,
    identity: &Identity,
    facts: &HostFacts,
    token: &TokenSource,
) -> Result<Enrollment, EnrollError> {
    let body = EnrollRequest {
        public_key: identity.public_key(),
        hostname: facts.hostname.clone(),
        os: facts.os.clone(),
        arch: facts.arch.clone(),
        agent_version: AGENT_VERSION.to_owned(),
    };
    let path = format!("/v1/agents/{agent_id}/enroll");
    let token = read_token(token)?;
    let request = build_request(dialer, &path, &body, token.as_ref())?;
    parse_answer(exchange(dialer, request).await?)
}

fn read_token(source: &TokenSource) -> Result<Option<Token>, EnrollError> {
    if source.value.is_some() {
        return Ok(source.value.clone());
    }
    // A host that has none is given an empty credential.
    if let Some(path) = source.credential.as_ref().filter(|path| path.exists()) {
        let token = read_token_file(path)?;
        if token.is_some() {
            return Ok(token);
        }
    }
    let Some(path) = &source.file else {
        return Ok(None);
    };
    warn_of_readable_token(path);
    read_token_file(path)
}

fn read_token_file(path: &Path) -> Result<Option<Token>, EnrollError> {
    let text = fs::read_to_string(path).map_err(|source| EnrollError::TokenFile {
        path: path.to_owned(),
        source,
    })?;
    let text = zeroize::Zeroizing::new(text);
    let token = Token::new(&text);
    Ok(Some(token).filter(|token| !token.expose().is_empty()))
}

fn warn_of_readable_token(path: &Path) {
    let mode = fs::metadata(path).map(|metadata| metadata.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o044 != 0) {
        tracing::warn!(path = %path.display(), "others can read the token file; run chmod 600");
    }
}

fn build_request(
    dialer: &Dialer,
    path: &str,
    body: &EnrollRequest,
    token: Option<&Token>,
) -> Result<Request<Full<Bytes>>, EnrollError> {
    let mut request = post(dialer, path);
    if let Some(token) = token {
        let mut value =
            HeaderValue::from_str(token.expose()).map_err(|_| EnrollError::TokenText)?;
        value.set_sensitive(true);
        request = request.header("x-api-key", value);
    }
    let body = Full::new(Bytes::from(hidps_wire::encode(body)));
    Ok(request
        .body(body)
        .expect("a parsed address and a UUID make a request"))
}

fn parse_answer(answered: Answered) -> Result<Enrollment, EnrollError> {
    if answered.status != StatusCode::OK {
        return Err(EnrollError::Refused {
            status: answered.status,
            is_daemons: answered.is_daemons_refusal(),
            text: printable(&answered.text, MAX_QUOTE_BYTES),
            retry_after: answered.retry_after,
        });
    }
    let answer: EnrollResponse = hidps_wire::decode(&answered.text, MAX_BODY_BYTES)
        .map_err(|error| EnrollError::Answer(error.to_string()))?;
    Ok(answer.enrollment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_daemons_own_refusal_is_about_this_agent() {
        let check = |status: u16, text: &str, is_about_agent: bool| {
            let refused = parse_answer(Answered {
                status: StatusCode::from_u16(status).unwrap(),
                text: text.to_owned(),
                date: None,
                retry_after: None,
            });
            let error = refused.unwrap_err();

            assert_eq!(error.is_about_agent(), is_about_agent, "{error}");
            let is_of_others = error.to_string().contains("something else than the daemon");
            assert_eq!(is_of_others, !is_about_agent && status < 429, "{error}");
        };

        for status in [401, 403, 404] {
            check(status, r#"{"error":"no agent has this id"}"#, true);
            check(status, "<html>Forbidden</html>", false);
            check(status, r#"{"message":"no such route"}"#, false);
            check(status, r#"{"error":"x","statusCode":404}"#, false);
            check(status, "", false);
        }
        check(503, r#"{"error":"try again"}"#, false);
    }

    #[test]
    fn a_token_is_taken_from_the_first_place_that_has_one() {
        let directory = tempfile::tempdir().unwrap();
        let (credential, file) = (
            directory.path().join("token"),
            directory.path().join("file"),
        );
        fs::write(&file, "from-file\n").unwrap();
        let source = TokenSource {
            file: Some(file),
            credential: Some(credential.clone()),
            value: None,
        };
        let read = |source: &TokenSource| {
            let token = read_token(source).unwrap();
            token.map(|token| token.expose().to_owned())
        };

        assert_eq!(read(&source).as_deref(), Some("from-file"), "none is there");
        fs::write(&credential, "\n").unwrap();
        assert_eq!(read(&source).as_deref(), Some("from-file"), "it is empty");
        fs::write(&credential, "from-manager\n").unwrap();
        assert_eq!(read(&source).as_deref(), Some("from-manager"));
        let given = TokenSource {
            value: Some(Token::new("given")),
            ..source.clone()
        };
        assert_eq!(read(&given).as_deref(), Some("given"));
        fs::write(&credential, "").unwrap();
        let bare = TokenSource {
            file: None,
            ..source
        };
        assert_eq!(read(&bare), None);
    }
}
