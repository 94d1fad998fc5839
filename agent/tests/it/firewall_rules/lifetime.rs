//! Rules through their life: the same again, beside foreign tables, tampered with, killed, undone.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use hidps_lab::command::{run, wait_for};

use super::*;
use crate::scripted_daemon::DEADLINE;
use crate::world::PORT;

fn the_same_rules_again_change_nothing(back_end: BackEnd) {
    let Some(world) = back_end.world("the_same_rules_again_change_nothing") else {
        return;
    };
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);
    let mut rules: Vec<_> = (1..=back_end.many())
        .map(|n| from(rule(u128::from(n), "deny"), Ipv4Addr::new(198, 51, 100, n)))
        .collect();
    rules.push(tcp(100, "allow", 80, 90));
    author.enforce(on(&rules));
    let before = back_end.snapshot(&world);

    author.enforce(on(&rules));

    assert_eq!(back_end.snapshot(&world), before);
}

fn foreign_tables_are_as_they_were_through_all_changes(back_end: BackEnd) {
    let Some(world) = back_end.world("foreign_tables_are_as_they_were_through_all_changes") else {
        return;
    };
    world.nft(&["add", "table", "ip", "foreign"]);
    let hook = "{ type filter hook input priority 5; policy accept; }";
    world.nft(&["add", "chain", "ip", "foreign", "c", hook]);
    world.nft(&[
        "add", "rule", "ip", "foreign", "c", "tcp", "dport", "9", "drop",
    ]);
    let foreign = || back_end.foreign(&world);
    let (before, all) = (foreign(), back_end.snapshot(&world));
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);

    author.enforce(on(&[tcp(1, "allow", 80, 80)]));
    author.enforce(with_defaults("reject", "reject", &[tcp(1, "deny", 80, 80)]));
    assert_eq!(foreign(), before);
    author.enforce(document(Some(false), &[]));

    assert_eq!(foreign(), before);
    assert_eq!(back_end.snapshot(&world), all);
}

fn tampering_with_rules_and_with_sets_is_put_right(back_end: BackEnd) {
    let Some(world) = back_end.world("tampering_with_rules_and_with_sets_is_put_right") else {
        return;
    };
    let _listener = world.listen(PORT);
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);
    let mut rules: Vec<_> = (1..=back_end.many())
        .map(|n| from(rule(u128::from(n), "deny"), Ipv4Addr::new(198, 51, 100, n)))
        .collect();
    rules.push(from(rule(100, "deny"), far(&world.inside)));
    rules.push(tcp(101, "allow", u32::from(PORT), u32::from(PORT)));
    author.enforce(on(&rules));
    author.expect_doors([PORT], [Door::Silent]);
    let us = far(&world.inside).to_string();

    for tamper in back_end.tamper(&world, &us) {
        tamper();

        let is_shut = || (author.doors([PORT]) == [Door::Silent]).then_some(());
        wait_for("the door is shut again", DEADLINE, is_shut).unwrap();
    }
}

fn a_flushed_packet_filter_is_noticed_put_right_and_told(back_end: BackEnd) {
    let test = "a_flushed_packet_filter_is_noticed_put_right_and_told";
    let Some(world) = back_end.world(test) else {
        return;
    };
    let _listener = world.listen(PORT);
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);
    let port = u32::from(PORT);
    author.enforce(on(&[tcp(1, "reject", port, port)]));
    let (order, words) = back_end.flush();

    let mut flush = Command::new("sh");
    flush.args(["-c", order]);
    run(world.host.exec(&flush), DEADLINE).unwrap();

    let told = author.daemon.next_status(|status| {
        let (_, reason) = condition(status, FacetCondition::FirewallSynced);
        reason == "Drifted"
    });
    let message = &told.conditions[0].message;
    assert!(message.contains(words), "{message}");
    let is_shut = || (author.doors([PORT]) == [Door::Refused]).then_some(());
    wait_for("the door is shut again", DEADLINE, is_shut).unwrap();
    let is_again = |status: &Status| {
        condition(status, FacetCondition::FirewallSynced).0 == ConditionStatus::True
    };
    author.daemon.next_status(is_again);
}

fn an_agent_killed_while_it_changes_rules_leaves_one_set_of_them_and_ends_with_the_new_one(
    back_end: BackEnd,
) {
    let test = "an_agent_killed_while_it_changes_rules";
    let Some(world) = back_end.world(test) else {
        return;
    };
    let (_one, _two) = (world.listen(7_401), world.listen(7_402));
    let home = world.home();
    let mut agent = home.start(Some(&world.host));
    let (mut daemon, key) = world.daemon.admit();
    daemon.greet(64, 15);
    daemon.apply(1, "one", on(&[tcp(1, "allow", 7_401, 7_401)]));
    daemon.status_of(1);
    let doors = || [7_401, 7_402].map(|port| door(&world.knock(port)));

    let of = |port: u16| {
        on(&[tcp(
            u128::from(port),
            "allow",
            u32::from(port),
            u32::from(port),
        )])
    };
    let (first, second) = ([Door::Open, Door::Silent], [Door::Silent, Door::Open]);

    for (generation, delay_ms) in (2..).zip([0, 2, 5, 9, 14, 25]) {
        let port = if generation % 2 == 0 { 7_402 } else { 7_401 };
        daemon.apply(generation, &format!("hash {generation}"), of(port));
        // Where it is hit is chance, and every place has to be one of the two.
        std::thread::sleep(Duration::from_millis(delay_ms));
        agent.kill().unwrap();
        daemon.cut();

        let found = doors();
        let is_between = !back_end.is_atomic() && found == [Door::Silent; 2];
        assert!(found == first || found == second || is_between, "{found:?}");
        agent = home.start(Some(&world.host));
        daemon = world.daemon.accept(&key);
        daemon.greet(64, 15);
    }
    daemon.apply(100, "last", of(7_402));
    let status = daemon.status_of(100);

    let synced = condition(&status, FacetCondition::FirewallSynced);
    assert_eq!(synced.0, ConditionStatus::True, "{status:#?}");
    assert_eq!(doors(), second);
}

fn rules_that_cut_the_host_off_go_back_to_those_before(back_end: BackEnd) {
    let Some(world) = back_end.world("rules_that_cut_the_host_off_go_back_to_those_before") else {
        return;
    };
    // Without tracking, answers of the daemon are packets like all others.
    world.load_notrack();
    let (_one, _two) = (world.listen(7_501), world.listen(7_502));
    let home = world.home_with("confirm_secs = 15");
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);
    author.enforce(with_defaults(
        "allow",
        "allow",
        &[tcp(1, "reject", 7_501, 7_501)],
    ));
    author.expect_doors([7_501, 7_502], [Door::Refused, Door::Open]);

    let cutting = from(rule(2, "deny"), world.daemon.address().ip());
    let status = author.send(with_defaults(
        "allow",
        "allow",
        &[tcp(3, "reject", 7_502, 7_502), cutting],
    ));

    let synced = condition(&status, FacetCondition::FirewallSynced);
    assert_eq!(synced, (ConditionStatus::False, "RolledBack"));
    author.expect_doors([7_501, 7_502], [Door::Refused, Door::Open]);
    assert!(world.reaches_daemon(REACH));
}

contract! { nftables of Nftables:
    the_same_rules_again_change_nothing,
    foreign_tables_are_as_they_were_through_all_changes,
    tampering_with_rules_and_with_sets_is_put_right,
    a_flushed_packet_filter_is_noticed_put_right_and_told,
    an_agent_killed_while_it_changes_rules_leaves_one_set_of_them_and_ends_with_the_new_one,
    rules_that_cut_the_host_off_go_back_to_those_before,
}

contract! { ufw of Ufw:
    the_same_rules_again_change_nothing,
    foreign_tables_are_as_they_were_through_all_changes,
    tampering_with_rules_and_with_sets_is_put_right,
    a_flushed_packet_filter_is_noticed_put_right_and_told,
    an_agent_killed_while_it_changes_rules_leaves_one_set_of_them_and_ends_with_the_new_one,
    rules_that_cut_the_host_off_go_back_to_those_before,
}
