//! What a firewall should let through: the rules of a document as they travel, and as valid values.
//! It knows nothing of how a packet filter writes them.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::limits::MAX_FIREWALL_RULES;
use crate::text::printable;

/// One rule as the database composes it; every word is checked again on the host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirewallRuleEntry {
    /// Its row.
    pub id: Uuid,
    /// `allow`, `deny` or `reject`.
    pub action: String,
    /// `in` or `out`.
    pub direction: String,
    /// `tcp`, `udp`, `icmp` or `any`.
    pub protocol: String,
    /// The first of the packet's destination ports; none means every port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_from: Option<u32>,
    /// The last one; none means the first alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_to: Option<u32>,
    /// Who sends, of a rule for `in`: an address or a network; none means everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Who receives, of a rule for `out`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
}

/// What becomes of packets no rule decides, as the database composes it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirewallSettingsEntry {
    /// `allow`, `deny` or `reject`.
    pub default_incoming: String,
    /// `allow`, `deny` or `reject`.
    pub default_outgoing: String,
    /// Whether the kernel log gets what is denied and rejected.
    pub logging: bool,
}

/// What a firewall lets through while it is on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FirewallPolicy {
    /// What becomes of an incoming packet no rule decides.
    pub incoming: FirewallAction,
    /// What becomes of an outgoing packet no rule decides.
    pub outgoing: FirewallAction,
    /// Whether the kernel log gets what is denied and rejected.
    pub logging: bool,
    /// The first that matches decides.
    pub rules: Vec<FilterRule>,
}

impl Default for FirewallPolicy {
    /// Nobody said more than "on": what the host did not ask for stays outside.
    fn default() -> Self {
        Self {
            incoming: FirewallAction::Deny,
            outgoing: FirewallAction::Allow,
            logging: false,
            rules: Vec::new(),
        }
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FirewallAction {
    /// It passes.
    Allow,
    /// It disappears.
    Deny,
    /// It is refused, and its sender is told.
    Reject,
}

/// The way of a packet, seen from the host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// To the host.
    In,
    /// From the host.
    Out,
}

/// What a rule says of a packet's protocol and its destination port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Service {
    /// Any packet.
    Any,
    /// ICMP, of either version of IP.
    Icmp,
    /// TCP, to these ports or to all.
    Tcp(Option<PortRange>),
    /// UDP, to these ports or to all.
    Udp(Option<PortRange>),
}

/// Ports from one to another, both included; never 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortRange {
    from: u16,
    to: u16,
}

/// An address, or a network whose host bits are all zero; never IPv4 in the form of IPv6.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IpNetwork {
    address: IpAddr,
    prefix: u8,
}

/// One rule as a valid value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FilterRule {
    /// Its row.
    pub id: Uuid,
    /// What it does.
    pub action: FirewallAction,
    /// Which way it looks.
    pub direction: Direction,
    /// What it matches.
    pub service: Service,
    /// Who the other end is; none means everybody.
    pub peer: Option<IpNetwork>,
}

/// A rule of a document that cannot be enforced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusedRule {
    /// Its row; none where it is the settings.
    pub id: Option<Uuid>,
    /// What is wrong with it.
    pub error: RuleError,
}

impl fmt::Display for RefusedRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            Some(id) => write!(f, "the firewall rule {id} {}", self.error),
            None => write!(f, "the settings of the firewall: one {}", self.error),
        }
    }
}

/// Why a rule cannot be enforced.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RuleError {
    /// An unknown action.
    #[error("has the action {0:?}; write allow, deny or reject")]
    Action(String),
    /// An unknown direction.
    #[error("has the direction {0:?}; write in or out")]
    Direction(String),
    /// An unknown protocol.
    #[error("has the protocol {0:?}; write tcp, udp, icmp or any")]
    Protocol(String),
    /// Ports that are none.
    #[error("has ports that are none; write 1 to 65535, the smaller first")]
    Ports,
    /// Ports where there cannot be any.
    #[error("has ports and a protocol without ports; write tcp or udp")]
    PortsWithoutProtocol,
    /// Something that is no address.
    #[error("has the address {0:?}; write an IPv4 or IPv6 address or network without host bits")]
    Address(String),
    /// The address of the wrong end.
    #[error("names the host's own end; a rule for in has a source, one for out a destination")]
    WrongEnd,
    /// More rules than the agent takes.
    #[error("is beyond the first {MAX_FIREWALL_RULES} rules of this agent")]
    TooMany,
}

/// Longest word of a document that a reason quotes.
const MAX_QUOTED: usize = 60;

impl FirewallPolicy {
    /// Reads the firewall of a document; what cannot be enforced is set apart, each with its reason.
    #[must_use]
    pub fn from_entries(
        rules: &[FirewallRuleEntry],
        settings: Option<&FirewallSettingsEntry>,
    ) -> (Self, Vec<RefusedRule>) {
        let mut policy = Self::default();
        let mut refused = Vec::new();
        if let Some(settings) = settings {
            policy.logging = settings.logging;
            let mut read = |word: &str, fallback| {
                FirewallAction::parse(word).unwrap_or_else(|error| {
                    refused.push(RefusedRule { id: None, error });
                    fallback
                })
            };
            // The stricter one, for nobody knows what was meant.
            policy.incoming = read(&settings.default_incoming, policy.incoming);
            policy.outgoing = read(&settings.default_outgoing, policy.outgoing);
        }
        for entry in rules {
            let parsed = if policy.rules.len() < MAX_FIREWALL_RULES {
                FilterRule::parse(entry)
            } else {
                Err(RuleError::TooMany)
            };
            match parsed {
                Ok(rule) => policy.rules.push(rule),
                Err(error) => refused.push(RefusedRule {
                    id: Some(entry.id),
                    error,
                }),
            }
        }
        (policy, refused)
    }

    /// What becomes of a packet that belongs to nothing known, and the rule that decides it.
    #[must_use]
    pub fn decide(&self, packet: &Packet) -> (FirewallAction, Option<Uuid>) {
        let rule = self.rules.iter().find(|rule| rule.matches(packet));
        let default = match packet.direction {
            Direction::In => self.incoming,
            Direction::Out => self.outgoing,
        };
        rule.map_or((default, None), |rule| (rule.action, Some(rule.id)))
    }
}

/// A packet, as far as rules can see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Its way.
    pub direction: Direction,
    /// The other end.
    pub peer: IpAddr,
    /// Its protocol and destination port.
    pub kind: PacketKind,
}

/// The protocol of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketKind {
    /// TCP, to this port.
    Tcp(u16),
    /// UDP, to this port.
    Udp(u16),
    /// ICMP, of either version of IP.
    Icmp,
    /// Something else.
    Other,
}

impl FilterRule {
    fn parse(entry: &FirewallRuleEntry) -> Result<Self, RuleError> {
        let action = FirewallAction::parse(&entry.action)?;
        let (direction, peer, own) = match entry.direction.as_str() {
            "in" => (Direction::In, &entry.source, &entry.destination),
            "out" => (Direction::Out, &entry.destination, &entry.source),
            other => return Err(RuleError::Direction(printable(other, MAX_QUOTED))),
        };
        if own.is_some() {
            return Err(RuleError::WrongEnd);
        }
        let ports = match (entry.port_from, entry.port_to) {
            (None, None) => None,
            (None, Some(_)) => return Err(RuleError::Ports),
            (Some(from), to) => Some(PortRange::new(from, to.unwrap_or(from))?),
        };
        let service = match (entry.protocol.as_str(), ports) {
            ("tcp", ports) => Service::Tcp(ports),
            ("udp", ports) => Service::Udp(ports),
            ("any" | "icmp", Some(_)) => return Err(RuleError::PortsWithoutProtocol),
            ("any", None) => Service::Any,
            ("icmp", None) => Service::Icmp,
            (other, _) => return Err(RuleError::Protocol(printable(other, MAX_QUOTED))),
        };
        let peer = peer.as_deref().map(IpNetwork::parse).transpose()?;
        Ok(Self {
            id: entry.id,
            action,
            direction,
            service,
            peer,
        })
    }

    /// Whether it decides about a packet.
    #[must_use]
    pub fn matches(&self, packet: &Packet) -> bool {
        let is_peer = self.peer.is_none_or(|peer| peer.contains(packet.peer));
        self.direction == packet.direction && is_peer && self.service.matches(packet.kind)
    }
}

impl fmt::Display for FilterRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (direction, end) = match self.direction {
            Direction::In => ("in", "from"),
            Direction::Out => ("out", "to"),
        };
        write!(f, "{} {direction} {}", self.action, self.service)?;
        match self.peer {
            Some(peer) => write!(f, " {end} {peer}"),
            None => write!(f, " {end} everybody"),
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, ports) = match self {
            Self::Any => ("any", None),
            Self::Icmp => ("icmp", None),
            Self::Tcp(ports) => ("tcp", *ports),
            Self::Udp(ports) => ("udp", *ports),
        };
        match ports {
            Some(ports) => write!(f, "{name} {ports}"),
            None => f.write_str(name),
        }
    }
}

impl FirewallAction {
    fn parse(word: &str) -> Result<Self, RuleError> {
        match word {
            "allow" => Ok(Self::Allow),
            "deny" => Ok(Self::Deny),
            "reject" => Ok(Self::Reject),
            other => Err(RuleError::Action(printable(other, MAX_QUOTED))),
        }
    }
}

impl fmt::Display for FirewallAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Reject => "reject",
        })
    }
}

impl Service {
    fn matches(self, kind: PacketKind) -> bool {
        let has = |ports: Option<PortRange>, port| ports.is_none_or(|ports| ports.contains(port));
        match (self, kind) {
            (Self::Any, _) | (Self::Icmp, PacketKind::Icmp) => true,
            (Self::Tcp(ports), PacketKind::Tcp(port))
            | (Self::Udp(ports), PacketKind::Udp(port)) => has(ports, port),
            (Self::Icmp | Self::Tcp(_) | Self::Udp(_), _) => false,
        }
    }
}

impl PortRange {
    fn new(from: u32, to: u32) -> Result<Self, RuleError> {
        let port = |number: u32| u16::try_from(number).ok().filter(|port| *port > 0);
        match (port(from), port(to)) {
            (Some(from), Some(to)) if from <= to => Ok(Self { from, to }),
            _ => Err(RuleError::Ports),
        }
    }

    /// One port; none is 0.
    #[must_use]
    pub const fn one(port: u16) -> Option<Self> {
        if port == 0 {
            return None;
        }
        Some(Self {
            from: port,
            to: port,
        })
    }

    /// The first port.
    #[must_use]
    pub const fn from(self) -> u16 {
        self.from
    }

    /// The last port.
    #[must_use]
    pub const fn to(self) -> u16 {
        self.to
    }

    const fn contains(self, port: u16) -> bool {
        self.from <= port && port <= self.to
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from == self.to {
            write!(f, "{}", self.from)
        } else {
            write!(f, "{}-{}", self.from, self.to)
        }
    }
}

impl IpNetwork {
    /// Reads an address or a network.
    ///
    /// # Errors
    /// Refuses everything else, host bits and IPv4 in the form of IPv6 included.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let fault = || RuleError::Address(printable(text, MAX_QUOTED));
        let (address, prefix) = text
            .split_once('/')
            .map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| fault())?;
        let longest = longest_prefix(address);
        let prefix = match prefix {
            None => longest,
            // A sign or a leading zero would be another text of the same number.
            Some(digits) => digits
                .parse::<u8>()
                .ok()
                .filter(|prefix| *prefix <= longest && prefix.to_string() == digits)
                .ok_or_else(fault)?,
        };
        let network = Self { address, prefix };
        let is_mapped = matches!(address, IpAddr::V6(six) if six.to_ipv4_mapped().is_some());
        if is_mapped || network.masked(address) != bits(address) {
            return Err(fault());
        }
        Ok(network)
    }

    /// One address.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self {
            address,
            prefix: longest_prefix(address),
        }
    }

    /// Its first address.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// Whether it is one address alone.
    #[must_use]
    pub const fn is_host(self) -> bool {
        self.prefix == longest_prefix(self.address)
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.address.is_ipv4() == address.is_ipv4() && self.masked(address) == bits(self.address)
    }

    /// The bits of an address that count.
    fn masked(self, address: IpAddr) -> u128 {
        let n_host_bits = u32::from(longest_prefix(self.address) - self.prefix);
        let mask = u128::MAX.checked_shl(n_host_bits).unwrap_or(0);
        bits(address) & mask
    }
}

impl fmt::Display for IpNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_host() {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.prefix)
        }
    }
}

const fn longest_prefix(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => u128::from(four.to_bits()),
        IpAddr::V6(six) => six.to_bits(),
    }
}

#[cfg(test)]
mod tests;
