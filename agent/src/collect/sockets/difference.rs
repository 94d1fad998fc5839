//! What came and what went between two looks at the sockets of a host.
//! It reads nothing and knows no process: owners are looked up only for what is new.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use super::listing::{SocketRow, SocketState, Transport};

/// Most connections compared; a proxy with more is watched in part, and says so.
const MAX_FLOWS: usize = 16_384;

/// Most ports compared.
const MAX_PORTS: usize = 4_096;

/// Most ports of one user that are compared, so that nobody hides those of all others.
const MAX_PORTS_OF_USER: usize = MAX_PORTS / 4;

/// A port that a host listens on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Port {
    pub(super) transport: Transport,
    pub(super) address: IpAddr,
    pub(super) number: u16,
}

/// A connection, with this host's end first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Flow {
    pub(super) transport: Transport,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) inode: u64,
    pub(super) user: u32,
}

/// The sockets of a host at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Sockets {
    /// Ports, with the socket and the user of each.
    pub(super) ports: BTreeMap<Port, (u64, u32)>,
    pub(super) flows: BTreeSet<Flow>,
    /// Connections and ports that found no room.
    pub(super) n_left_out: u64,
    /// How many ports each user holds.
    n_ports_of: BTreeMap<u32, usize>,
}

impl Sockets {
    /// Adds a socket; `handed_out` are the ports that the kernel gives to clients.
    pub(super) fn add(&mut self, row: &SocketRow, handed_out: &RangeInclusive<u16>) {
        match row.state {
            SocketState::Listening => {
                // A client of UDP cannot be told from a server, but by its number.
                let is_client =
                    row.transport == Transport::Udp && handed_out.contains(&row.local.port());
                let port = Port {
                    transport: row.transport,
                    address: row.local.ip(),
                    number: row.local.port(),
                };
                if port.number > 0 && !is_client && !self.ports.contains_key(&port) {
                    self.add_port(port, (row.inode, row.user));
                }
            }
            SocketState::Connected => {
                if row.remote.ip().is_loopback() || row.inode == 0 {
                    return;
                }
                if self.flows.len() >= MAX_FLOWS {
                    self.n_left_out += 1;
                    return;
                }
                self.flows.insert(Flow {
                    transport: row.transport,
                    local: row.local,
                    remote: row.remote,
                    inode: row.inode,
                    user: row.user,
                });
            }
            SocketState::Other => {}
        }
    }

    fn add_port(&mut self, port: Port, (inode, user): (u64, u32)) {
        let n_own = self.n_ports_of.entry(user).or_default();
        if self.ports.len() >= MAX_PORTS || *n_own >= MAX_PORTS_OF_USER {
            self.n_left_out += 1;
            return;
        }
        *n_own += 1;
        self.ports.insert(port, (inode, user));
    }

    /// Whether this host began a connection, as far as its own listeners tell.
    pub(super) fn is_initiated(&self, flow: &Flow) -> bool {
        let own = |address| Port {
            transport: flow.transport,
            address,
            number: flow.local.port(),
        };
        let local = flow.local.ip();
        let any = [
            local,
            IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        ];
        !any.into_iter()
            .any(|address| self.ports.contains_key(&own(address)))
    }

    /// Connections that were not there before.
    pub(super) fn new_flows<'s>(&'s self, before: &'s Self) -> impl Iterator<Item = &'s Flow> {
        self.flows.difference(&before.flows)
    }

    /// Ports whose socket was not there before.
    pub(super) fn new_ports<'s>(
        &'s self,
        before: &'s Self,
    ) -> impl Iterator<Item = (&'s Port, &'s (u64, u32))> {
        let is_new = |(port, socket): &(&Port, &(u64, u32))| before.ports.get(port) != Some(socket);
        self.ports.iter().filter(is_new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDED_OUT: RangeInclusive<u16> = 32_768..=60_999;

    fn row(transport: Transport, state: SocketState, local: &str, remote: &str) -> SocketRow {
        SocketRow {
            transport,
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            state,
            user: 0,
            inode: 7,
        }
    }

    fn sockets(rows: &[SocketRow]) -> Sockets {
        let mut sockets = Sockets::default();
        for row in rows {
            sockets.add(row, &HANDED_OUT);
        }
        sockets
    }

    #[test]
    fn whoever_opens_many_ports_hides_only_own_ones_and_they_are_counted() {
        let mut sockets = Sockets::default();
        let of = |user: u32, port: u16| SocketRow {
            user,
            ..row(
                Transport::Tcp,
                SocketState::Listening,
                &format!("0.0.0.0:{port}"),
                "0.0.0.0:0",
            )
        };

        for port in 1_000..4_000 {
            sockets.add(&of(1_000, port), &HANDED_OUT);
        }
        sockets.add(&of(1_000, 1_000), &HANDED_OUT);
        sockets.add(&of(33, 80), &HANDED_OUT);

        assert_eq!(sockets.ports.len(), MAX_PORTS_OF_USER + 1);
        assert!(sockets.ports.keys().any(|port| port.number == 80));
        let n_left_out = 3_000 - MAX_PORTS_OF_USER as u64;
        assert_eq!(sockets.n_left_out, n_left_out, "each once");
    }

    #[test]
    fn a_connection_to_an_own_listener_was_begun_by_the_other_side() {
        let listener = row(Transport::Tcp, SocketState::Listening, "[::]:22", "[::]:0");
        let came = row(
            Transport::Tcp,
            SocketState::Connected,
            "10.0.0.2:22",
            "10.0.0.1:40000",
        );
        let went = row(
            Transport::Tcp,
            SocketState::Connected,
            "10.0.0.2:40000",
            "10.0.0.1:22",
        );
        let local = row(
            Transport::Tcp,
            SocketState::Connected,
            "127.0.0.1:40000",
            "127.0.0.1:22",
        );

        let after = sockets(&[listener, came, went, local]);
        let before = sockets(&[listener, went]);

        let new: Vec<_> = after.new_flows(&before).collect();
        assert_eq!(new.len(), 1, "{new:?}");
        assert_eq!(
            (new[0].local, after.is_initiated(new[0])),
            (came.local, false)
        );
        let old = before.flows.iter().next().unwrap();
        assert!(after.is_initiated(old));
    }

    #[test]
    fn a_udp_client_is_no_listener_and_another_socket_on_a_port_is_new() {
        let dns = row(
            Transport::Udp,
            SocketState::Listening,
            "0.0.0.0:53",
            "0.0.0.0:0",
        );
        let client = row(
            Transport::Udp,
            SocketState::Listening,
            "0.0.0.0:40000",
            "0.0.0.0:0",
        );
        let taken_over = SocketRow { inode: 8, ..dns };

        let before = sockets(&[dns, client]);
        let after = sockets(&[taken_over]);

        assert_eq!(before.ports.len(), 1);
        assert_eq!(after.new_ports(&before).count(), 1);
        assert_eq!(before.new_ports(&before).count(), 0);
    }

    #[test]
    fn more_connections_than_there_is_room_for_are_counted() {
        let mut sockets = Sockets::default();
        let mut flow = row(
            Transport::Tcp,
            SocketState::Connected,
            "10.0.0.2:80",
            "10.0.0.1:1",
        );
        for inode in 1..20_000 {
            flow.inode = inode;
            sockets.add(&flow, &HANDED_OUT);
        }

        assert_eq!(sockets.flows.len(), MAX_FLOWS);
        assert_eq!(sockets.n_left_out, 19_999 - MAX_FLOWS as u64);
    }
}
