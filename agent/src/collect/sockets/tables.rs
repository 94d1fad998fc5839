//! The sockets of a host as they are now: asked of the kernel, or read from its tables in text.
//! It compares nothing and knows no process.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::ops::RangeInclusive;
use std::path::Path;

use super::diagnosis::list_sockets;
use super::difference::Sockets;
use super::listing::{Transport, parse_line};

/// Most bytes of a line of the kernel's tables.
const MAX_LINE_BYTES: u64 = 512;

/// The kernel's tables.
const TABLES: [(&str, Transport); 4] = [
    ("net/tcp", Transport::Tcp),
    ("net/tcp6", Transport::Tcp),
    ("net/udp", Transport::Udp),
    ("net/udp6", Transport::Udp),
];

/// Those of this host, of which this is the `/proc`.
///
/// # Errors
/// When the kernel neither answers nor has tables.
pub(super) fn read_own(proc: &Path) -> io::Result<Sockets> {
    let handed_out = read_handed_out(proc);
    let mut sockets = Sockets::default();
    match list_sockets(|row| sockets.add(row, &handed_out)) {
        Ok(()) => Ok(sockets),
        // Its modules may be missing, or kept from being loaded.
        Err(error) => {
            tracing::debug!(%error, "the kernel was not to be asked for its sockets; reading its tables");
            read_tables(proc)
        }
    }
}

/// Those of a host with this `/proc`, from its tables.
///
/// # Errors
/// When there are no tables.
pub(super) fn read_tables(proc: &Path) -> io::Result<Sockets> {
    let handed_out = read_handed_out(proc);
    let mut sockets = Sockets::default();
    let mut line = String::new();
    for (name, transport) in TABLES {
        let file = match File::open(proc.join(name)) {
            Ok(file) => file,
            // A kernel without IPv6 has no table of it.
            Err(error) if error.kind() == io::ErrorKind::NotFound && name.ends_with('6') => {
                continue;
            }
            Err(error) => return Err(error),
        };
        let mut lines = BufReader::new(file);
        loop {
            line.clear();
            if lines.by_ref().take(MAX_LINE_BYTES).read_line(&mut line)? == 0 {
                break;
            }
            if let Some(row) = parse_line(&line, transport) {
                sockets.add(&row, &handed_out);
            }
        }
    }
    Ok(sockets)
}

/// The ports that the kernel gives to clients.
fn read_handed_out(proc: &Path) -> RangeInclusive<u16> {
    let text = std::fs::read_to_string(proc.join("sys/net/ipv4/ip_local_port_range"));
    let text = text.unwrap_or_default();
    let mut ends = text
        .split_ascii_whitespace()
        .filter_map(|end| end.parse().ok());
    match (ends.next(), ends.next()) {
        (Some(first), Some(last)) => first..=last,
        _ => 32_768..=60_999,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};

    /// The ports of a reading that are among these, and connections to the address for examples.
    fn of_ours(sockets: &Sockets, ports: &[u16]) -> String {
        let listening = sockets.ports.iter();
        let listening = listening.filter(|(port, _)| ports.contains(&port.number));
        let flows = sockets.flows.iter();
        let flows = flows.filter(|flow| ports.contains(&flow.local.port()));
        format!(
            "{:#?}",
            (listening.collect::<Vec<_>>(), flows.collect::<Vec<_>>())
        )
    }

    #[test]
    fn what_the_kernel_answers_is_what_its_tables_say() {
        let proc = Path::new("/proc");
        let mut asked = Sockets::default();
        let four = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut ports = vec![four.local_addr().unwrap().port()];
        let six = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0));
        ports.extend(six.iter().map(|six| six.local_addr().unwrap().port()));
        let flow = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        // Nothing is sent by that; where there is no way there is no connection to be seen.
        if flow.connect("192.0.2.77:53").is_ok() {
            ports.push(flow.local_addr().unwrap().port());
        }

        list_sockets(|row| asked.add(row, &read_handed_out(proc))).unwrap();
        let read = read_tables(proc).unwrap();

        let asked = of_ours(&asked, &ports);
        assert_eq!(asked, of_ours(&read, &ports));
        for port in ports {
            assert!(asked.contains(&port.to_string()), "{port}: {asked}");
        }
    }

    #[test]
    fn a_host_that_tells_of_no_socket_is_an_error_and_not_empty() {
        let empty = tempfile::tempdir().unwrap();

        assert!(read_tables(empty.path()).is_err());
    }
}
