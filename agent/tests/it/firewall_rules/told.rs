//! What is told of rules: counters, plans, refusals, and who may come back.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;

use hidps_lab::command::run;
use hidps_lab::netns::Namespace;
use hidps_lab::say_skipped;
use hidps_wire::{CutOff, PlannedChange};

use super::*;
use crate::scripted_daemon::DEADLINE;
use crate::world::PORT;

fn counters_tell_which_rule_met_packets_and_outlive_a_change_of_others(back_end: BackEnd) {
    let test = "counters_tell_which_rule_met_packets_and_outlive_a_change_of_others";
    let Some(world) = back_end.world(test) else {
        return;
    };
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);
    let met = from(tcp(1, "reject", 7_301, 7_301), far(&world.inside));
    author.enforce(on(&[met.clone(), tcp(2, "deny", 7_302, 7_302)]));
    assert_eq!(author.packets_of(1), Some(0));

    author.expect_doors([7_301], [Door::Refused]);
    let counted = author.packets_of(1);
    author.enforce(on(&[tcp(3, "allow", 7_303, 7_303), met]));

    assert_eq!(counted, Some(1));
    assert_eq!(author.packets_of(1), Some(1), "it goes on");
    assert_eq!(author.packets_of(3), Some(0));
    let rules = author.list();
    let is_gone = rules.iter().all(|it| it.rule != Some(Uuid::from_u128(2)));
    assert!(is_gone, "{rules:#?}");
}

fn each_address_of_a_long_list_has_a_counter_of_its_own(back_end: BackEnd) {
    let Some(world) = back_end.world("each_address_of_a_long_list_has_a_counter_of_its_own") else {
        return;
    };
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);
    let mut rules: Vec<_> = (1..=20_u8)
        .map(|n| {
            from(
                rule(u128::from(n), "reject"),
                Ipv4Addr::new(198, 51, 100, n),
            )
        })
        .collect();
    rules.push(from(rule(100, "reject"), far(&world.inside)));
    author.enforce(on(&rules));

    author.expect_doors([PORT], [Door::Refused]);

    assert_eq!(author.packets_of(100), Some(1));
    assert_eq!(author.packets_of(7), Some(0));
    let listed = author.list();
    let one = listed
        .iter()
        .find(|it| it.rule == Some(Uuid::from_u128(7)))
        .unwrap();
    assert!(
        one.expression.to_string().contains("198.51.100.7"),
        "{one:?}"
    );
}

fn whoever_is_logged_in_may_come_back_for_a_while(back_end: BackEnd) {
    let Some(world) = back_end.world("whoever_is_logged_in_may_come_back_for_a_while") else {
        return;
    };
    let stranger = Namespace::new("stranger").unwrap();
    let beside = world.host.link_to(&stranger).unwrap();
    let ssh = world.listen_at(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 22)));
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);
    let _session = world.reach(22).unwrap();
    let _accepted = ssh.accept().unwrap();
    let deny = on(&[tcp(1, "deny", 22, 22)]);

    let question = Question::Plan {
        document: Some(Box::new(deny.clone())),
    };
    let Answer::Plan(plan) = author.daemon.ask(question) else {
        panic!("no plan");
    };
    let status = author.send(deny);

    assert_eq!(plan.cuts_off, CutOff::No, "{}", plan.cut_off_why);
    assert_eq!(plan.ssh_peers.len(), 1, "{plan:?}");
    let peer = &plan.ssh_peers[0];
    assert_eq!(
        (peer.address.clone(), peer.port),
        (world.inside.far.to_string(), 22)
    );
    assert!(
        !peer.returns && peer.why.contains("keeps it out"),
        "{peer:?}"
    );
    let synced = condition(&status, FacetCondition::FirewallSynced);
    assert_eq!(synced.0, ConditionStatus::True);
    let message = &status.conditions[0].message;
    assert!(message.contains("may come back until"), "{message}");
    author.expect_doors([22], [Door::Open]);
    let address = SocketAddr::from((beside.near, 22));
    let connect = || TcpStream::connect_timeout(&address, Door::Silent.patience());
    let other = stranger.run_inside(connect).unwrap();
    assert_eq!(door(&other), Door::Silent, "and nobody else");
    let guards: Vec<_> = author.list();
    let is_visible = guards.iter().any(|it| {
        it.comment
            .as_deref()
            .is_some_and(|comment| comment.contains("guard") && comment.contains("SSH"))
    });
    assert!(is_visible, "{guards:#?}");

    if !back_end.forgets_by_itself() {
        return;
    }
    // Time takes them out of the set, and that is not taken for tampering.
    let element = format!("{{ {} . 22 }}", world.inside.far);
    let before = world.nft(&["-a", "list", "chain", "inet", "hidps", "input"]);
    world.nft(&["delete", "element", "inet", "hidps", "ssh_peers4", &element]);
    author.enforce(on(&[tcp(1, "deny", 22, 22)]));
    assert_eq!(
        world.nft(&["-a", "list", "chain", "inet", "hidps", "input"]),
        before
    );
    author.expect_doors([22], [Door::Silent]);
}

fn a_rule_that_makes_no_sense_is_named_and_the_others_are_in_force(back_end: BackEnd) {
    let test = "a_rule_that_makes_no_sense_is_named_and_the_others_are_in_force";
    let Some(world) = back_end.world(test) else {
        return;
    };
    let _listener = world.listen(PORT);
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);
    let port = u32::from(PORT);
    let hostile = from(tcp(2, "allow", 1, 65_535), "0.0.0.0/0 } accept #");

    let status = author.send(on(&[hostile, tcp(1, "reject", port, port)]));

    let synced = condition(&status, FacetCondition::FirewallSynced);
    assert_eq!(synced, (ConditionStatus::False, "RulesRefused"));
    let subjects = &status.conditions[0].subjects;
    assert_eq!(subjects.len(), 1);
    assert_eq!(subjects[0].subject, Uuid::from_u128(2).to_string());
    author.expect_doors([PORT], [Door::Refused]);
}

fn a_plan_tells_the_difference_of_the_rules_alone(back_end: BackEnd) {
    let Some(world) = back_end.world("a_plan_tells_the_difference_of_the_rules_alone") else {
        return;
    };
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);
    author.enforce(on(&[tcp(1, "allow", 80, 80), tcp(2, "allow", 443, 443)]));
    let before = back_end.snapshot(&world);

    let question = Question::Plan {
        document: Some(Box::new(on(&[
            tcp(2, "allow", 443, 443),
            tcp(3, "deny", 8_000, 8_080),
        ]))),
    };
    let Answer::Plan(plan) = author.daemon.ask(question) else {
        panic!("no plan");
    };

    assert_eq!(plan.firewall.change, PlannedChange::Repair);
    let wanted = [
        back_end.lines("-", "allow", "80", 1),
        back_end.lines("+", "deny", "8000-8080", 3),
    ];
    assert_eq!(plan.firewall.lines, wanted.concat());
    assert_eq!(back_end.snapshot(&world), before);
}

fn a_filter_of_somebody_else_is_named_and_not_touched(back_end: BackEnd) {
    let Some(world) = back_end.world("a_filter_of_somebody_else_is_named_and_not_touched") else {
        return;
    };
    world.nft(&["add", "table", "inet", "firewalld"]);
    let foreign = world.nft(&["-a", "list", "table", "inet", "firewalld"]);
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);

    let status = author.send(on(&[tcp(1, "allow", 80, 80)]));

    let synced = condition(&status, FacetCondition::FirewallSynced);
    assert_eq!(synced, (ConditionStatus::Unknown, "OtherFilter"));
    let message = &status.conditions[0].message;
    assert!(
        message.contains("firewalld filters here as well"),
        "{message}"
    );
    assert_eq!(
        world.nft(&["-a", "list", "table", "inet", "firewalld"]),
        foreign
    );
}

fn rules_of_iptables_older_kind_are_named_and_not_touched(back_end: BackEnd) {
    let test = "rules_of_iptables_older_kind_are_named_and_not_touched";
    let Some(world) = back_end.world(test) else {
        return;
    };
    let legacy = |arguments: &[&str]| {
        let mut command = Command::new("iptables-legacy");
        command.args(arguments);
        run(world.host.exec(&command), DEADLINE)
    };
    if let Err(error) = legacy(&["-A", "INPUT", "-p", "tcp", "--dport", "9", "-j", "DROP"]) {
        return say_skipped(test, &error);
    }
    let listed = || legacy(&["-S"]).unwrap().stdout;
    let before = listed();
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);

    expect_beside(&mut author, "iptables-legacy");
    assert_eq!(listed(), before);
}

/// Has a rule enforced, and looks that it is told who else filters.
fn expect_beside(author: &mut Author<'_>, other: &str) {
    let status = author.send(on(&[tcp(1, "allow", 80, 80)]));

    let synced = condition(&status, FacetCondition::FirewallSynced);
    assert_eq!(synced, (ConditionStatus::Unknown, "OtherFilter"));
    let message = &status.conditions[0].message;
    let says_so = message.contains(&format!("{other} filters here as well"));
    assert!(says_so, "{message}");
}

fn a_firewalld_without_a_table_of_its_own_is_named(back_end: BackEnd) {
    let test = "a_firewalld_without_a_table_of_its_own_is_named";
    let Some(world) = back_end.world(test) else {
        return;
    };
    // As it filters through iptables, which here is a face of nftables.
    world.nft(&["add", "table", "ip", "filter"]);
    world.nft(&["add", "chain", "ip", "filter", "INPUT_ZONES"]);
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);

    expect_beside(&mut author, "firewalld");
}

contract! { nftables of Nftables:
    whoever_is_logged_in_may_come_back_for_a_while,
    a_rule_that_makes_no_sense_is_named_and_the_others_are_in_force,
    a_plan_tells_the_difference_of_the_rules_alone,
    a_filter_of_somebody_else_is_named_and_not_touched,
    rules_of_iptables_older_kind_are_named_and_not_touched,
    a_firewalld_without_a_table_of_its_own_is_named,
    counters_tell_which_rule_met_packets_and_outlive_a_change_of_others,
    each_address_of_a_long_list_has_a_counter_of_its_own,
}

contract! { ufw of Ufw:
    whoever_is_logged_in_may_come_back_for_a_while,
    a_rule_that_makes_no_sense_is_named_and_the_others_are_in_force,
    a_plan_tells_the_difference_of_the_rules_alone,
    a_filter_of_somebody_else_is_named_and_not_touched,
    rules_of_iptables_older_kind_are_named_and_not_touched,
    a_firewalld_without_a_table_of_its_own_is_named,
    counters_tell_which_rule_met_packets_and_outlive_a_change_of_others,
    each_address_of_a_long_list_has_a_counter_of_its_own,
}
