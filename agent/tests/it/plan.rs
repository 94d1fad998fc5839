//! What a document would change is told, and nothing is changed by the telling.

use std::fs;
use std::path::Path;

use hidps_lab::command::Running;
use hidps_wire::{
    Answer, CutOff, DesiredDocument, FacetCondition, HostPlan, MAX_AGENT_FRAME_BYTES,
    PlannedChange, Question, encode,
};

use crate::harness::{AgentHome, document};
use crate::scripted_daemon::{Connection, condition};
use crate::world::World;

/// Asks for a plan.
fn plan(daemon: &mut Connection, document: DesiredDocument) -> HostPlan {
    let question = Question::Plan {
        document: Some(Box::new(document)),
    };
    match daemon.ask(question) {
        Answer::Plan(plan) => plan,
        other @ (Answer::FirewallRules { .. }
        | Answer::FirewallStatus { .. }
        | Answer::Failed { .. }) => panic!("{other:?}"),
    }
}

/// Everything the kernel watches for a process.
fn watches(agent: &Running) -> Vec<String> {
    let directory = Path::new("/proc")
        .join(agent.id().to_string())
        .join("fdinfo");
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        // A file may be closed by now.
        let text = fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        let lines = text.lines().filter(|line| line.starts_with("inotify "));
        found.extend(lines.map(str::to_owned));
    }
    found.sort();
    found
}

#[test]
fn a_plan_tells_what_would_change_and_changes_nothing() {
    let Some(world) = World::make("a_plan_tells_what_would_change_and_changes_nothing") else {
        return;
    };
    let home = world.home();
    let agent = home.start(Some(&world.host));
    let (mut daemon, _) = world.daemon.admit();
    daemon.greet(8, 15);
    let (kept, coming) = (home.path().join("kept"), home.path().join("coming"));
    fs::write(&kept, "1").unwrap();
    fs::write(&coming, "1").unwrap();
    daemon.apply(1, "one", document(None, &[&kept]));
    daemon.status_of(1);
    let before = (world.nft(&["-a", "list", "ruleset"]), watches(&agent));
    let ledger = fs::read(home.path().join("state/desired.json")).unwrap();

    let mut wanted = document(Some(true), &[&coming]);
    wanted.monitored_files.push("../x".to_owned());
    let plan = plan(&mut daemon, wanted);

    assert_eq!(plan.firewall.change, PlannedChange::Load);
    assert_eq!(plan.firewall.lines[0], "+ table inet hidps {");
    let kept_open = "+ tcp dport 22 accept comment \"kept open: 22/tcp\"";
    assert!(plan.firewall.lines.iter().any(|line| line == kept_open));
    assert!(!plan.firewall.truncated);
    assert_eq!(plan.watch, [coming.to_str().unwrap()]);
    assert_eq!(plan.unwatch, [kept.to_str().unwrap()]);
    assert_eq!(plan.refused.len(), 1);
    assert_eq!(plan.cuts_off, CutOff::No, "{}", plan.cut_off_why);
    let after = (world.nft(&["-a", "list", "ruleset"]), watches(&agent));
    assert_eq!(after, before);
    assert!(!before.1.is_empty());
    let ledger_after = fs::read(home.path().join("state/desired.json")).unwrap();
    assert_eq!(ledger_after, ledger);
}

#[test]
fn a_plan_foretells_that_a_table_would_cut_the_host_off() {
    let Some(world) = World::make("a_plan_foretells_that_a_table_would_cut_the_host_off") else {
        return;
    };
    world.load_notrack();
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let (mut daemon, _) = world.daemon.admit();
    daemon.greet(8, 15);
    let before = world.nft(&["-a", "list", "ruleset"]);

    let on = plan(&mut daemon, document(Some(true), &[]));
    let off = plan(&mut daemon, document(Some(false), &[]));

    assert_eq!(on.cuts_off, CutOff::Yes);
    assert!(
        on.cut_off_why.contains("inet foreign"),
        "{}",
        on.cut_off_why
    );
    assert_eq!(
        (off.cuts_off, off.firewall.change),
        (CutOff::No, PlannedChange::None)
    );
    assert_eq!(world.nft(&["-a", "list", "ruleset"]), before);
}

#[test]
fn what_is_loaded_is_compared_line_by_line_with_what_would_be() {
    let test = "what_is_loaded_is_compared_line_by_line_with_what_would_be";
    let Some(world) = World::make(test) else {
        return;
    };
    let home = world.home();
    let _agent = home.start(Some(&world.host));
    let (mut daemon, _) = world.daemon.admit();
    daemon.greet(8, 15);
    daemon.apply(1, "on", document(Some(true), &[]));
    daemon.status_of(1);
    let same = plan(&mut daemon, document(Some(true), &[]));
    let off = plan(&mut daemon, document(Some(false), &[]));
    // Left alone, it may be changed by whoever wants.
    daemon.apply(2, "unmanaged", document(None, &[]));
    let status = daemon.status_of(2);
    let synced = condition(&status, FacetCondition::FirewallSynced);
    assert_eq!(synced.1, "Unmanaged");
    world.nft(&[
        "insert", "rule", "inet", "hidps", "input", "tcp", "dport", "9", "accept",
    ]);

    let repair = plan(&mut daemon, document(Some(true), &[]));

    assert_eq!(same.firewall.change, PlannedChange::None);
    assert_eq!((same.firewall.lines.len(), same.cuts_off), (0, CutOff::No));
    assert_eq!(off.firewall.change, PlannedChange::Remove);
    assert!(off.firewall.lines.iter().all(|line| line.starts_with("- ")));
    assert!(off.firewall.lines.len() > 5);
    assert_eq!(repair.firewall.change, PlannedChange::Repair);
    assert_eq!(repair.firewall.lines, ["- tcp dport 9 accept"]);
    // The link is in the kernel's table, where the kernel shows it.
    assert_eq!(repair.cuts_off, CutOff::No, "{}", repair.cut_off_why);
}

#[test]
fn any_document_is_planned_within_one_frame() {
    let Some(world) = World::make("any_document_is_planned_within_one_frame") else {
        return;
    };
    let home = AgentHome::observing(world.daemon.address());
    let _agent = home.start(Some(&world.host));
    let (mut daemon, _) = world.daemon.admit();
    daemon.greet(8, 15);
    let long: Vec<_> = (0..1_000)
        .map(|n| format!("/{n}/{}", "x".repeat(3_900)))
        .collect();
    let garbage = ["", "/", "..", "/a//b", "/a\0b", "\u{1b}[2J", "relative"].map(str::to_owned);

    for paths in [long, garbage.to_vec()] {
        let n = paths.len();
        let plan = plan(
            &mut daemon,
            DesiredDocument {
                firewall_enabled: Some(true),
                monitored_files: paths,
                ..DesiredDocument::default()
            },
        );

        let n_told = plan.watch.len() + plan.refused.len();
        assert_eq!(n_told + usize::try_from(plan.omitted).unwrap(), n);
        assert_eq!(plan.firewall.change, PlannedChange::None);
        assert!(plan.cut_off_why.contains("configured to observe"));
        assert!(encode(&plan).len() < MAX_AGENT_FRAME_BYTES);
        assert!(!encode(&plan).contains("\\u001b"));
    }
    let none = daemon.ask(Question::Plan { document: None });
    assert!(matches!(none, Answer::Failed { .. }), "{none:?}");
}
