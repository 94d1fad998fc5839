//! Documents that reach for what is not theirs, or for all of the memory.

use std::fs;

use hidps_agent::ledger::{MAX_FIRST, MAX_LEAP};
use hidps_wire::{ConditionStatus, DesiredDocument, FacetCondition, FirewallRuleEntry};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use super::Victim;
use crate::harness::{document, tells_modified};
use crate::scripted_daemon::condition;
use crate::world::World;

#[test]
fn paths_that_lead_elsewhere_are_refused_by_name_and_the_others_watched() {
    let mut victim = Victim::greet();
    let watched = victim.home.path().join("watched");
    fs::write(&watched, "1").unwrap();
    let refused = [
        "etc/shadow",
        "./etc/shadow",
        "../../etc/shadow",
        "/etc/../root/.ssh",
        "/etc/./shadow",
        "/etc//shadow",
        "/etc/shadow\0.txt",
        "~root/.ssh",
        "$HOME/.ssh",
        "",
    ];
    let mut wanted = document(None, &[&watched]);
    wanted.monitored_files.extend(refused.map(str::to_owned));

    victim.connection.apply(1, "h", wanted);
    let status = victim.connection.status_of(1);

    let files = condition(&status, FacetCondition::FilesWatched);
    assert_eq!(files, (ConditionStatus::False, "PathRefused"));
    let facet = |c: &&hidps_wire::AgentCondition| c.facet == FacetCondition::FilesWatched;
    let named = &status.conditions.iter().find(facet).unwrap().subjects;
    assert_eq!(named.len(), refused.len(), "{named:#?}");
    fs::write(&watched, "2").unwrap();
    victim
        .connection
        .next_event(|event| tells_modified(event, &watched));
    victim.still_obeys(2);
}

#[test]
fn a_document_made_to_cost_memory_is_refused_whole() {
    let mut victim = Victim::greet();
    let head = r#"{"type":"apply","generation":1,"hash":"h","document":{"firewall_enabled":null,"#;

    // Each of 2.7 million texts of nothing would take ten times its place in the frame.
    let many = format!(
        "{head}\"monitored_files\":[{}\"\"]}}}}",
        "\"\",".repeat(2_700_000)
    );
    victim.connection.send_raw(Message::text(many));
    let rule = r#"{"id":"7d444840-9dc0-11d1-b245-5ffdce74fad2","action":"","direction":"","protocol":""},"#;
    let rules = rule.repeat(8 * 1024 * 1024 / rule.len() - 10);
    let rules = rules.trim_end_matches(',');
    let many = format!("{head}\"firewall_rules\":[{rules}]}}}}");
    victim.connection.send_raw(Message::text(many));
    victim.still_obeys(2);

    let log = victim.agent.log();
    let n_refused = log.matches("not one of the protocol").count();
    assert_eq!(n_refused, 2, "{log}");
}

#[test]
fn a_document_of_the_greatest_length_is_borne() {
    let mut victim = Victim::greet();
    let mut wanted = document(None, &[]);
    // Of these a thousand are watched, and the others are refused by name or number.
    let long = "x".repeat(3_900);
    wanted.monitored_files = (0..2_000).map(|n| format!("/none/{n}/{long}")).collect();

    victim.connection.apply(1, "h", wanted);
    let status = victim.connection.status_of(1);

    assert_eq!(
        condition(&status, FacetCondition::FilesWatched).0,
        ConditionStatus::False
    );
    victim.still_obeys(2);
}

#[test]
fn a_generation_that_would_lock_out_every_later_daemon_is_refused() {
    let mut victim = Victim::greet();
    let nothing = || document(None, &[]);

    for generation in [u64::MAX, i64::MAX.cast_unsigned(), MAX_FIRST + 1] {
        victim.connection.apply(generation, "hostile", nothing());
        victim.says(&format!("generation {generation} is beyond {MAX_FIRST}"));
    }
    victim.connection.apply(5, "first", nothing());
    victim.connection.status_of(5);
    let leap = 6 + MAX_LEAP;
    victim.connection.apply(leap, "hostile", nothing());
    victim.says(&format!("generation {leap} is beyond {}", leap - 1));

    victim.still_obeys(6);
    let desired = victim.home.print("desired");
    assert!(desired.contains("generation 6"), "{desired}");
}

fn rule(number: u128, change: impl FnOnce(&mut FirewallRuleEntry)) -> FirewallRuleEntry {
    let mut entry = FirewallRuleEntry {
        id: Uuid::from_u128(number),
        action: "deny".to_owned(),
        direction: "in".to_owned(),
        protocol: "tcp".to_owned(),
        port_from: Some(9),
        port_to: Some(9),
        source: None,
        destination: None,
    };
    change(&mut entry);
    entry
}

#[test]
fn words_of_the_packet_filter_in_a_rule_reach_no_packet_filter() {
    let test = "words_of_the_packet_filter_in_a_rule_reach_no_packet_filter";
    let Some(world) = World::make(test) else {
        return;
    };
    world.nft(&["add", "table", "inet", "foreign"]);
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let (mut daemon, _) = world.daemon.admit();
    daemon.greet(8, 15);
    let injected = [
        rule(1, |r| r.action = "accept; flush ruleset".to_owned()),
        rule(2, |r| {
            r.action = "accept\n}\n}\ndelete table inet foreign\n#".to_owned();
        }),
        rule(3, |r| r.protocol = "tcp dport 1 accept;".to_owned()),
        rule(4, |r| {
            r.direction = "in }; delete table inet foreign".to_owned();
        }),
        rule(5, |r| {
            r.source = Some("10.0.0.1 accept; delete table inet foreign".to_owned());
        }),
        rule(6, |r| r.source = Some("{ 0.0.0.0/0 }".to_owned())),
        rule(7, |r| {
            r.source = Some("$(touch /tmp/hidps-was-here)".to_owned());
        }),
        rule(8, |r| r.source = Some("10.0.0.1/8".to_owned())),
        rule(9, |r| r.port_to = Some(70_000)),
        rule(10, |r| r.port_from = Some(10)),
    ];
    let kept = rule(11, |_| {});
    let mut rules = injected.to_vec();
    rules.push(kept);

    daemon.apply(
        1,
        "h",
        DesiredDocument {
            firewall_rules: rules,
            ..document(Some(true), &[])
        },
    );
    let status = daemon.status_of(1);

    let synced = condition(&status, FacetCondition::FirewallSynced);
    assert_eq!(synced, (ConditionStatus::False, "RulesRefused"));
    let facet = |c: &&hidps_wire::AgentCondition| c.facet == FacetCondition::FirewallSynced;
    let named = &status.conditions.iter().find(facet).unwrap().subjects;
    assert_eq!(named.len(), injected.len(), "{named:#?}");
    let tables = world.nft(&["list", "tables"]);
    assert!(tables.contains("table inet foreign"), "{tables}");
    let table = world.nft(&["list", "table", "inet", "hidps"]);
    assert!(
        table.contains("dport 9") && !table.contains("dport 1 "),
        "{table}"
    );
    assert!(!fs::exists("/tmp/hidps-was-here").unwrap());
}
