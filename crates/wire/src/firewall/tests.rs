//! Tests of what a rule may say and what it decides.

use proptest::prelude::*;

use super::*;

fn entry(action: &str, direction: &str, protocol: &str) -> FirewallRuleEntry {
    FirewallRuleEntry {
        id: Uuid::from_u128(7),
        action: action.to_owned(),
        direction: direction.to_owned(),
        protocol: protocol.to_owned(),
        port_from: None,
        port_to: None,
        source: None,
        destination: None,
    }
}

fn from(source: &str) -> FirewallRuleEntry {
    FirewallRuleEntry {
        source: Some(source.to_owned()),
        ..entry("deny", "in", "any")
    }
}

fn ports(protocol: &str, from: Option<u32>, to: Option<u32>) -> FirewallRuleEntry {
    FirewallRuleEntry {
        port_from: from,
        port_to: to,
        ..entry("allow", "in", protocol)
    }
}

#[test]
fn nonsense_is_set_apart_with_its_reason_and_the_rest_stands() {
    let check = |entry: FirewallRuleEntry, words: &str| {
        let good = ports("tcp", Some(22), None);
        let entries = [good.clone(), entry.clone(), good];

        let (policy, refused) = FirewallPolicy::from_entries(&entries, None);

        assert_eq!(policy.rules.len(), 2, "{entry:?}");
        assert_eq!(refused.len(), 1, "{entry:?}");
        assert_eq!(refused[0].id, Some(entry.id));
        let said = refused[0].error.to_string();
        assert!(said.contains(words), "{entry:?}: {said}");
    };

    check(entry("drop", "in", "any"), "write allow, deny or reject");
    check(entry("allow", "IN", "any"), "write in or out");
    check(entry("allow", "in", "sctp"), "write tcp, udp, icmp or any");
    check(ports("any", Some(1), None), "write tcp or udp");
    check(ports("tcp", Some(0), None), "1 to 65535");
    check(ports("tcp", Some(65_536), None), "1 to 65535");
    check(ports("udp", Some(9), Some(8)), "the smaller first");
    check(ports("udp", None, Some(8)), "1 to 65535");
    for source in [
        "",
        "x",
        "10.0.0.1/33",
        "10.0.0.1/8",
        "10.0.0.0/08",
        "10.0.0.0/+8",
        "10.0.0.0/",
        "10.1",
        "fe80::1%eth0",
        "::ffff:10.0.0.1",
        "2001:db8::1/64",
        "10.0.0.1 } accept",
        "0x0a.0.0.1",
    ] {
        check(from(source), "write an IPv4 or IPv6 address");
    }
    let mut wrong_end = entry("allow", "out", "any");
    wrong_end.source = Some("10.0.0.1".to_owned());
    check(wrong_end, "one for out a destination");
}

#[test]
fn a_reason_quotes_no_control_character_and_little_of_a_long_text() {
    let error = IpNetwork::parse(&"\u{1b}".repeat(10_000)).unwrap_err();

    let said = error.to_string();

    assert!(said.len() < 500 && !said.contains('\u{1b}'), "{said}");
}

#[test]
fn settings_that_say_nothing_known_leave_the_defaults_and_are_told() {
    let settings = FirewallSettingsEntry {
        default_incoming: "maybe".to_owned(),
        default_outgoing: "reject".to_owned(),
        logging: true,
    };

    let (policy, refused) = FirewallPolicy::from_entries(&[], Some(&settings));

    assert_eq!(policy.incoming, FirewallAction::Deny);
    assert_eq!(policy.outgoing, FirewallAction::Reject);
    assert!(policy.logging);
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].id, None);
}

#[test]
fn rules_beyond_the_limit_are_told() {
    let many = vec![entry("allow", "in", "any"); MAX_FIREWALL_RULES + 2];

    let (policy, refused) = FirewallPolicy::from_entries(&many, None);

    assert_eq!((policy.rules.len(), refused.len()), (MAX_FIREWALL_RULES, 2));
    assert_eq!(refused[0].error, RuleError::TooMany);
}

#[test]
fn the_first_rule_that_matches_decides() {
    let mut allow = ports("tcp", Some(80), Some(90));
    allow.id = Uuid::from_u128(1);
    let mut deny = from("10.0.0.0/8");
    deny.id = Uuid::from_u128(2);
    let packet = |peer: &str, kind| Packet {
        direction: Direction::In,
        peer: peer.parse().unwrap(),
        kind,
    };
    let first = |entries: &[FirewallRuleEntry], packet| {
        let (policy, _) = FirewallPolicy::from_entries(entries, None);
        policy.decide(&packet)
    };

    let both = [allow.clone(), deny.clone()];
    let turned = [deny, allow];
    let web = packet("10.1.2.3", PacketKind::Tcp(85));
    assert_eq!(
        first(&both, web),
        (FirewallAction::Allow, Some(Uuid::from_u128(1)))
    );
    assert_eq!(
        first(&turned, web),
        (FirewallAction::Deny, Some(Uuid::from_u128(2)))
    );
    let mapped = packet("::ffff:10.1.2.3", PacketKind::Tcp(85));
    assert_eq!(first(&turned, mapped).1, Some(Uuid::from_u128(2)));
    let other = packet("192.0.2.1", PacketKind::Udp(85));
    assert_eq!(first(&both, other), (FirewallAction::Deny, None));
}

proptest! {
    #[test]
    fn a_network_holds_exactly_the_addresses_with_its_prefix(
        a in any::<u32>(), b in any::<u32>(), prefix in 0_u8..=32,
    ) {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        let base = std::net::Ipv4Addr::from(a & mask);

        let network = IpNetwork::parse(&format!("{base}/{prefix}")).unwrap();

        let other = IpAddr::from(std::net::Ipv4Addr::from(b));
        prop_assert_eq!(network.contains(other), a & mask == b & mask);
        prop_assert_eq!(IpNetwork::parse(&network.to_string()), Ok(network));
    }

    #[test]
    fn any_text_is_a_network_or_refused(text in ".{0,50}") {
        if let Ok(network) = IpNetwork::parse(&text) {
            prop_assert_eq!(IpNetwork::parse(&network.to_string()), Ok(network));
        }
    }
}
