//! The systemd unit and the commands around the service, as an administrator's tools see them.
//! Nothing is installed here.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use hidps_lab::command::{Running, find_program, run};
use hidps_lab::say_skipped;

const DEADLINE: Duration = Duration::from_secs(60);

/// What `systemd-analyze security` may say at most, of 10; lower is safer. What is left is what the
/// unit says it needs: the network, other users' files and processes.
const MAX_EXPOSURE: f64 = 3.2;

/// What it may say with a drop-in, measured 3.6 and 3.5: ufw wants root, though with six capabilities,
/// and its files writable; fanotify wants `CAP_SYS_ADMIN`.
const WITH_DROP_IN: [(&str, f64); 2] = [("ufw", 3.7), ("file-actors", 3.6)];

/// The unit as the program prints it, with a program that is there: systemd looks.
fn write_unit(directory: &std::path::Path) -> std::path::PathBuf {
    let program = env!("CARGO_BIN_EXE_hidps-agent");
    let path = directory.join("hidps-agent.service");
    fs::write(&path, print(&["unit", "--program", program])).unwrap();
    path
}

fn print(arguments: &[&str]) -> Vec<u8> {
    let mut print = Command::new(env!("CARGO_BIN_EXE_hidps-agent"));
    print.args(arguments);
    run(print, DEADLINE).unwrap().stdout
}

/// Puts a drop-in beside the unit, as the program prints it.
fn write_drop_in(unit: &std::path::Path, extra: &str) {
    let directory = unit.with_file_name("hidps-agent.service.d");
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join(format!("{extra}.conf"));
    fs::write(path, print(&["unit", "--with", extra])).unwrap();
}

fn analyze(arguments: &[&str], test: &str) -> Option<(bool, String)> {
    let Some(program) = find_program("systemd-analyze") else {
        say_skipped(test, &"systemd-analyze is missing: apt-get install systemd");
        return None;
    };
    let mut command = Command::new(program);
    command.args(arguments);
    let mut running = Running::start("systemd-analyze", command).unwrap();
    let ended = running.wait_exit(DEADLINE).unwrap();
    Some((ended.success(), running.log()))
}

#[test]
fn systemd_has_nothing_to_say_against_the_unit() {
    let directory = tempfile::tempdir().unwrap();
    let unit = write_unit(directory.path());

    for (extra, _) in WITH_DROP_IN {
        write_drop_in(&unit, extra);
    }

    // It exits with 0 on keys it does not know, so any word is a failure.
    let arguments = ["verify", unit.to_str().unwrap()];
    let test = "systemd_has_nothing_to_say_against_the_unit";
    let Some((verified, said)) = analyze(&arguments, test) else {
        return;
    };

    assert!(verified && said.is_empty(), "{said}");
}

#[test]
fn the_unit_stays_as_hardened_as_it_is() {
    let test = "the_unit_stays_as_hardened_as_it_is";
    let plain = ("", MAX_EXPOSURE);
    for (extra, most) in [plain].into_iter().chain(WITH_DROP_IN) {
        let directory = tempfile::tempdir().unwrap();
        let unit = write_unit(directory.path());
        if !extra.is_empty() {
            write_drop_in(&unit, extra);
        }
        let Some((exposure, said)) = measure_exposure(&unit, test) else {
            return;
        };

        assert!(exposure <= most, "{extra}: {exposure}: {said}");
        // A drop-in that is not read would be no worse than the unit.
        let is_read = extra.is_empty() || exposure > MAX_EXPOSURE;
        assert!(is_read, "{extra}: {exposure}: {said}");
    }
}

/// Calls by which whoever may look at every process could become any of them.
const BECOMES_ANOTHER: [&str; 5] = [
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "pidfd_getfd",
];

#[test]
fn the_agent_may_make_no_call_by_which_it_could_become_another_process() {
    let test = "the_agent_may_make_no_call_by_which_it_could_become_another_process";
    let directory = tempfile::tempdir().unwrap();
    let unit = fs::read_to_string(write_unit(directory.path())).unwrap();
    let drop_ins = WITH_DROP_IN.map(|(extra, _)| print(&["unit", "--with", extra]));
    let text = drop_ins.into_iter().fold(unit, |text, drop_in| {
        text + &String::from_utf8(drop_in).unwrap()
    });

    let Some(allowed) = allowed_calls(&text, test) else {
        return;
    };

    // Those that it needs, with every drop-in, show that the filter is understood.
    for needed in ["read", "openat", "execve", "fanotify_init"] {
        assert!(allowed.contains(needed), "{needed}: {allowed:?}");
    }
    for refused in BECOMES_ANOTHER {
        assert!(!allowed.contains(refused), "{refused}");
        assert!(text.contains(refused), "older groups may lack {refused}");
    }
}

/// What the lines of a unit's filter allow in the end, one after the other.
fn allowed_calls(unit: &str, test: &str) -> Option<BTreeSet<String>> {
    let mut allowed = BTreeSet::new();
    let lines = unit.lines();
    for list in lines.filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let is_refusal = list.starts_with('~');
        for word in list.trim_start_matches('~').split(' ') {
            let calls = expand(word, test)?;
            if is_refusal {
                allowed.retain(|call| !calls.contains(call));
            } else {
                allowed.extend(calls);
            }
        }
    }
    Some(allowed)
}

/// The calls of a group, and of those in it.
fn expand(word: &str, test: &str) -> Option<BTreeSet<String>> {
    if !word.starts_with('@') {
        return Some(BTreeSet::from([word.to_owned()]));
    }
    let (_, listed) = analyze(&["syscall-filter", "--no-pager", word], test)?;
    let words = listed.lines().skip(1).map(str::trim);
    let words = words.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let calls: Option<Vec<_>> = words.map(|word| expand(word, test)).collect();
    Some(calls?.into_iter().flatten().collect())
}

/// The score, and what it is made of.
fn measure_exposure(unit: &std::path::Path, test: &str) -> Option<(f64, String)> {
    let arguments = [
        "security",
        "--offline=true",
        "--no-pager",
        unit.to_str().unwrap(),
    ];
    let (_, said) = analyze(&arguments, test)?;

    let exposure = said
        .lines()
        .find_map(|line| line.split_once("exposure level for hidps-agent.service: "))
        .and_then(|(_, rest)| rest.split(' ').next()?.parse::<f64>().ok());
    let exposure = exposure.unwrap_or_else(|| panic!("no score: {said}"));
    Some((exposure, said))
}

#[test]
fn a_faulty_configuration_is_told_by_its_own_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("agent.toml");
    fs::write(&config, "agent_id = \"nonsense\"\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hidps-agent"));
    command.arg("run").arg("--config").arg(&config);

    let mut agent = Running::start("hidps-agent", command).unwrap();
    let ended = agent.wait_exit(DEADLINE).unwrap();

    // The unit does not start an agent again that ended with it.
    assert_eq!(ended.code(), Some(78));
    let said = agent.log();
    assert!(said.contains("backend_url is missing"), "{said}");
}

#[test]
fn version_and_facts_are_json_for_programs() {
    let read = |subcommand: &str| -> serde_json::Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hidps-agent"));
        command.args([subcommand, "--json"]);
        serde_json::from_slice(&run(command, DEADLINE).unwrap().stdout).unwrap()
    };

    let (version, facts) = (read("version"), read("facts"));

    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(version["protocol"], hidps_wire::PROTOCOL_VERSION);
    assert_eq!(version["arch"], std::env::consts::ARCH);
    assert_eq!(facts["arch"], std::env::consts::ARCH);
    assert!(facts["hostname"].is_string() && facts["interfaces"].is_array());
}
