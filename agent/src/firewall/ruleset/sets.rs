//! Sets of addresses: thousands of them cost a packet no more than one.
//! Single addresses are never in an interval set, where each change costs as much as a whole load.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use hidps_wire::IpNetwork;
use serde_json::Value;
use uuid::Uuid;

use crate::firewall::counts::Counts;
use crate::firewall::guard::{PEERS_FOR, SshPeer};
use crate::firewall::nft::objects;

/// Sets of who may come back for a while.
const PEERS: &str = "ssh_peers";

/// A set of the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::firewall) struct ElementSet {
    pub(in crate::firewall) name: String,
    is_ipv6: bool,
    kind: Kind,
    /// What is in it, as nft writes it, and the rule that has put it there.
    members: BTreeMap<String, Option<Uuid>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Addresses with a port, that go by themselves.
    Peers,
    /// Single addresses.
    Hosts,
    /// Networks.
    Networks,
}

/// Whether a set is one of those whose members go by themselves.
pub(in crate::firewall) fn is_of_peers(name: &str) -> bool {
    name.starts_with(PEERS)
}

/// The sets of who may come back for a while; without anybody none.
pub(super) fn of_peers(peers: &BTreeSet<SshPeer>) -> Vec<ElementSet> {
    let of = |is_ipv6: bool| {
        let members: BTreeMap<_, _> = peers
            .iter()
            .filter(|peer| peer.address.is_ipv6() == is_ipv6)
            .map(|peer| (format!("{} . {}", peer.address, peer.port), None))
            .collect();
        ElementSet {
            name: format!("{PEERS}{}", version(is_ipv6)),
            is_ipv6,
            kind: Kind::Peers,
            members,
        }
    };
    let sets = [of(false), of(true)];
    sets.into_iter().filter(|set| set.len() > 0).collect()
}

/// The sets of the addresses of rules that are alike; the first rule of an address has it. A network
/// within another adds nothing, and an interval set would refuse it.
pub(super) fn of_networks(group: usize, members: &[(IpNetwork, Uuid)]) -> Vec<ElementSet> {
    let mut kept: BTreeMap<IpNetwork, Uuid> = BTreeMap::new();
    for (network, id) in members {
        kept.entry(*network).or_insert(*id);
    }
    let networks: Vec<_> = kept.keys().copied().filter(|it| !it.is_host()).collect();
    let outermost = outermost(&networks);
    let of = |is_ipv6: bool, kind: Kind| {
        let members: BTreeMap<_, _> = kept
            .iter()
            .filter(|(network, _)| network.address().is_ipv6() == is_ipv6)
            .filter(|(network, _)| match kind {
                Kind::Hosts => network.is_host(),
                Kind::Networks => outermost.contains(*network),
                Kind::Peers => false,
            })
            .map(|(network, id)| (network.to_string(), Some(*id)))
            .collect();
        let what = if kind == Kind::Hosts { "hosts" } else { "nets" };
        ElementSet {
            name: format!("g{group}_{what}{}", version(is_ipv6)),
            is_ipv6,
            kind,
            members,
        }
    };
    let sets = [
        of(false, Kind::Hosts),
        of(true, Kind::Hosts),
        of(false, Kind::Networks),
        of(true, Kind::Networks),
    ];
    sets.into_iter().filter(|set| set.len() > 0).collect()
}

/// Those that are within no other: in order, a network comes right before what is within it.
fn outermost(networks: &[IpNetwork]) -> BTreeSet<IpNetwork> {
    let mut kept: BTreeSet<IpNetwork> = BTreeSet::new();
    let mut last: Option<IpNetwork> = None;
    for network in networks {
        let is_within = last.is_some_and(|last| last.contains(network.address()));
        if !is_within {
            kept.insert(*network);
            last = Some(*network);
        }
    }
    kept
}

const fn version(is_ipv6: bool) -> u8 {
    if is_ipv6 { 6 } else { 4 }
}

impl ElementSet {
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// The word for addresses of its kind.
    pub(super) const fn ip_word(&self) -> &'static str {
        if self.is_ipv6 { "ip6" } else { "ip" }
    }

    /// Its members, each as [`words_of`] writes it.
    pub(super) fn member_words(&self) -> impl Iterator<Item = String> {
        self.members.keys().cloned()
    }

    pub(super) fn write(&self, text: &mut String, counts: &Counts) {
        let version = version(self.is_ipv6);
        let (of_port, statement) = match self.kind {
            Kind::Peers => (" . inet_service", "flags timeout"),
            Kind::Hosts => ("", "counter"),
            // Two lines of one declaration.
            Kind::Networks => ("", "flags interval\n\t\tcounter"),
        };
        write!(
            text,
            "\tset {} {{\n\t\ttype ipv{version}_addr{of_port}\n\t\t{statement}\n\t\telements = {{ ",
            self.name
        )
        .expect("a string takes any text");
        for (index, (member, id)) in self.members.iter().enumerate() {
            if index > 0 {
                text.push_str(", ");
            }
            text.push_str(member);
            let written = match id {
                None => write!(text, " timeout {}s", PEERS_FOR.as_secs()),
                Some(id) => write!(text, " {} comment \"rule {id}\"", counts.statement(*id)),
            };
            written.expect("a string takes any text");
        }
        text.push_str(" }\n\t}\n");
    }

    pub(super) fn check_shape(&self, table: &Value) -> Result<(), String> {
        let found = objects(table, "set").find(|set| set["name"] == self.name.as_str());
        let n_found = found.map_or(0, |set| set["elem"].as_array().map_or(0, Vec::len));
        // Who may come back goes by themselves.
        if n_found == self.len() || found.is_some() && self.kind == Kind::Peers {
            Ok(())
        } else {
            Err(format!(
                "its set {} has {n_found} members and not {}",
                self.name,
                self.len()
            ))
        }
    }
}

/// A member of a listed set in the words that load it.
pub(in crate::firewall) fn words_of(member: &Value) -> Option<String> {
    let value = member.get("elem").map_or(member, |elem| &elem["val"]);
    match value {
        Value::String(address) => {
            let address: IpAddr = address.parse().ok()?;
            Some(address.to_string())
        }
        Value::Object(entries) => {
            if let Some(parts) = entries.get("concat") {
                let address: IpAddr = parts[0].as_str()?.parse().ok()?;
                return Some(format!("{address} . {}", parts[1].as_u64()?));
            }
            let prefix = entries.get("prefix")?;
            let address: IpAddr = prefix["addr"].as_str()?.parse().ok()?;
            Some(format!("{address}/{}", prefix["len"].as_u64()?))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
    }
}
