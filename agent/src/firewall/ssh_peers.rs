//! Who is logged in by SSH now, as the kernel's tables of sockets and processes tell.
//! It reads `/proc` alone, and what cannot be read is nobody.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::guard::{MAX_PEERS, SshPeer};
use crate::collect::process::parse_users;
use crate::config::Port;

/// Sockets beyond this are not looked through: the tables are read into memory.
const MAX_TABLE_BYTES: u64 = 4 * 1024 * 1024;

/// The state of a connection that is open, as the tables write it.
const ESTABLISHED: &str = "01";

/// One open connection of TCP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Connection {
    local_port: u16,
    remote: IpAddr,
    inode: u64,
}

/// The sessions of this network namespace, at most 64.
pub(super) fn read_ssh_peers() -> BTreeSet<SshPeer> {
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"].map(read_bounded);
    let connections: Vec<_> = tables
        .iter()
        .flat_map(|table| table.lines().filter_map(parse_connection))
        .collect();
    if connections.is_empty() {
        return BTreeSet::new();
    }
    let held = read_sshd_sockets(Path::new("/proc"));
    find_peers(&connections, &held)
}

/// Those of the host's SSH server, and whoever is at its usual port: without privileges the
/// processes of others do not show their sockets.
fn find_peers(connections: &[Connection], held: &BTreeSet<u64>) -> BTreeSet<SshPeer> {
    connections
        .iter()
        .filter(|it| held.contains(&it.inode) || it.local_port == Port::SSH.number)
        .filter(|it| !it.remote.is_loopback())
        .map(|it| SshPeer {
            address: it.remote,
            port: it.local_port,
        })
        .take(MAX_PEERS)
        .collect()
}

fn read_bounded(path: &str) -> String {
    let mut text = String::new();
    if let Ok(file) = fs::File::open(path) {
        file.take(MAX_TABLE_BYTES).read_to_string(&mut text).ok();
    }
    text
}

/// The inodes of all sockets of the host's SSH server, which holds those of all its sessions.
fn read_sshd_sockets(proc: &Path) -> BTreeSet<u64> {
    let mut inodes = BTreeSet::new();
    for entry in fs::read_dir(proc).into_iter().flatten().flatten() {
        if !is_sshd(&entry.path()) {
            continue;
        }
        let handles = fs::read_dir(entry.path().join("fd"));
        for handle in handles.into_iter().flatten().flatten() {
            let target = fs::read_link(handle.path()).unwrap_or_default();
            let inode = target.to_str().and_then(parse_socket);
            inodes.extend(inode);
        }
    }
    inodes
}

/// Whether a process is root's own and runs a program of `sshd`. Its name says nothing: anybody may
/// take that, and would keep the firewall open for whomever they are connected with.
fn is_sshd(process: &Path) -> bool {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    if !name.starts_with("sshd") {
        return false;
    }
    let program = fs::read_link(process.join("exe")).unwrap_or_default();
    let program = program.file_name().and_then(|name| name.to_str());
    // Who began it: a program that changes its user may have been called by that name.
    let status = fs::read(process.join("status")).unwrap_or_default();
    let user = parse_users(&String::from_utf8_lossy(&status)).map(|(real, _)| real);
    program.is_some_and(|name| name.starts_with("sshd")) && user == Some(0)
}

fn parse_socket(target: &str) -> Option<u64> {
    target
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
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
        let connections: Vec<_> = [HEAD, FOUR, SIX]
            .iter()
            .filter_map(|line| parse_connection(line))
            .collect();
        let peer = |address: &str, port| SshPeer {
            address: address.parse().unwrap(),
            port,
        };

        assert_eq!(connections.len(), 2);
        let usual = find_peers(&connections, &BTreeSet::new());
        assert_eq!(usual, BTreeSet::from([peer("10.77.0.3", 22)]));
        let both = find_peers(&connections, &BTreeSet::from([42]));
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

    #[test]
    fn only_the_hosts_own_ssh_server_holds_sessions() {
        let proc = tempfile::tempdir().unwrap();
        let process = |id: u32, name: &str, program: &str, user: u32| {
            let directory = proc.path().join(id.to_string());
            fs::create_dir_all(directory.join("fd")).unwrap();
            fs::write(directory.join("comm"), format!("{name}\n")).unwrap();
            let status = format!("Name:\t{name}\nUid:\t{user}\t0\t0\t0\n");
            fs::write(directory.join("status"), status).unwrap();
            std::os::unix::fs::symlink(program, directory.join("exe")).unwrap();
            let socket = format!("socket:[{id}]");
            std::os::unix::fs::symlink(socket, directory.join("fd/3")).unwrap();
        };
        process(1, "sshd", "/usr/sbin/sshd", 0);
        process(
            2,
            "sshd-session",
            "/usr/lib/openssh/sshd-session (deleted)",
            0,
        );
        process(3, "sshd", "/home/eve/sshd", 1_000);
        process(4, "sshd", "/usr/bin/sudo", 0);
        process(5, "nginx", "/usr/sbin/nginx", 0);

        let held = read_sshd_sockets(proc.path());

        assert_eq!(held, BTreeSet::from([1, 2]));
    }

    #[test]
    fn a_socket_is_told_from_other_handles() {
        assert_eq!(parse_socket("socket:[123]"), Some(123));
        assert_eq!(parse_socket("pipe:[123]"), None);
        assert_eq!(parse_socket("/etc/socket:[1]"), None);
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
