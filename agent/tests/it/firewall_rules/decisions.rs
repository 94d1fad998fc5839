//! Which packets pass: by port, protocol, source, order, default and way.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Instant;

use hidps_lab::netns::{self, Namespace};
use hidps_lab::say_skipped;
use hidps_wire::FirewallRuleEntry;

use super::*;
use crate::scripted_daemon::DEADLINE;
use crate::world::{PORT, REACH};

/// Whether a host answers an echo request of ICMP within so long.
fn answers_ping(host: Ipv4Addr, patience: Duration) -> bool {
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto, sockopt};
    // Type 8, code 0, its checksum, identity 7, number 1.
    const REQUEST: [u8; 8] = [8, 0, 0xf7, 0xf7, 0, 7, 0, 1];
    let socket =
        rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP)).unwrap();
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(patience)).unwrap();
    let address = std::net::SocketAddrV4::new(host, 0);
    rustix::net::sendto(&socket, &REQUEST, SendFlags::empty(), &address).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < patience {
        let mut packet = [0; 128];
        let received = rustix::net::recv(&socket, &mut packet, RecvFlags::empty());
        // After a header of 20 bytes an answer has type 0; others' packets come here too.
        if received.is_ok_and(|(_, n)| n >= 28 && packet[20] == 0) {
            return true;
        }
    }
    false
}

fn the_first_rule_that_matches_decides_by_port_range_and_protocol(back_end: BackEnd) {
    let test = "the_first_rule_that_matches_decides_by_port_range_and_protocol";
    let Some(world) = back_end.world(test) else {
        return;
    };
    let _listeners: Vec<_> = (7_001..=7_006).map(|port| world.listen(port)).collect();
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);
    let mut udp = tcp(7, "allow", 7_006, 7_006);
    udp.protocol = "udp".to_owned();

    author.enforce(on(&[
        tcp(1, "deny", 7_002, 7_002),
        tcp(2, "reject", 7_003, 7_003),
        tcp(3, "allow", 7_001, 7_004),
        tcp(4, "deny", 7_001, 7_001),
        tcp(5, "reject", 7_005, 7_005),
        udp,
    ]));

    use Door::{Open, Refused, Silent};
    author.expect_doors(
        [7_001, 7_002, 7_003, 7_004, 7_005, 7_006],
        [Open, Silent, Refused, Open, Refused, Silent],
    );

    // The same rules in another order, and one gone.
    author.enforce(on(&[
        tcp(4, "deny", 7_001, 7_001),
        tcp(3, "allow", 7_001, 7_004),
        tcp(1, "deny", 7_002, 7_002),
    ]));
    author.expect_doors([7_001, 7_002, 7_003, 7_005], [Silent, Open, Open, Silent]);

    author.enforce(document(Some(false), &[]));
    author.expect_doors([7_001, 7_002, 7_005], [Open, Open, Open]);
}

fn udp_and_ping_are_decided_by_rules_of_their_own(back_end: BackEnd) {
    let Some(world) = back_end.world("udp_and_ping_are_decided_by_rules_of_their_own") else {
        return;
    };
    let near = world.inside.near;
    let bind = |port| {
        let socket = world.host.run_inside(|| UdpSocket::bind((near, port)));
        let socket = socket.unwrap().unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket
    };
    let (open, closed) = (bind(7_101), bind(7_102));
    let outside = world
        .outsider
        .run_inside(|| UdpSocket::bind(("0.0.0.0", 0)).unwrap())
        .unwrap();
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);
    let udp = |number, action, port| FirewallRuleEntry {
        protocol: "udp".to_owned(),
        ..tcp(number, action, port, port)
    };
    let ping = |action: &str| FirewallRuleEntry {
        protocol: "icmp".to_owned(),
        ..rule(9, action)
    };
    let is_pinged = |patience| {
        let ask = || answers_ping(near, patience);
        world.outsider.run_inside(ask).unwrap()
    };

    let status = author.send(on(&[
        udp(1, "allow", 7_101),
        udp(2, "deny", 7_102),
        ping("deny"),
    ]));
    let synced = condition(&status, FacetCondition::FirewallSynced);
    if back_end.filters_icmp() {
        assert_eq!(synced.0, ConditionStatus::True, "{status:#?}");
        assert!(!is_pinged(Duration::from_secs(2)));
    } else {
        assert_eq!(synced, (ConditionStatus::False, "RulesRefused"));
        let subject = &status.conditions[0].subjects[0];
        assert_eq!(subject.reason, "RuleUnsupported");
        assert!(subject.message.contains("icmp"), "{subject:?}");
    }
    author.enforce(on(&[udp(1, "allow", 7_101), udp(2, "deny", 7_102)]));
    assert!(is_pinged(REACH), "without a rule the host answers");

    outside.send_to(b"x", (near, 7_102)).unwrap();
    outside.send_to(b"y", (near, 7_101)).unwrap();
    let mut byte = [0];
    open.recv(&mut byte).unwrap();
    assert_eq!(&byte, b"y");
    // What came first would be there by now.
    closed.set_nonblocking(true).unwrap();
    assert!(closed.recv(&mut byte).is_err());
}

fn a_source_is_let_in_by_its_address_and_its_network(back_end: BackEnd) {
    let Some(world) = back_end.world("a_source_is_let_in_by_its_address_and_its_network") else {
        return;
    };
    let stranger = Namespace::new("stranger").unwrap();
    let beside = world.host.link_to(&stranger).unwrap();
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
    let _listener = world.listen_at(any);
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);
    let by_stranger = |wanted: Door| {
        let address = SocketAddr::from((beside.near, PORT));
        let connect = || TcpStream::connect_timeout(&address, wanted.patience());
        door(&stranger.run_inside(connect).unwrap())
    };
    let port = u32::from(PORT);

    author.enforce(on(&[from(tcp(1, "allow", port, port), far(&world.inside))]));
    author.expect_doors([PORT], [Door::Open]);
    assert_eq!(by_stranger(Door::Silent), Door::Silent);

    // Everybody but one: the order decides.
    author.enforce(on(&[
        from(tcp(1, "reject", port, port), far(&world.inside)),
        from(tcp(2, "allow", port, port), "0.0.0.0/0"),
    ]));
    author.expect_doors([PORT], [Door::Refused]);
    assert_eq!(by_stranger(Door::Open), Door::Open);

    author.enforce(with_defaults(
        "allow",
        "allow",
        &[from(rule(1, "deny"), far(&beside))],
    ));
    author.expect_doors([PORT], [Door::Open]);
    assert_eq!(by_stranger(Door::Silent), Door::Silent);
}

fn a_source_of_ipv6_is_told_from_the_others(back_end: BackEnd) {
    let test = "a_source_of_ipv6_is_told_from_the_others";
    let Some(world) = back_end.world(test) else {
        return;
    };
    if !netns::has_ipv6() {
        return say_skipped(test, &"this kernel has no IPv6");
    }
    let six = SocketAddr::new(world.inside.near_ipv6(), PORT);
    let (_six, _four) = (world.listen_at(six), world.listen(PORT));
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);
    let port = u32::from(PORT);
    let expect_doors = |author: &Author<'_>, of_six: Door, of_four: Door| {
        assert_eq!(door(&world.knock_at(six, of_six.patience())), of_six);
        author.expect_doors([PORT], [of_four]);
    };

    author.enforce(on(&[from(tcp(1, "allow", port, port), "::/0")]));
    expect_doors(&author, Door::Open, Door::Silent);

    author.enforce(on(&[
        from(tcp(1, "reject", port, port), "::/0"),
        tcp(2, "allow", port, port),
    ]));
    expect_doors(&author, Door::Refused, Door::Open);
}

fn outgoing_rules_stop_the_host_and_never_its_link(back_end: BackEnd) {
    let Some(world) = back_end.world("outgoing_rules_stop_the_host_and_never_its_link") else {
        return;
    };
    let outside = |port| {
        let address = SocketAddr::from((world.inside.far, port));
        world
            .outsider
            .run_inside(|| TcpListener::bind(address).unwrap())
            .unwrap()
    };
    let _listeners = (outside(7_201), outside(7_202));
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);
    let leaves = |port, wanted: bool| {
        let address = SocketAddr::from((world.inside.far, port));
        let door = if wanted { Door::Open } else { Door::Silent };
        let connect = || TcpStream::connect_timeout(&address, door.patience());
        // A packet that may not leave is an error of its sender's.
        world.host.run_inside(connect).unwrap().is_ok() == wanted
    };
    let out = |entry: FirewallRuleEntry| FirewallRuleEntry {
        direction: "out".to_owned(),
        ..entry
    };

    author.enforce(on(&[out(tcp(1, "deny", 7_201, 7_201))]));
    assert!(leaves(7_201, false) && leaves(7_202, true));

    let to = |entry: FirewallRuleEntry| FirewallRuleEntry {
        destination: Some(world.inside.far.to_string()),
        ..out(entry)
    };
    author.enforce(with_defaults(
        "deny",
        "reject",
        &[to(tcp(1, "allow", 7_201, 7_201))],
    ));
    assert!(leaves(7_201, true) && leaves(7_202, false));
    assert!(world.reaches_daemon(REACH), "by a fresh connection");

    author.enforce(with_defaults("allow", "deny", &[out(rule(1, "deny"))]));
    assert!(leaves(7_201, false) && leaves(7_202, false));
    assert!(world.reaches_daemon(REACH), "whatever the rules say");
}

fn what_was_begun_before_goes_on_under_rules_that_would_stop_it(back_end: BackEnd) {
    let test = "what_was_begun_before_goes_on_under_rules_that_would_stop_it";
    let Some(world) = back_end.world(test) else {
        return;
    };
    let listener = world.listen(PORT);
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);
    let mut outer = world.reach(PORT).unwrap();
    let (mut inner, _) = listener.accept().unwrap();
    let port = u32::from(PORT);

    author.enforce(on(&[tcp(1, "reject", port, port)]));

    author.expect_doors([PORT], [Door::Refused]);
    let mut byte = [0];
    for stream in [&outer, &inner] {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
    }
    outer.write_all(b"x").unwrap();
    inner.read_exact(&mut byte).unwrap();
    inner.write_all(b"y").unwrap();
    outer.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"y");
}

fn five_thousand_addresses_are_one_change_and_filter(back_end: BackEnd) {
    let Some(world) = back_end.world("five_thousand_addresses_are_one_change_and_filter") else {
        return;
    };
    let _listener = world.listen(PORT);
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);
    let address = |n: u32| Ipv4Addr::from(0xc612_0000 + n);
    let mut rules: Vec<_> = (0..4_990)
        .map(|n| from(rule(u128::from(n) + 1, "deny"), address(n)))
        .collect();
    rules.extend((0..9).map(|n| from(rule(5_000 + n, "deny"), format!("172.{n}.0.0/16"))));
    let port = u32::from(PORT);
    rules.push(tcp(6_000, "allow", port, port));
    author.enforce(on(&rules));
    author.expect_doors([PORT], [Door::Open]);

    rules.insert(2_500, from(rule(7_000, "deny"), far(&world.inside)));
    author.enforce(on(&rules));

    author.expect_doors([PORT], [Door::Silent]);
}

contract! { nftables of Nftables:
    the_first_rule_that_matches_decides_by_port_range_and_protocol,
    udp_and_ping_are_decided_by_rules_of_their_own,
    a_source_is_let_in_by_its_address_and_its_network,
    a_source_of_ipv6_is_told_from_the_others,
    outgoing_rules_stop_the_host_and_never_its_link,
    what_was_begun_before_goes_on_under_rules_that_would_stop_it,
    five_thousand_addresses_are_one_change_and_filter,
}

contract! { ufw of Ufw:
    the_first_rule_that_matches_decides_by_port_range_and_protocol,
    udp_and_ping_are_decided_by_rules_of_their_own,
    a_source_is_let_in_by_its_address_and_its_network,
    a_source_of_ipv6_is_told_from_the_others,
    outgoing_rules_stop_the_host_and_never_its_link,
    what_was_begun_before_goes_on_under_rules_that_would_stop_it,
}
