//! A rule as ufw keeps it: read from its files, made for a desired one, and written as arguments.
//! It runs nothing, and never takes a rule of somebody else for the agent's.

use std::fmt;
use std::net::IpAddr;

use hidps_wire::{Direction, FirewallAction, IpNetwork, Service};
use uuid::Uuid;

use crate::config::{Port, Transport};

/// What every comment of the agent begins with.
const COMMENT: &str = "hidps:";

/// The interfaces of the agent's rules, which is every one. Rules of people rarely say so, and for
/// ufw two rules that match the same are one: so ours never replaces one of theirs.
const ANY_INTERFACE: &str = "_+";

/// What a line with a rule begins with.
const TUPLE: &str = "### tuple ###";

/// The words of a tuple: action, protocol, ports and addresses, then two names of applications, or
/// the way, or all of them.
const TUPLE_WORDS: std::ops::RangeInclusive<usize> = 6..=9;

/// The words of [`UfwRule::matches`] in a rule without applications.
const MATCH_WORDS: usize = 6;

/// A version of IP.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Family {
    /// IPv4.
    Four,
    /// IPv6.
    Six,
}

/// What ufw does with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Allow,
    Deny,
    Reject,
    /// Let pass up to six times in half a minute.
    Limit,
}

/// Whose a rule is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Owner {
    /// Somebody else's.
    Foreign,
    /// Ours, in place only while denying rules change their order.
    Shield,
    /// Ours, and open whatever is desired.
    Guard,
    /// Ours, for a row or a port that is kept open.
    Desired,
}

/// A rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct UfwRule {
    pub(super) verdict: Verdict,
    /// Whether it is logged: empty, `log` or `log-all`.
    pub(super) log: String,
    /// Protocol, destination port and address, source port and address, and the way, in ufw's words:
    /// what makes it one rule for ufw.
    pub(super) matches: String,
    pub(super) comment: String,
    pub(super) owner: Owner,
}

/// A rule to be: what the agent wants of ufw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Intent<'c> {
    pub(super) verdict: Verdict,
    pub(super) direction: Direction,
    pub(super) service: Service,
    /// The other end; none is everybody.
    pub(super) peer: Option<IpNetwork>,
    pub(super) is_logged: bool,
    pub(super) comment: &'c str,
}

impl Family {
    pub(super) const BOTH: [Self; 2] = [Self::Four, Self::Six];

    pub(super) const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Four,
            IpAddr::V6(_) => Self::Six,
        }
    }

    pub(super) const fn everybody(self) -> &'static str {
        match self {
            Self::Four => "0.0.0.0/0",
            Self::Six => "::/0",
        }
    }
}

impl Verdict {
    /// Whether it stops packets.
    pub(super) const fn is_closing(self) -> bool {
        match self {
            Self::Deny | Self::Reject => true,
            Self::Allow | Self::Limit => false,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Reject => "reject",
            Self::Limit => "limit",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        let all = [Self::Allow, Self::Deny, Self::Reject, Self::Limit];
        all.into_iter().find(|it| it.word() == word)
    }
}

impl From<FirewallAction> for Verdict {
    fn from(action: FirewallAction) -> Self {
        match action {
            FirewallAction::Allow => Self::Allow,
            FirewallAction::Deny => Self::Deny,
            FirewallAction::Reject => Self::Reject,
        }
    }
}

impl UfwRule {
    /// The rule of one version of IP.
    pub(super) fn new(intent: &Intent<'_>, family: Family) -> Self {
        let (protocol, ports) = match intent.service {
            // ufw cannot filter ICMP; whoever asks for it was refused before.
            Service::Any | Service::Icmp => ("any", None),
            Service::Tcp(ports) => ("tcp", ports),
            Service::Udp(ports) => ("udp", ports),
        };
        let ports = ports.map_or_else(
            || "any".to_owned(),
            |ports| ports.to_string().replace('-', ":"),
        );
        let everybody = family.everybody().to_owned();
        let peer = intent
            .peer
            .map_or_else(|| everybody.clone(), |peer| peer.to_string());
        let (to, from, way) = match intent.direction {
            Direction::In => (everybody, peer, "in"),
            Direction::Out => (peer, everybody, "out"),
        };
        Self::owned(Self {
            verdict: intent.verdict,
            log: if intent.is_logged { "log" } else { "" }.to_owned(),
            matches: format!("{protocol} {ports} {to} any {from} {way}{ANY_INTERFACE}"),
            comment: format!("{COMMENT}{}", intent.comment),
            owner: Owner::Foreign,
        })
    }

    /// Whether a line of ufw's files begins what it keeps of one rule.
    pub(super) fn is_tuple(line: &str) -> bool {
        line.starts_with(TUPLE)
    }

    /// Reads a line of ufw's files; none when ufw itself would see no rule in it.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let line = line.strip_prefix(TUPLE)?;
        let (tuple, comment) = line
            .split_once(" comment=")
            .map_or((line, ""), |(tuple, digits)| (tuple, digits.trim()));
        let words: Vec<_> = tuple.split_whitespace().collect();
        if !TUPLE_WORDS.contains(&words.len()) {
            return None;
        }
        let (action, rest) = words.split_first()?;
        let (way, action) = action.split_once(':').unwrap_or(("", *action));
        let (verdict, log) = action.split_once('_').unwrap_or((action, ""));
        let mut matches: Vec<_> = rest.iter().map(|word| canonical(word)).collect();
        // A rule of ufw's older days has no way and looks at what comes in.
        if matches!(rest.len(), 5 | 7) {
            matches.push("in".to_owned());
        }
        if !way.is_empty() {
            matches.insert(0, way.to_owned());
        }
        Some(Self::owned(Self {
            verdict: Verdict::parse(verdict)?,
            log: log.to_owned(),
            matches: matches.join(" "),
            comment: read_comment(comment),
            owner: Owner::Foreign,
        }))
    }

    fn owned(rule: Self) -> Self {
        let owner = match rule.comment.strip_prefix(COMMENT) {
            Some(mark) if rule.is_of_our_form() => match mark {
                "shield" => Owner::Shield,
                mark if mark.starts_with("guard ") => Owner::Guard,
                _ => Owner::Desired,
            },
            Some(_) | None => Owner::Foreign,
        };
        Self { owner, ..rule }
    }

    fn is_of_our_form(&self) -> bool {
        let n_words = self.matches.split(' ').count();
        n_words == MATCH_WORDS && self.matches.ends_with(ANY_INTERFACE)
    }

    pub(super) const fn is_ours(&self) -> bool {
        match self.owner {
            Owner::Foreign => false,
            Owner::Shield | Owner::Guard | Owner::Desired => true,
        }
    }

    /// Whether it looks at packets that come in.
    pub(super) fn is_incoming(&self) -> bool {
        self.matches.ends_with("in_+") || self.matches.ends_with(" in")
    }

    /// The row it is for.
    pub(super) fn row(&self) -> Option<Uuid> {
        let id = self.comment.strip_prefix(COMMENT)?.strip_prefix("rule ")?;
        id.parse().ok().filter(|_| self.is_ours())
    }

    /// A rule of ours in the words of the command that makes it.
    pub(super) fn arguments(&self) -> Vec<&str> {
        let mut words = self.matches.split(' ');
        let mut next = || words.next().unwrap_or("any");
        let (protocol, to_port, to, from_port, from, way) =
            (next(), next(), next(), next(), next(), next());
        let way = way.strip_suffix(ANY_INTERFACE).unwrap_or(way);
        let mut arguments = vec![self.verdict.word(), way, "on", "+"];
        if !self.log.is_empty() {
            arguments.push(&self.log);
        }
        let optional = |arguments: &mut Vec<_>, name, value| {
            if value != "any" {
                arguments.extend([name, value]);
            }
        };
        optional(&mut arguments, "proto", protocol);
        arguments.extend(["from", from]);
        optional(&mut arguments, "port", from_port);
        arguments.extend(["to", to]);
        optional(&mut arguments, "port", to_port);
        arguments.extend(["comment", &self.comment]);
        arguments
    }
}

impl fmt::Display for UfwRule {
    /// As a person would type it, with the comment as people mark one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_of_our_form() {
            let arguments = self.arguments();
            let words = arguments.split_last_chunk::<2>();
            let words = words.map_or(arguments.as_slice(), |(words, _)| words);
            write!(f, "{} # {}", words.join(" "), self.comment)
        } else {
            write!(f, "{} {}", self.verdict.word(), self.matches)
        }
    }
}

/// What keeps a port open, in the words of a rule.
pub(super) fn service_of(port: Port) -> Service {
    let ports = hidps_wire::PortRange::one(port.number);
    match port.transport {
        Transport::Tcp => Service::Tcp(ports),
        Transport::Udp => Service::Udp(ports),
    }
}

/// The rules of a file, in order.
pub(super) fn parse_rules(text: &str) -> Vec<UfwRule> {
    text.lines().filter_map(UfwRule::parse).collect()
}

/// The same address in the words in which this agent writes it.
fn canonical(word: &str) -> String {
    let network = IpNetwork::parse(word).ok();
    network.map_or_else(|| word.to_owned(), |network| network.to_string())
}

/// Hexadecimal digits as text; what is not any says nothing.
fn read_comment(digits: &str) -> String {
    let bytes: Option<Vec<u8>> = (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok())
        .collect();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As ufw 0.36.2 writes them.
    const FILE: &str = "\
*filter
:ufw-user-input - [0:0]
### RULES ###

### tuple ### reject any any 0.0.0.0/0 any 0.0.0.0/0 in_+ comment=68696470733a72756c652035
-A ufw-user-input -i + -j REJECT

### tuple ### deny_log tcp 80:90 0.0.0.0/0 any 10.0.0.0/8 in_+ comment=68696470733a677561726420737368
-A ufw-user-input -i + -p tcp -m multiport --dports 80:90 -s 10.0.0.0/8 -j DROP

### tuple ### allow tcp 80 0.0.0.0/0 any 0.0.0.0/0 in comment=68696470733a72756c652035
-A ufw-user-input -p tcp --dport 80 -j ACCEPT

### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 OpenSSH - in
-A ufw-user-input -p tcp --dport 22 -j ACCEPT -m comment --comment 'dapp_OpenSSH'

### tuple ### route:allow any any 0.0.0.0/0 any 0.0.0.0/0 in_eth0!out_eth1
### tuple ### malformed
### tuple ### limit udp 53 ::/0 any 2001:0db8::1 out_+ comment=zz
### END RULES ###
COMMIT
";

    #[test]
    fn rules_are_read_as_ufw_writes_them_and_ours_are_told_apart() {
        let rules = parse_rules(FILE);

        let seen: Vec<_> = rules
            .iter()
            .map(|it| (it.verdict, it.matches.as_str(), it.owner))
            .collect();
        assert_eq!(
            seen,
            [
                (
                    Verdict::Reject,
                    "any any 0.0.0.0/0 any 0.0.0.0/0 in_+",
                    Owner::Desired
                ),
                (
                    Verdict::Deny,
                    "tcp 80:90 0.0.0.0/0 any 10.0.0.0/8 in_+",
                    Owner::Guard
                ),
                // Somebody copied the comment, and it is theirs all the same.
                (
                    Verdict::Allow,
                    "tcp 80 0.0.0.0/0 any 0.0.0.0/0 in",
                    Owner::Foreign
                ),
                (
                    Verdict::Allow,
                    "tcp 22 0.0.0.0/0 any 0.0.0.0/0 OpenSSH - in",
                    Owner::Foreign
                ),
                (
                    Verdict::Allow,
                    "route any any 0.0.0.0/0 any 0.0.0.0/0 in_eth0!out_eth1",
                    Owner::Foreign
                ),
                (
                    Verdict::Limit,
                    "udp 53 ::/0 any 2001:db8::1 out_+",
                    Owner::Foreign
                ),
            ]
        );
        assert_eq!(rules[1].log, "log");
        assert_eq!(rules[0].comment, "hidps:rule 5");
    }

    #[test]
    fn a_rule_is_typed_as_ufw_wants_it() {
        let intent = Intent {
            verdict: Verdict::Reject,
            direction: Direction::Out,
            service: service_of(Port::SSH),
            peer: Some(IpNetwork::parse("2001:db8::/32").unwrap()),
            is_logged: true,
            comment: "rule 1",
        };

        let rule = UfwRule::new(&intent, Family::Six);

        assert_eq!(
            rule.arguments().join(" "),
            "reject out on + log proto tcp from ::/0 to 2001:db8::/32 port 22 comment hidps:rule 1"
        );
        assert_eq!(
            rule.to_string(),
            "reject out on + log proto tcp from ::/0 to 2001:db8::/32 port 22 # hidps:rule 1"
        );
    }

    /// The line that ufw writes for a rule.
    fn line_of(rule: &UfwRule) -> String {
        let log = if rule.log.is_empty() { "" } else { "_log" };
        let digits: String = rule
            .comment
            .bytes()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let verdict = rule.verdict.word();
        format!("{TUPLE} {verdict}{log} {} comment={digits}", rule.matches)
    }

    prop_compose! {
        fn rule()(verdict in 0_usize..3, is_in: bool, kind in 0_u8..3, port in 1_u16.., peer: Option<u32>,
                  six: bool, is_logged: bool, id: u128) -> UfwRule {
            let port = Port { transport: Transport::Tcp, number: port };
            let service = match kind {
                0 => Service::Any,
                1 => Service::Udp(None),
                _ => service_of(port),
            };
            let address = |bits: u32| if six {
                IpAddr::from(std::net::Ipv6Addr::from(u128::from(bits) << 96 | 1))
            } else {
                IpAddr::from(std::net::Ipv4Addr::from(bits))
            };
            let comment = format!("rule {}", Uuid::from_u128(id));
            let intent = Intent {
                verdict: [Verdict::Allow, Verdict::Deny, Verdict::Reject][verdict],
                direction: if is_in { Direction::In } else { Direction::Out },
                service,
                peer: peer.map(|bits| IpNetwork::host(address(bits))),
                is_logged,
                comment: &comment,
            };
            UfwRule::new(&intent, if six { Family::Six } else { Family::Four })
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_passed_over(text in "(### tuple ### )?[ -~é\n]{0,200}") {
            for rule in parse_rules(&text) {
                rule.arguments();
            }
        }

        #[test]
        fn what_is_made_is_read_back_as_the_same(rule in rule()) {
            prop_assert!(rule.is_ours());
            prop_assert_eq!(parse_rules(&line_of(&rule)), [rule]);
        }
    }
}
