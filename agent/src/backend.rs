//! Where the daemon is: its address, whether TLS is spoken, and the paths below it.
//! It never opens a connection.

use std::net::IpAddr;

use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::http::uri::Authority;

/// The daemon's address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Backend {
    tls: bool,
    host: String,
    port: u16,
    prefix: String,
}

/// Why an address cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BackendError {
    /// It is not a URL with a host.
    #[error("is not a URL such as https://hidps.example.org")]
    NotUrl,
    /// Its scheme is another.
    #[error("begins with {0}://; it must be https://, wss://, http:// or ws://")]
    Scheme(String),
    /// It has a user, query or fragment.
    #[error("has a user, password or query; the agent sends neither")]
    Extra,
    /// Its port is none.
    #[error("has a port that is none; ports are 1 to 65535")]
    Port,
    /// It would send everything in the clear.
    #[error(
        "speaks plaintext to {0}, which is not this machine; use https:// or, in a test, \
         allow_plaintext = true"
    )]
    Plaintext(String),
}

impl Backend {
    /// Reads an address.
    ///
    /// # Errors
    /// Says what keeps it from being used.
    pub fn parse(text: &str, allow_plaintext: bool) -> Result<Self, BackendError> {
        let uri: Uri = text.parse().map_err(|_| BackendError::NotUrl)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(BackendError::NotUrl);
        };
        let (tls, default_port) = match scheme {
            "https" | "wss" => (true, 443),
            "http" | "ws" => (false, 80),
            other => return Err(BackendError::Scheme(other.to_owned())),
        };
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(BackendError::Extra);
        }
        let host = host_of(authority).ok_or(BackendError::NotUrl)?;
        let backend = Self {
            tls,
            port: port_of(authority, default_port).ok_or(BackendError::Port)?,
            prefix: uri.path().trim_end_matches('/').to_owned(),
            host,
        };
        if tls || allow_plaintext || backend.is_loopback() {
            Ok(backend)
        } else {
            Err(BackendError::Plaintext(backend.host))
        }
    }

    /// Whether TLS is spoken.
    #[must_use]
    pub const fn tls(&self) -> bool {
        self.tls
    }

    /// The host to connect to and to check the certificate against.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The `Host` header of every request.
    #[must_use]
    pub fn host_header(&self) -> String {
        let default_port = if self.tls { 443 } else { 80 };
        if self.port == default_port {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The target of a request for a path of the protocol.
    #[must_use]
    pub fn target(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    fn is_loopback(&self) -> bool {
        let ip: Result<IpAddr, _> = self.host().parse();
        self.host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    }
}

/// The host of an address, in small letters and in the brackets that it has; none where those are not
/// around all of it.
pub(crate) fn host_of(authority: &Authority) -> Option<String> {
    let host = authority.host();
    let (_, place) = authority.as_str().rsplit_once('@').unzip();
    let behind = place.unwrap_or(authority.as_str()).strip_prefix(host)?;
    let name = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let name = name.unwrap_or(host);
    let is_host = !name.is_empty()
        && !name.contains(['[', ']'])
        && (behind.is_empty() || behind.starts_with(':'));
    is_host.then(|| host.to_ascii_lowercase())
}

/// The port that an address states, or the usual one where it states none; none where what it states
/// is no port.
pub(crate) fn port_of(authority: &Authority, usual: u16) -> Option<u16> {
    let is_stated = authority
        .as_str()
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && !port.contains([']', '@']));
    match authority.port_u16() {
        None if !is_stated => Some(usual),
        port => port.filter(|port| *port != 0),
    }
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.host_header(), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usable_addresses_are_read() {
        let check = |text: &str, printed: &str, host: &str, port: u16| {
            let backend = Backend::parse(text, false).unwrap();

            assert_eq!(backend.to_string(), printed, "{text}");
            assert_eq!((backend.host(), backend.port()), (host, port), "{text}");
        };

        check(
            "https://Hub.Example",
            "https://hub.example",
            "hub.example",
            443,
        );
        check(
            "wss://hub.example:8443/x/",
            "https://hub.example:8443/x",
            "hub.example",
            8443,
        );
        check(
            "http://127.0.0.1:9000",
            "http://127.0.0.1:9000",
            "127.0.0.1",
            9000,
        );
        check("ws://[::1]:9000/", "http://[::1]:9000", "::1", 9000);
        check("http://localhost", "http://localhost", "localhost", 80);
    }

    #[test]
    fn unusable_addresses_are_refused_with_their_reason() {
        let check = |text: &str, wanted: &str| {
            let error = Backend::parse(text, false).unwrap_err().to_string();

            assert!(error.contains(wanted), "{text}: {error}");
        };

        check("", "is not a URL");
        check("hub.example", "is not a URL");
        check("ftp://hub.example", "begins with ftp://");
        check("https://me:secret@hub.example", "has a user");
        check("https://hub.example/?token=x", "query");
        check("https://hub.example:84433", "has a port that is none");
        check("https://hub[::1]:8443", "is not a URL");
        check("https://[::1]hub:8443", "is not a URL");
        check("https://[::1]:0", "has a port that is none");
        check("http://hub.example", "plaintext to hub.example");
        check("ws://127.0.0.1.example:80", "plaintext");
    }

    #[test]
    fn plaintext_elsewhere_needs_to_be_allowed() {
        let backend = Backend::parse("http://10.9.9.9:80", true).unwrap();

        assert!(!backend.tls());
    }
}
