//! An HTTP proxy on the way: its address, its credentials, and the tunnel it opens.
//! It believes no byte of the proxy beyond the status of its answer, and never logs a credential.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::http::Uri;
use zeroize::Zeroizing;

use super::way::FirstHop;
use crate::backend::{host_of, port_of};
use crate::text::printable;

/// Longest answer of a proxy that is read; one that opens a tunnel has a few lines.
const MAX_ANSWER_BYTES: usize = 8 * 1024;

/// Most headers of such an answer.
const MAX_HEADERS: usize = 64;

/// Longest word of a proxy that is quoted.
const MAX_QUOTE_BYTES: usize = 80;

/// A proxy that opens tunnels by CONNECT.
#[derive(Clone, Debug)]
pub struct Proxy {
    hop: FirstHop,
    credentials: Credentials,
}

/// Where the credentials come from.
#[derive(Clone, Debug, Default)]
enum Credentials {
    /// There are none.
    #[default]
    None,
    /// The environment.
    Given(Secret),
    /// A file, read anew for each connection.
    File(PathBuf),
}

/// User and password as one text, `user:password`.
#[derive(Clone)]
struct Secret(Zeroizing<String>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a text is no address of a proxy; it is never quoted, for it may hold a password.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProxyUrlError {
    /// It is not a URL with a host.
    #[error("is not the URL of a proxy, such as http://proxy.example.org:3128")]
    NotUrl,
    /// Its scheme is another.
    #[error("begins with {0}://; only proxies of http:// are spoken to")]
    Scheme(String),
    /// Its user or password is not text.
    #[error("has a user or password that is not percent-encoded UTF-8")]
    Credentials,
}

/// The proxy that did not lead on, and why.
#[derive(Debug, thiserror::Error)]
#[error("the proxy {hop}")]
pub struct ProxyError {
    /// The proxy.
    pub hop: FirstHop,
    /// What became of the tunnel.
    #[source]
    pub source: TunnelError,
}

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The file with the credentials cannot be read.
    #[error("needs the credentials of {path}, which could not be read")]
    CredentialsFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It wants credentials.
    #[error("wants a user and password (HTTP status 407); set proxy_credentials_file")]
    NoCredentials,
    /// It wants other credentials.
    #[error("does not take this user and password (HTTP status 407); check them")]
    WrongCredentials,
    /// It does not lead there.
    #[error("does not lead to {daemon}: HTTP status {status} {reason}")]
    Refused {
        /// Where to.
        daemon: FirstHop,
        /// The HTTP status.
        status: u16,
        /// Its word for it.
        reason: String,
    },
    /// It is no proxy.
    #[error("answered with something else than HTTP; check that it is a proxy")]
    NotHttp,
    /// It says too much.
    #[error("answered with more than {MAX_ANSWER_BYTES} bytes")]
    TooLong,
    /// It says something in the daemon's name.
    #[error("sent more than its own answer")]
    Excess,
    /// It hung up.
    #[error("closed the connection without an answer")]
    Closed,
    /// It says nothing.
    #[error("took the connection and did not answer in time")]
    Silent,
    /// The connection to it broke.
    #[error("could not be talked to")]
    Io(#[source] io::Error),
}

/// What a proxy has answered so far.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProxyAnswer {
    /// Not all of it came yet.
    Partial,
    /// All of it.
    Whole {
        /// The HTTP status.
        status: u16,
        /// Its word for it, fit to be printed.
        reason: String,
        /// How many bytes it takes.
        length: usize,
    },
    /// It is not HTTP.
    NotHttp,
}

/// Reads the beginning of what a proxy answers to CONNECT.
#[must_use]
pub fn parse_answer(bytes: &[u8]) -> ProxyAnswer {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(bytes) {
        Ok(httparse::Status::Partial) => ProxyAnswer::Partial,
        Ok(httparse::Status::Complete(length)) => ProxyAnswer::Whole {
            status: response.code.unwrap_or_default(),
            reason: printable(response.reason.unwrap_or_default(), MAX_QUOTE_BYTES),
            length,
        },
        Err(_) => ProxyAnswer::NotHttp,
    }
}

impl Proxy {
    /// Where it is.
    #[must_use]
    pub const fn hop(&self) -> &FirstHop {
        &self.hop
    }

    /// Whether its address came with a user and password.
    #[must_use]
    pub const fn has_credentials(&self) -> bool {
        matches!(self.credentials, Credentials::Given(_))
    }

    /// The same proxy with the credentials of a file, `user:password` in its first line.
    #[must_use]
    pub fn with_credentials_file(self, path: PathBuf) -> Self {
        let credentials = Credentials::File(path);
        Self {
            credentials,
            ..self
        }
    }

    /// Asks for a tunnel to the daemon; afterwards the stream is the daemon's.
    pub(super) async fn open_tunnel<S>(
        &self,
        stream: &mut S,
        daemon: &FirstHop,
    ) -> Result<(), TunnelError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let secret = self.read_credentials()?;
        let request = write_request(daemon, secret.as_ref());
        let sent = stream.write_all(request.as_bytes()).await;
        sent.map_err(TunnelError::Io)?;
        let (status, reason) = read_answer(stream).await?;
        match status {
            200..=299 => Ok(()),
            407 if secret.is_some() => Err(TunnelError::WrongCredentials),
            407 => Err(TunnelError::NoCredentials),
            _ => Err(TunnelError::Refused {
                daemon: daemon.clone(),
                status,
                reason,
            }),
        }
    }

    fn read_credentials(&self) -> Result<Option<Secret>, TunnelError> {
        match &self.credentials {
            Credentials::None => Ok(None),
            Credentials::Given(secret) => Ok(Some(secret.clone())),
            Credentials::File(path) => read_secret(path).map(Some),
        }
    }
}

fn read_secret(path: &Path) -> Result<Secret, TunnelError> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|source| TunnelError::CredentialsFile {
        path: path.to_owned(),
        source,
    })?;
    let line = text.lines().next().unwrap_or_default();
    Ok(Secret(Zeroizing::new(line.to_owned())))
}

fn write_request(daemon: &FirstHop, secret: Option<&Secret>) -> Zeroizing<String> {
    let mut request = Zeroizing::new(format!("CONNECT {daemon} HTTP/1.1\r\nHost: {daemon}\r\n"));
    if let Some(secret) = secret {
        request.push_str("Proxy-Authorization: Basic ");
        BASE64.encode_string(secret.0.as_bytes(), &mut request);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    request
}

async fn read_answer<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(u16, String), TunnelError> {
    let mut answer = Vec::with_capacity(512);
    loop {
        let mut piece = [0; 512];
        let n_read = stream.read(&mut piece).await.map_err(TunnelError::Io)?;
        if n_read == 0 {
            return Err(TunnelError::Closed);
        }
        answer.extend(piece.iter().take(n_read));
        match parse_answer(&answer) {
            ProxyAnswer::NotHttp => return Err(TunnelError::NotHttp),
            ProxyAnswer::Partial if answer.len() >= MAX_ANSWER_BYTES => {
                return Err(TunnelError::TooLong);
            }
            ProxyAnswer::Partial => {}
            // The daemon speaks second, so what follows is not from it; a refusal may have a body.
            ProxyAnswer::Whole { status, length, .. }
                if length < answer.len() && (200..300).contains(&status) =>
            {
                return Err(TunnelError::Excess);
            }
            ProxyAnswer::Whole { status, reason, .. } => return Ok((status, reason)),
        }
    }
}

fn is_scheme(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

impl FromStr for Proxy {
    type Err = ProxyUrlError;

    /// Reads `http://host:port`, with `user:password@` if need be; without a scheme it is the same.
    fn from_str(text: &str) -> Result<Self, ProxyUrlError> {
        let text = text.trim();
        let url = match text.split_once("://") {
            Some(("http", _)) => Zeroizing::new(text.to_owned()),
            Some((scheme, _)) if is_scheme(scheme) => {
                return Err(ProxyUrlError::Scheme(printable(scheme, 20)));
            }
            // What is no scheme is a password, and never told.
            Some(_) | None => Zeroizing::new(format!("http://{text}")),
        };
        let uri: Uri = url.parse().map_err(|_| ProxyUrlError::NotUrl)?;
        let authority = uri.authority().ok_or(ProxyUrlError::NotUrl)?;
        let host = host_of(authority).ok_or(ProxyUrlError::NotUrl)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if uri.path().len() > 1 || uri.query().is_some() {
            return Err(ProxyUrlError::NotUrl);
        }
        let credentials = match authority.as_str().rsplit_once('@') {
            Some((user, _)) => Credentials::Given(Secret(decode_percent(user)?)),
            None => Credentials::None,
        };
        Ok(Self {
            hop: FirstHop {
                host: host.to_owned(),
                port: port_of(authority, 80).ok_or(ProxyUrlError::NotUrl)?,
            },
            credentials,
        })
    }
}

fn decode_percent(text: &str) -> Result<Zeroizing<String>, ProxyUrlError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(rest.next()), digit(rest.next()));
        let (Some(high), Some(low)) = (high, low) else {
            return Err(ProxyUrlError::Credentials);
        };
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| ProxyUrlError::Credentials)?);
    }
    let text = String::from_utf8(std::mem::take(&mut *bytes));
    let text = text.map_err(|_| ProxyUrlError::Credentials)?;
    Ok(Zeroizing::new(text))
}

#[cfg(test)]
mod tests;
