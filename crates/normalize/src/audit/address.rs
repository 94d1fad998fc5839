//! The address that a call was given, from the bytes of its `sockaddr`.
//! It reads no byte behind an address: those are whatever the program had there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum SocketAddress {
    /// Of a host, with its port.
    Host(IpAddr, u16),
    /// Of a socket in the file system, or with `@` of one outside of it.
    Path(String),
    /// Of another family.
    Other(u16),
}

/// Reads one.
pub(super) fn parse(bytes: &[u8]) -> Option<SocketAddress> {
    let family = u16::from_le_bytes(array(bytes, 0)?);
    // A call may give less than an address, and then the rest means nothing.
    let address = match family {
        1 => unix(bytes.get(2..)?),
        2 => {
            let address: [u8; 4] = array(bytes, 4)?;
            SocketAddress::Host(Ipv4Addr::from(address).into(), port(bytes)?)
        }
        10 => {
            let address: [u8; 16] = array(bytes, 8)?;
            SocketAddress::Host(Ipv6Addr::from(address).into(), port(bytes)?)
        }
        other => SocketAddress::Other(other),
    };
    Some(address)
}

fn unix(path: &[u8]) -> SocketAddress {
    let until_zero = |text: &[u8]| {
        let end = text.iter().position(|byte| *byte == 0);
        let text = text.get(..end.unwrap_or(text.len())).unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    };
    SocketAddress::Path(match path.split_first() {
        Some((0, name)) => format!("@{}", until_zero(name)),
        Some(_) => until_zero(path),
        None => String::new(),
    })
}

fn port(bytes: &[u8]) -> Option<u16> {
    array(bytes, 2).map(u16::from_be_bytes)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}
