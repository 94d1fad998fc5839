//! The agent's table as data and as the text that loads it.
//! Nothing from the network enters the text: it is made of fixed words and port numbers.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::nft::objects;
use super::{TABLE_FAMILY, TABLE_NAME};
use crate::config::Port;

/// Removes the table in the same transaction, whether it is there or not.
const RESET: &str = "table inet hidps\ndelete table inet hidps\n";

/// One rule of the input chain; what none of them accepts is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rule {
    /// Programs of the host among themselves.
    Loopback,
    /// Answers to what the host sent, and what belongs to it.
    Tracked,
    /// Connections older than the table: the kernel tracks none before a rule asks for it, so
    /// their next packet looks new; only one that cannot open a connection is let through.
    OlderConnections,
    /// What IPv4 needs to work.
    Icmp,
    /// What IPv6 needs to work; without neighbour discovery it does not.
    IcmpV6,
    /// Address leases, whose answers come from elsewhere than they were asked for.
    Leases,
    /// A port that stays reachable.
    KeepOpen(Port),
}

impl Rule {
    fn matches(self) -> String {
        match self {
            Self::Loopback => "iifname \"lo\"".to_owned(),
            Self::Tracked => "ct state established,related".to_owned(),
            Self::OlderConnections => {
                "ct state new tcp flags & (fin | syn | rst | ack) == ack".to_owned()
            }
            Self::Icmp => "icmp type { destination-unreachable, time-exceeded, \
                           parameter-problem, echo-request }"
                .to_owned(),
            Self::IcmpV6 => "icmpv6 type { destination-unreachable, packet-too-big, \
                             time-exceeded, parameter-problem, echo-request, \
                             mld-listener-query, nd-router-advert, nd-neighbor-solicit, \
                             nd-neighbor-advert }"
                .to_owned(),
            Self::Leases => "udp sport . udp dport { 67 . 68, 547 . 546 }".to_owned(),
            Self::KeepOpen(port) => format!("{} dport {}", port.transport, port.number),
        }
    }

    fn comment(self) -> String {
        match self {
            Self::Loopback => "loopback".to_owned(),
            Self::Tracked => "answers".to_owned(),
            Self::OlderConnections => "connections older than this table".to_owned(),
            Self::Icmp => "icmp".to_owned(),
            Self::IcmpV6 => "icmpv6".to_owned(),
            Self::Leases => "dhcp".to_owned(),
            Self::KeepOpen(port) => format!("kept open: {port}"),
        }
    }
}

/// The whole table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RuleSet {
    rules: Vec<Rule>,
}

impl RuleSet {
    pub(super) fn new(keep_open: &BTreeSet<Port>) -> Self {
        let mut rules = vec![
            Rule::Loopback,
            Rule::Tracked,
            Rule::OlderConnections,
            Rule::Icmp,
            Rule::IcmpV6,
            Rule::Leases,
        ];
        rules.extend(keep_open.iter().copied().map(Rule::KeepOpen));
        Self { rules }
    }

    /// The transaction that replaces whatever is under our name by this table.
    pub(super) fn load_script(&self) -> String {
        format!("{RESET}{}", self.table_text())
    }

    /// The table alone.
    pub(super) fn table_text(&self) -> String {
        // Statements end with the line: nft 1.0 refuses `; }` on one line.
        let mut text = format!(
            "table {TABLE_FAMILY} {TABLE_NAME} {{\n\tchain input {{\n\
             \t\ttype filter hook input priority filter; policy drop;\n"
        );
        for rule in &self.rules {
            writeln!(
                text,
                "\t\t{} accept comment \"{}\"",
                rule.matches(),
                rule.comment()
            )
            .expect("a string takes any text");
        }
        text.push_str("\t}\n}\n");
        text
    }

    /// Whether a listing of the table has this shape: the dropping chain, and our rules in order.
    pub(super) fn check_shape(&self, table: &Value) -> Result<(), String> {
        let chains: Vec<_> = objects(table, "chain").collect();
        let is_ours = |chain: &Value| {
            chain["name"] == "input" && chain["hook"] == "input" && chain["policy"] == "drop"
        };
        if chains.len() != 1 || !chains.iter().all(|chain| is_ours(chain)) {
            return Err("its chain is not one that drops input".to_owned());
        }
        let found: Vec<_> = objects(table, "rule")
            .map(|rule| rule["comment"].as_str().unwrap_or_default().to_owned())
            .collect();
        let wanted: Vec<_> = self.rules.iter().map(|rule| rule.comment()).collect();
        if found == wanted {
            Ok(())
        } else {
            Err(format!("its rules are {found:?} and not {wanted:?}"))
        }
    }
}

/// The transaction that removes the table.
pub(super) const fn remove_script() -> &'static str {
    RESET
}

/// A listing without what the kernel numbers and counts, so that equal tables compare equal.
pub(super) fn normalize(listing: &Value) -> Value {
    match listing {
        Value::Array(items) => Value::Array(
            items
                .iter()
                .filter(|item| item.get("metainfo").is_none())
                .map(normalize)
                .collect(),
        ),
        Value::Object(entries) => Value::Object(
            entries
                .iter()
                .filter(|(key, _)| !matches!(key.as_str(), "handle" | "packets" | "bytes"))
                .map(|(key, value)| (key.clone(), normalize(value)))
                .collect(),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => listing.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_text_names_every_kept_port_and_nothing_else_changes() {
        let ports = ["22/tcp", "51820/udp"].map(|port| port.parse().unwrap());

        let text = RuleSet::new(&BTreeSet::from(ports)).load_script();

        let without = RuleSet::new(&BTreeSet::new()).load_script();
        let added: Vec<_> = text
            .lines()
            .filter(|line| !without.contains(line))
            .collect();
        assert_eq!(
            added,
            [
                "\t\ttcp dport 22 accept comment \"kept open: 22/tcp\"",
                "\t\tudp dport 51820 accept comment \"kept open: 51820/udp\"",
            ]
        );
        assert!(text.starts_with("table inet hidps\ndelete table inet hidps\ntable inet hidps {"));
    }

    #[test]
    fn numbers_of_the_kernel_do_not_make_a_difference() {
        let first = json!({"nftables": [
            {"metainfo": {"version": "1.0.6"}},
            {"rule": {"handle": 4, "expr": [{"counter": {"packets": 1, "bytes": 2}}]}}
        ]});
        let second = json!({"nftables": [
            {"rule": {"handle": 9, "expr": [{"counter": {"packets": 5, "bytes": 6}}]}}
        ]});

        assert_eq!(normalize(&first), normalize(&second));
    }

    #[test]
    fn a_table_of_another_shape_is_told_apart() {
        let set = RuleSet::new(&BTreeSet::new());
        let chain = json!({"chain": {"name": "input", "hook": "input", "policy": "drop"}});
        let mut table = vec![chain];
        for rule in &set.rules {
            table.push(json!({"rule": {"comment": rule.comment()}}));
        }
        let check = |entries: &[Value]| set.check_shape(&json!({ "nftables": entries }));

        assert_eq!(check(&table), Ok(()));
        assert!(check(&table[1..]).is_err(), "no chain");
        assert!(check(&table[..3]).is_err(), "rules missing");
        table[0]["chain"]["policy"] = json!("accept");
        assert!(check(&table).is_err(), "open policy");
    }
}
