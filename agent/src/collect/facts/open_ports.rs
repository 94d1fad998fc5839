//! Where this host listens, as a fact.
//! A kernel that does not tell is "unknown", never "nowhere".

use std::path::Path;

use hidps_wire::{MAX_OPEN_PORTS, OpenPort, OpenPorts, Shown, Transport};

use crate::collect::sockets::{self, Listener, list_listeners};

/// The ports of the host with this root directory; those that others can reach first, where there
/// are too many.
pub(super) fn read(root: &Path) -> Option<OpenPorts> {
    list_listeners(&root.join("proc")).ok().map(choose)
}

fn choose(mut listeners: Vec<Listener>) -> OpenPorts {
    if listeners.len() > MAX_OPEN_PORTS {
        listeners.sort_by_key(|listener| listener.address.is_loopback());
        listeners.truncate(MAX_OPEN_PORTS);
    }
    let mut ports: Vec<_> = listeners.iter().map(port).collect();
    ports.sort();
    OpenPorts(ports)
}

fn port(listener: &Listener) -> OpenPort {
    OpenPort {
        protocol: match listener.transport {
            sockets::Transport::Tcp => Transport::Tcp,
            sockets::Transport::Udp => Transport::Udp,
        },
        port: listener.port,
        address: Shown::new(&listener.address.to_string()),
        process: listener.process.as_deref().map(Shown::new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn listener(address: Ipv4Addr, port: u16) -> Listener {
        Listener {
            transport: sockets::Transport::Tcp,
            address: IpAddr::V4(address),
            port,
            process: None,
        }
    }

    #[test]
    fn of_too_many_ports_those_that_others_reach_are_told() {
        let inner = (1..=300).map(|port| listener(Ipv4Addr::LOCALHOST, port));
        let outer = (301..=400).map(|port| listener(Ipv4Addr::UNSPECIFIED, port));

        let OpenPorts(ports) = choose(inner.chain(outer).collect());

        assert_eq!(ports.len(), MAX_OPEN_PORTS);
        assert_eq!(ports.iter().filter(|port| port.port > 300).count(), 100);
        assert!(ports.is_sorted());
    }

    #[test]
    fn a_host_whose_tables_cannot_be_read_is_unknown_and_not_closed() {
        assert_eq!(read(Path::new("/nonexistent")), None);
    }
}
