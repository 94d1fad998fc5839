//! A host in a namespace of its own, an outsider beside it, and the daemon on the machine.
//! It changes nothing outside of its namespaces.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use hidps_lab::command::{find_program, run, wait_for};
use hidps_lab::netns::{self, Link, Namespace};
use hidps_lab::say_skipped;

use crate::harness::AgentHome;
use crate::scripted_daemon::{DEADLINE, ScriptedDaemon};

/// A port nobody keeps open.
pub(crate) const PORT: u16 = 7_777;

/// As long as a packet that shall be dropped makes a test wait.
pub(crate) const KNOCK: Duration = Duration::from_millis(1_500);

/// As long as an answer that shall come may take two cores that are busy.
pub(crate) const REACH: Duration = Duration::from_secs(20);

/// Somebody else's table: the host's packets are not tracked, so no rule knows an answer from a
/// stranger's packet.
const NOTRACK: &str = "table inet foreign {
\tchain incoming {
\t\ttype filter hook prerouting priority raw
\t\tnotrack
\t}
\tchain outgoing {
\t\ttype filter hook output priority raw
\t\tnotrack
\t}
}
";

/// A host with an agent's place, an outsider, and the daemon on the machine.
pub(crate) struct World {
    pub(crate) host: Namespace,
    pub(crate) outsider: Namespace,
    /// Between host (near) and outsider (far).
    pub(crate) inside: Link,
    pub(crate) daemon: ScriptedDaemon,
}

impl World {
    /// None, and a visible line, where the machine cannot do this.
    pub(crate) fn make(test: &str) -> Option<Self> {
        if let Err(missing) = netns::check() {
            say_skipped(test, &missing);
            return None;
        }
        if find_program("nft").is_none() {
            say_skipped(test, &"nft is missing: apt-get install nftables");
            return None;
        }
        let host = Namespace::new("host").unwrap();
        let outsider = Namespace::new("outsider").unwrap();
        let inside = host.link_to(&outsider).unwrap();
        let outside = host.link_to_machine().unwrap();
        Some(Self {
            host,
            outsider,
            inside,
            daemon: ScriptedDaemon::start(outside.far_ip()),
        })
    }

    pub(crate) fn home(&self) -> AgentHome {
        self.home_with("")
    }

    /// A home with further settings.
    pub(crate) fn home_with(&self, settings: &str) -> AgentHome {
        AgentHome::new(self.daemon.address(), settings)
    }

    /// Makes somebody else's table keep all packets of the host from being tracked.
    pub(crate) fn load_notrack(&self) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ruleset");
        std::fs::write(&file, NOTRACK).unwrap();
        self.nft(&["-f", file.to_str().unwrap()]);
    }

    /// Whether the host reaches the daemon by a new connection in this time.
    pub(crate) fn reaches_daemon(&self, patience: Duration) -> bool {
        let address = self.daemon.address();
        let connect = || TcpStream::connect_timeout(&address, patience).is_ok();
        self.host.run_inside(connect).unwrap()
    }

    /// Whether the agent's table is loaded.
    pub(crate) fn has_table(&self) -> bool {
        self.nft(&["list", "tables"]).contains("table inet hidps\n")
    }

    /// Waits until the agent's table is loaded, or no longer is.
    pub(crate) fn wait_for_table(&self, is_wanted: bool) {
        let wanted = format!("the table to be loaded = {is_wanted}");
        let probe = || (self.has_table() == is_wanted).then_some(());
        wait_for(&wanted, DEADLINE, probe).unwrap();
    }

    pub(crate) fn listen(&self, port: u16) -> TcpListener {
        self.listen_at(SocketAddr::from((self.inside.near, port)))
    }

    pub(crate) fn listen_at(&self, address: SocketAddr) -> TcpListener {
        self.host
            .run_inside(|| TcpListener::bind(address).unwrap())
            .unwrap()
    }

    pub(crate) fn knock(&self, port: u16) -> std::io::Result<TcpStream> {
        self.knock_at(SocketAddr::from((self.inside.near, port)), KNOCK)
    }

    /// Knocks where somebody shall answer.
    pub(crate) fn reach(&self, port: u16) -> std::io::Result<TcpStream> {
        self.knock_at(SocketAddr::from((self.inside.near, port)), REACH)
    }

    pub(crate) fn knock_at(
        &self,
        address: SocketAddr,
        patience: Duration,
    ) -> std::io::Result<TcpStream> {
        self.outsider
            .run_inside(|| TcpStream::connect_timeout(&address, patience))
            .unwrap()
    }

    pub(crate) fn nft(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("nft");
        command.args(arguments);
        let output = run(self.host.exec(&command), DEADLINE).unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}
