//! What the kernel's packet filter logs, for ufw, iptables and nftables alike: `PREFIX IN=… KEY=…`.
//! What stands in brackets is a packet inside the packet; it never speaks for the outer one.

use hidps_wire::Text;

use super::address::{parse_ip, parse_number};
use super::reading::{Facts, Reading};

/// TCP's flags, the only words without a value that are told.
const FLAGS: [&str; 8] = ["CWR", "ECE", "URG", "ACK", "PSH", "RST", "SYN", "FIN"];

/// Reads a message of the kernel, its own time stamp already taken off.
pub(super) fn parse(message: &str) -> Reading<'_> {
    let Some((prefix, rest)) = split_prefix(message) else {
        return Reading::Other;
    };
    let mut packet = Packet::default();
    let mut depth = 0_usize;
    for word in rest.split(' ').filter(|word| !word.is_empty()) {
        let opened = word.starts_with('[');
        depth += usize::from(opened);
        if depth == 0 && packet.take(word).is_none() {
            return Reading::Ambiguous;
        }
        if word.ends_with(']') {
            depth = depth.saturating_sub(1);
        }
    }
    packet.into_facts(prefix).into()
}

/// Splits before the first `IN=` that begins a word; a prefix may lack its space.
fn split_prefix(message: &str) -> Option<(&str, &str)> {
    let at = message.match_indices("IN=").map(|(at, _)| at).find(|at| {
        let before = message.get(..*at).and_then(|text| text.chars().next_back());
        before.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_')
    })?;
    let (prefix, rest) = (message.get(..at)?, message.get(at..)?);
    let is_packet = rest.contains(" OUT=") && rest.contains(" SRC=");
    is_packet.then(|| (prefix.trim(), rest))
}

/// What is told of a packet, as text.
#[derive(Default)]
struct Packet<'a> {
    words: [Option<&'a str>; FIELDS.len()],
    flags: Flags<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Address,
    Protocol,
    Number,
    /// May come twice, for the datagram inside; the first one counts.
    FirstNumber,
}

/// The fields and how their values are read, in the order of [`number_of`].
const FIELDS: [(&str, Kind); 12] = [
    ("in", Kind::Text),
    ("out", Kind::Text),
    ("mac", Kind::Text),
    ("src_ip", Kind::Address),
    ("dst_ip", Kind::Address),
    ("length", Kind::FirstNumber),
    ("ttl", Kind::Number),
    ("proto", Kind::Protocol),
    ("src_port", Kind::Number),
    ("dst_port", Kind::Number),
    ("icmp_type", Kind::Number),
    ("icmp_code", Kind::Number),
];

/// Which field a key of the kernel becomes.
fn number_of(key: &str) -> Option<usize> {
    Some(match key {
        "IN" => 0,
        "OUT" => 1,
        "MAC" => 2,
        "SRC" => 3,
        "DST" => 4,
        "LEN" => 5,
        "TTL" | "HOPLIMIT" => 6,
        "PROTO" => 7,
        "SPT" => 8,
        "DPT" => 9,
        "TYPE" => 10,
        "CODE" => 11,
        _ => return None,
    })
}

impl<'a> Packet<'a> {
    /// Takes a word in; none if it says again what was said.
    fn take(&mut self, word: &'a str) -> Option<()> {
        let Some((name, value)) = word.split_once('=') else {
            self.flags.take(word);
            return Some(());
        };
        let found = number_of(name)
            .and_then(|number| Some((self.words.get_mut(number)?, FIELDS.get(number)?)));
        let Some((slot, (_, kind))) = found else {
            return Some(());
        };
        if slot.is_some() {
            return (*kind == Kind::FirstNumber).then_some(());
        }
        *slot = Some(value);
        Some(())
    }

    /// The packet as fields; none if an address, a port or a number is not one.
    fn into_facts(self, prefix: &'a str) -> Option<Facts<'a>> {
        let facts = Facts::with_room(FIELDS.len() + 5);
        let mut facts = facts
            .text("action", action_of(prefix))
            .text("prefix", prefix);
        for ((name, kind), value) in FIELDS.into_iter().zip(self.words) {
            let Some(value) = value.filter(|value| !value.is_empty()) else {
                continue;
            };
            facts = match kind {
                Kind::Text => facts.text(name, value),
                Kind::Address => facts.text(name, parse_ip(value)?),
                Kind::Protocol => facts.text(name, protocol(value)),
                Kind::Number => facts.number(name, parse_number::<u16>(value)?),
                Kind::FirstNumber => facts.number(name, parse_number::<u32>(value)?),
            };
        }
        Some(match self.flags.into_text() {
            Some(flags) => facts.text("flags", flags),
            None => facts,
        })
    }
}

/// TCP's flags in the kernel's order.
#[derive(Default)]
struct Flags<'a> {
    first: Option<&'a str>,
    more: Option<String>,
}

impl<'a> Flags<'a> {
    fn take(&mut self, word: &'a str) {
        if !FLAGS.contains(&word) {
            return;
        }
        match self.first {
            None => self.first = Some(word),
            Some(first) => {
                let text = self.more.get_or_insert_with(|| first.to_owned());
                // As many as there are flags, and a loop of the same one ends there.
                if text.len() < 4 * FLAGS.len() {
                    text.push(' ');
                    text.push_str(word);
                }
            }
        }
    }

    fn into_text(self) -> Option<Text<'a>> {
        match self.more {
            Some(text) => Some(text.into()),
            None => self.first.map(Text::from),
        }
    }
}

/// A protocol in lower case; those without a name are numbers.
fn protocol(value: &str) -> Text<'_> {
    match value {
        "TCP" => "tcp".into(),
        "UDP" => "udp".into(),
        "ICMP" => "icmp".into(),
        "ICMPv6" => "icmpv6".into(),
        value => value.to_ascii_lowercase().into(),
    }
}

/// What became of the packet, as far as whoever wrote the prefix says so.
fn action_of(prefix: &str) -> &'static str {
    if let Some(rest) = prefix.strip_prefix("[UFW ") {
        let words = [
            ("BLOCK", "blocked"),
            ("LIMIT", "limited"),
            ("ALLOW", "allowed"),
            ("AUDIT", "audited"),
        ];
        let found = words.iter().find(|(word, _)| rest.starts_with(word));
        return found.map_or("logged", |(_, action)| action);
    }
    let is_blocked = |word: &str| {
        let verbs = ["drop", "deny", "denied", "block", "reject", "ban"];
        verbs.iter().any(|verb| begins_with(word, verb))
    };
    let is_allowed = |word: &str| {
        ["accept", "allow", "pass"]
            .iter()
            .any(|verb| begins_with(word, verb))
    };
    let mut words = prefix
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let is_vendors = prefix.starts_with('[') && prefix.ends_with(']');
    let last = words.clone().next_back().filter(|_| is_vendors);
    // EdgeOS and its relatives end in one letter: `[WAN_IN-3000-D]`.
    match last {
        Some("D" | "R") => return "blocked",
        Some("A") => return "allowed",
        _ => {}
    }
    let found = words.find_map(|word| {
        let allowed = is_allowed(word).then_some("allowed");
        if is_blocked(word) {
            Some("blocked")
        } else {
            allowed
        }
    });
    found.unwrap_or("logged")
}

/// Whether a word is a verb, in whichever letters and form: `DROP`, `Dropped`.
fn begins_with(word: &str, verb: &str) -> bool {
    word.get(..verb.len())
        .is_some_and(|begin| begin.eq_ignore_ascii_case(verb))
}
