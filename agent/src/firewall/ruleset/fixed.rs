//! The rules that every table has, whatever is desired: what a host needs to work and to be reached.
//! None of them depends on a row.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hidps_wire::FirewallAction;

use super::{Chain, Counted, ElementSet, LOG_LIMIT, LOG_PREFIX, Line, is_of_peers};
use crate::config::Port;
use crate::firewall::guard::Guards;

/// Answers to what was begun before, and what belongs to it.
const TRACKED: &str = "ct state established,related";

/// Connections older than the table: the kernel tracks none before a rule asks for it, so their next
/// packet looks new; only one that cannot open a connection is let through.
const OLDER: &str = "ct state new tcp flags & (fin | syn | rst | ack) == ack";

/// Without these errors IPv4 does not find the size of its packets.
const ICMP: &str = "icmp type { destination-unreachable, time-exceeded, parameter-problem }";

/// Without these IPv6 does not work at all.
const ICMPV6: &str = "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, \
                      parameter-problem, mld-listener-query, mld-listener-report, \
                      mld-listener-done, mld2-listener-report, nd-router-solicit, \
                      nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert }";

/// What comes first for packets to the host.
pub(super) fn incoming(sets: &[ElementSet]) -> Vec<Line> {
    let mut lines = vec![
        Line::accept("iifname \"lo\"", "loopback"),
        Line::accept(TRACKED, "answers"),
        Line::accept(OLDER, "connections older than this table"),
        Line::accept(ICMP, "icmp"),
        Line::accept(ICMPV6, "icmpv6"),
        // Answers come from elsewhere than they were asked for.
        Line::accept("udp sport . udp dport { 67 . 68, 547 . 546 }", "dhcp"),
    ];
    for set in sets.iter().filter(|set| is_of_peers(&set.name)) {
        let matches = format!("{} saddr . tcp dport @{}", set.ip_word(), set.name);
        lines.push(Line {
            counted: Counted::Anew,
            ..Line::accept(matches, "guard: SSH sessions of when this was loaded")
        });
    }
    lines
}

/// What comes after the desired rules and before the end: what stays open unless a rule closes it.
pub(super) fn undecided(keep_open: &BTreeSet<Port>) -> Vec<Line> {
    let mut lines = vec![
        Line::accept("icmp type echo-request", "ping"),
        Line::accept("icmpv6 type echo-request", "ping of IPv6"),
    ];
    lines.extend(keep_open.iter().map(|port| {
        let matches = format!("{} dport {}", port.transport, port.number);
        Line::accept(matches, format!("kept open: {port}"))
    }));
    lines
}

/// What comes first for packets from the host.
pub(super) fn outgoing(guards: &Guards) -> Vec<Line> {
    let mut lines = vec![
        Line::accept("oifname \"lo\"", "loopback"),
        Line::accept(TRACKED, "answers"),
        Line::accept(OLDER, "connections older than this table"),
        Line::accept(ICMP, "icmp"),
        Line::accept(ICMPV6, "icmpv6"),
        Line::accept("udp sport . udp dport { 68 . 67, 546 . 547 }", "dhcp"),
    ];
    let daemon = &guards.daemon;
    lines.extend(daemon.addresses.iter().map(|address| {
        let ip = match address {
            IpAddr::V4(_) => "ip",
            IpAddr::V6(_) => "ip6",
        };
        let matches = format!("{ip} daddr {address} tcp dport {}", daemon.port);
        Line::accept(matches, "guard: the daemon")
    }));
    if guards.is_daemon_named {
        let matches = "meta l4proto { tcp, udp } th dport 53";
        lines.push(Line::accept(matches, "guard: the daemon's name"));
    }
    lines
}

/// What becomes of packets no rule decided, counted; packets that pass need no rule.
pub(super) fn ending(default: FirewallAction, logging: bool) -> Vec<Line> {
    let line = |matches: &str, verdict, comment: &str| Line {
        matches: matches.to_owned(),
        counted: Counted::Anew,
        verdict,
        comment: comment.to_owned(),
    };
    match (default, logging) {
        (FirewallAction::Allow, _) => Vec::new(),
        (FirewallAction::Deny, false) => vec![line("", "drop", "default: deny")],
        (FirewallAction::Deny, true) => vec![line("", "goto denied", "default: deny")],
        (FirewallAction::Reject, true) => vec![line("", "goto rejected", "default: reject")],
        (FirewallAction::Reject, false) => vec![
            line(
                "meta l4proto tcp",
                "reject with tcp reset",
                "default: reject of TCP",
            ),
            line(
                "",
                "reject with icmpx type port-unreachable",
                "default: reject",
            ),
        ],
    }
}

/// Where rules send packets that are logged before they are stopped.
pub(super) fn logging_chains() -> [Chain; 2] {
    let line = |matches: &str, verdict, comment: &str| Line {
        matches: matches.to_owned(),
        counted: Counted::No,
        verdict,
        comment: comment.to_owned(),
    };
    let log = || {
        line(
            &format!("{LOG_LIMIT} log prefix \"{LOG_PREFIX}\""),
            "",
            "log",
        )
    };
    let denied = vec![log(), line("", "drop", "deny")];
    let rejected = vec![
        log(),
        line("meta l4proto tcp", "reject with tcp reset", "reject of TCP"),
        line("", "reject with icmpx type port-unreachable", "reject"),
    ];
    [("denied", denied), ("rejected", rejected)].map(|(name, lines)| Chain {
        name,
        base: None,
        lines,
    })
}
