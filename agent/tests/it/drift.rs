//! What somebody does to a converged host is put right, and told as it was and as it is again.
//! It never takes what the audit finds, each 60 s, for what the kernel tells: who did it, and that a
//! path was gone for a moment, come by a notification alone.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use hidps_wire::{ConditionStatus, FacetCondition, Status};

use crate::harness::{AgentHome, document};
use crate::scripted_daemon::{Connection, DEADLINE, ScriptedDaemon, condition};
use crate::world::World;

/// Long for two busy cores, and shorter than the 60 s between two audits, of which one may come within it.
const NOTICED: Duration = Duration::from_secs(40);

/// The next statuses in which a facet is another than in the one before, with reason and message.
fn next_transitions(
    daemon: &mut Connection,
    facet: FacetCondition,
    n: usize,
) -> Vec<(ConditionStatus, String, String)> {
    let mut seen: Vec<(ConditionStatus, String, String)> = Vec::new();
    let end = Instant::now() + NOTICED;
    while seen.len() < n {
        let left = end.saturating_duration_since(Instant::now());
        let status = daemon.poll_status(left, |_| true);
        let status = status.unwrap_or_else(|| panic!("nothing is told after {seen:?}"));
        let (now, reason) = condition(&status, facet);
        if seen.last().is_none_or(|(before, ..)| *before != now) {
            seen.push((now, reason.to_owned(), message(&status, facet)));
        }
    }
    seen
}

fn message(status: &Status, facet: FacetCondition) -> String {
    let mut conditions = status.conditions.iter();
    let condition = conditions.find(|condition| condition.facet == facet);
    condition.map(|c| c.message.clone()).unwrap_or_default()
}

#[test]
fn tampering_with_the_table_is_told_as_two_transitions_with_who_and_what() {
    let test = "tampering_with_the_table_is_told_as_two_transitions_with_who_and_what";
    let Some(world) = World::make(test) else {
        return;
    };
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let (mut daemon, _) = world.daemon.admit();
    daemon.greet(64, 15);
    daemon.apply(1, "on", document(Some(true), &[]));
    daemon.status_of(1);
    let whole = world.nft(&["list", "ruleset"]);

    for (tampering, what) in [
        (
            &["delete", "table", "inet", "hidps"][..],
            "deleted the firewall table",
        ),
        (
            &[
                "insert", "rule", "inet", "hidps", "input", "tcp", "dport", "7777", "accept",
            ],
            "added \"tcp dport 7777 accept\"",
        ),
        (
            &["flush", "chain", "inet", "hidps", "input"],
            "removed \"iifname",
        ),
        (
            &["chain", "inet", "hidps", "input", "{ policy accept; }"],
            "policy accept;\"; removed",
        ),
        (&["flush", "ruleset"], "deleted the firewall table"),
    ] {
        world.nft(tampering);

        let told = next_transitions(&mut daemon, FacetCondition::FirewallSynced, 2);
        let (status, reason, message) = &told[0];
        assert_eq!(
            (*status, reason.as_str()),
            (ConditionStatus::False, "Drifted")
        );
        assert!(message.starts_with("nft (process "), "{message}");
        assert!(message.contains(what), "{tampering:?}: {message}");
        let (status, reason, _) = &told[1];
        assert_eq!(
            (*status, reason.as_str()),
            (ConditionStatus::True, "Enabled")
        );
        assert_eq!(world.nft(&["list", "ruleset"]), whole);
    }
}

#[test]
fn a_drift_while_the_daemon_is_away_is_put_right_and_only_the_latest_is_told() {
    let test = "a_drift_while_the_daemon_is_away_is_put_right_and_only_the_latest_is_told";
    let Some(world) = World::make(test) else {
        return;
    };
    let home = world.home();
    let mut agent = home.start(Some(&world.host));
    let (mut daemon, key) = world.daemon.admit();
    daemon.greet(64, 15);
    daemon.apply(1, "on", document(Some(true), &[]));
    daemon.status_of(1);
    daemon.cut();
    let is_down = |line: &str| line.contains("the link is down");
    agent.wait_for_line("the cut", DEADLINE, is_down).unwrap();

    world.nft(&["delete", "table", "inet", "hidps"]);
    world.wait_for_table(true);
    let mut daemon = world.daemon.accept(&key);
    daemon.greet(64, 15);
    let first = daemon.next_status(|_| true);

    let synced = condition(&first, FacetCondition::FirewallSynced);
    assert_eq!(synced, (ConditionStatus::True, "Enabled"));
}

#[test]
fn a_watched_directory_that_is_removed_and_made_again_is_told_as_two_transitions() {
    let daemon = ScriptedDaemon::start(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let home = AgentHome::observing(daemon.address());
    let _agent = home.start(None);
    let (mut connection, _) = daemon.admit();
    connection.greet(64, 15);
    let directory = home.path().join("directory");
    fs::create_dir(&directory).unwrap();
    connection.apply(1, "h", document(None, &[&directory]));
    let status = connection.status_of(1);
    let watched = condition(&status, FacetCondition::FilesWatched);
    assert_eq!(watched, (ConditionStatus::True, "AllWatched"));

    // Slowly, and faster than anybody could look.
    for is_slow in [true, false] {
        fs::remove_dir(&directory).unwrap();
        if is_slow {
            let is_missing = |status: &Status| {
                condition(status, FacetCondition::FilesWatched).1 == "PathMissing"
            };
            let told = connection.poll_status(NOTICED, is_missing);
            told.expect("it is told");
        }
        fs::create_dir(&directory).unwrap();

        let n = if is_slow { 1 } else { 2 };
        let told = next_transitions(&mut connection, FacetCondition::FilesWatched, n);
        let told: Vec<_> = told
            .iter()
            .map(|(s, reason, _)| (*s, reason.as_str()))
            .collect();
        let both = [
            (ConditionStatus::False, "PathMissing"),
            (ConditionStatus::True, "AllWatched"),
        ];
        assert_eq!(told, both[2 - n..]);
        // It is watched on.
        let entry = directory.join("entry");
        fs::write(&entry, "1").unwrap();
        let name = entry.display().to_string();
        connection.next_event(|event| event.message.contains(&name));
        fs::remove_file(&entry).unwrap();
    }
}
