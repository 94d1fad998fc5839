//! A host without its daemon: after a reboot it is as it was accepted, it stays so, and it converges
//! when the daemon is back.

use std::fs;

use hidps_lab::command::wait_for;
use hidps_wire::{ConditionStatus, FacetCondition};

use crate::harness::{document, tells_modified};
use crate::scripted_daemon::{DEADLINE, ScriptedDaemon, condition};
use crate::world::{PORT, World};

#[test]
fn a_rebooted_host_is_enforced_without_its_daemon_and_converges_on_its_return() {
    let test = "a_rebooted_host_is_enforced_without_its_daemon_and_converges_on_its_return";
    let Some(mut world) = World::make(test) else {
        return;
    };
    let home = world.home();
    let watched = home.path().join("watched");
    fs::write(&watched, "1").unwrap();
    let mut agent = home.start(Some(&world.host));
    let (mut daemon, key) = world.daemon.admit();
    daemon.greet(8, 15);
    daemon.apply(1, "on", document(Some(true), &[&watched]));
    let status = daemon.status_of(1);
    let synced = condition(&status, FacetCondition::FirewallSynced);
    assert_eq!(synced, (ConditionStatus::True, "Enabled"));
    let whole = world.nft(&["list", "ruleset"]);
    let address = world.daemon.address();

    // The daemon goes first; then the host reboots: no process, and an empty kernel.
    world.daemon.stop();
    daemon.cut();
    agent.kill().unwrap();
    world.nft(&["flush", "ruleset"]);
    let _agent = home.start(Some(&world.host));
    world.wait_for_table(true);

    assert_eq!(world.nft(&["list", "ruleset"]), whole);
    let _listener = world.listen(PORT);
    assert!(world.knock(PORT).is_err(), "it filters");
    // It goes on enforcing, and seeing, with nobody to tell.
    world.nft(&["delete", "table", "inet", "hidps"]);
    world.wait_for_table(true);
    fs::write(&watched, "2").unwrap();
    let is_shown = || {
        let shown = home.print("status");
        let is_so = shown.contains("yes (Enabled)") && shown.contains("yes (AllWatched)");
        (is_so && shown.contains("link           down")).then_some(())
    };
    wait_for("the status to say so", DEADLINE, is_shown).unwrap();

    // The daemon is back, and something was changed meanwhile.
    world.daemon = ScriptedDaemon::start_at(address);
    let mut daemon = world.daemon.accept(&key);
    let hello = daemon.greet(64, 15);
    assert_eq!(hello.applied.map(|applied| applied.generation.0), Some(1));
    let told = daemon.next_event(|event| tells_modified(event, &watched));
    assert_eq!(&*told.service, "inotify");
    daemon.apply(2, "off", document(Some(false), &[]));
    let status = daemon.status_of(2);
    let synced = condition(&status, FacetCondition::FirewallSynced);
    assert_eq!(synced, (ConditionStatus::True, "Disabled"));
    world.reach(PORT).expect("the host is open again");
}

#[test]
fn a_host_that_was_never_told_anything_is_left_alone_by_every_restart() {
    let test = "a_host_that_was_never_told_anything_is_left_alone_by_every_restart";
    let Some(mut world) = World::make(test) else {
        return;
    };
    world.nft(&["add", "table", "inet", "foreign"]);
    let before = world.nft(&["-a", "list", "ruleset"]);
    let home = world.home();
    world.daemon.stop();

    for _ in 0..2 {
        let mut agent = home.start(Some(&world.host));
        let says = |line: &str| line.contains("the link is down");
        agent.wait_for_line("an attempt", DEADLINE, says).unwrap();
        let is_shown = || {
            home.print("status")
                .contains("unknown (NoDocument)")
                .then_some(())
        };
        wait_for("the status to say so", DEADLINE, is_shown).unwrap();
        agent.kill().unwrap();
    }

    assert_eq!(world.nft(&["-a", "list", "ruleset"]), before);
}
