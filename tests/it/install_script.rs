//! `install.sh` by itself: what it refuses, what half of it does, and what it would do.
//! Nothing is installed here; that is the business of `fresh_host`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use hidps_lab::command::{find_program, run};
use hidps_lab::say_skipped;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/install.sh");

const AGENT: &str = "0190a000-0000-7000-8000-00000000f0f0";

/// What the script exits with and says, where nothing it changes would be seen.
fn call(arguments: &[&str]) -> (i32, String) {
    let output = Command::new("sh")
        .arg(SCRIPT)
        .args(arguments)
        .env_remove("HIDPS_TOKEN")
        .env_remove("HIDPS_BACKEND_URL")
        .stdin(Stdio::null())
        .output()
        .expect("sh is everywhere");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().expect("it is not killed"),
        String::from_utf8(said).expect("text"),
    )
}

#[test]
fn shellcheck_has_nothing_to_say() {
    let Some(shellcheck) = find_program("shellcheck") else {
        return say_skipped(
            "shellcheck_has_nothing_to_say",
            &"shellcheck is missing: apt-get install shellcheck",
        );
    };
    let mut command = Command::new(shellcheck);
    command.args(["--shell=sh", SCRIPT]);

    if let Err(error) = run(command, Duration::from_secs(60)) {
        panic!("{error}");
    }
}

/// A download that breaks off anywhere does nothing: no program is called and nothing is said but
/// what the shell says of an end that came too early.
#[test]
fn half_a_script_does_nothing() {
    let script = std::fs::read_to_string(SCRIPT).expect("it is there");
    let line_ends = script.match_indices('\n').map(|(at, _)| at + 1).step_by(7);
    let within_lines = (0..script.len()).step_by(509);
    let last_bytes = script.len() - 12..script.len() - 1;
    let empty = tempfile::tempdir().expect("a folder can be made");

    for at in line_ends.chain(within_lines).chain(last_bytes) {
        let Some(half) = script.get(..at).filter(|half| half.len() < script.len()) else {
            continue;
        };
        let output = Command::new("/bin/sh")
            .args(["-c", half, "sh", "--agent-id", AGENT])
            // Whatever it would call is not found, which would be said.
            .env_clear()
            .env("PATH", empty.path())
            .output()
            .expect("sh is everywhere");

        let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
        assert!(output.stdout.is_empty(), "{at}: {output:?}");
        assert!(
            said.is_empty() || said.contains("syntax error"),
            "{at}: {said}"
        );
        assert!(!said.contains("not found"), "{at}: {said}");
    }
}

#[test]
fn wrong_arguments_are_refused_in_one_line_each() {
    let check = |arguments: &[&str], code: i32, words: &str| {
        let mut arguments = arguments.to_vec();
        arguments.push("--dry-run");
        let (found, said) = call(&arguments);

        assert_eq!(found, code, "{arguments:?}: {said}");
        let refusal = said.lines().last().unwrap_or_default();
        assert!(refusal.contains(words), "{arguments:?}: {said}");
        assert!(refusal.starts_with("install.sh: "), "{refusal}");
    };

    check(&["--agent-id"], 2, "is not the id");
    check(&["--agent-id", "seven"], 2, "is not the id");
    check(&["--agent-id", "x; reboot"], 2, "is not the id");
    check(&["--agent", AGENT], 2, "is not an option");
    check(&["--token", "secret"], 2, "never an argument");
    check(
        &["--agent-id", AGENT, "--bin", "/nonexistent"],
        2,
        "is not a file",
    );
    check(
        &["--agent-id", AGENT, "--purge"],
        2,
        "goes with --uninstall",
    );
    let at = |url: &'static str| ["--agent-id", AGENT, "--backend-url", url];
    check(&at("ws://hidps.example.org"), 2, "plaintext");
    check(&at("http://127.0.0.1.example.org"), 2, "plaintext");
    check(&at("ftp://hidps.example.org"), 2, "begins with https://");
    check(
        &at("https://x/\";reboot;\""),
        2,
        "characters no address has",
    );
    check(&["--upgrade"], 8, "no agent to upgrade");
}

#[test]
fn every_exit_code_is_explained() {
    let (code, help) = call(&["--help"]);

    assert_eq!(code, 0);
    for number in 0..=12 {
        assert!(help.contains(&format!("{number} ")), "{number}: {help}");
    }
}

#[test]
fn a_dry_run_names_every_action_and_takes_none() {
    if Path::new("/usr/local/bin/hidps-agent").exists() || Path::new("/etc/hidps").exists() {
        let why = "an agent is installed on this machine";
        return say_skipped("a_dry_run_names_every_action_and_takes_none", &why);
    }
    let url = "https://hidps.example.org";
    let (code, said) = call(&[
        "--agent-id",
        AGENT,
        "--backend-url",
        url,
        "--dry-run",
        "--no-start",
    ]);

    assert_eq!(code, 0, "{said}");
    for action in [
        "would download https://hidps.example.org/agent/",
        "would install the program as /usr/local/bin/hidps-agent",
        "would make the user hidps-agent",
        "would write /etc/hidps/agent.toml",
        "would write /etc/systemd/system/hidps-agent.service",
        "would start the agent at every boot",
        "nothing was changed",
    ] {
        assert!(said.contains(action), "{action}: {said}");
    }
    assert!(!Path::new("/etc/hidps").exists());
    assert!(!Path::new("/usr/local/bin/hidps-agent").exists());
}
