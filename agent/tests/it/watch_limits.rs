//! Watched files on a host whose kernel watches only a few: in a user namespace with limits of its
//! own. It changes no limit of this machine.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use hidps_lab::command::{Running, run, wait_for};
use hidps_lab::say_skipped;
use hidps_wire::{ConditionStatus, DesiredDocument, FacetCondition};

use crate::harness::{AgentHome, document};
use crate::scripted_daemon::{DEADLINE, ScriptedDaemon, condition};

/// More than the directories above the watched one and its own, and fewer than those below.
const LIMIT: u32 = 20;

/// The same command as root of a user namespace in which so many files may be watched.
fn with_few_watches(command: &Command) -> Command {
    limited(command, "max_inotify_watches", LIMIT)
}

/// The same command as root of a user namespace with a limit of its own.
fn limited(command: &Command, setting: &str, limit: u32) -> Command {
    let script = format!("echo {limit} > /proc/sys/user/{setting} && exec \"$@\"");
    let mut limited = Command::new("unshare");
    limited.args(["--user", "--map-root-user", "--", "sh", "-c", &script, "sh"]);
    limited.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        limited.env(name, value.unwrap_or_default());
    }
    limited
}

/// The same in a namespace that a program is in.
fn raise_limit(agent: u32) {
    let raised = Command::new("nsenter")
        .args([
            "--user",
            "--preserve-credentials",
            "--target",
            &agent.to_string(),
        ])
        .args(["sh", "-c", "echo 1000 > /proc/sys/user/max_inotify_watches"])
        .status();
    assert!(raised.unwrap().success());
}

fn everything_below(path: &std::path::Path) -> DesiredDocument {
    let mut document = document(None, &[path]);
    document
        .monitored_recursively
        .clone_from(&document.monitored_files);
    document
}

#[test]
fn a_limit_of_the_kernel_is_said_with_what_raises_it_and_heals() {
    let test = "a_limit_of_the_kernel_is_said_with_what_raises_it_and_heals";
    match run(with_few_watches(&Command::new("true")), DEADLINE) {
        Err(missing) if missing.tells_of_missing() => return say_skipped(test, &missing),
        limited => limited.unwrap(),
    };
    let daemon = ScriptedDaemon::start(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let home = AgentHome::observing(daemon.address());
    let watched = home.path().join("watched");
    for number in 0..LIMIT {
        fs::create_dir_all(watched.join(number.to_string())).unwrap();
    }
    let agent = Running::start("hidps-agent", with_few_watches(&home.command("run"))).unwrap();
    let (mut connection, _) = daemon.admit();
    connection.greet(8, 15);

    connection.apply(1, "h", everything_below(&watched));
    let limited = connection.status_of(1);
    raise_limit(agent.id());
    connection.apply(2, "i", everything_below(&watched));
    let raised = connection.status_of(2);

    let find = |status: &hidps_wire::Status| {
        let mut conditions = status.conditions.iter();
        let found = conditions.find(|it| it.facet == FacetCondition::FilesWatched);
        found.unwrap().clone()
    };
    let told = find(&limited);
    assert_eq!(
        (told.status, &*told.reason),
        (ConditionStatus::False, "LimitReached")
    );
    let words = format!("user.max_inotify_watches is {LIMIT}; raise it: sysctl user.");
    assert!(told.message.contains(&words), "{}", told.message);
    assert_eq!(
        condition(&raised, FacetCondition::FilesWatched).1,
        "AllWatched"
    );
}

#[test]
fn a_host_without_inotify_says_that_files_are_not_watched_and_why() {
    let test = "a_host_without_inotify_says_that_files_are_not_watched_and_why";
    let without_inotify = |command: &Command| limited(command, "max_inotify_instances", 0);
    match run(without_inotify(&Command::new("true")), DEADLINE) {
        Err(missing) if missing.tells_of_missing() => return say_skipped(test, &missing),
        limited => limited.unwrap(),
    };
    let daemon = ScriptedDaemon::start(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let home = AgentHome::observing(daemon.address());
    let _agent = Running::start("hidps-agent", without_inotify(&home.command("run"))).unwrap();
    let (mut connection, _) = daemon.admit();
    connection.greet(8, 15);

    connection.apply(1, "h", document(None, &[home.path()]));
    let status = connection.status_of(1);
    let is_shown = || {
        let shown = home.print("status");
        let mut lines = shown.lines();
        let files = lines.find(|line| line.starts_with("watched files"))?;
        files.contains("NOT READ").then(|| files.to_owned())
    };
    let shown = wait_for("the failure to be shown", DEADLINE, is_shown).unwrap();

    assert!(shown.contains("inotify says "), "{shown}");
    let files = condition(&status, FacetCondition::FilesWatched);
    assert_eq!(files, (ConditionStatus::False, "LimitReached"));
    let sources = condition(&status, FacetCondition::SourcesRead);
    assert_eq!(sources.0, ConditionStatus::True);
}
