//! The ports a host listens on just now, each with the program that holds it, for whoever asks once.
//! It remembers nothing and tells no event.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use super::listing::Transport;
use super::owners::Owners;
use super::tables::read_tables;

/// A port that is listened on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Listener {
    /// How it is spoken to.
    pub(crate) transport: Transport,
    /// Where it listens.
    pub(crate) address: IpAddr,
    /// The port.
    pub(crate) port: u16,
    /// The name of the program that holds it; none where that is another's secret.
    pub(crate) process: Option<String>,
}

/// All ports in the order of transport, address and number, of the host with this `/proc`.
///
/// # Errors
/// When the kernel's tables cannot be read.
pub(crate) fn list_listeners(proc: &Path) -> io::Result<Vec<Listener>> {
    let sockets = read_tables(proc)?;
    let wanted = sockets.ports.values().map(|(inode, _)| *inode).collect();
    let holders = Owners::of(proc.to_owned()).find(wanted);
    let listeners = sockets.ports.iter().map(|(port, (inode, _))| Listener {
        transport: port.transport,
        address: port.address,
        port: port.number,
        process: holders.get(inode).and_then(|pid| read_program(proc, *pid)),
    });
    Ok(listeners.collect())
}

/// The name of a process's program, or what it calls itself where its program is gone.
fn read_program(proc: &Path, pid: u32) -> Option<String> {
    let directory = proc.join(pid.to_string());
    let program = fs::read_link(directory.join("exe")).ok();
    let name = program.as_deref().and_then(Path::file_name);
    let name = name.map(|name| name.to_string_lossy().into_owned());
    // A program that was replaced by an update still runs, and the kernel says so in its name.
    let name = name.map(|name| name.trim_end_matches(" (deleted)").to_owned());
    name.or_else(|| {
        let called = fs::read(directory.join("comm")).ok()?;
        Some(String::from_utf8_lossy(&called).trim_end().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener, UdpSocket};

    #[test]
    fn a_port_is_listed_with_its_program_while_it_is_listened_on() {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = tcp.local_addr().unwrap().port();
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client_port = client.local_addr().unwrap().port();
        let own = std::env::current_exe().unwrap();
        let own = own.file_name().unwrap().to_str().unwrap();
        let list = || list_listeners(Path::new("/proc")).unwrap();

        let listed = list();

        let found = listed.iter().find(|listener| {
            listener.transport == Transport::Tcp
                && (listener.address, listener.port) == (Ipv4Addr::LOCALHOST.into(), port)
        });
        assert_eq!(found.unwrap().process.as_deref(), Some(own));
        let is_client = |listener: &Listener| {
            listener.transport == Transport::Udp && listener.port == client_port
        };
        assert!(!listed.iter().any(is_client), "a client is no listener");
        drop(tcp);
        assert!(!list().contains(found.unwrap()));
    }

    #[test]
    fn a_host_without_the_kernels_tables_is_an_error_and_not_empty() {
        let empty = tempfile::tempdir().unwrap();

        assert!(list_listeners(empty.path()).is_err());
    }
}
