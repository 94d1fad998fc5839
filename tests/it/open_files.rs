//! A daemon started under a small limit of open files: a fleet has a socket for each agent.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use hidps_lab::command::Running;
use hidps_lab::ports::free_port;
use hidps_lab::world::binaries::find_daemon;

/// Reading the rules and binding an address takes no second.
const DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn a_daemon_started_with_few_open_files_raises_the_limit_and_says_so() {
    let state = tempfile::tempdir().expect("a directory");
    let port = free_port(Ipv4Addr::LOCALHOST.into()).expect("a free port");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 100 && exec \"$0\" serve"]);
    command
        .arg(find_daemon().expect("the daemon is built"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HIDPS_LISTEN", format!("127.0.0.1:{port}"))
        .env("HIDPS_STATE_DIR", state.path())
        .env(
            "HIDPS_RULES_DIR",
            concat!(env!("CARGO_MANIFEST_DIR"), "/detection-rules"),
        )
        // Nobody answers there, and nobody needs to.
        .env("SUPABASE_URL", "http://127.0.0.1:9")
        .env("SUPABASE_SECRET_KEY", "sb_secret_none")
        .env("SUPABASE_PUBLISHABLE_KEY", "sb_publishable_none")
        .env("NO_COLOR", "1");

    let mut daemon = Running::start("hidpsd", command).expect("the daemon starts");
    let said = daemon
        .wait_for_line("its limit of open files", DEADLINE, |line| {
            line.contains("raised the limit of open files")
        })
        .expect("it says so");

    assert!(said.contains("was=100 "), "{said}");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.id()));
    let limits = limits.expect("the daemon runs");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let numbers: Vec<&str> = line
        .expect("the kernel tells it")
        .split_whitespace()
        .collect();
    assert_eq!(numbers[3], numbers[4], "soft and hard limit: {numbers:?}");
    assert!(
        said.contains(&format!("open_files={}", numbers[4])),
        "{said}"
    );
}
