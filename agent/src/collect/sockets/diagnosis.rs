//! This host's sockets, asked of the kernel in its own form (`sock_diag(7)`): a text table of
//! connections costs it milliseconds on a host that has none, as it looks through its whole hash
//! twice. It asks for listeners and connections, and keeps nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use netlink_sys::Socket;
use netlink_sys::SocketAddr as Address;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::listing::{SocketRow, SocketState, Transport};

/// `SOCK_DIAG_BY_FAMILY`: the question, and each socket of the answer.
const BY_FAMILY: u16 = 20;

/// `NLMSG_ERROR`: the question was refused.
const ERROR: u16 = 2;

/// `NLMSG_DONE`: there are no more.
const DONE: u16 = 3;

/// `NLM_F_REQUEST` with `NLM_F_DUMP`: all that fit the question.
const ALL: u16 = 0x301;

/// `nlmsghdr`.
const HEAD_BYTES: usize = 16;

/// `inet_diag_req_v2`.
const QUESTION_BYTES: usize = 56;

/// `inet_diag_msg`.
const ROW_BYTES: usize = 72;

/// The kernel fills no more of a datagram.
const DATAGRAM_BYTES: usize = 32 * 1024;

/// How long the kernel may take to answer; it does so at once.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// `AF_INET` and `AF_INET6`, as the kernel has them on every machine.
const FAMILIES: [u8; 2] = [2, 10];

/// What is asked, one after another.
const QUESTIONS: [(u8, Transport); 4] = [
    (FAMILIES[0], Transport::Tcp),
    (FAMILIES[1], Transport::Tcp),
    (FAMILIES[0], Transport::Udp),
    (FAMILIES[1], Transport::Udp),
];

/// Passes on every listener and connection of this network namespace.
///
/// # Errors
/// When the kernel has no such answer, or does not give it whole.
pub(super) fn list_sockets(mut each: impl FnMut(&SocketRow)) -> io::Result<()> {
    let socket = Socket::new(NETLINK_SOCK_DIAG)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_WITHIN))?;
    let mut datagram = Vec::with_capacity(DATAGRAM_BYTES);
    for (number, (family, transport)) in (1_u32..).zip(QUESTIONS) {
        socket.send_to(&question(number, family, transport), &Address::new(0, 0), 0)?;
        match take_answer(&socket, &mut datagram, (number, transport), &mut each) {
            // A kernel without IPv6 has nobody to answer for it.
            Err(error) if family == FAMILIES[1] && is_unknown(&error) => {}
            taken => taken?,
        }
    }
    Ok(())
}

fn is_unknown(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NOENT.raw_os_error())
}

fn take_answer(
    socket: &Socket,
    datagram: &mut Vec<u8>,
    about: (u32, Transport),
    each: &mut impl FnMut(&SocketRow),
) -> io::Result<()> {
    loop {
        datagram.clear();
        let (_, sender) = socket.recv_from(datagram, 0)?;
        // Only the kernel speaks from address 0; a program may forge a message.
        if sender.port_number() == 0 && read_answer(datagram, about, &mut *each)? {
            return Ok(());
        }
    }
}

fn question(number: u32, family: u8, transport: Transport) -> Vec<u8> {
    let states = [SocketState::Listening, SocketState::Connected];
    let states = states.iter().flat_map(|state| state.codes(transport));
    let states = states.fold(0_u32, |states, code| states | 1 << code);
    let protocol: u8 = match transport {
        Transport::Tcp => 6,
        Transport::Udp => 17,
    };
    let length = HEAD_BYTES + QUESTION_BYTES;
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(u32::try_from(length).unwrap_or_default().to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(ALL.to_ne_bytes());
    bytes.extend(number.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend([family, protocol, 0, 0]);
    bytes.extend(states.to_ne_bytes());
    bytes.resize(length, 0);
    bytes
}

/// Reads a datagram of the answer to the question of this number; true when it is the last one.
///
/// # Errors
/// With what the kernel says, or because the bytes are not of its form.
pub fn read_answer(
    datagram: &[u8],
    (number, transport): (u32, Transport),
    mut each: impl FnMut(&SocketRow),
) -> io::Result<bool> {
    let mut rest = datagram;
    while !rest.is_empty() {
        let broken = || io::Error::other("the kernel's answer about its sockets is cut off");
        let (length, kind) = (word(rest, 0), half(rest, 4));
        let length = length.and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|length| *length >= HEAD_BYTES);
        let message = length.and_then(|length| rest.get(..length));
        let body = message.and_then(|message| message.get(HEAD_BYTES..));
        let body = body.ok_or_else(broken)?;
        let is_ours = word(rest, 8) == Some(number);
        match kind {
            Some(ERROR | DONE) if is_ours => {
                let code = word(body, 0).unwrap_or_default().cast_signed();
                if code < 0 {
                    return Err(io::Error::from_raw_os_error(code.saturating_neg()));
                }
                return Ok(true);
            }
            Some(BY_FAMILY) if is_ours => each(&read_row(body, transport).ok_or_else(broken)?),
            _ => {}
        }
        let next = length.unwrap_or_default().next_multiple_of(4);
        rest = rest.get(next..).unwrap_or_default();
    }
    Ok(false)
}

fn read_row(body: &[u8], transport: Transport) -> Option<SocketRow> {
    let row = body.get(..ROW_BYTES)?;
    let family = *row.first()?;
    Some(SocketRow {
        transport,
        local: address(family, row.get(8..24)?, row.get(4..6)?)?,
        remote: address(family, row.get(24..40)?, row.get(6..8)?)?,
        state: SocketState::of(*row.get(1)?, transport),
        user: word(row, 64)?,
        inode: word(row, 68)?.into(),
    })
}

/// Addresses and ports are in the order of the network here.
fn address(family: u8, address: &[u8], port: &[u8]) -> Option<SocketAddr> {
    let address = match family {
        family if family == FAMILIES[0] => IpAddr::V4(Ipv4Addr::from(*address.first_chunk::<4>()?)),
        family if family == FAMILIES[1] => {
            IpAddr::V6(Ipv6Addr::from(*address.first_chunk::<16>()?)).to_canonical()
        }
        _ => return None,
    };
    let port = u16::from_be_bytes(*port.first_chunk()?);
    Some(SocketAddr::new(address, port))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ABOUT: (u32, Transport) = (7, Transport::Tcp);

    fn message(kind: u16, number: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEAD_BYTES + body.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(2_u16.to_ne_bytes());
        bytes.extend(number.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(body);
        bytes
    }

    /// A connection from 192.0.2.1:22 to 198.51.100.7:40000 of user 33, socket 4711.
    fn row() -> Vec<u8> {
        let mut row = vec![2, 1, 0, 0];
        row.extend(22_u16.to_be_bytes());
        row.extend(40_000_u16.to_be_bytes());
        row.extend([192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        row.extend([198, 51, 100, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        row.extend([0; 24]);
        row.extend(33_u32.to_ne_bytes());
        row.extend(4_711_u32.to_ne_bytes());
        row
    }

    fn read(datagram: &[u8]) -> io::Result<(Vec<SocketRow>, bool)> {
        let mut rows = Vec::new();
        let is_last = read_answer(datagram, ABOUT, |row| rows.push(*row))?;
        Ok((rows, is_last))
    }

    #[test]
    fn an_answer_is_read_to_its_end_and_those_to_others_are_not() {
        let mut datagram = message(BY_FAMILY, 6, &row());
        datagram.extend(message(DONE, 6, &[0; 4]));
        datagram.extend(message(BY_FAMILY, 7, &row()));
        let (rows, is_last) = read(&datagram).unwrap();
        datagram.extend(message(DONE, 7, &[0; 4]));

        assert!(!is_last && read(&datagram).unwrap().1);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].local, "192.0.2.1:22".parse().unwrap());
        assert_eq!(rows[0].remote, "198.51.100.7:40000".parse().unwrap());
        assert_eq!(rows[0].state, SocketState::Connected);
        assert_eq!((rows[0].user, rows[0].inode), (33, 4_711));
    }

    #[test]
    fn a_refusal_is_an_error_and_not_the_end() {
        let no_such = (-2_i32).to_ne_bytes();
        for kind in [ERROR, DONE] {
            let error = read(&message(kind, 7, &no_such)).unwrap_err();
            assert!(is_unknown(&error), "{error}");
        }
    }

    proptest! {
        #[test]
        fn an_answer_that_is_cut_is_no_answer(cut in 1_usize..ROW_BYTES + HEAD_BYTES) {
            let whole = message(BY_FAMILY, 7, &row());

            prop_assert!(read(&whole[..cut]).is_err());
        }

        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let datagram = message(BY_FAMILY, 7, &bytes);

            prop_assert_eq!(read(&datagram).is_ok(), bytes.len() >= ROW_BYTES && [2, 10].contains(&bytes[0]));
        }
    }
}
