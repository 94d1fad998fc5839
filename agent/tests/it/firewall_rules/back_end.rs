//! The back ends that the contract is kept by, each on a host where it filters.
//! What one of them cannot do is declared here, and nowhere passed over in silence.

use std::process::Command;

use hidps_lab::command::{find_program, run};
use hidps_lab::say_skipped;
use uuid::Uuid;

use crate::scripted_daemon::DEADLINE;
use crate::world::World;

/// What filters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BackEnd {
    Nftables,
    /// On a host where ufw is enabled, has a rule of somebody's, and lets in what no rule decides.
    Ufw,
}

/// What somebody does to a firewall.
type Tampering<'w> = Box<dyn Fn() + 'w>;

/// What ufw keeps of what people told it.
const FILES: [&str; 5] = [
    "/etc/ufw/user.rules",
    "/etc/ufw/user6.rules",
    "/etc/ufw/after.rules",
    "/etc/ufw/ufw.conf",
    "/etc/default/ufw",
];

impl BackEnd {
    /// A host; none, and a visible line, where the machine cannot have one.
    pub(super) fn world(self, test: &str) -> Option<World> {
        if self == Self::Ufw && find_program("ufw").is_none() {
            say_skipped(test, &"ufw is missing: apt-get install ufw");
            return None;
        }
        let world = World::make(test)?;
        if self == Self::Ufw {
            world.host.own_etc(&["ufw", "default"]).unwrap();
            ufw(&world, "default allow incoming");
            ufw(&world, "allow 7/tcp comment discard");
            ufw(&world, "--force enable");
        }
        Some(world)
    }

    /// Whether a rule can be about ICMP.
    pub(super) fn filters_icmp(self) -> bool {
        self == Self::Nftables
    }

    /// Whether the old rules become the new ones at once.
    pub(super) fn is_atomic(self) -> bool {
        self == Self::Nftables
    }

    /// Whether the time of those who may come back is kept by the kernel.
    pub(super) fn forgets_by_itself(self) -> bool {
        self == Self::Nftables
    }

    /// As many rules as are a long list.
    pub(super) fn many(self) -> u8 {
        match self {
            Self::Nftables => 20,
            Self::Ufw => 2,
        }
    }

    /// All that filters, so that a change of any of it shows.
    pub(super) fn snapshot(self, world: &World) -> String {
        match self {
            // Handles grow with every table that is made.
            Self::Nftables => world.nft(&["-a", "list", "ruleset"]),
            Self::Ufw => {
                let mut cat = Command::new("cat");
                cat.args(FILES);
                let output = run(world.host.exec(&cat), DEADLINE).unwrap();
                String::from_utf8(output.stdout).unwrap()
            }
        }
    }

    /// The rules of others in the back end, in order.
    pub(super) fn foreign(self, world: &World) -> String {
        let table = world.nft(&["-a", "list", "table", "ip", "foreign"]);
        match self {
            Self::Nftables => table,
            Self::Ufw => {
                let snapshot = self.snapshot(world);
                let is_theirs = |line: &&str| {
                    line.starts_with("### tuple ###") && !line.contains("comment=6869647073")
                };
                let theirs: Vec<_> = snapshot.lines().filter(is_theirs).collect();
                format!("{table}{}", theirs.join("\n"))
            }
        }
    }

    /// What opens to this address what the rules have shut, each in another way.
    pub(super) fn tamper<'w>(self, world: &'w World, address: &str) -> Vec<Tampering<'w>> {
        let of_nft = |arguments: &[&str]| {
            let arguments: Vec<_> = arguments.iter().map(|it| (*it).to_owned()).collect();
            let tamper = move || {
                let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
                world.nft(&arguments);
            };
            Box::new(tamper) as Tampering<'w>
        };
        let of_ufw = |order: String| Box::new(move || ufw(world, &order)) as Tampering<'w>;
        match self {
            Self::Nftables => {
                let table = ["inet", "hidps"];
                let element = ["delete", "element", "inet", "hidps", "g0_hosts4", "{"];
                vec![
                    of_nft(&[&element[..], &[address, "}"]].concat()),
                    of_nft(&["insert", "rule", "inet", "hidps", "input", "accept"]),
                    of_nft(&["flush", "chain", "inet", "hidps", "input"]),
                    of_nft(&[&["delete", "table"], &table[..]].concat()),
                ]
            }
            Self::Ufw => vec![
                of_ufw(format!("delete deny in on + from {address} to 0.0.0.0/0")),
                of_ufw("insert 1 allow from any to any".to_owned()),
                of_ufw("disable".to_owned()),
            ],
        }
    }

    /// What flushes all that filters, and what the agent tells of it.
    pub(super) fn flush(self) -> (&'static str, &'static str) {
        match self {
            Self::Nftables => ("nft flush ruleset", "deleted the firewall table"),
            Self::Ufw => (
                "iptables -P INPUT ACCEPT; iptables -F; ip6tables -P INPUT ACCEPT; ip6tables -F",
                "changed what the kernel has of ufw",
            ),
        }
    }

    /// The lines that a plan has for a rule about ports of TCP.
    pub(super) fn lines(self, sign: &str, action: &str, ports: &str, number: u128) -> Vec<String> {
        let id = Uuid::from_u128(number);
        match self {
            Self::Nftables => {
                let verdict = if action == "deny" { "drop" } else { "accept" };
                let line =
                    format!("{sign} tcp dport {ports} counter {verdict} comment \"rule {id}\"");
                vec![line]
            }
            Self::Ufw => {
                let ports = ports.replace('-', ":");
                let of = |all: &str| {
                    format!(
                        "{sign} {action} in on + proto tcp from {all} to {all} port {ports} # \
                         hidps:rule {id}"
                    )
                };
                vec![of("0.0.0.0/0"), of("::/0")]
            }
        }
    }
}

/// Somebody who runs ufw on the host.
pub(super) fn ufw(world: &World, order: &str) {
    let mut command = Command::new("ufw");
    command.args(order.split(' '));
    run(world.host.exec(&command), DEADLINE).unwrap();
}
