//! Who is logged in by SSH now, as the kernel's tables of sockets and processes tell.
//! It reads `/proc` alone, and what cannot be read is nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::guard::{MAX_OF_NETWORK, MAX_PEERS, SshPeer};
use super::ssh_sessions::{Progress, SshSession, read_sessions};
use crate::collect::process::UserNames;
use crate::config::Port;

/// Most connections to the usual port that are kept of those that no process is seen to hold.
const MAX_UNKNOWN: usize = 16_384;

/// The state of a connection that is open, as the tables write it.
const ESTABLISHED: &str = "01";

/// One open connection of TCP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Connection {
    local_port: u16,
    remote: IpAddr,
    inode: u64,
}

/// The connections among which the sessions are.
#[derive(Debug, Default)]
pub(super) struct Possible {
    connections: Vec<Connection>,
    /// How many connections to the usual port are beyond [`MAX_UNKNOWN`].
    n_beyond: usize,
}

/// Who is connected by SSH.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct SshPeers {
    /// Those that are kept in mind.
    pub(super) peers: BTreeSet<SshPeer>,
    /// How many others there are; those of more connections than are looked at count once each.
    pub(super) n_left_out: usize,
}

/// The sessions of this network namespace, at most 64: those who have logged in before those who
/// only have a connection, and the oldest first, so that nobody is pushed out by a flood; of one
/// network no more than 16 while there are others.
pub(super) fn read_ssh_peers() -> SshPeers {
    let mut users = UserNames::default();
    let sessions = read_sessions(Path::new("/proc"), |user| users.name(user, 0).to_string());
    let mut possible = Possible::default();
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        if let Ok(file) = fs::File::open(table) {
            // A busy host has more of them than one would hold in memory.
            let lines = BufReader::new(file).lines().map_while(Result::ok);
            possible.keep(lines, &sessions);
        }
    }
    possible.find(&sessions)
}

impl Possible {
    /// Who is at the other ends, as many as are kept in mind, and how many others there are.
    pub(super) fn find(&self, sessions: &BTreeMap<u64, SshSession>) -> SshPeers {
        let mut found = find_peers(&self.connections, sessions);
        found.n_left_out += self.n_beyond;
        found
    }

    /// Keeps the connections of the host's SSH server, and those to its usual port: without privileges
    /// the processes of others do not show their sockets.
    pub(super) fn keep(
        &mut self,
        lines: impl Iterator<Item = String>,
        sessions: &BTreeMap<u64, SshSession>,
    ) {
        let connections = lines.filter_map(|line| parse_connection(&line));
        for connection in connections.filter(|it| !it.remote.is_loopback()) {
            let is_held = sessions.contains_key(&connection.inode);
            let is_usual = connection.local_port == Port::SSH.number;
            if is_held || (is_usual && self.connections.len() < MAX_UNKNOWN) {
                self.connections.push(connection);
            } else if is_usual {
                self.n_beyond += 1;
            }
        }
    }
}

/// Who is at the other ends of some connections, as many as are kept in mind. The oldest come first:
/// by their processes, and where the processes do not show, roughly, by their sockets: each processor
/// numbers those it makes from a thousand numbers of its own at a time. What a peer chooses, as its
/// address, decides nothing.
fn find_peers(connections: &[Connection], sessions: &BTreeMap<u64, SshSession>) -> SshPeers {
    let mut found: BTreeMap<SshPeer, (SshSession, u64)> = BTreeMap::new();
    for it in connections {
        let peer = SshPeer {
            address: it.remote,
            port: it.local_port,
        };
        let session = sessions.get(&it.inode).copied();
        let age = (session.unwrap_or((Progress::Unknown, 0)), it.inode);
        let known = found.entry(peer).or_insert(age);
        *known = age.min(*known);
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_key(|(_, age)| *age);
    let mut n_of_network: BTreeMap<_, usize> = BTreeMap::new();
    let mut ranked: Vec<_> = found
        .into_iter()
        .map(|(peer, ((progress, _), _))| {
            let n = n_of_network
                .entry((progress, network_of(peer.address)))
                .or_default();
            *n += 1;
            ((progress, *n > MAX_OF_NETWORK), peer)
        })
        .collect();
    // Stable, so that the oldest stay before the others.
    ranked.sort_by_key(|(rank, _)| *rank);
    SshPeers {
        n_left_out: ranked.len().saturating_sub(MAX_PEERS),
        peers: ranked
            .into_iter()
            .take(MAX_PEERS)
            .map(|(_, peer)| peer)
            .collect(),
    }
}

/// The network of an address: whoever has one address of it has them all, more or less.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(four) => Ipv4Addr::from_bits(four.to_bits() & (u32::MAX << 8)).into(),
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() & (u128::MAX << 64)).into(),
    }
}

/// One line of a table: number, local and remote end, state, …, and the inode as the tenth word.
fn parse_connection(line: &str) -> Option<Connection> {
    let mut words = line.split_ascii_whitespace();
    let (_, local_port) = words.nth(1)?.split_once(':')?;
    let (remote, _) = words.next()?.split_once(':')?;
    if words.next()? != ESTABLISHED {
        return None;
    }
    Some(Connection {
        local_port: u16::from_str_radix(local_port, 16).ok()?,
        remote: parse_address(remote)?,
        inode: words.nth(5)?.parse().ok()?,
    })
}

/// Words of 32 bits in the order of this machine, in hexadecimal digits.
fn parse_address(digits: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = digits.get(at..at + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match digits.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let mut bytes = [0; 16];
            for (part, word) in bytes.chunks_exact_mut(4).zip(words) {
                part.copy_from_slice(&word);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";

    #[cfg(target_endian = "little")]
    const FOUR: &str = "   1: 02004D0A:0016 03004D0A:D431 01 00000000:00000000 02:000A7E9C 00000000     0        0 41 2 0000000000000000";

    #[cfg(target_endian = "little")]
    const SIX: &str = "   0: 00000000000000000000000000000000:08AE 000077FD000000000000000003000000:D431 01 00000000:00000000 02:000A7E9C 00000000     0        0 42 2 0";

    #[test]
    #[cfg(target_endian = "little")]
    fn sessions_are_found_by_their_process_and_by_the_usual_port() {
        let read = |sessions: &BTreeMap<u64, SshSession>| {
            let mut possible = Possible::default();
            let lines = [HEAD, FOUR, SIX].map(str::to_owned).into_iter();
            possible.keep(lines, sessions);
            find_peers(&possible.connections, sessions).peers
        };
        let peer = |address: &str, port| SshPeer {
            address: address.parse().unwrap(),
            port,
        };

        let usual = read(&BTreeMap::new());
        assert_eq!(usual, BTreeSet::from([peer("10.77.0.3", 22)]));
        let both = read(&BTreeMap::from([(42, (Progress::Waiting, 1))]));
        assert_eq!(
            both,
            BTreeSet::from([peer("10.77.0.3", 22), peer("fd77::3", 2_222)])
        );
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_socket_that_only_listens_or_is_closing_is_nobody() {
        assert_eq!(parse_connection(&FOUR.replace(" 01 ", " 0A ")), None);
        assert_eq!(parse_connection(&FOUR.replace(" 01 ", " 06 ")), None);
    }

    /// Connections to the usual port of so many strangers, and of an admin behind them all.
    fn flood(n_strangers: u64) -> (Vec<Connection>, SshPeer) {
        let connection = |inode: u64, remote: IpAddr| Connection {
            local_port: 22,
            remote,
            inode,
        };
        let stranger = |number| Ipv6Addr::from((0xfd77_u128 << 112) + u128::from(number));
        let admin = SshPeer {
            address: "fd99::1".parse().unwrap(),
            port: 22,
        };
        let strangers = (1_000..1_000 + n_strangers).map(|n| connection(n, stranger(n).into()));
        let admins = connection(7, admin.address);
        (strangers.chain([admins]).collect(), admin)
    }

    #[test]
    fn a_flood_of_connections_without_a_login_pushes_nobody_out_who_has_logged_in() {
        let (connections, admin) = flood(500);
        let mut sessions: BTreeMap<_, _> = connections
            .iter()
            .map(|it| (it.inode, (Progress::Waiting, it.inode)))
            .collect();
        // The admin came last of all.
        sessions.insert(7, (Progress::LoggedIn, 9_000));

        let SshPeers { peers, n_left_out } = find_peers(&connections, &sessions);

        assert_eq!((peers.len(), n_left_out), (MAX_PEERS, 501 - MAX_PEERS));
        assert!(peers.contains(&admin));
    }

    #[test]
    fn those_who_were_there_first_stay_whatever_comes_later() {
        let (connections, admin) = flood(500);
        let check = |of_all, of_admin| {
            let mut sessions: BTreeMap<_, _> =
                connections.iter().map(|it| (it.inode, of_all)).collect();
            sessions.insert(7, of_admin);
            let found = find_peers(&connections, &sessions);
            assert!(found.peers.contains(&admin), "{of_all:?} {of_admin:?}");
        };

        check((Progress::LoggedIn, 2_000), (Progress::LoggedIn, 1_999));
        check((Progress::Waiting, 2_000), (Progress::Waiting, 1_999));
        check((Progress::Unknown, 0), (Progress::Waiting, 9_000));
    }

    #[test]
    fn where_processes_do_not_show_the_oldest_sockets_stay_and_not_the_lowest_addresses() {
        let (mut connections, admin) = flood(0);
        connections.extend((0..100).map(|network| Connection {
            local_port: 22,
            remote: Ipv4Addr::new(1, 2, network, 1).into(),
            inode: 1_000 + u64::from(network),
        }));

        let found = find_peers(&connections, &BTreeMap::new());

        assert!(found.peers.contains(&admin));
        assert_eq!(found.n_left_out, 101 - MAX_PEERS);
    }

    #[test]
    fn one_network_takes_no_places_that_others_want() {
        // A user of the host, who has logged in with every address of a /64 and came first.
        let (mut connections, admin) = flood(500);
        let user = connections[0].remote;
        // Strangers elsewhere, who have not logged in.
        connections.extend((0..100).map(|network| Connection {
            local_port: 22,
            remote: Ipv4Addr::new(1, 2, network, 1).into(),
            inode: 5_000 + u64::from(network),
        }));
        let mut sessions: BTreeMap<_, _> = connections
            .iter()
            .map(|it| (it.inode, (Progress::Waiting, 0)))
            .collect();
        for it in connections.iter().filter(|it| it.remote.is_ipv6()) {
            sessions.insert(it.inode, (Progress::LoggedIn, it.inode));
        }
        sessions.insert(7, (Progress::LoggedIn, 9_000));

        let found = find_peers(&connections, &sessions);

        assert!(found.peers.contains(&admin));
        let of_user = |peer: &&SshPeer| network_of(peer.address) == network_of(user);
        // Nobody who has logged in goes without for somebody who has not.
        assert_eq!(found.peers.iter().filter(of_user).count(), MAX_PEERS - 1);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn connections_beyond_those_that_are_looked_at_are_counted() {
        let mut possible = Possible::default();
        let sessions = BTreeMap::from([(41, (Progress::LoggedIn, 1))]);
        let unknown = FOUR.replace(" 41 ", " 40 ");

        let lines = std::iter::repeat_n(unknown, MAX_UNKNOWN + 3);
        possible.keep(lines.chain([FOUR.to_owned(), SIX.to_owned()]), &sessions);

        assert_eq!(
            possible.connections.len(),
            MAX_UNKNOWN + 1,
            "and who is known"
        );
        assert_eq!(possible.n_beyond, 3);
    }

    #[test]
    fn many_connections_of_one_address_are_one_peer() {
        let (mut connections, admin) = flood(0);
        let address = "198.51.100.7".parse().unwrap();
        connections.extend((0..500).map(|inode| Connection {
            local_port: 22,
            remote: address,
            inode,
        }));

        let SshPeers { peers, .. } = find_peers(&connections, &BTreeMap::new());

        let stranger = SshPeer { address, port: 22 };
        assert_eq!(peers, BTreeSet::from([admin, stranger]));
    }

    proptest! {
        #[test]
        fn any_line_is_a_connection_or_none(line in "\\PC{0,200}") {
            parse_connection(&line);
        }

        #[test]
        fn any_word_is_an_address_or_none(word in "[0-9A-Fa-fé]{0,40}") {
            parse_address(&word);
        }
    }
}
