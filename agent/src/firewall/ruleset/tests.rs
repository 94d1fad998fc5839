//! Tests of the text of the table and of how a listing is compared with it.

use std::collections::HashSet;

use hidps_wire::{FirewallRuleEntry, FirewallSettingsEntry};
use proptest::prelude::*;
use serde_json::json;

use super::super::guard::SshPeer;
use super::*;
use crate::firewall::DaemonPlace;

fn entry(number: u128) -> FirewallRuleEntry {
    FirewallRuleEntry {
        id: Uuid::from_u128(number),
        action: "deny".to_owned(),
        direction: "in".to_owned(),
        protocol: "any".to_owned(),
        port_from: None,
        port_to: None,
        source: None,
        destination: None,
    }
}

fn policy(entries: &[FirewallRuleEntry], outgoing: &str, logging: bool) -> FirewallPolicy {
    let settings = FirewallSettingsEntry {
        default_incoming: "deny".to_owned(),
        default_outgoing: outgoing.to_owned(),
        logging,
    };
    let (policy, refused) = FirewallPolicy::from_entries(entries, Some(&settings));
    assert_eq!(refused, []);
    policy
}

fn from(number: u128, source: &str) -> FirewallRuleEntry {
    FirewallRuleEntry {
        source: Some(source.to_owned()),
        ..entry(number)
    }
}

fn text_of(policy: &FirewallPolicy, guards: &Guards) -> String {
    RuleSet::new(policy, &BTreeSet::from([Port::SSH]), guards).table_text(&Counts::default())
}

fn position(text: &str, wanted: &str) -> usize {
    text.find(wanted)
        .unwrap_or_else(|| panic!("{wanted} is not in\n{text}"))
}

#[test]
fn the_text_names_every_kept_port_and_nothing_else_changes() {
    let ports = ["22/tcp", "51820/udp"].map(|port| port.parse().unwrap());
    let of = |ports: &BTreeSet<Port>| {
        let set = RuleSet::new(&FirewallPolicy::default(), ports, &Guards::default());
        set.load_script(&Counts::default())
    };

    let text = of(&BTreeSet::from(ports));

    let without = of(&BTreeSet::new());
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
    assert!(!text.contains("chain output"), "{text}");
}

#[test]
fn rules_stand_between_what_always_passes_and_what_passes_unless_they_say_otherwise() {
    let mut ssh = entry(1);
    ssh.protocol = "tcp".to_owned();
    ssh.port_from = Some(22);
    let mut web = from(2, "2001:db8::/32");
    web.action = "allow".to_owned();
    web.protocol = "tcp".to_owned();
    (web.port_from, web.port_to) = (Some(80), Some(90));

    let text = text_of(&policy(&[ssh, web], "allow", false), &Guards::default());

    let id = |number| Uuid::from_u128(number);
    let first = format!("tcp dport 22 counter drop comment \"rule {}\"", id(1));
    let second = format!(
        "ip6 saddr 2001:db8::/32 tcp dport 80-90 counter accept comment \"rule {}\"",
        id(2)
    );
    let order = [
        position(&text, "ct state established"),
        position(&text, "nd-neighbor-solicit"),
        position(&text, &first),
        position(&text, &second),
        position(&text, "kept open: 22/tcp"),
        position(&text, "default: deny"),
    ];
    assert!(order.is_sorted(), "{text}");
}

#[test]
fn the_daemon_is_reachable_before_any_rule_stops_what_leaves_the_host() {
    let mut all = entry(1);
    all.direction = "out".to_owned();
    let guards = Guards {
        daemon: DaemonPlace {
            addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            port: 8_443,
        },
        is_daemon_named: true,
        n_left_out: 0,
        peers: BTreeSet::new(),
    };

    let text = text_of(&policy(&[all], "reject", true), &guards);

    let order = [
        position(&text, "ip daddr 192.0.2.1 tcp dport 8443 accept"),
        position(&text, "ip6 daddr 2001:db8::1 tcp dport 8443 accept"),
        position(&text, "th dport 53 accept"),
        position(
            &text,
            &format!(
                "counter goto denied comment \"rule {}\"",
                Uuid::from_u128(1)
            ),
        ),
        position(&text, "counter goto rejected comment \"default: reject\""),
    ];
    assert!(order.is_sorted(), "{text}");
    assert!(text.contains("limit rate 5/second burst 20 packets log prefix \"hidps denied: \""));
}

#[test]
fn many_addresses_become_sets_and_single_ones_are_in_no_interval_set() {
    let mut entries: Vec<_> = (0_u32..20)
        .map(|n| {
            from(
                u128::from(n),
                &std::net::Ipv4Addr::from(0x0a00_0000 + n).to_string(),
            )
        })
        .collect();
    entries.push(from(100, "172.16.0.0/12"));
    entries.push(from(101, "172.16.5.0/24"));
    entries.push(from(102, "2001:db8::7"));

    let text = text_of(&policy(&entries, "allow", false), &Guards::default());

    let hosts = "set g0_hosts4 {\n\t\ttype ipv4_addr\n\t\tcounter\n\t\telements = { 10.0.0.0 ";
    assert!(text.contains(hosts), "{text}");
    let networks = format!(
        "set g0_nets4 {{\n\t\ttype ipv4_addr\n\t\tflags interval\n\t\tcounter\n\
         \t\telements = {{ 172.16.0.0/12 counter comment \"rule {}\" }}",
        Uuid::from_u128(100)
    );
    assert!(text.contains(&networks), "{text}");
    assert!(
        text.contains("set g2_hosts6") || text.contains("set g0_hosts6"),
        "{text}"
    );
    assert_eq!(text.matches(" drop comment \"").count(), 4, "{text}");
}

#[test]
fn few_rules_stay_lines_that_people_can_read() {
    let entries: Vec<_> = (1_u32..=5)
        .map(|n| from(u128::from(n), &format!("10.0.0.{n}")))
        .collect();

    let text = text_of(&policy(&entries, "allow", false), &Guards::default());

    assert!(!text.contains("set "), "{text}");
    assert!(text.contains("ip saddr 10.0.0.3 counter drop"), "{text}");
}

#[test]
fn counters_go_on_where_they_were() {
    let id = Uuid::from_u128(1);
    let listed = json!({"nftables": [
        {"rule": {"comment": format!("rule {id}"),
            "expr": [{"counter": {"packets": 5, "bytes": 600}}, {"drop": null}]}},
        {"rule": {"comment": "rule nonsense", "expr": [{"counter": {"packets": 1, "bytes": 1}}]}},
        {"set": {"elem": [
            {"elem": {"comment": format!("rule {}", Uuid::from_u128(2)),
                "counter": {"packets": 7, "bytes": 8}}},
            "10.0.0.1"
        ]}}
    ]});

    let counts = Counts::read(&listed);

    let policy = policy(
        &[entry(1), from(2, "10.0.0.2"), from(3, "10.0.0.3")],
        "allow",
        false,
    );
    let text = RuleSet::new(&policy, &BTreeSet::new(), &Guards::default()).table_text(&counts);
    assert!(text.contains("counter packets 5 bytes 600 drop"), "{text}");
    assert!(
        text.contains("10.0.0.2 counter packets 7 bytes 8 drop"),
        "{text}"
    );
    assert!(text.contains("10.0.0.3 counter drop"), "{text}");
}

#[test]
fn numbers_of_the_kernel_do_not_make_a_difference() {
    let first = json!({"nftables": [
        {"metainfo": {"version": "1.0.6"}},
        {"rule": {"handle": 4, "expr": [{"counter": {"packets": 1, "bytes": 2}}]}},
        {"set": {"name": "s", "elem": ["10.0.0.1", {"elem": {"val": "10.0.0.2", "expires": 3}}]}}
    ]});
    let second = json!({"nftables": [
        {"rule": {"handle": 9, "expr": [{"counter": {"packets": 5, "bytes": 6}}]}},
        {"set": {"name": "s", "elem": [{"elem": {"val": "10.0.0.2", "expires": 1}}, "10.0.0.1"]}}
    ]});

    assert_eq!(normalize(&first), normalize(&second));
}

#[test]
fn who_may_come_back_goes_unnoticed_and_nobody_else_comes_in_so() {
    let peer = SshPeer {
        address: "10.77.0.3".parse().unwrap(),
        port: 22,
    };
    let guards = Guards {
        peers: BTreeSet::from([peer]),
        ..Guards::default()
    };
    let rules = RuleSet::new(&FirewallPolicy::default(), &BTreeSet::new(), &guards);
    let listing = |members: &Value| {
        let mut set = json!({"set": {"name": "ssh_peers4"}});
        if members.as_array().is_some_and(|it| !it.is_empty()) {
            set["set"]["elem"] = members.clone();
        }
        let mut table = normalize(&json!({"nftables": [set]}));
        forget_peers(&mut table, &rules);
        table
    };
    let member = |address: &str| json!({"elem": {"val": {"concat": [address, 22]}, "timeout": 600, "expires": 9}});

    let gone = listing(&json!([]));

    assert_eq!(listing(&json!([member("10.77.0.3")])), gone);
    assert_ne!(listing(&json!([member("10.77.0.4")])), gone);
    assert_ne!(
        listing(&json!([member("10.77.0.3"), member("10.77.0.4")])),
        gone
    );
}

#[test]
fn what_is_no_listing_stays_as_it_is() {
    let rules = RuleSet::new(
        &FirewallPolicy::default(),
        &BTreeSet::new(),
        &Guards::default(),
    );
    for strange in [json!(7), json!(null), json!([]), json!({"nftables": 7})] {
        let mut table = strange.clone();

        forget_peers(&mut table, &rules);

        assert_eq!(table, strange);
    }
}

fn listing_of(set: &RuleSet) -> Value {
    let mut entries = Vec::new();
    for chain in &set.chains {
        let base = chain.base.unwrap_or(Base {
            hook: "",
            policy: "",
        });
        entries.push(json!({"chain": {
            "name": chain.name, "hook": base.hook, "policy": base.policy
        }}));
        let rules = chain.lines.iter();
        entries.extend(
            rules.map(|line| json!({"rule": {"chain": chain.name, "comment": line.comment}})),
        );
    }
    json!({ "nftables": entries })
}

#[test]
fn a_table_of_another_shape_is_told_apart() {
    let set = RuleSet::new(
        &policy(&[entry(1)], "deny", true),
        &BTreeSet::new(),
        &Guards::default(),
    );
    let whole = listing_of(&set);
    let entries = whole["nftables"].as_array().unwrap();
    let check = |entries: &[Value]| set.check_shape(&json!({ "nftables": entries }));

    assert_eq!(check(entries), Ok(()));
    for at in 0..entries.len() {
        let mut without = entries.clone();
        without.remove(at);
        assert!(check(&without).is_err(), "without {}", entries[at]);
    }
    let mut open = entries.clone();
    let base = open.iter_mut().find(|it| it["chain"]["policy"] == "drop");
    base.unwrap()["chain"]["policy"] = json!("accept");
    assert!(check(&open).is_err(), "open policy");
}

prop_compose! {
    fn entries()(picks in prop::collection::vec((0_u8..3, 0_u8..4, any::<bool>(), 0_u8..40), 0..60))
        -> Vec<FirewallRuleEntry> {
        let mut entries = Vec::new();
        for (number, (action, protocol, is_in, address)) in picks.into_iter().enumerate() {
            let mut rule = entry(number as u128 + 1);
            rule.action = ["allow", "deny", "reject"][usize::from(action)].to_owned();
            rule.protocol = ["tcp", "udp", "icmp", "any"][usize::from(protocol)].to_owned();
            rule.direction = if is_in { "in" } else { "out" }.to_owned();
            let peer = match address {
                0..4 => None,
                4..8 => Some(format!("10.0.{address}.0/24")),
                8..12 => Some(format!("2001:db8:{address}::/48")),
                _ => Some(format!("10.0.5.{address}")),
            };
            if is_in { rule.source = peer } else { rule.destination = peer }
            entries.push(rule);
        }
        entries
    }
}

proptest! {
    #[test]
    fn the_text_is_made_of_words_that_no_row_can_choose(entries in entries()) {
        let text = text_of(&policy(&entries, "deny", true), &Guards::default());

        let plain = |c: char| c.is_ascii_alphanumeric() || " \n\t{}()|&=;,.:/_-\"@".contains(c);
        prop_assert!(text.chars().all(plain), "{}", text);
        let names: Vec<_> = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("set "))
            .collect();
        let unique: HashSet<_> = names.iter().collect();
        prop_assert_eq!(names.len(), unique.len());
    }
}
