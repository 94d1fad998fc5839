//! The desired rules as lines of a chain; many that differ in the address alone become one with sets.
//! The order of the rules is the order of the lines: what is put together has the same effect.

use hidps_wire::{
    Direction, FilterRule, FirewallAction, FirewallPolicy, IpNetwork, PortRange, Service,
};

use super::sets::{ElementSet, of_networks};
use super::{Counted, Line};

/// Fewer rules in a row than this stay lines of their own, which people read more easily.
const MIN_GROUP: usize = 8;

/// The lines of one direction; the sets they need are added.
pub(super) fn lines(
    policy: &FirewallPolicy,
    direction: Direction,
    sets: &mut Vec<ElementSet>,
) -> Vec<Line> {
    let rules: Vec<_> = policy
        .rules
        .iter()
        .filter(|rule| rule.direction == direction)
        .collect();
    let is_alike = |a: &&FilterRule, b: &&FilterRule| {
        a.action == b.action && a.service == b.service && a.peer.is_some() && b.peer.is_some()
    };
    let mut lines = Vec::new();
    for group in rules.chunk_by(is_alike) {
        if group.len() < MIN_GROUP {
            lines.extend(group.iter().map(|rule| one(rule, policy.logging)));
        } else {
            lines.extend(many(group, policy.logging, sets));
        }
    }
    lines
}

fn one(rule: &FilterRule, logging: bool) -> Line {
    let peer = rule.peer.map(|peer| {
        let ip = ip_word(peer);
        format!("{ip} {} {peer}", end_word(rule.direction))
    });
    Line {
        matches: join(peer, rule.service),
        counted: Counted::For(rule.id),
        verdict: verdict(rule, logging),
        comment: format!("rule {}", rule.id),
    }
}

/// One line for each set of the addresses of these rules, which are alike in all else.
fn many(rules: &[&FilterRule], logging: bool, sets: &mut Vec<ElementSet>) -> Vec<Line> {
    let Some(first) = rules.first() else {
        return Vec::new();
    };
    let group = sets.len();
    let members = rules
        .iter()
        .filter_map(|rule| Some((rule.peer?, rule.id)))
        .collect::<Vec<_>>();
    let new = of_networks(group, &members);
    let lines = new.iter().map(|set| {
        let peer = format!(
            "{} {} @{}",
            set.ip_word(),
            end_word(first.direction),
            set.name
        );
        Line {
            matches: join(Some(peer), first.service),
            counted: Counted::No,
            verdict: verdict(first, logging),
            comment: format!("{} rules with the set {}", set.len(), set.name),
        }
    });
    let lines = lines.collect();
    sets.extend(new);
    lines
}

fn join(peer: Option<String>, service: Service) -> String {
    let ports = |name: &str, ports: Option<PortRange>| {
        Some(ports.map_or_else(
            || format!("meta l4proto {name}"),
            |ports| format!("{name} dport {ports}"),
        ))
    };
    let service = match service {
        Service::Any => None,
        Service::Icmp => Some("meta l4proto { icmp, ipv6-icmp }".to_owned()),
        Service::Tcp(range) => ports("tcp", range),
        Service::Udp(range) => ports("udp", range),
    };
    let parts: Vec<_> = [peer, service].into_iter().flatten().collect();
    parts.join(" ")
}

const fn verdict(rule: &FilterRule, logging: bool) -> &'static str {
    match (rule.action, rule.service, logging) {
        (FirewallAction::Allow, _, _) => "accept",
        (FirewallAction::Deny, _, false) => "drop",
        (FirewallAction::Deny, _, true) => "goto denied",
        (FirewallAction::Reject, _, true) => "goto rejected",
        (FirewallAction::Reject, Service::Tcp(_), false) => "reject with tcp reset",
        (FirewallAction::Reject, _, false) => "reject with icmpx type port-unreachable",
    }
}

const fn end_word(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "saddr",
        Direction::Out => "daddr",
    }
}

const fn ip_word(peer: IpNetwork) -> &'static str {
    if peer.address().is_ipv4() {
        "ip"
    } else {
        "ip6"
    }
}
