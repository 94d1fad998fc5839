//! What is ufw's alone: how it is chosen, how it is left, and what it says of rules.
//! Nothing outside of a namespace is changed.

use std::fs;
use std::process::Command;

use hidps_lab::command::{Running, run, wait_for};

use super::back_end::ufw;
use super::*;
use crate::scripted_daemon::DEADLINE;
use crate::world::PORT;

#[test]
fn rules_in_ufw_are_listed_with_their_rows_and_leave_no_table_of_the_agent() {
    let test = "rules_in_ufw_are_listed_with_their_rows_and_leave_no_table_of_the_agent";
    let Some(world) = BackEnd::Ufw.world(test) else {
        return;
    };
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);

    let status = author.send(on(&[tcp(1, "allow", 80, 90)]));

    let message = &status.conditions[0].message;
    assert!(message.contains("ufw is active with 1 rule"), "{message}");
    assert!(message.contains("changes one rule at a time"), "{message}");
    assert!(!world.has_table());
    let rules = author.list();
    let of_ufw: Vec<_> = rules.iter().filter(|it| it.table == "ufw").collect();
    let managed: Vec<_> = of_ufw.iter().map(|it| it.managed).collect();
    // A rule and SSH of ours before somebody's one, for each version of IP.
    assert_eq!(
        managed,
        [true, true, false, true, true, false],
        "{of_ufw:#?}"
    );
}

#[test]
fn an_uninstalled_agent_leaves_ufw_as_it_was() {
    let Some(world) = BackEnd::Ufw.world("an_uninstalled_agent_leaves_ufw_as_it_was") else {
        return;
    };
    let before = BackEnd::Ufw.snapshot(&world);
    let home = world.home();
    let mut agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);
    author.enforce(with_defaults("reject", "deny", &[tcp(1, "deny", 80, 80)]));
    assert_ne!(BackEnd::Ufw.snapshot(&world), before);
    agent.kill().unwrap();

    let withdraw = world.host.exec(&home.command("withdraw"));
    let said = run(withdraw, DEADLINE).unwrap().stdout;

    assert!(String::from_utf8_lossy(&said).contains("are removed"));
    assert_eq!(BackEnd::Ufw.snapshot(&world), before);
}

#[test]
fn a_host_on_which_ufw_takes_over_is_filtered_by_ufw_alone() {
    let test = "a_host_on_which_ufw_takes_over_is_filtered_by_ufw_alone";
    let Some(world) = BackEnd::Ufw.world(test) else {
        return;
    };
    ufw(&world, "disable");
    let _listener = world.listen(PORT);
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);
    let port = u32::from(PORT);
    author.enforce(on(&[tcp(1, "reject", port, port)]));
    assert!(world.has_table(), "ufw does not rule this host");

    ufw(&world, "--force enable");

    world.wait_for_table(false);
    let is_shut = || (author.doors([PORT]) == [Door::Refused]).then_some(());
    wait_for("ufw to refuse", DEADLINE, is_shut).unwrap();
    author.enforce(document(Some(false), &[]));
    author.expect_doors([PORT], [Door::Open]);
    let snapshot = BackEnd::Ufw.snapshot(&world);
    assert!(snapshot.contains("ENABLED=yes"), "it goes on as it was");
}

#[test]
fn a_ufw_that_the_agent_is_told_to_use_is_enabled_and_put_back() {
    let test = "a_ufw_that_the_agent_is_told_to_use_is_enabled_and_put_back";
    let Some(world) = BackEnd::Ufw.world(test) else {
        return;
    };
    ufw(&world, "disable");
    let before = BackEnd::Ufw.snapshot(&world);
    let _listener = world.listen(PORT);
    let home = world.home_with("firewall = \"ufw\"");
    let _agent = home.start(Some(&world.host));
    let mut author = Author::greet(&world);

    author.enforce(on(&[]));
    author.expect_doors([PORT], [Door::Silent]);
    author.enforce(document(Some(false), &[]));

    author.expect_doors([PORT], [Door::Open]);
    assert_eq!(BackEnd::Ufw.snapshot(&world), before);
}

/// Keeps every ufw of this machine waiting until it is dropped.
fn hold_lock() -> Running {
    let script = "import fcntl, signal
lock = open('/run/ufw.lock', 'w')
fcntl.lockf(lock, fcntl.LOCK_EX)
print('held', flush=True)
signal.pause()";
    let mut python = Command::new("python3");
    python.args(["-c", script]);
    let mut lock = Running::start("a holder of ufw's lock", python).unwrap();
    let is_held = |line: &str| line == "held";
    lock.wait_for_line("held", DEADLINE, is_held).unwrap();
    lock
}

/// The processes in a host that run ufw.
fn calls_of_ufw(world: &World) -> Vec<u32> {
    let mut processes = world.host.processes().unwrap();
    processes.retain(|id| {
        let name = fs::read_to_string(format!("/proc/{id}/comm"));
        name.is_ok_and(|name| name.trim() == "ufw")
    });
    processes
}

#[test]
fn rules_that_a_killed_ufw_left_half_written_are_put_back_and_converge() {
    let test = "rules_that_a_killed_ufw_left_half_written_are_put_back_and_converge";
    let Some(world) = BackEnd::Ufw.world(test) else {
        return;
    };
    let home = world.home();
    let mut agent = home.start(Some(&world.host));
    let (mut daemon, key) = world.daemon.admit();
    daemon.greet(64, 15);
    daemon.apply(1, "one", on(&[tcp(1, "allow", 80, 80)]));
    daemon.status_of(1);
    let lock = hold_lock();
    daemon.apply(
        2,
        "two",
        on(&[tcp(1, "allow", 80, 80), tcp(2, "allow", 90, 90)]),
    );
    let waits = || (!calls_of_ufw(&world).is_empty()).then_some(());
    wait_for("a call of ufw", DEADLINE, waits).unwrap();

    agent.kill().unwrap();
    daemon.cut();
    let mut kill = Command::new("kill");
    let calls = calls_of_ufw(&world);
    kill.arg("-KILL").args(calls.iter().map(u32::to_string));
    // One that has ended meanwhile cannot be killed any more.
    run(kill, DEADLINE).ok();
    let mut cut = Command::new("truncate");
    cut.args(["-s", "100", "/etc/ufw/user.rules"]);
    run(world.host.exec(&cut), DEADLINE).unwrap();
    drop(lock);
    let mut agent = home.start(Some(&world.host));
    let mut daemon = world.daemon.accept(&key);
    daemon.greet(64, 15);
    daemon.apply(
        3,
        "three",
        on(&[tcp(1, "allow", 80, 80), tcp(2, "allow", 90, 90)]),
    );

    let says_so = |line: &str| line.contains("its half-written file is put back");
    agent
        .wait_for_line("that it says so", DEADLINE, says_so)
        .unwrap();
    let is_synced = |status: &Status| {
        condition(status, FacetCondition::FirewallSynced).0 == ConditionStatus::True
    };
    let has_all = || {
        let snapshot = BackEnd::Ufw.snapshot(&world);
        // What somebody had there stays.
        let rules = ["allow tcp 80", "allow tcp 90", "allow tcp 7"];
        rules.iter().all(|it| snapshot.contains(it)).then_some(())
    };
    if let Err(error) = wait_for("all rules", DEADLINE, has_all) {
        let snapshot = BackEnd::Ufw.snapshot(&world);
        panic!("{error}: {snapshot} {}", agent.log());
    }
    daemon.next_status(is_synced);
}
