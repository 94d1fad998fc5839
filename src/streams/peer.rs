//! Where a request comes from: the peer of its socket, or whom a trusted proxy names.
//! It never believes what anybody else says of an address.

use std::convert::Infallible;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use ipnet::IpNet;

use crate::streams::routes::Gateway;

/// Header in which proxies name whom they speak for, the nearest last.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Most addresses of that header that are looked at.
const MAX_HOPS: usize = 32;

/// The other end of a connection, as the kernel says.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerAddress(pub(super) IpAddr);

/// Proxies whose word on addresses is taken.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// These networks.
    #[must_use]
    pub const fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Who asks: the last address before the proxies that are trusted, or the peer itself.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.contains(peer) {
            return peer;
        }
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        let hops = lines
            // A proxy may write its word behind bytes of a client that are no text.
            .flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','))
            .map(|hop| parse_hop(std::str::from_utf8(hop).ok()?.trim()));
        let mut client = peer;
        for hop in hops.take(MAX_HOPS) {
            // What stands before something unreadable could be anybody's invention.
            let Some(address) = hop else {
                return client;
            };
            client = address;
            if !self.contains(address) {
                return client;
            }
        }
        client
    }
}

/// An address, with or without a port.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let address = text.parse::<IpAddr>().ok();
    let with_port = || {
        let socket = text.parse::<std::net::SocketAddr>().ok();
        socket.map(|socket| socket.ip())
    };
    let in_brackets = || {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        inner.parse::<IpAddr>().ok()
    };
    let found = address.or_else(with_port).or_else(in_brackets);
    found.map(|address| address.to_canonical())
}

/// Who asks, as far as it can be limited by address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    /// The address; none for this machine's own programs, of which one may be a proxy that nobody
    /// has named, so that all the world would share its limit.
    pub(super) address: Option<IpAddr>,
    /// The address as it is told to others, this machine's own included.
    pub(super) reported: Option<IpAddr>,
}

impl FromRequestParts<Gateway> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        gateway: &Gateway,
    ) -> Result<Self, Self::Rejection> {
        let peer = parts.extensions.get::<PeerAddress>();
        let client = peer.map(|peer| gateway.trusted_proxies.client(peer.0, &parts.headers));
        Ok(Self {
            address: client.filter(|address| !address.is_loopback()),
            reported: client,
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn client(peer: &str, lines: &[&'static str]) -> String {
        let networks = ["127.0.0.1/32", "10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap());
        let mut headers = HeaderMap::new();
        for line in lines {
            let line = HeaderValue::from_bytes(line.as_bytes()).expect("it is a header");
            headers.append(FORWARDED_FOR, line);
        }
        let proxies = TrustedProxies::new(networks.to_vec());
        proxies.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        assert_eq!(client("198.51.100.7", &["203.0.113.1"]), "198.51.100.7");
        assert_eq!(client("127.0.0.1", &["203.0.113.1"]), "203.0.113.1");
        assert_eq!(client("::ffff:127.0.0.1", &["203.0.113.1"]), "203.0.113.1");
        assert_eq!(client("127.0.0.1", &[]), "127.0.0.1");
    }

    #[test]
    fn what_a_client_puts_before_the_proxies_words_is_not_believed() {
        let spoofed = ["192.0.2.1, 203.0.113.1"];
        assert_eq!(client("127.0.0.1", &spoofed), "203.0.113.1");
        let through_two = ["192.0.2.1, 203.0.113.1, 10.1.1.1"];
        assert_eq!(client("10.2.2.2", &through_two), "203.0.113.1");
        let in_two_lines = ["192.0.2.1", "203.0.113.1"];
        assert_eq!(client("127.0.0.1", &in_two_lines), "203.0.113.1");
    }

    #[test]
    fn an_unreadable_hop_ends_the_chain_of_trust() {
        assert_eq!(client("127.0.0.1", &["203.0.113.1, unknown"]), "127.0.0.1");
        let behind = ["203.0.113.1, x, 10.1.1.1"];
        assert_eq!(client("127.0.0.1", &behind), "10.1.1.1");
    }

    #[test]
    fn bytes_of_a_client_that_are_no_text_hide_nothing_of_what_a_proxy_says() {
        let joined = ["192.0.2.1, \u{fc}, 203.0.113.1"];
        assert_eq!(client("127.0.0.1", &joined), "203.0.113.1");
        let behind_a_line = ["192.0.2.1", "\u{fc}"];
        assert_eq!(client("127.0.0.1", &behind_a_line), "127.0.0.1");
    }

    #[test]
    fn ports_and_brackets_are_taken_off() {
        assert_eq!(client("127.0.0.1", &["203.0.113.1:4711"]), "203.0.113.1");
        assert_eq!(client("127.0.0.1", &["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(client("127.0.0.1", &["[2001:db8::1]"]), "2001:db8::1");
        assert_eq!(client("fd00::1", &["2001:db8::1"]), "2001:db8::1");
    }
}
