//! The systemd unit and the commands around the service, as an administrator's tools see them.
//! Nothing is installed here.

use std::fs;
use std::process::Command;
use std::time::Duration;

use hidps_lab::command::{find_program, run};
use hidps_lab::say_skipped;

const DEADLINE: Duration = Duration::from_secs(60);

/// What `systemd-analyze security` may say at most, of 10; lower is safer. What is left is what the
/// unit says it needs: the network, other users' files and processes.
const MAX_EXPOSURE: f64 = 3.2;

/// The unit as the program prints it, with a program that is there: systemd looks.
fn write_unit(directory: &std::path::Path) -> std::path::PathBuf {
    let program = env!("CARGO_BIN_EXE_hidps-agent");
    let mut print = Command::new(program);
    print.args(["unit", "--program", program]);
    let unit = run(print, DEADLINE).unwrap().stdout;
    let path = directory.join("hidps-agent.service");
    fs::write(&path, unit).unwrap();
    path
}

fn analyze(arguments: &[&str], test: &str) -> Option<(bool, String)> {
    let Some(program) = find_program("systemd-analyze") else {
        say_skipped(test, &"systemd-analyze is missing: apt-get install systemd");
        return None;
    };
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    Some((
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    ))
}

#[test]
fn systemd_has_nothing_to_say_against_the_unit() {
    let directory = tempfile::tempdir().unwrap();
    let unit = write_unit(directory.path());

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
    let directory = tempfile::tempdir().unwrap();
    let unit = write_unit(directory.path());

    let arguments = [
        "security",
        "--offline=true",
        "--no-pager",
        unit.to_str().unwrap(),
    ];
    let Some((_, said)) = analyze(&arguments, "the_unit_stays_as_hardened_as_it_is") else {
        return;
    };

    let exposure = said
        .lines()
        .find_map(|line| line.split_once("exposure level for hidps-agent.service: "))
        .and_then(|(_, rest)| rest.split(' ').next()?.parse::<f64>().ok());
    let exposure = exposure.unwrap_or_else(|| panic!("no score: {said}"));
    assert!(exposure <= MAX_EXPOSURE, "{exposure}: {said}");
}

#[test]
fn a_faulty_configuration_is_told_by_its_own_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("agent.toml");
    fs::write(&config, "agent_id = \"nonsense\"\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hidps-agent"));
    command.arg("run").arg("--config").arg(&config);

    let output = command.output().unwrap();

    // The unit does not start an agent again that ended with it.
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8_lossy(&output.stderr);
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
