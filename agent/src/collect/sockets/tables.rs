//! The sockets of a host as they are now: asked of the kernel, or read from its tables in text.
//! It compares nothing and knows no process.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::{Duration, Instant};

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

/// A kernel that does not answer is asked again so much later: each question may make it look for
/// its modules, by a program that it starts.
const ASK_AGAIN: Duration = Duration::from_secs(3_600);

/// What reads the sockets of this host, and remembers which way it does.
#[derive(Debug, Default)]
pub(super) struct SocketReader {
    /// When the kernel did not answer last, and why.
    refusal: Option<(Instant, String)>,
}

impl SocketReader {
    /// Those of this host, of which this is the `/proc`.
    ///
    /// # Errors
    /// When the kernel neither answers nor has tables.
    pub(super) fn read(&mut self, proc: &Path) -> io::Result<Sockets> {
        self.read_at(Instant::now(), proc, |sockets, handed_out| {
            list_sockets(|row| sockets.add(row, handed_out))
        })
    }

    /// Which way they are read, for people.
    pub(super) fn how(&self) -> String {
        match &self.refusal {
            None => "by asking the kernel (sock_diag)".to_owned(),
            Some((_, why)) => {
                format!("by reading the kernel's tables, for sock_diag does not answer: {why}")
            }
        }
    }

    /// One that was refused an answer just now.
    #[cfg(test)]
    pub(super) fn refused(why: &str) -> Self {
        Self {
            refusal: Some((Instant::now(), why.to_owned())),
        }
    }

    fn read_at(
        &mut self,
        now: Instant,
        proc: &Path,
        ask: impl FnOnce(&mut Sockets, &RangeInclusive<u16>) -> io::Result<()>,
    ) -> io::Result<Sockets> {
        let is_rested = |(at, _): &(Instant, String)| now.duration_since(*at) >= ASK_AGAIN;
        if self.refusal.as_ref().is_none_or(is_rested) {
            let mut sockets = Sockets::default();
            match ask(&mut sockets, &read_handed_out(proc)) {
                Ok(()) => {
                    self.refusal = None;
                    return Ok(sockets);
                }
                // Its modules may be missing, or kept from being loaded.
                Err(error) => self.refusal = Some((now, error.to_string())),
            }
        }
        read_tables(proc)
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
    use std::os::fd::AsFd;

    /// Those of a reading that are these sockets.
    fn of_ours(sockets: &Sockets, inodes: &[u64]) -> String {
        let listening = sockets.ports.iter();
        let listening = listening.filter(|(_, (inode, _))| inodes.contains(inode));
        let flows = sockets.flows.iter();
        let flows = flows.filter(|flow| inodes.contains(&flow.inode));
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
        let mut ours = vec![inode(&four)];
        let six = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0));
        ours.extend(six.iter().map(inode));
        let flow = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        // Nothing is sent by that; where there is no way there is no connection to be seen.
        if flow.connect("192.0.2.77:53").is_ok() {
            ours.push(inode(&flow));
        }

        if let Err(error) = list_sockets(|row| asked.add(row, &read_handed_out(proc))) {
            let test = "what_the_kernel_answers_is_what_its_tables_say";
            return hidps_lab::say_skipped(test, &error);
        }
        let read = read_tables(proc).unwrap();

        let asked = of_ours(&asked, &ours);
        assert_eq!(asked, of_ours(&read, &ours));
        for inode in ours {
            assert!(asked.contains(&inode.to_string()), "{inode}: {asked}");
        }
    }

    /// The number that the kernel gave a socket.
    fn inode(socket: &impl AsFd) -> u64 {
        rustix::fs::fstat(socket).unwrap().st_ino
    }

    #[test]
    fn a_kernel_that_does_not_answer_is_asked_again_an_hour_later() {
        let proc = Path::new("/proc");
        let mut reader = SocketReader::default();
        let begun = Instant::now();
        let mut n_asked = 0;
        let mut read_after = |seconds: u64, answers: bool| {
            let now = begun + Duration::from_secs(seconds);
            let read = reader.read_at(now, proc, |_, _| {
                n_asked += 1;
                if answers {
                    Ok(())
                } else {
                    Err(io::ErrorKind::NotFound.into())
                }
            });
            read.unwrap();
            (n_asked, reader.how().starts_with("by asking"))
        };

        assert_eq!(read_after(0, false), (1, false));
        assert_eq!(read_after(3_599, false), (1, false));
        assert_eq!(read_after(3_600, false), (2, false));
        assert_eq!(read_after(7_200, true), (3, true));
        assert_eq!(read_after(7_210, true), (4, true));
    }

    #[test]
    fn a_host_that_tells_of_no_socket_is_an_error_and_not_empty() {
        let empty = tempfile::tempdir().unwrap();

        assert!(read_tables(empty.path()).is_err());
    }
}
