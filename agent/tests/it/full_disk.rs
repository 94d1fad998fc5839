//! A disk without space: the accepted document stays whole, and the next one is taken when it can.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;

use hidps_lab::command::{Running, run, wait_for};
use hidps_lab::say_skipped;

use hidps_wire::{ConditionStatus, FacetCondition};

use crate::harness::{AgentHome, document};
use crate::scripted_daemon::{DEADLINE, ScriptedDaemon, applied_generation, condition};

/// Mounts a small file system on the first argument, in a mount namespace of its own, and becomes
/// the rest of the arguments.
const ON_SMALL_DISK: &str =
    "mkdir -p \"$0\" && mount -t tmpfs -o size=256k,mode=700 small \"$0\" && exec \"$@\"";

fn on_small_disk(state: &Path, command: &Command) -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args([
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        ON_SMALL_DISK,
    ]);
    unshare.arg(state);
    unshare.arg(command.get_program()).args(command.get_args());
    unshare
}

/// The state directory as the agent sees it, whose file system nobody else sees.
fn seen_by(agent: &Running, state: &Path) -> PathBuf {
    let root = Path::new("/proc").join(agent.id().to_string()).join("root");
    root.join(state.strip_prefix("/").unwrap())
}

#[test]
fn a_full_disk_keeps_what_was_accepted_and_takes_the_next_when_there_is_space() {
    let test = "a_full_disk_keeps_what_was_accepted_and_takes_the_next_when_there_is_space";
    let daemon = ScriptedDaemon::start(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let home = AgentHome::observing(daemon.address());
    let state = home.path().join("state");
    let attempt = on_small_disk(&home.path().join("attempt"), &Command::new("true"));
    match run(attempt, DEADLINE) {
        Err(missing) if missing.tells_of_missing() => return say_skipped(test, &missing),
        mounted => mounted.unwrap(),
    };
    let command = on_small_disk(&state, &home.command("run"));
    let mut agent = Running::start("hidps-agent", command).unwrap();
    let (mut connection, _) = daemon.admit();
    connection.greet(8, 15);
    connection.apply(1, "one", document(None, &[home.path()]));
    connection.status_of(1);
    let seen = seen_by(&agent, &state);
    let ledger = fs::read(seen.join("desired.json")).unwrap();
    let ballast = seen.join("ballast");
    let fill = || {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(&ballast)
            .unwrap();
        let is_full = file.write_all(&[0; 4_096]).is_err();
        is_full.then_some(())
    };
    wait_for("the disk to be full", DEADLINE, fill).unwrap();

    connection.apply(2, "two", document(None, &[]));
    let answer = connection.next_status(|_| true);
    let says = |line: &str| line.contains("was not accepted");
    let said = agent.wait_for_line("the refusal", DEADLINE, says).unwrap();
    let ledger_while_full = fs::read(seen.join("desired.json")).unwrap();
    let draft_while_full = seen.join("desired.json.new").exists();
    fs::remove_file(&ballast).unwrap();
    connection.apply(2, "two", document(None, &[]));
    let taken = connection.status_of(2);

    assert!(said.contains("No space left on device"), "{said}");
    assert_eq!(applied_generation(&answer), Some(1), "it says what it has");
    let stored = condition(&answer, FacetCondition::DocumentStored);
    assert_eq!(stored, (ConditionStatus::False, "NotWritten"));
    let stored = condition(&taken, FacetCondition::DocumentStored);
    assert_eq!(stored, (ConditionStatus::True, "Stored"));
    assert_eq!(ledger_while_full, ledger);
    assert!(!draft_while_full, "half a ledger takes no space");
    let ledger = fs::read_to_string(seen.join("desired.json")).unwrap();
    assert!(ledger.contains("\"generation\":2"), "{ledger}");
}
