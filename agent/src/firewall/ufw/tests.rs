//! Who may come back and until when, and a ufw that hangs.
//! No packet filter is changed here.

use super::super::SshPeer;
use super::plan::{Defaults, Step};
use super::*;
use crate::error_chain::chain;
use hidps_wire::FirewallAction;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

fn state() -> UfwState {
    UfwState {
        rules: [Vec::new(), Vec::new()],
        has_ipv6: true,
        defaults: Defaults {
            incoming: FirewallAction::Deny,
            outgoing: FirewallAction::Allow,
        },
        is_enabled: true,
        log_level: "off".to_owned(),
    }
}

#[test]
fn who_was_logged_in_may_come_back_for_ten_minutes_and_not_a_second_longer() {
    let policy = Arc::new(FirewallPolicy::default());
    let peer = SshPeer {
        address: "192.0.2.7".parse().unwrap(),
        port: 22,
    };
    let loaded_at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let found = Found::of(&state());
    let mut enforced = Enforced {
        policy: Arc::clone(&policy),
        guards: Guards {
            peers: BTreeSet::from([peer]),
            ..Guards::default()
        },
        until: loaded_at.checked_add(PEERS_FOR).unwrap(),
        goal: found.as_goal(),
        is_so: true,
    };
    let goal_at = |text: &str| {
        let (guards, until) = enforced.guards_at(text.parse().unwrap());
        assert_eq!(until, enforced.until, "a look gives nobody more time");
        Wishes::new(&policy, &BTreeSet::new(), &guards, &state(), &found).goal
    };

    let early = goal_at("2026-01-01T00:09:59Z");
    let late = goal_at("2026-01-01T00:10:00Z");

    let [rule] = early.rules[0].as_slice() else {
        panic!("{early:?}")
    };
    let mut with_rule = state();
    with_rule.rules.clone_from(&early.rules);
    enforced.goal.clone_from(&early);
    assert_eq!(enforced.tampering(&with_rule), None);
    let step = next_step(&with_rule, &late);
    assert_eq!(step, Some(Step::Delete(rule.clone())));
    assert_eq!(next_step(&state(), &late), None, "nothing else is left");
}

/// Long for a script on two busy cores.
const ANSWERS: Duration = Duration::from_secs(60);

/// A script that can be run.
fn script(path: &Path, lines: &str) {
    fs::write(path, format!("#!/bin/sh\n{lines}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
}

/// ufw of a host below a directory, whose programs are these scripts.
fn ufw_below(root: &Path, [ufw, iptables]: [&str; 2]) -> Ufw {
    let program = |name: &str, lines: &str| {
        let path = root.join(name);
        script(&path, lines);
        Program::at(path, ANSWERS)
    };
    let place = UfwPlace::below(root);
    let kept = KeptFiles::of(&place);
    fs::create_dir_all(root.join("run")).unwrap();
    Ufw {
        ufw: program("ufw", ufw),
        iptables: [
            program("iptables", iptables),
            program("ip6tables", iptables),
        ],
        keep_open: BTreeSet::new(),
        hop: FirstHop {
            host: "192.0.2.1".to_owned(),
            port: 8_443,
        },
        found: FoundFile::new(kept.clone()),
        copies: Copies::new(kept, place.clone()),
        place,
        memory: Mutex::default(),
        tally: StdMutex::default(),
    }
}

#[tokio::test]
async fn a_call_that_hangs_in_a_write_is_ended_and_its_file_put_back() {
    let test = "a_call_that_hangs_in_a_write_is_ended_and_its_file_put_back";
    if !rustix::process::geteuid().is_root() {
        return hidps_lab::say_skipped(test, &"ufw takes orders of root alone");
    }
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let rules = "*filter\n### RULES ###\n\n### END RULES ###\nCOMMIT\n";
    write("etc/ufw/ufw.conf", "ENABLED=yes\nLOGLEVEL=low\n");
    let defaults = "IPV6=no\nDEFAULT_INPUT_POLICY=ACCEPT\nDEFAULT_OUTPUT_POLICY=ACCEPT\n";
    write("etc/default/ufw", defaults);
    write("etc/ufw/user.rules", rules);
    let half = root.path().join("etc/default/ufw");
    let hangs = format!(
        "printf 'IPV6=no\\nDEFAULT_INP' >{}; sleep 1000",
        half.display()
    );
    let mut ufw = ufw_below(root.path(), [&hangs, "exit 1"]);
    ufw.ufw = Program::at(root.path().join("ufw"), Duration::from_secs(1));
    let policy = Arc::new(FirewallPolicy::default());

    let outcome = ufw.ensure(&FirewallGoal::On(policy)).await;

    let FirewallSync::Failed(error) = outcome.sync else {
        panic!("{outcome:?}");
    };
    let error = chain(&error);
    assert!(error.contains("half written; as before now"), "{error}");
    assert!(error.contains("did not answer within 1 s"), "{error}");
    assert_eq!(fs::read_to_string(&half).unwrap(), defaults);
    assert!(!ufw.copies.are_kept().unwrap());
    assert_eq!(outcome.active, Some(true), "it can be read");
}

#[tokio::test]
async fn a_listing_without_an_end_is_not_called_a_program_that_hangs() {
    let root = tempfile::tempdir().unwrap();
    let ufw = ufw_below(root.path(), ["exit 0", "exec head -c 17000000 /dev/zero"]);

    let ended = way::run(&ufw.iptables[0], "iptables", &["-S"]).await;

    let error = ended.unwrap_err().to_string();
    assert_eq!(
        error,
        "iptables printed more than 16 MiB; look at its rules"
    );
}

#[tokio::test]
async fn rules_that_people_took_out_leave_nothing_behind_that_is_counted() {
    let root = tempfile::tempdir().unwrap();
    for path in ["etc/ufw", "etc/default"] {
        fs::create_dir_all(root.path().join(path)).unwrap();
    }
    let write = |path: &str, text: &str| fs::write(root.path().join(path), text).unwrap();
    write("etc/ufw/ufw.conf", "ENABLED=yes\n");
    write("etc/default/ufw", "IPV6=no\nDEFAULT_OUTPUT_POLICY=ACCEPT\n");
    let rule = "### tuple ### allow tcp 80 0.0.0.0/0 any 0.0.0.0/0 in\n\
                -A ufw-user-input -p tcp --dport 80 -j ACCEPT\n";
    write("etc/ufw/user.rules", &format!("{rule}COMMIT\n"));
    let lists = "echo '-A ufw-user-input -p tcp --dport 80 -c 3 180 -j ACCEPT'";
    let ufw = ufw_below(root.path(), ["exit 0", lists]);

    let counted = ufw.list_rules().await.unwrap();
    let n_counted = ufw.tally(|tally| tally.n_rules());
    write("etc/ufw/user.rules", "COMMIT\n");
    ufw.list_rules().await.unwrap();

    assert_eq!((counted[0].packets, n_counted), (Some(3), 1));
    assert_eq!(ufw.tally(|tally| tally.n_rules()), 0);
}

#[tokio::test]
async fn a_ufw_that_never_becomes_as_wanted_is_not_called_without_an_end() {
    let test = "a_ufw_that_never_becomes_as_wanted_is_not_called_without_an_end";
    if !rustix::process::geteuid().is_root() {
        return hidps_lab::say_skipped(test, &"ufw takes orders of root alone");
    }
    let root = tempfile::tempdir().unwrap();
    for path in ["etc/ufw", "etc/default"] {
        fs::create_dir_all(root.path().join(path)).unwrap();
    }
    let write = |path: &str, text: &str| fs::write(root.path().join(path), text).unwrap();
    write("etc/ufw/ufw.conf", "ENABLED=no\n");
    write("etc/default/ufw", "IPV6=no\nDEFAULT_OUTPUT_POLICY=ACCEPT\n");
    write("etc/ufw/user.rules", "COMMIT\n");
    let called = root.path().join("called");
    let notes = format!("echo called >>{}", called.display());
    let ufw = ufw_below(root.path(), [&notes, "exit 0"]);
    let goal = FirewallGoal::On(Arc::new(FirewallPolicy::default()));
    let n_calls = || fs::read_to_string(&called).unwrap().lines().count();

    let first = ufw.ensure(&goal).await;
    let n_before = n_calls();
    let refused = UfwError::ReadBack("as before".to_owned());
    for _ in 0..10 {
        let mut memory = ufw.memory.lock().await;
        memory.patience.on_failed(&goal, &refused, Instant::now());
    }
    let resting = ufw.ensure(&goal).await;

    assert!(matches!(first.sync, FirewallSync::Failed(_)), "{first:?}");
    assert_eq!(n_before, 1);
    let FirewallSync::Failed(error) = resting.sync else {
        panic!("{resting:?}");
    };
    assert_eq!(chain(&error), chain(&refused));
    assert_eq!(n_calls(), n_before, "it rests");
    let other = FirewallPolicy {
        incoming: FirewallAction::Reject,
        ..FirewallPolicy::default()
    };
    ufw.ensure(&FirewallGoal::On(Arc::new(other))).await;
    assert!(n_calls() > n_before, "what else is wanted is tried at once");
}

/// What iptables lists where nothing but the defaults of a host that is shut is in force.
const SHUT: &str = "printf '%s\\n' '-P INPUT DROP' '-P OUTPUT ACCEPT' '-A INPUT -j ufw-x' \
                    '-A OUTPUT -j ufw-x'";

/// Writes the files of a ufw that has no rules and does this with what comes in.
fn write_ufw(root: &Path, incoming: &str) {
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("etc/ufw/ufw.conf", "ENABLED=yes\nLOGLEVEL=off\n");
    write("etc/ufw/user.rules", "COMMIT\n");
    let policies = format!("DEFAULT_INPUT_POLICY={incoming}\nDEFAULT_OUTPUT_POLICY=ACCEPT\n");
    write("etc/default/ufw", &format!("IPV6=no\n{policies}"));
}

#[tokio::test]
async fn a_repair_that_fails_gives_nobody_more_time_and_is_told_when_it_succeeds() {
    let test = "a_repair_that_fails_gives_nobody_more_time_and_is_told_when_it_succeeds";
    if !rustix::process::geteuid().is_root() {
        return hidps_lab::say_skipped(test, &"ufw takes orders of root alone");
    }
    let root = tempfile::tempdir().unwrap();
    write_ufw(root.path(), "DROP");
    let ufw = ufw_below(root.path(), ["echo it is locked >&2; exit 1", SHUT]);
    let goal = FirewallGoal::On(Arc::new(FirewallPolicy::default()));
    let began = ufw.ensure(&goal).await;
    let nearly_over = Timestamp::now()
        .checked_add(Duration::from_secs(5))
        .unwrap();
    let until = || async {
        let mut memory = ufw.memory.lock().await;
        memory.enforced.as_mut().map(|it| it.until)
    };
    let mut memory = ufw.memory.lock().await;
    memory.enforced.as_mut().unwrap().until = nearly_over;
    drop(memory);

    write_ufw(root.path(), "ACCEPT");
    let failed = ufw.ensure(&goal).await;
    let until_then = until().await;
    let repairs = root.path().join("etc/default/ufw");
    let repairs = format!(
        "sed -i s/INPUT_POLICY=ACCEPT/INPUT_POLICY=DROP/ {}",
        repairs.display()
    );
    script(&root.path().join("ufw"), &repairs);
    let repaired = ufw.ensure(&goal).await;
    let after = ufw.ensure(&goal).await;

    assert!(matches!(began.sync, FirewallSync::Enabled(_)), "{began:?}");
    assert!(matches!(failed.sync, FirewallSync::Failed(_)), "{failed:?}");
    assert_eq!((failed.change, failed.tampering), (None, None));
    assert_eq!([until_then, until().await], [Some(nearly_over); 2]);
    assert_eq!(
        repaired.change,
        Some(FirewallChange::Repaired),
        "{repaired:?}"
    );
    let told = repaired.tampering.unwrap();
    assert!(told.contains("incoming"), "{told}");
    assert_eq!(
        (after.change, after.tampering),
        (None, None),
        "it is told once"
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_not_taken_for_a_ufw_without_rules_of_the_agent() {
    let root = tempfile::tempdir().unwrap();
    let ufw = ufw_below(root.path(), ["exit 1", "exit 1"]);
    let off = async || ufw.ensure(&FirewallGoal::Off).await.sync;

    let without_ufw = off().await;
    write_ufw(root.path(), "DROP");
    let rules = root.path().join("etc/ufw/user.rules");
    fs::remove_file(&rules).unwrap();
    // Root reads every file, but no directory as one.
    fs::create_dir(&rules).unwrap();
    let unreadable = off().await;

    assert!(
        matches!(without_ufw, FirewallSync::Disabled),
        "{without_ufw:?}"
    );
    assert!(
        matches!(unreadable, FirewallSync::Failed(_)),
        "{unreadable:?}"
    );
}
