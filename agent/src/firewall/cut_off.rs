//! Whether loading the agent's table would cost the host its daemon, as far as can be told.
//! It is pure, and says that it cannot tell rather than guess.
//!
//! The table lets in answers to what the host begins, so the link lives exactly if the kernel knows
//! an answer from a stranger's packet: if it tracks connections, and nobody keeps it from that.

use std::net::IpAddr;

use hidps_wire::CutOff;
use serde_json::Value;

use super::nft::objects;
use super::{DaemonPlace, TABLE_FAMILY, TABLE_NAME};
use crate::text::printable;

/// Longest name of somebody else's table or chain.
const MAX_NAME: usize = 60;

/// Where packets are seen before they are tracked.
const PRIORITY_RAW: i64 = -300;

/// What is known of the host's tracking of connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Tracking<'t> {
    /// The kernel's table of tracked connections, if it can be read.
    pub(super) connections: Option<&'t str>,
    /// The names of the tables of iptables' older kind, of both versions of IP; none when they
    /// cannot be read.
    pub(super) legacy_tables: Option<&'t str>,
}

/// Why the link may not survive.
struct Doubt {
    is_certain: bool,
    why: String,
}

/// Judges by the whole ruleset of the host.
pub(super) fn judge_cut_off(
    ruleset: &Value,
    tracking: Tracking<'_>,
    place: &DaemonPlace,
) -> (CutOff, String) {
    if !place.addresses.is_empty() && place.addresses.iter().all(IpAddr::is_loopback) {
        let why = "the daemon is on this host, and the table lets in what programs of the host \
                   send each other";
        return (CutOff::No, why.to_owned());
    }
    let is_tracked = tracking
        .connections
        .map(|connections| tracks(connections, place));
    let doubts = find_doubts(ruleset, tracking, place, is_tracked);
    let worst = doubts.iter().find(|doubt| doubt.is_certain);
    match worst.or(doubts.first()) {
        Some(doubt) if doubt.is_certain => (CutOff::Yes, doubt.why.clone()),
        Some(doubt) => (CutOff::Unknown, doubt.why.clone()),
        None => {
            let proof = if is_tracked == Some(true) {
                "the kernel tracks the link already"
            } else {
                "no rule keeps connections from being tracked"
            };
            let why = format!("the table lets in answers to what the host begins, and {proof}");
            (CutOff::No, why)
        }
    }
}

fn find_doubts(
    ruleset: &Value,
    tracking: Tracking<'_>,
    place: &DaemonPlace,
    is_tracked: Option<bool>,
) -> Vec<Doubt> {
    let mut doubts: Vec<_> = objects(ruleset, "rule")
        .filter(|rule| !is_ours(rule) && sees(rule, place))
        .filter_map(|rule| doubt_of(rule, ruleset))
        .collect();
    let legacy = match tracking.legacy_tables {
        Some(tables) if !tables.lines().any(|table| table == "raw") => None,
        Some(_) => Some("iptables-legacy has a table raw"),
        None => Some("the tables of iptables-legacy cannot be read"),
    };
    doubts.extend(legacy.map(|what| Doubt {
        is_certain: false,
        why: format!(
            "{what}, and nft does not show what keeps connections from being tracked there"
        ),
    }));
    // Nothing is tracked before some rule asks for it.
    let is_in_use = objects(ruleset, "rule").any(|rule| has_key(&rule["expr"], "ct"));
    if is_in_use && is_tracked == Some(false) {
        doubts.push(Doubt {
            is_certain: false,
            why: "the kernel tracks connections, but not the one to the daemon, so the table may \
                  take its answers for a stranger's packets"
                .to_owned(),
        });
    }
    doubts
}

/// What is doubtful about a rule of somebody else.
fn doubt_of(rule: &Value, ruleset: &Value) -> Option<Doubt> {
    let is_of_table = |chain: &&Value| {
        let same = |key: &str| chain[key] == rule[key];
        chain["family"] == rule["family"] && same("table")
    };
    let chains = || objects(ruleset, "chain").filter(is_of_table);
    let chain = chains().find(|chain| chain["name"] == rule["chain"]);
    let statements = rule["expr"].as_array()?;
    let is_untracking = statements.iter().any(|s| s.get("notrack").is_some());
    // nft does not say what a target of iptables does. A chain without a place of its own is led to
    // from one of the same table.
    let sees_early = |chain: &Value| {
        let priority = chain["prio"].as_i64();
        priority.is_some_and(|priority| priority <= PRIORITY_RAW)
    };
    let is_base = chain.is_some_and(|chain| chain.get("prio").is_some_and(Value::is_i64));
    let is_early = if is_base {
        chain.is_some_and(sees_early)
    } else {
        chains().any(sees_early)
    };
    let is_opaque = is_early && has_key(&rule["expr"], "xt");
    if !is_untracking && !is_opaque {
        return None;
    }
    let name = |key: &str| printable(rule[key].as_str().unwrap_or_default(), MAX_NAME);
    let place = format!(
        "the chain {} of the table {} {}",
        name("chain"),
        name("family"),
        name("table")
    );
    let hook = chain.and_then(|chain| chain["hook"].as_str());
    let is_certain =
        is_untracking && statements.len() == 1 && matches!(hook, Some("prerouting" | "output"));
    let why = if is_certain {
        format!(
            "{place} keeps every packet from being tracked, so the table takes the daemon's \
             answers for a stranger's packets"
        )
    } else if is_untracking {
        format!("{place} keeps some packets from being tracked, perhaps those of the link")
    } else {
        format!("{place} has rules of iptables that may keep the link from being tracked")
    };
    Some(Doubt { is_certain, why })
}

fn is_ours(rule: &Value) -> bool {
    rule["family"] == TABLE_FAMILY && rule["table"] == TABLE_NAME
}

/// Whether a rule can see packets to or from the daemon at all.
fn sees(rule: &Value, place: &DaemonPlace) -> bool {
    let is_any = place.addresses.is_empty();
    match rule["family"].as_str() {
        Some("ip") => is_any || place.addresses.iter().any(IpAddr::is_ipv4),
        Some("ip6") => is_any || place.addresses.iter().any(IpAddr::is_ipv6),
        _ => true,
    }
}

/// Whether a connection to the daemon is in the kernel's table.
fn tracks(connections: &str, place: &DaemonPlace) -> bool {
    let is_it = |line: &str| {
        let value = |key: &str| {
            line.split_ascii_whitespace()
                .find_map(|word| word.strip_prefix(key))
        };
        let address: Option<IpAddr> = value("dst=").and_then(|text| text.parse().ok());
        let port: Option<u16> = value("dport=").and_then(|text| text.parse().ok());
        // Both are those of whoever began the connection, which the agent did.
        address.is_some_and(|address| place.addresses.contains(&address))
            && port == Some(place.port)
    };
    connections.lines().any(is_it)
}

fn has_key(value: &Value, key: &str) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| has_key(item, key)),
        Value::Object(entries) => {
            entries.contains_key(key) || entries.values().any(|value| has_key(value, key))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TRACKED: &str = "ipv4     2 tcp      6 431999 ESTABLISHED src=10.77.0.2 dst=10.77.0.1 \
                           sport=40000 dport=8443 src=10.77.0.1 dst=10.77.0.2 sport=8443 \
                           dport=40000 [ASSURED] mark=0 zone=0 use=2\n";

    /// No table of connections, and no older iptables.
    const QUIET: Tracking<'_> = Tracking {
        connections: None,
        legacy_tables: Some(""),
    };

    fn place(address: &str) -> DaemonPlace {
        DaemonPlace {
            addresses: vec![address.parse().unwrap()],
            port: 8443,
        }
    }

    fn ruleset(family: &str, chain: &Value, expressions: &[Value]) -> Value {
        let mut entries = vec![json!({"chain": {
            "family": family, "table": "foreign", "name": "c",
            "hook": chain["hook"], "prio": chain["prio"]
        }})];
        entries.extend(expressions.iter().map(|expr| {
            json!({"rule": {"family": family, "table": "foreign", "chain": "c", "expr": expr}})
        }));
        json!({ "nftables": entries })
    }

    fn raw(hook: &str) -> Value {
        json!({"hook": hook, "prio": -300})
    }

    #[test]
    fn what_keeps_the_link_from_being_tracked_is_found() {
        let all = json!([{"notrack": null}]);
        let some = json!([{"match": {"right": 80}}, {"notrack": null}]);
        let check = |family, chain: &Value, expr: &Value, expected, words: &str| {
            let ruleset = ruleset(family, chain, std::slice::from_ref(expr));

            let (cuts_off, why) = judge_cut_off(&ruleset, QUIET, &place("10.77.0.1"));

            assert_eq!(cuts_off, expected, "{family} {chain} {expr}: {why}");
            assert!(why.contains(words), "{why}");
        };
        let (in_, out) = (raw("prerouting"), raw("output"));
        let inet = "the chain c of the table inet foreign keeps every packet";

        check("inet", &in_, &all, CutOff::Yes, inet);
        check("ip", &out, &all, CutOff::Yes, "every packet");
        check("ip6", &in_, &all, CutOff::No, "no rule keeps");
        check("inet", &in_, &some, CutOff::Unknown, "some packets");
        // A chain that another one may jump to.
        check("inet", &json!({}), &all, CutOff::Unknown, "some packets");
        let target = json!([{"xt": {"type": "target", "name": "CT"}}]);
        check("ip", &in_, &target, CutOff::Unknown, "rules of iptables");
        let later = json!({"hook": "input", "prio": 0});
        check("ip", &later, &target, CutOff::No, "no rule keeps");
        check(
            "inet",
            &in_,
            &json!([{"accept": null}]),
            CutOff::No,
            "no rule",
        );
    }

    #[test]
    fn the_worst_rule_decides() {
        let some = json!([{"match": {}}, {"notrack": null}]);
        let all = json!([{"notrack": null}]);
        let ruleset = ruleset("inet", &raw("output"), &[some, all]);

        let (cuts_off, _) = judge_cut_off(&ruleset, QUIET, &place("10.77.0.1"));

        assert_eq!(cuts_off, CutOff::Yes);
    }

    #[test]
    fn what_the_kernel_tracks_is_believed() {
        let with_ct = ruleset(
            "ip",
            &json!({}),
            &[json!([{"match": {"left": {"ct": {}}}}])],
        );
        let without = json!({"nftables": []});
        let check = |ruleset: &Value, connections, expected, words: &str| {
            let tracking = Tracking {
                connections,
                legacy_tables: Some(""),
            };

            let (cuts_off, why) = judge_cut_off(ruleset, tracking, &place("10.77.0.1"));

            assert_eq!(cuts_off, expected, "{why}");
            assert!(why.contains(words), "{why}");
        };

        check(
            &with_ct,
            Some(TRACKED),
            CutOff::No,
            "tracks the link already",
        );
        check(&with_ct, Some(""), CutOff::Unknown, "but not the one to");
        check(&with_ct, None, CutOff::No, "no rule keeps");
        // Nothing is tracked as long as no rule asks for it.
        check(&without, Some(""), CutOff::No, "no rule keeps");
    }

    #[test]
    fn a_connection_is_the_link_only_with_its_address_and_port() {
        let six = "ipv6     10 tcp      6 9 ESTABLISHED src=fd77:0000:0000:0000:0000:0000:0000:0002 \
                   dst=fd77:0000:0000:0000:0000:0000:0000:0001 sport=1 dport=8443 src=…\n";

        assert!(tracks(TRACKED, &place("10.77.0.1")));
        assert!(tracks(six, &place("fd77::1")));
        assert!(!tracks(TRACKED, &place("10.77.0.9")));
        assert!(!tracks(
            &TRACKED.replace("dport=8443", "dport=22"),
            &place("10.77.0.1")
        ));
        assert!(!tracks("dst= dport=\n\ngarbage", &place("10.77.0.1")));
    }

    #[test]
    fn older_tables_are_a_doubt_and_loopback_is_none() {
        let tracking = Tracking {
            connections: None,
            legacy_tables: Some("filter\nraw\n"),
        };
        let nothing = json!({"nftables": []});
        let notrack = ruleset("inet", &raw("output"), &[json!([{"notrack": null}])]);

        let legacy = judge_cut_off(&nothing, tracking, &place("10.77.0.1"));
        let unread = judge_cut_off(&nothing, Tracking::default(), &place("10.77.0.1"));
        let loopback = judge_cut_off(&notrack, tracking, &place("127.0.0.1"));

        assert_eq!((legacy.0, unread.0), (CutOff::Unknown, CutOff::Unknown));
        assert_eq!(loopback.0, CutOff::No);
    }

    #[test]
    fn a_strange_listing_breaks_nothing() {
        for listing in [
            json!(null),
            json!({"nftables": [1, {"rule": 3}, {"rule": {"expr": {}}}, {"chain": []}]}),
            json!({"nftables": [{"rule": {"expr": [null, 1, "x", {"notrack": []}]}}]}),
        ] {
            judge_cut_off(&listing, QUIET, &place("10.77.0.1"));
        }
    }
}
