//! Addresses and ports in the text of a message.
//! What does not parse is no address, whatever stands around it.

use std::net::{IpAddr, Ipv4Addr};

use hidps_wire::Text;

/// One end of a connection; the address is in its canonical form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Endpoint<'a> {
    /// The address.
    pub(super) ip: Text<'a>,
    /// The port, where it is told.
    pub(super) port: Option<u16>,
}

impl<'a> Endpoint<'a> {
    /// An address without a port.
    pub(super) fn parse_host(address: &'a str) -> Option<Self> {
        let ip = parse_ip(address)?;
        Some(Self { ip, port: None })
    }

    /// An address and a port.
    pub(super) fn parse(address: &'a str, port: &str) -> Option<Self> {
        let ip = parse_ip(address)?;
        let port = Some(parse_number(port)?);
        Some(Self { ip, port })
    }

    /// `A port N` or, from old programs, `A`.
    pub(super) fn parse_words(text: &'a str) -> Option<Self> {
        match text.split_once(" port ") {
            Some((address, port)) => Self::parse(address, port),
            None => Self::parse_host(text),
        }
    }
}

/// An address without the zone that link-local ones carry, in the form in which equal addresses
/// are equal texts; an IPv4 address inside an IPv6 one is told as itself.
pub(super) fn parse_ip(text: &str) -> Option<Text<'_>> {
    // Only the canonical form of an IPv4 address parses, so it can be passed on as it stands.
    if text.parse::<Ipv4Addr>().is_ok() {
        return Some(text.into());
    }
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    let address: IpAddr = address.parse().ok()?;
    Some(address.to_canonical().to_string().into())
}

/// A number of plain digits; `+5`, which the parser of integers would take, is none.
pub(super) fn parse_number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}
