//! Network namespaces that vanish with their owner, and the virtual cables between them.
//! It never changes an interface, address or rule of the machine's own namespace, except the
//! machine's end of a cable it lays itself.

use std::fmt;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::address_block::claim_pair;
use crate::command::{CommandError, find_program, run, wait_for};

/// Names of all our namespaces begin so; the process id of the owner follows.
const PREFIX: &str = "hidps-lab";

/// One `ip` call takes milliseconds; a machine with two busy cores seconds.
const IP_DEADLINE: Duration = Duration::from_secs(60);

/// Numbers namespaces and cables within this process.
static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Why a namespace could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// A privilege or package is missing.
    #[error("{0}")]
    Missing(String),
    /// The label cannot be part of a name.
    #[error("the label {0:?} must be 1 to 16 lower-case letters, digits or dashes")]
    Label(String),
    /// No private network is free.
    #[error("could not claim a private network")]
    Addresses(#[source] std::io::Error),
    /// The calling thread may not enter.
    #[error("could not enter {name}")]
    Enter {
        /// The namespace.
        name: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// `ip` failed.
    #[error("could not {action}")]
    Ip {
        /// What was tried.
        action: String,
        /// How it failed.
        #[source]
        source: CommandError,
    },
}

/// Says whether namespaces can be made here. Any other failure is left to who makes one, who then
/// fails: a machine that is too busy is no machine without namespaces.
///
/// # Errors
/// Names, in one sentence, the privilege or package that is missing.
pub fn check() -> Result<(), NetnsError> {
    if find_program("ip").is_none() {
        let text = "network namespaces need the program ip: apt-get install iproute2";
        return Err(NetnsError::Missing(text.to_owned()));
    }
    if !rustix::process::geteuid().is_root() {
        let text = "network namespaces need root (CAP_SYS_ADMIN and CAP_NET_ADMIN): use sudo";
        return Err(NetnsError::Missing(text.to_owned()));
    }
    // Containers may run as root without the capabilities, which only an attempt can tell.
    match Namespace::new("probe") {
        Err(NetnsError::Ip { source, .. }) if source.tells_of_missing() => {
            Err(NetnsError::Missing(format!(
                "this container may not make network namespaces; give it CAP_SYS_ADMIN and \
                 CAP_NET_ADMIN ({})",
                source.to_string().trim_end()
            )))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// A network namespace with its loopback up; dropping it ends what runs inside and deletes it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace with a unique name.
    ///
    /// # Errors
    /// Fails when the label is not plain or `ip` refuses.
    pub fn new(label: &str) -> Result<Self, NetnsError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if label.is_empty() || label.len() > 16 || !label.chars().all(plain) {
            return Err(NetnsError::Label(label.to_owned()));
        }
        sweep_orphans();
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}-{}-{number}-{label}", std::process::id());
        ip("make a namespace", &["netns", "add", &name])?;
        let namespace = Self { name };
        ip(
            "bring up loopback",
            &["-n", &namespace.name, "link", "set", "lo", "up"],
        )?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same command, run inside; `ip` replaces itself, so the process id stays that of the
    /// command.
    #[must_use]
    pub fn exec(&self, command: &Command) -> Command {
        let mut inside = Command::new(ip_program());
        inside
            .args(["netns", "exec", &self.name])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            inside.current_dir(directory);
        }
        inside
    }

    /// Gives what runs inside by [`Namespace::exec`] copies of its own of these directories under
    /// `/etc`; the machine's stay as they are.
    ///
    /// # Errors
    /// Fails when one cannot be copied.
    pub fn own_etc(&self, directories: &[&str]) -> Result<(), NetnsError> {
        let own = self.etc();
        let copy = |name: &&str| {
            let mut copy = Command::new("cp");
            copy.arg("-a").arg(Path::new("/etc").join(name)).arg(&own);
            run(copy, IP_DEADLINE).map(drop)
        };
        std::fs::create_dir_all(&own)
            .map_err(|source| CommandError::Start {
                name: "cp".to_owned(),
                source,
            })
            .and_then(|()| directories.iter().try_for_each(copy))
            .map_err(|source| NetnsError::Ip {
                action: format!("copy a part of /etc for {}", self.name),
                source,
            })
    }

    /// What `ip netns exec` lays over `/etc`.
    fn etc(&self) -> PathBuf {
        Path::new("/etc/netns").join(&self.name)
    }

    /// Lays a cable between this namespace and the machine.
    ///
    /// # Errors
    /// Fails when no address is free or `ip` refuses.
    pub fn link_to_machine(&self) -> Result<Link, NetnsError> {
        self.link(None)
    }

    /// Lays a cable between this namespace and another.
    ///
    /// # Errors
    /// Fails when no address is free or `ip` refuses.
    pub fn link_to(&self, other: &Self) -> Result<Link, NetnsError> {
        self.link(Some(other))
    }

    fn link(&self, other: Option<&Self>) -> Result<Link, NetnsError> {
        let (near, far) = claim_pair().map_err(NetnsError::Addresses)?;
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        // Interface names have at most 15 characters; process ids at most 7 digits.
        let near_name = format!("hl{:x}n{number:x}", std::process::id());
        let far_name = format!("hl{:x}f{number:x}", std::process::id());
        let mut make = vec!["link", "add", &near_name, "netns", &self.name];
        make.extend(["type", "veth", "peer", "name", &far_name]);
        if let Some(other) = other {
            make.extend(["netns", &other.name]);
        }
        ip("lay a cable", &make)?;
        set_up(Some(self), &near_name, near)?;
        set_up(other, &far_name, far)?;
        Ok(Link { near, far })
    }

    /// Runs a closure inside, on a thread of its own; sockets it makes stay inside wherever they
    /// are used.
    ///
    /// # Errors
    /// Fails when the thread may not enter.
    pub fn run_inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        let enter = || {
            let file = File::open(Path::new("/run/netns").join(&self.name))?;
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(file.as_fd(), kind).map_err(std::io::Error::from)
        };
        let run = move || enter().map(|()| work());
        // The thread ends with its namespace; the calling thread never enters.
        let ended = thread::scope(|scope| scope.spawn(run).join());
        match ended {
            Ok(result) => result.map_err(|source| NetnsError::Enter {
                name: self.name.clone(),
                source,
            }),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// The ids of the processes inside.
    ///
    /// # Errors
    /// Fails when `ip` cannot list them.
    pub fn processes(&self) -> Result<Vec<u32>, NetnsError> {
        let output = ip("list processes", &["netns", "pids", &self.name])?;
        Ok(output.lines().filter_map(|id| id.parse().ok()).collect())
    }

    fn end_processes(&self) -> Result<(), NetnsError> {
        for id in self.processes()? {
            let id = i32::try_from(id).ok().and_then(Pid::from_raw);
            if let Some(id) = id {
                // A process that is gone by now is what was wanted.
                kill_process(id, Signal::KILL).ok();
            }
        }
        let none_left = || {
            self.processes()
                .is_ok_and(|ids| ids.is_empty())
                .then_some(())
        };
        wait_for("the end of its processes", IP_DEADLINE, none_left).map_err(|source| {
            NetnsError::Ip {
                action: format!("empty {}", self.name),
                source,
            }
        })
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What cannot be removed now is swept by the next process that makes a namespace.
        self.end_processes().ok();
        ip("delete a namespace", &["netns", "delete", &self.name]).ok();
        std::fs::remove_dir_all(self.etc()).ok();
    }
}

/// The addresses at the two ends of a cable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// The end in the namespace that laid it.
    pub near: Ipv4Addr,
    /// The other end.
    pub far: Ipv4Addr,
}

impl Link {
    /// The near end.
    #[must_use]
    pub const fn near_ip(&self) -> IpAddr {
        IpAddr::V4(self.near)
    }

    /// The far end.
    #[must_use]
    pub const fn far_ip(&self) -> IpAddr {
        IpAddr::V4(self.far)
    }

    /// The near end by IPv6, where [`has_ipv6`] says so.
    #[must_use]
    pub const fn near_ipv6(&self) -> IpAddr {
        IpAddr::V6(ipv6_of(self.near))
    }

    /// The far end by IPv6, where [`has_ipv6`] says so.
    #[must_use]
    pub const fn far_ipv6(&self) -> IpAddr {
        IpAddr::V6(ipv6_of(self.far))
    }
}

fn set_up(place: Option<&Namespace>, device: &str, address: Ipv4Addr) -> Result<(), NetnsError> {
    let inside = place.map_or_else(Vec::new, |namespace| vec!["-n", namespace.name()]);
    let network = format!("{address}/30");
    let call = |rest: &[&str]| ip("set up a cable", &[inside.as_slice(), rest].concat());
    call(&["addr", "add", &network, "dev", device])?;
    if has_ipv6() {
        let network = format!("{}/126", ipv6_of(address));
        // Without the second of silence in which a kernel looks for a double.
        call(&["addr", "add", &network, "dev", device, "nodad"])?;
    }
    call(&["link", "set", device, "up"])?;
    Ok(())
}

/// `ip` is often outside of an ordinary user's `PATH`.
fn ip_program() -> PathBuf {
    find_program("ip").unwrap_or_else(|| PathBuf::from("ip"))
}

/// Whether the kernel has IPv6 at all.
#[must_use]
pub fn has_ipv6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}

/// The private IPv6 address that goes with an address of a cable.
const fn ipv6_of(address: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = address.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, high, low)
}

fn ip(action: &str, arguments: &[&str]) -> Result<String, NetnsError> {
    let mut command = Command::new(ip_program());
    command.args(arguments);
    run(command, IP_DEADLINE)
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .map_err(|source| NetnsError::Ip {
            action: action.to_owned(),
            source,
        })
}

/// Deletes namespaces whose owner was killed before it could.
fn sweep_orphans() {
    let Ok(directory) = std::fs::read_dir("/run/netns") else {
        return;
    };
    for entry in directory.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').nth(1))
            .and_then(|id| id.parse::<u32>().ok());
        if owner.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            drop(Namespace { name });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::say_skipped;
    use std::net::{TcpListener, TcpStream};
    use std::time::Instant;

    #[test]
    fn a_label_that_is_not_plain_is_refused() {
        for label in ["", "Upper", "a b", "../x", "seventeen-letters"] {
            let made = Namespace::new(label);

            assert!(matches!(made, Err(NetnsError::Label(_))), "{label:?}");
        }
    }

    #[test]
    fn two_namespaces_reach_each_other_and_vanish_with_their_processes() {
        if let Err(missing) = check() {
            return say_skipped("two_namespaces_reach_each_other", &missing);
        }
        let (left, right) = (
            Namespace::new("left").unwrap(),
            Namespace::new("right").unwrap(),
        );
        let link = left.link_to(&right).unwrap();
        let listener = right
            .run_inside(|| TcpListener::bind((link.far_ip(), 0)).unwrap())
            .unwrap();
        let target = listener.local_addr().unwrap();
        let mut sleep = Command::new("sleep");
        sleep.arg("600");
        let mut sleeper = left.exec(&sleep).spawn().unwrap();
        let entered = || left.processes().ok().filter(|ids| !ids.is_empty());
        wait_for("the sleeper inside", Duration::from_secs(20), entered).unwrap();

        let from = left.run_inside(|| {
            let stream = TcpStream::connect_timeout(&target, Duration::from_secs(60)).unwrap();
            stream.local_addr().unwrap().ip()
        });
        let name = left.name().to_owned();
        let started = Instant::now();
        drop(left);

        assert_eq!(from.unwrap(), link.near_ip());
        assert!(!sleeper.wait().unwrap().success(), "it was killed");
        assert!(!Path::new("/run/netns").join(name).exists());
        assert!(started.elapsed() < IP_DEADLINE);
    }

    #[test]
    fn the_machine_can_be_reached_from_a_namespace() {
        if let Err(missing) = check() {
            return say_skipped("the_machine_can_be_reached_from_a_namespace", &missing);
        }
        let host = Namespace::new("host").unwrap();

        let link = host.link_to_machine().unwrap();

        // Binding proves that the address is the machine's.
        TcpListener::bind((link.far_ip(), 0)).unwrap();
        TcpListener::bind((link.near_ip(), 0)).unwrap_err();
    }
}
