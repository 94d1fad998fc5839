//! A daemon that wants the agent's host, its memory or its silence: each attempt is refused for a
//! reason that can be seen, costs bounded memory, touches nothing, and leaves the link able to come
//! back.

mod documents;
mod flow;
mod frames;
mod handshake;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hidps_lab::command::{Running, wait_for};
use hidps_wire::Status;

use crate::harness::{AgentHome, document};
use crate::scripted_daemon::{Connection, DEADLINE, ScriptedDaemon, applied_generation};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// More than an agent ever needs for a frame of the greatest length, and far less than what such a
/// frame could be made to cost; its unit allows 256 MiB.
const MEMORY_KIB: u64 = 128 * 1024;

/// An agent, and the connection of a daemon that means it no good.
struct Victim {
    daemon: ScriptedDaemon,
    home: AgentHome,
    agent: Running,
    connection: Connection,
    key: String,
}

impl Victim {
    fn greet() -> Self {
        Self::greet_with_heartbeat(15)
    }

    fn greet_with_heartbeat(heartbeat_secs: u32) -> Self {
        let daemon = ScriptedDaemon::start(LOOPBACK);
        let home = AgentHome::observing(daemon.address());
        let agent = home.start(None);
        let (mut connection, key) = daemon.admit();
        connection.greet(8, heartbeat_secs);
        Self {
            daemon,
            home,
            agent,
            connection,
            key,
        }
    }

    /// The agent says why it refused something.
    fn says(&mut self, words: &str) {
        let says = |line: &str| line.contains(words);
        self.agent.wait_for_line(words, DEADLINE, says).unwrap();
    }

    /// The same connection still carries documents both ways.
    fn still_obeys(&mut self, generation: u64) {
        let wanted = document(None, &[self.home.path()]);
        self.connection.apply(generation, "h", wanted);
        self.connection.status_of(generation);
        self.is_unharmed();
    }

    /// The same connection carries a document when it is sent again, as a daemon does that hears
    /// nothing of the first.
    fn obeys_in_the_end(&mut self, generation: u64) {
        let again = Duration::from_secs(2);
        let is_applied = |status: &Status| applied_generation(status) == Some(generation);
        let obeyed = wait_for("the document to be taken", DEADLINE, || {
            let wanted = document(None, &[self.home.path()]);
            self.connection.apply(generation, "h", wanted);
            self.connection.poll_status(again, is_applied)
        });
        obeyed.unwrap();
        self.is_unharmed();
    }

    /// A new connection comes and carries documents both ways.
    fn comes_back(&mut self) {
        self.connection = self.daemon.accept(&self.key);
        self.connection.greet(8, 15);
        self.still_obeys(1_000);
    }

    /// It runs, never panicked, and was never large.
    fn is_unharmed(&mut self) {
        assert!(self.agent.exit_status().unwrap().is_none(), "it runs");
        let log = self.agent.log();
        assert!(!log.contains("panicked"), "{log}");
        let peak = peak_kib(self.agent.id());
        assert!(peak < MEMORY_KIB, "it needed {peak} KiB");
    }
}

/// The most memory a process has had.
fn peak_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let digits = line.unwrap().trim().trim_end_matches(" kB");
    digits.parse().unwrap()
}
