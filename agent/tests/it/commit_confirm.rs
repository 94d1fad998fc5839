//! A firewall that cuts a real host off from its daemon, or that nobody can confirm, is undone.

use hidps_lab::command::wait_for;
use hidps_wire::{ConditionStatus, FacetCondition};

use crate::harness::document;
use crate::scripted_daemon::{DEADLINE, ScriptedDaemon, applied_generation, condition};
use crate::world::{KNOCK, REACH, World};

/// Long enough to be seen and knocked at while it lasts, on a machine that is busy.
const SETTINGS: &str = "confirm_secs = 15";

#[test]
fn a_firewall_that_cuts_the_host_off_is_rolled_back() {
    let Some(world) = World::make("a_firewall_that_cuts_the_host_off_is_rolled_back") else {
        return;
    };
    world.load_notrack();
    let foreign = world.nft(&["list", "ruleset"]);
    let home = world.home_with(SETTINGS);
    let _agent = home.start(Some(&world.host));
    let (mut daemon, _) = world.daemon.admit();
    daemon.greet(8, 15);
    daemon.next_status(|status| status.applied.is_none());

    let watched = home.path().join("watched");
    std::fs::write(&watched, "1").unwrap();
    daemon.apply(1, "on", document(Some(true), &[&watched]));
    world.wait_for_table(true);
    let while_loaded = world.reaches_daemon(KNOCK);
    world.wait_for_table(false);

    assert!(!while_loaded, "the table cuts this host off");
    assert!(world.reaches_daemon(REACH), "and the host is back");
    assert_eq!(world.nft(&["list", "ruleset"]), foreign);
    // On the very connection that was cut off.
    let status = daemon.status_of(1);
    let synced = condition(&status, FacetCondition::FirewallSynced);
    assert_eq!(synced, (ConditionStatus::False, "RolledBack"));
    assert_eq!(status.firewall_active, Some(false));
    let message = &status.conditions[0].message;
    assert!(
        message.contains("tried again when the link has been up for 60 s"),
        "{message}"
    );
    let files = condition(&status, FacetCondition::FilesWatched);
    assert_eq!(files, (ConditionStatus::True, "AllWatched"));

    world.nft(&["delete", "table", "inet", "foreign"]);
    daemon.apply(2, "on-again", document(Some(true), &[]));
    let status = daemon.status_of(2);
    let synced = condition(&status, FacetCondition::FirewallSynced);
    assert_eq!(synced, (ConditionStatus::True, "Enabled"));
    assert!(world.daemon.n_probes() > 0, "it was probed");
}

#[test]
fn a_firewall_nobody_can_confirm_is_rolled_back() {
    let Some(mut world) = World::make("a_firewall_nobody_can_confirm_is_rolled_back") else {
        return;
    };
    let home = world.home_with(SETTINGS);
    let _agent = home.start(Some(&world.host));
    let (mut daemon, key) = world.daemon.admit();
    daemon.greet(8, 15);
    daemon.next_status(|status| status.applied.is_none());

    // The daemon is gone as soon as it has sent the document.
    let address = world.daemon.address();
    world.daemon.stop();
    daemon.apply(1, "on", document(Some(true), &[]));
    daemon.next_status(|status| applied_generation(status) == Some(1));
    daemon.cut();
    world.wait_for_table(true);
    world.wait_for_table(false);
    let is_shown = || {
        home.print("status")
            .contains("NO (RolledBack)")
            .then_some(())
    };
    wait_for("the rollback to be shown", DEADLINE, is_shown).unwrap();

    world.daemon = ScriptedDaemon::start_at(address);
    let mut daemon = world.daemon.accept(&key);
    let hello = daemon.greet(8, 15);
    // It is accepted, so it is not sent again; but nobody is told that it is in force.
    assert_eq!(hello.applied.map(|applied| applied.generation.0), Some(1));
    let status = daemon.status_of(1);
    let synced = condition(&status, FacetCondition::FirewallSynced);
    assert_eq!(synced, (ConditionStatus::False, "RolledBack"));
}

#[test]
fn an_agent_killed_on_trial_puts_the_confirmed_firewall_back_without_a_daemon() {
    let test = "an_agent_killed_on_trial_puts_the_confirmed_firewall_back_without_a_daemon";
    let Some(mut world) = World::make(test) else {
        return;
    };
    // Nothing but the restart puts it back within the time of this test.
    let home = world.home_with("confirm_secs = 600");
    let mut agent = home.start(Some(&world.host));
    let (mut daemon, _) = world.daemon.admit();
    daemon.greet(8, 15);
    daemon.next_status(|status| status.applied.is_none());
    world.daemon.stop();
    daemon.apply(1, "on", document(Some(true), &[]));
    daemon.next_status(|status| applied_generation(status) == Some(1));
    world.wait_for_table(true);

    agent.kill().unwrap();
    daemon.cut();
    assert!(world.has_table(), "the table outlives the process");
    let agent = home.start(Some(&world.host));
    world.wait_for_table(false);
    drop(agent);

    // After a reboot there is no table, and none is loaded.
    let mut agent = home.start(Some(&world.host));
    let says = |line: &str| line.contains("the link is down");
    agent.wait_for_line("an attempt", DEADLINE, says).unwrap();
    assert!(!world.has_table());
    let is_shown = || {
        home.print("status")
            .contains("NO (RolledBack)")
            .then_some(())
    };
    wait_for("the rollback to be shown", DEADLINE, is_shown).unwrap();
}
