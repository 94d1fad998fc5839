//! Lines of the kernel's tables of sockets (`/proc/net/tcp` and its like), read into values.
//! It opens nothing, and a line of another form is no socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How a socket carries data.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Transport {
    /// In order, over a connection.
    Tcp,
    /// In pieces.
    Udp,
}

impl Transport {
    /// The name that rules know.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// What a socket is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SocketState {
    /// It waits for others.
    Listening,
    /// It is connected, or being connected by this host.
    Connected,
    /// Anything else: it is ending, or not yet begun.
    Other,
}

impl SocketState {
    /// The numbers of the kernel for it (`include/net/tcp_states.h`); none for those that are not
    /// looked for.
    pub(super) const fn codes(self, transport: Transport) -> &'static [u8] {
        match (self, transport) {
            (Self::Listening, Transport::Tcp) => &[10],
            (Self::Listening, Transport::Udp) => &[7],
            (Self::Connected, Transport::Tcp) => &[1, 2],
            (Self::Connected, Transport::Udp) => &[1],
            (Self::Other, _) => &[],
        }
    }

    /// What a number of the kernel means.
    pub(super) fn of(code: u8, transport: Transport) -> Self {
        let states = [Self::Listening, Self::Connected].into_iter();
        let mut states = states.filter(|state| state.codes(transport).contains(&code));
        states.next().unwrap_or(Self::Other)
    }
}

/// One socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SocketRow {
    /// How it carries data.
    pub transport: Transport,
    /// Its own end.
    pub local: SocketAddr,
    /// The other end; all zero while there is none.
    pub remote: SocketAddr,
    /// What it is doing.
    pub state: SocketState,
    /// The user who made it.
    pub user: u32,
    /// Its number, by which processes hold it; zero when none does.
    pub inode: u64,
}

/// Reads a line; none for the heading and what is no socket.
#[must_use]
pub fn parse_line(line: &str, transport: Transport) -> Option<SocketRow> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = parse_address(fields.next()?)?;
    let remote = parse_address(fields.next()?)?;
    let state = SocketState::of(u8::from_str_radix(fields.next()?, 16).ok()?, transport);
    // Queues, timer, retransmits.
    let mut fields = fields.skip(3);
    let user = fields.next()?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    Some(SocketRow {
        transport,
        local,
        remote,
        state,
        user,
        inode,
    })
}

/// An address in words of the machine's order and a port, all in hexadecimal digits.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = [0_u8; 16];
    let words = address.len() / 8;
    if address.len() % 8 != 0 || !address.is_ascii() {
        return None;
    }
    for word in 0..words {
        let digits = address.get(word * 8..word * 8 + 8)?;
        let value = u32::from_str_radix(digits, 16).ok()?;
        bytes
            .get_mut(word * 4..word * 4 + 4)?
            .copy_from_slice(&value.to_ne_bytes());
    }
    let address = match words {
        1 => IpAddr::V4(Ipv4Addr::from(*bytes.first_chunk::<4>()?)),
        4 => IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LISTENER: &str = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0000000000000000 100 0 0 10 0";

    #[cfg(target_endian = "little")]
    #[test]
    fn lines_of_the_kernel_are_read() {
        let listener = parse_line(LISTENER, Transport::Tcp).unwrap();
        let six = "1: 00000000000000000000000001000000:0016 B80D0120000000000000000001000000:D431 01 0:0 0:0 0 0 0 8 1";
        let six = parse_line(six, Transport::Tcp).unwrap();
        let mapped = "2: 0000000000000000FFFF00000100007F:0016 00000000000000000000000000000000:0000 07 0:0 0:0 0 0 0 8 1";
        let mapped = parse_line(mapped, Transport::Udp).unwrap();

        assert_eq!(listener.local, "127.0.0.1:8080".parse().unwrap());
        assert_eq!((listener.user, listener.inode), (1_000, 4_711));
        assert_eq!(listener.state, SocketState::Listening);
        assert_eq!(six.local, "[::1]:22".parse().unwrap());
        assert_eq!(six.remote.ip().to_string(), "2001:db8::1");
        assert_eq!(six.state, SocketState::Connected);
        assert_eq!(mapped.local, "127.0.0.1:22".parse().unwrap());
        assert_eq!(mapped.state, SocketState::Listening);
    }

    proptest! {
        #[test]
        fn any_line_is_taken(line in "([ :0-9A-Fa-f]|\\PC){0,120}", cut in 0_usize..130) {
            let row = parse_line(&line, Transport::Tcp);
            prop_assert!(row.is_none_or(|row| row.transport == Transport::Tcp));
            let cut = LISTENER.get(..cut).unwrap_or(LISTENER);

            prop_assert!(parse_line(cut, Transport::Udp).is_none_or(|row| row.local.port() == 8080));
        }
    }
}
