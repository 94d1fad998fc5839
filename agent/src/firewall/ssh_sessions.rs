//! Which sockets the host's SSH server holds, since when, and whether somebody has logged in by them.
//! It reads `/proc` alone, and takes no process for the server that is not root's own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::collect::process::{parse_stat, parse_users};

/// What the server's programs are called: `sshd`, and `sshd-session` and `sshd-auth` of newer ones.
const PROGRAM: &str = "sshd";

/// The user as whom the server serves whoever has not logged in yet.
const WAITING_USER: &str = "sshd";

/// The number that means nobody has logged in.
const NOBODY: u32 = u32::MAX;

/// How far somebody has come who is connected; those who come first are let back in first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Progress {
    /// They have logged in.
    LoggedIn,
    /// They are connected, and may be anybody.
    Waiting,
    /// The server's processes do not show it: this one may not look at them.
    Unknown,
}

/// A session by its socket: how far it has come, and when it began, in ticks since boot.
pub(super) type SshSession = (Progress, u64);

/// A process of the server.
#[derive(Debug)]
struct ServerProcess {
    parent: u32,
    started: u64,
    user: u32,
    /// Who logged in, as the kernel was told by PAM.
    login: Option<u32>,
    /// What it calls itself.
    title: String,
    /// The sockets of one that is root's.
    sockets: BTreeSet<u64>,
}

/// The sessions below a directory of processes, by their sockets. `name_of` knows users by number.
pub(super) fn read_sessions(
    proc: &Path,
    mut name_of: impl FnMut(u32) -> String,
) -> BTreeMap<u64, SshSession> {
    let processes = read_processes(proc);
    let serves_user: BTreeSet<u32> = processes
        .values()
        .filter(|it| it.user != 0 && name_of(it.user) != WAITING_USER)
        .map(|it| it.parent)
        .collect();
    let mut sessions = BTreeMap::new();
    for (pid, process) in &processes {
        let is_logged_in = serves_user.contains(pid)
            || is_title_of_login(&process.title)
            || process.login.is_some() && read_login(proc, process.parent).is_none();
        let progress = if is_logged_in {
            Progress::LoggedIn
        } else {
            Progress::Waiting
        };
        for socket in &process.sockets {
            let session = (progress, process.started);
            let known = sessions.entry(*socket).or_insert(session);
            *known = session.min(*known);
        }
    }
    sessions
}

fn read_processes(proc: &Path) -> BTreeMap<u32, ServerProcess> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let read = entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, read_process(&entry.path())?))
    });
    read.collect()
}

/// Reads a process that runs a program of the server. Its name says nothing: anybody may take that,
/// and would keep the firewall open for whomever they are connected with; so sockets count only of
/// root's own, and others only as what one of those has begun.
fn read_process(process: &Path) -> Option<ServerProcess> {
    let read = |name| fs::read(process.join(name)).unwrap_or_default();
    if !read("comm").starts_with(PROGRAM.as_bytes()) {
        return None;
    }
    let program = fs::read_link(process.join("exe")).ok()?;
    program.file_name()?.to_str()?.strip_prefix(PROGRAM)?;
    // Who began it: a program that changes its user may have been called by that name.
    let (user, _) = parse_users(&String::from_utf8_lossy(&read("status")))?;
    let stat = parse_stat(&String::from_utf8_lossy(&read("stat")))?;
    Some(ServerProcess {
        parent: stat.parent,
        started: stat.started,
        user,
        login: parse_login(&read("loginuid")),
        title: String::from_utf8_lossy(&read("cmdline")).into_owned(),
        sockets: if user == 0 {
            read_sockets(process)
        } else {
            BTreeSet::new()
        },
    })
}

fn read_sockets(process: &Path) -> BTreeSet<u64> {
    let handles = fs::read_dir(process.join("fd"));
    let handles = handles.into_iter().flatten().flatten();
    let sockets = handles.filter_map(|handle| {
        let target = fs::read_link(handle.path()).ok()?;
        parse_socket(target.to_str()?)
    });
    sockets.collect()
}

fn read_login(proc: &Path, pid: u32) -> Option<u32> {
    let file = proc.join(pid.to_string()).join("loginuid");
    parse_login(&fs::read(file).unwrap_or_default())
}

pub(super) fn parse_login(text: &[u8]) -> Option<u32> {
    let number = std::str::from_utf8(text).ok()?.trim().parse().ok()?;
    (number != NOBODY).then_some(number)
}

/// `sshd: bob@pts/0`, `sshd-session: bob@notty`, and `sshd: root` of one who opened no session;
/// before a login there is ` [priv]`, ` [net]`, `[accepted]` and the like behind it.
pub(super) fn is_title_of_login(title: &str) -> bool {
    let title = title.trim_end_matches(['\0', ' ']);
    title.split_once(": ").is_some_and(|(program, said)| {
        let is_servers = program.starts_with(PROGRAM) && !program.contains([' ', '/']);
        is_servers && !said.is_empty() && !said.contains([' ', '['])
    })
}

pub(super) fn parse_socket(target: &str) -> Option<u64> {
    target
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use hidps_lab::command::{Running, find_program, run, wait_for};
    use hidps_lab::ports::free_port;
    use std::net::{IpAddr, Ipv4Addr, TcpStream};
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::process::Command;
    use std::time::Duration;

    /// A loaded machine takes its time.
    const DEADLINE: Duration = Duration::from_secs(60);

    /// A directory of processes.
    pub(in super::super) struct Processes(tempfile::TempDir);

    /// How a process is made up.
    pub(in super::super) struct Made {
        pub(in super::super) pid: u32,
        pub(in super::super) parent: u32,
        pub(in super::super) user: u32,
        pub(in super::super) title: &'static str,
        pub(in super::super) program: &'static str,
        pub(in super::super) socket: Option<u64>,
    }

    impl Made {
        /// A process of root that runs the server and was begun by its listener.
        pub(in super::super) fn server(pid: u32, title: &'static str) -> Self {
            Self {
                pid,
                parent: 1,
                user: 0,
                title,
                program: "/usr/sbin/sshd",
                socket: Some(u64::from(pid)),
            }
        }
    }

    impl Processes {
        pub(in super::super) fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        pub(in super::super) fn add(&self, made: &Made) {
            let Made { pid, user, .. } = made;
            let process = self.0.path().join(pid.to_string());
            fs::create_dir_all(process.join("fd")).unwrap();
            let name = made.program.rsplit('/').next().unwrap_or_default();
            let name = name.split(' ').next().unwrap_or_default();
            let write = |file: &str, text: String| fs::write(process.join(file), text).unwrap();
            write("comm", format!("{name}\n"));
            write("cmdline", format!("{}\0", made.title));
            write("status", format!("Name:\t{name}\nUid:\t{user}\t0\t0\t0\n"));
            let stat = format!("{pid} ({name}) S {} 1 1 0 -1", made.parent);
            write("stat", format!("{stat}{} {pid}00 0 0", " 0".repeat(13)));
            symlink(made.program, process.join("exe")).unwrap();
            if let Some(socket) = made.socket {
                symlink(format!("socket:[{socket}]"), process.join("fd/3")).unwrap();
            }
        }

        pub(in super::super) fn log_in(&self, pid: u32, user: u32) {
            let file = self.0.path().join(format!("{pid}/loginuid"));
            fs::write(file, user.to_string()).unwrap();
        }

        pub(in super::super) fn sessions(&self) -> BTreeMap<u64, SshSession> {
            read_sessions(self.0.path(), |user| match user {
                74 => "sshd".to_owned(),
                user => user.to_string(),
            })
        }
    }

    #[test]
    fn only_the_hosts_own_ssh_server_holds_sessions() {
        let processes = Processes::new();
        let add = |pid, program, user| {
            processes.add(&Made {
                program,
                user,
                ..Made::server(pid, "sshd: [accepted]")
            });
        };
        add(1, "/usr/sbin/sshd", 0);
        add(2, "/usr/lib/openssh/sshd-session (deleted)", 0);
        add(3, "/home/eve/sshd", 1_000);
        add(4, "/usr/bin/sudo", 0);
        add(5, "/usr/sbin/nginx", 0);

        let held: Vec<_> = processes.sessions().into_keys().collect();

        assert_eq!(held, [1, 2]);
    }

    #[test]
    fn whoever_has_logged_in_is_told_from_whoever_has_only_connected() {
        let processes = Processes::new();
        let of = |pid, parent, user, title| Made {
            parent,
            user,
            socket: None,
            ..Made::server(pid, title)
        };
        processes.add(&Made {
            socket: None,
            ..Made::server(1, "sshd: /usr/sbin/sshd -D [listener]")
        });
        // Each with a process for the user, or for nobody yet.
        processes.add(&Made::server(10, "sshd: bob [priv]"));
        processes.add(&of(11, 10, 1_000, "sshd: bob@pts/0"));
        processes.add(&Made::server(20, "sshd: root [priv]"));
        processes.add(&of(21, 20, 74, "sshd: root [net]"));
        processes.add(&Made::server(30, "sshd-session: root@notty"));
        // Without a terminal or a program of its own.
        processes.add(&Made::server(40, "sshd: root"));
        processes.add(&Made::server(45, "sshd: root [priv]"));
        processes.log_in(45, 0);
        // A name is not what a server says of itself.
        processes.add(&Made::server(50, "sshd: a@b [priv]"));
        // What is asked for keys on behalf of somebody is no program of the server.
        processes.add(&Made::server(60, "sshd: bob [priv]"));
        processes.add(&Made {
            program: "/usr/bin/sss_ssh_authorizedkeys",
            ..of(61, 60, 65_534, "sss_ssh_authorizedkeys bob")
        });

        let sessions = processes.sessions();

        let of = |progress| {
            let of = sessions.iter().filter(|(_, it)| it.0 == progress);
            of.map(|(socket, _)| *socket).collect::<Vec<_>>()
        };
        assert_eq!(of(Progress::LoggedIn), [10, 30, 40, 45]);
        assert_eq!(of(Progress::Waiting), [20, 50, 60]);
        assert_eq!(sessions[&10].1, 1_000, "ticks when its process began");
    }

    #[test]
    fn a_server_that_somebody_started_by_hand_has_not_logged_everybody_in() {
        let processes = Processes::new();
        processes.add(&Made {
            socket: None,
            ..Made::server(1, "sshd: /usr/sbin/sshd -D [listener]")
        });
        processes.add(&Made::server(10, "sshd: bob [priv]"));
        for pid in [1, 10] {
            processes.log_in(pid, 1_000);
        }

        assert_eq!(processes.sessions()[&10].0, Progress::Waiting);
    }

    /// The sockets of open connections to a port of this host, by the port at the other end.
    fn sockets_of(port: u16) -> BTreeMap<u16, u64> {
        let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
        let port_of = |end: &str| u16::from_str_radix(end.split(':').nth(1)?, 16).ok();
        let read = table.lines().filter_map(|line| {
            let words: Vec<_> = line.split_ascii_whitespace().collect();
            let is_here = port_of(words.get(1)?) == Some(port) && *words.get(3)? == "01";
            let found = (port_of(words.get(2)?)?, words.get(9)?.parse().ok()?);
            is_here.then_some(found)
        });
        read.collect()
    }

    /// Logs in with a key, and stays without running anything.
    fn log_in(key: &Path, user: &str, port: u16) -> Running {
        let mut ssh = Command::new("ssh");
        ssh.args(["-N", "-F", "/dev/null", "-o", "StrictHostKeyChecking=no"]);
        ssh.args([
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "IdentitiesOnly=yes",
        ]);
        ssh.arg("-i")
            .arg(key)
            .args(["-p", &port.to_string(), "-l", user, "127.0.0.1"]);
        ssh.env_remove("SSH_AUTH_SOCK");
        Running::start("ssh", ssh).unwrap()
    }

    #[test]
    fn a_real_server_shows_who_has_logged_in() {
        let test = "a_real_server_shows_who_has_logged_in";
        if !rustix::process::geteuid().is_root() || find_program("sshd").is_none() {
            return hidps_lab::say_skipped(test, &"it takes root and openssh-server");
        }
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let [host_key, key] = ["host_key", "key"].map(|name| directory.path().join(name));
        for key in [&host_key, &key] {
            let mut keygen = Command::new("ssh-keygen");
            keygen
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(key);
            run(keygen, DEADLINE).unwrap();
        }
        fs::create_dir_all("/run/sshd").unwrap();
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let port = free_port(address).unwrap();
        let mut sshd = Command::new(find_program("sshd").unwrap());
        sshd.args(["-D", "-e", "-f", "/dev/null", "-h"])
            .arg(&host_key);
        for option in [
            "UsePAM=no",
            "StrictModes=no",
            "PermitRootLogin=yes",
            "PidFile=none",
            &format!("AuthorizedKeysFile={}", key.with_extension("pub").display()),
            &format!("ListenAddress=127.0.0.1:{port}"),
        ] {
            sshd.args(["-o", option]);
        }
        let _server = Running::start("sshd", sshd).unwrap();
        let connect = || TcpStream::connect((address, port)).ok();
        let stranger = wait_for("a connection", DEADLINE, connect).unwrap();
        let stranger = stranger
            .local_addr()
            .map(|own| (stranger, own.port()))
            .unwrap();

        let _clients = ["root", "nobody"].map(|user| log_in(&key, user, port));
        let told = wait_for("both to be logged in", DEADLINE, || {
            let sessions = read_sessions(Path::new("/proc"), |user| {
                if user == 65_534 { "nobody" } else { "sshd" }.to_owned()
            });
            let progress = |socket: &u64| sessions.get(socket).map(|session| session.0);
            let sockets = sockets_of(port);
            let told = sockets
                .iter()
                .map(|(other, socket)| (*other, progress(socket)));
            let told: BTreeMap<_, _> = told.collect();
            let of_users = told.values().filter(|it| **it == Some(Progress::LoggedIn));
            (of_users.count() == 2 && told.len() == 3).then_some(told)
        });

        assert_eq!(told.unwrap()[&stranger.1], Some(Progress::Waiting));
    }

    #[test]
    fn a_socket_is_told_from_other_handles() {
        assert_eq!(parse_socket("socket:[123]"), Some(123));
        assert_eq!(parse_socket("pipe:[123]"), None);
        assert_eq!(parse_socket("/etc/socket:[1]"), None);
    }
}
