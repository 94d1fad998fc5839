//! Where the socket is and how to get there: address, TLS, upgrade.
//! Never puts the key into an error; the address with the key stays inside.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Error as SocketError};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::error::{ConfigError, RealtimeError};
use crate::secret::Secret;
use crate::session::quote;
use crate::tls::Tls;

/// Path of Realtime behind Supabase's gateway.
const GATEWAY_PATH: &str = "/realtime/v1/websocket";
/// Largest frame taken: servers cut a change at 1 MiB and a broadcast at 3 MB; the rest is room for JSON escapes.
const MAX_FRAME: usize = 8 << 20;
/// Frames are mostly below 2 KiB; the default of 128 KiB would be paid per connection.
const READ_BUFFER: usize = 16 << 10;

/// An open connection.
pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A checked address with everything a connection needs.
#[derive(Clone)]
pub(crate) struct Endpoint {
    host: String,
    port: u16,
    uri: String,
    key: Secret,
    tls: Option<Tls>,
}

impl Endpoint {
    /// Checks address and key and prepares TLS, so that a typing error shows before the first connection.
    pub(crate) fn parse(
        url: &str,
        key: &Secret,
        extra_roots: &[Vec<u8>],
    ) -> Result<Self, ConfigError> {
        let refuse = |reason| ConfigError::Url { reason };
        let uri: Uri = url.parse().map_err(|_| refuse("it is not a url"))?;
        let (scheme, default_port) = match uri.scheme_str() {
            Some("http" | "ws") => ("ws", 80),
            Some("https" | "wss") => ("wss", 443),
            _ => return Err(refuse("it must begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or(refuse("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("it must not carry a password"));
        }
        if uri.query().is_some() {
            return Err(refuse("it must not carry a query"));
        }
        check_key(key)?;
        let path = socket_path(uri.path());
        let key_text = key.expose();
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(default_port),
            uri: format!("{scheme}://{authority}{path}?apikey={key_text}&vsn=2.0.0"),
            key: key.clone(),
            tls: if scheme == "wss" {
                Some(Tls::prepare(extra_roots)?)
            } else {
                None
            },
        })
    }

    /// Opens a connection within `deadline`.
    pub(crate) async fn connect(self, deadline: Duration) -> Result<Socket, RealtimeError> {
        tokio::time::timeout(deadline, self.connect_patiently())
            .await
            .map_err(|_| RealtimeError::ConnectDeadline(deadline))?
    }

    async fn connect_patiently(self) -> Result<Socket, RealtimeError> {
        let connect_failed = |source: io::Error| RealtimeError::Connect {
            host: self.host.clone(),
            port: self.port,
            source,
        };
        let tcp = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(connect_failed)?;
        // Frames are small and each is waited for.
        tcp.set_nodelay(true).map_err(connect_failed)?;
        let stream = match &self.tls {
            Some(tls) => tls.wrap(&self.host, tcp).await.map_err(connect_failed)?,
            None => MaybeTlsStream::Plain(tcp),
        };
        let limits = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(MAX_FRAME))
            .max_frame_size(Some(MAX_FRAME));
        let request = self
            .request()
            .map_err(|source| self.upgrade_failed(source))?;
        tokio_tungstenite::client_async_with_config(request, stream, Some(limits))
            .await
            .map(|(socket, _)| socket)
            .map_err(|source| self.upgrade_failed(source))
    }

    fn request(&self) -> Result<Request, SocketError> {
        self.uri.as_str().into_client_request()
    }

    fn upgrade_failed(&self, source: tungstenite::Error) -> RealtimeError {
        if let SocketError::Http(response) = &source {
            let body = response.body().as_deref().unwrap_or_default();
            return RealtimeError::Refused {
                status: response.status().as_u16(),
                reason: quote(&String::from_utf8_lossy(body), &[&self.key]),
            };
        }
        RealtimeError::Upgrade {
            source: Box::new(source),
        }
    }
}

fn check_key(key: &Secret) -> Result<(), ConfigError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let raw = key.expose();
    if raw.is_empty() || !raw.chars().all(allowed) {
        return Err(ConfigError::ApiKey);
    }
    Ok(())
}

fn socket_path(path: &str) -> String {
    let path = path.trim_end_matches('/');
    if path.ends_with("/websocket") {
        path.to_owned()
    } else {
        format!("{path}{GATEWAY_PATH}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> Result<(String, u16, String), ConfigError> {
        Endpoint::parse(url, &Secret::from("sb_secret_x"), &[])
            .map(|endpoint| (endpoint.host, endpoint.port, endpoint.uri))
    }

    #[test]
    fn a_project_address_becomes_its_socket() {
        let check = |url: &str, host: &str, port: u16, uri: &str| {
            assert_eq!(
                endpoint(url),
                Ok((host.to_owned(), port, uri.to_owned())),
                "{url}"
            );
        };

        let query = "?apikey=sb_secret_x&vsn=2.0.0";
        let plain = format!("ws://127.0.0.1:8000/realtime/v1/websocket{query}");
        check("http://127.0.0.1:8000", "127.0.0.1", 8000, &plain);
        check("http://127.0.0.1:8000/", "127.0.0.1", 8000, &plain);
        let own = format!("ws://realtime/socket/websocket{query}");
        check("ws://realtime/socket/websocket", "realtime", 80, &own);
        check(
            "http://[::1]:1",
            "::1",
            1,
            &format!("ws://[::1]:1/realtime/v1/websocket{query}"),
        );
    }

    #[test]
    fn an_address_that_cannot_work_is_refused_with_the_reason() {
        let check = |url: &str, reason| assert_eq!(endpoint(url), Err(ConfigError::Url { reason }));

        check("not a url", "it is not a url");
        check("ftp://host", "it must begin with http:// or https://");
        check("127.0.0.1:8000", "it must begin with http:// or https://");
        check("http://user:pw@host", "it must not carry a password");
        check("http://host/?x=1", "it must not carry a query");
    }

    #[test]
    fn a_key_with_foreign_characters_is_refused() {
        for key in ["", "a b", "a&vsn=1", "ä", "a\n"] {
            let parsed = Endpoint::parse("http://host", &Secret::from(key), &[]);

            assert_eq!(parsed.err(), Some(ConfigError::ApiKey), "{key}");
        }
    }
}
