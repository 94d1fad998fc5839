//! The firewall of a real host: a namespace of its own, with an outsider that tries to get in.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use hidps_lab::command::{Running, wait_for};
use hidps_lab::netns;
use hidps_lab::say_skipped;
use hidps_wire::{Answer, ConditionStatus, EventKind, FacetCondition, Question};

use crate::harness::{AgentHome, document};
use crate::scripted_daemon::{DEADLINE, condition};
use crate::world::{KNOCK, PORT, REACH, World};

/// The other end reads what was written.
fn carries(from: &mut TcpStream, to: &mut TcpStream) -> bool {
    to.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut byte = [0];
    from.write_all(b"x").is_ok() && to.read_exact(&mut byte).is_ok()
}

#[test]
fn the_firewall_blocks_what_is_new_and_keeps_what_is_old() {
    let test = "the_firewall_blocks_what_is_new_and_keeps_what_is_old";
    let Some(world) = World::make(test) else {
        return;
    };
    world.nft(&["add", "table", "inet", "foreign"]);
    let foreign = world.nft(&["list", "table", "inet", "foreign"]);
    let (closed, kept) = (world.listen(PORT), world.listen(22));
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let (mut daemon, _) = world.daemon.admit();
    daemon.greet(8, 15);
    daemon.next_status(|status| status.applied.is_none());
    let mut outer = world.reach(PORT).expect("the host is open before");
    let (mut inner, _) = closed.accept().unwrap();

    daemon.apply(1, "on", document(Some(true), &[]));
    let status = daemon.status_of(1);

    let synced = condition(&status, FacetCondition::FirewallSynced);
    assert_eq!(synced, (ConditionStatus::True, "Enabled"));
    assert_eq!(status.firewall_active, Some(true));
    assert!(world.knock(PORT).is_err(), "a new connection is blocked");
    assert!(
        carries(&mut outer, &mut inner),
        "the old connection lives inwards"
    );
    assert!(
        carries(&mut inner, &mut outer),
        "the old connection lives outwards"
    );
    world.reach(22).expect("the kept port stays reachable");
    drop(kept);
    let answer = daemon.ask(Question::FirewallStatus);
    assert_eq!(
        answer,
        Answer::FirewallStatus { active: true },
        "the own link lives"
    );

    daemon.apply(2, "off", document(Some(false), &[]));
    let status = daemon.status_of(2);

    let synced = condition(&status, FacetCondition::FirewallSynced);
    assert_eq!(synced, (ConditionStatus::True, "Disabled"));
    assert_eq!(status.firewall_active, Some(false));
    world.reach(PORT).expect("the host is open again");
    assert_eq!(
        world.nft(&["list", "ruleset"]),
        foreign,
        "other tables are untouched"
    );
}

#[test]
fn the_firewall_blocks_ipv6_and_lets_it_find_its_neighbours() {
    let test = "the_firewall_blocks_ipv6_and_lets_it_find_its_neighbours";
    let Some(world) = World::make(test) else {
        return;
    };
    if !netns::has_ipv6() {
        return say_skipped(test, &"this kernel has no IPv6");
    }
    let at = |port| SocketAddr::new(world.inside.near_ipv6(), port);
    let (_closed, _kept) = (world.listen_at(at(PORT)), world.listen_at(at(22)));
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let (mut daemon, _) = world.daemon.admit();
    daemon.greet(8, 15);

    // Nobody has spoken IPv6 here yet: the first connection has to find its neighbour.
    daemon.apply(1, "on", document(Some(true), &[]));
    daemon.status_of(1);

    world
        .knock_at(at(22), REACH)
        .expect("the kept port is reachable");
    assert!(
        world.knock_at(at(PORT), KNOCK).is_err(),
        "another one is not"
    );
    daemon.apply(2, "off", document(Some(false), &[]));
    daemon.status_of(2);
    world
        .knock_at(at(PORT), REACH)
        .expect("the host is open again");
}

#[test]
fn the_same_document_again_changes_nothing() {
    let Some(world) = World::make("the_same_document_again_changes_nothing") else {
        return;
    };
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let (mut daemon, _) = world.daemon.admit();
    daemon.greet(8, 15);
    daemon.apply(1, "on", document(Some(true), &[]));
    daemon.status_of(1);
    let before = world.nft(&["-a", "list", "ruleset"]);

    daemon.apply(1, "on", document(Some(true), &[]));
    daemon.status_of(1);
    daemon.apply(2, "on-as-well", document(Some(true), &[]));
    daemon.status_of(2);

    // Handles grow with every table that is made.
    assert_eq!(world.nft(&["-a", "list", "ruleset"]), before);
    assert!(before.contains("table inet hidps { # handle"), "{before}");
}

#[test]
fn a_restarted_agent_enforces_without_its_daemon() {
    let Some(world) = World::make("a_restarted_agent_enforces_without_its_daemon") else {
        return;
    };
    let home = world.home();
    let mut agent = home.start(Some(&world.host));
    let (mut daemon, _) = world.daemon.admit();
    daemon.greet(8, 15);
    daemon.apply(1, "on", document(Some(true), &[]));
    daemon.status_of(1);
    let _listener = world.listen(PORT);

    agent.kill().unwrap();
    daemon.cut();
    assert!(world.knock(PORT).is_err(), "the state outlives the process");
    world.nft(&["delete", "table", "inet", "hidps"]);
    world.reach(PORT).expect("somebody opened the host");
    // Nobody answers the daemon's port from here on: visits are not taken.
    let _agent = home.start(Some(&world.host));

    let blocked = || world.knock(PORT).is_err().then_some(());
    wait_for("the firewall is back", DEADLINE, blocked).unwrap();
}

#[test]
fn the_rules_of_the_host_come_back_as_data() {
    let Some(world) = World::make("the_rules_of_the_host_come_back_as_data") else {
        return;
    };
    world.nft(&["add", "table", "ip", "foreign"]);
    world.nft(&[
        "add",
        "chain",
        "ip",
        "foreign",
        "c",
        "{ type filter hook input priority 5; }",
    ]);
    world.nft(&[
        "add", "rule", "ip", "foreign", "c", "tcp", "dport", "9", "counter", "drop",
    ]);
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let (mut daemon, _) = world.daemon.admit();
    daemon.greet(8, 15);
    daemon.apply(1, "on", document(Some(true), &[]));
    daemon.status_of(1);

    let answer = daemon.ask(Question::FirewallRules);

    let Answer::FirewallRules { rules, truncated } = answer else {
        panic!("{answer:?}");
    };
    assert!(!truncated);
    let ours: Vec<_> = rules.iter().filter(|rule| rule.managed).collect();
    let kept = ours
        .iter()
        .find(|r| r.comment.as_deref() == Some("kept open: 22/tcp"));
    assert!(kept.is_some(), "{ours:#?}");
    let foreign = rules.iter().find(|rule| rule.table == "foreign").unwrap();
    assert_eq!(
        (foreign.family.as_str(), foreign.chain.as_str()),
        ("ip", "c")
    );
    assert!(
        foreign.expression.to_string().contains("\"drop\""),
        "{foreign:?}"
    );
}

#[test]
fn an_observing_agent_never_touches_the_firewall() {
    let Some(world) = World::make("an_observing_agent_never_touches_the_firewall") else {
        return;
    };
    let home = AgentHome::observing(world.daemon.address());
    let _agent = home.start(Some(&world.host));
    let (mut daemon, _) = world.daemon.admit();
    daemon.greet(8, 15);

    daemon.apply(1, "on", document(Some(true), &[]));
    let status = daemon.status_of(1);

    let synced = condition(&status, FacetCondition::FirewallSynced);
    assert_eq!(synced, (ConditionStatus::False, "ObserveOnly"));
    assert_eq!(status.firewall_active, Some(false));
    assert_eq!(world.nft(&["list", "ruleset"]), "");
}

#[test]
fn tampering_is_put_back_at_once_and_told_with_its_author() {
    let Some(world) = World::make("tampering_is_put_back_at_once_and_told_with_its_author") else {
        return;
    };
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let (mut daemon, _) = world.daemon.admit();
    daemon.greet(64, 15);
    daemon.apply(1, "on", document(Some(true), &[]));
    daemon.status_of(1);
    let whole = world.nft(&["list", "ruleset"]);

    for tampering in [
        &["add", "rule", "inet", "hidps", "input", "accept"][..],
        &["flush", "chain", "inet", "hidps", "input"],
        &["delete", "table", "inet", "hidps"],
        &["flush", "ruleset"],
    ] {
        world.nft(tampering);

        let event = daemon.next_event(|event| event.kind == EventKind::Firewall);
        // The first one may still be the load of the table itself.
        let event = if event.message.contains("was loaded") {
            daemon.next_event(|event| event.kind == EventKind::Firewall)
        } else {
            event
        };
        assert!(
            event.message.starts_with("nft (process "),
            "{tampering:?}: {}",
            event.message
        );
        let is_whole = || (world.nft(&["list", "ruleset"]) == whole).then_some(());
        wait_for("the table is whole", DEADLINE, is_whole).unwrap();
    }
}

#[test]
fn an_ordinary_user_is_told_what_is_missing() {
    use std::os::unix::fs::chown;
    use std::os::unix::process::CommandExt as _;
    let Some(world) = World::make("an_ordinary_user_is_told_what_is_missing") else {
        return;
    };
    let home = world.home();
    let nobody = 65_534;
    chown(home.path(), Some(nobody), Some(nobody)).unwrap();
    // The build directory may be closed to others.
    let program = home.path().join("hidps-agent");
    fs::copy(env!("CARGO_BIN_EXE_hidps-agent"), &program).unwrap();
    let mut command = Command::new(program);
    command.args(home.command("run").get_args());
    command.uid(nobody).gid(nobody);
    let _agent = Running::start("hidps-agent", command).unwrap();
    let (mut daemon, _) = world.daemon.admit();
    daemon.greet(8, 15);

    daemon.apply(1, "on", document(Some(true), &[]));
    let status = daemon.status_of(1);

    let synced = condition(&status, FacetCondition::FirewallSynced);
    assert_eq!(synced, (ConditionStatus::False, "MissingPrivilege"));
    assert_eq!(status.firewall_active, None);
}
