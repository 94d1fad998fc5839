//! What a doctor finds and how it says so.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::*;
use crate::collect::source_board::{SourceBoard, Standing};
use crate::file_watch::FILE_ACTORS;
use crate::link::LinkState;
use crate::report::StatusReport;
use crate::state_dir::StateDir;

fn config(state_dir: &std::path::Path, port: u16) -> Config {
    let text = format!(
        "agent_id = \"7d444840-9dc0-11d1-b245-5ffdce74fad2\"\n\
         backend_url = \"http://127.0.0.1:{port}\"\nfirewall = \"observe\"\n\
         state_dir = {state_dir:?}\n[[log_file]]\npath = \"/nonexistent/auth.log\"\n"
    );
    Config::parse(&text, |_| None).unwrap()
}

/// A daemon that answers one request with this time.
fn answer_once(date: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1_000];
        let _n = stream.read(&mut request).unwrap();
        let answer = format!("HTTP/1.1 200 OK\r\ndate: {date}\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).unwrap();
    });
    port
}

fn find<'d>(diagnosis: &'d Diagnosis, name: &str) -> &'d Finding {
    let mut checks = diagnosis.checks.iter();
    checks
        .find(|finding| finding.name == name)
        .unwrap_or_else(|| panic!("{name} was not looked at: {diagnosis:?}"))
}

#[tokio::test]
async fn what_is_wrong_is_told_with_its_cure() {
    use std::os::unix::fs::PermissionsExt as _;
    let state = tempfile::tempdir().unwrap();
    fs::set_permissions(state.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let port = answer_once("Sat, 21 Nov 2020 01:00:00 GMT");

    let diagnosis = examine(&config(state.path(), port)).await;

    assert!(!diagnosis.well);
    let text = diagnosis.text();
    for words in [
        "FAIL state",
        "chmod 700",
        "FAIL log files",
        "/nonexistent/auth.log",
        "FAIL clock",
        "ahead of the daemon's",
        "timedatectl set-ntp true",
        &format!("http://127.0.0.1:{port} is reachable"),
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    for finding in &diagnosis.checks {
        assert_eq!(finding.ok, finding.fix.is_none(), "{finding:?}");
    }
}

#[tokio::test]
async fn an_unreachable_backend_is_a_finding() {
    let parent = tempfile::tempdir().unwrap();
    // Nothing listens on the port of a listener that is gone.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);

    let diagnosis = examine(&config(&parent.path().join("state"), port)).await;

    let backend = find(&diagnosis, "backend");
    assert!(!backend.ok);
    assert!(backend.found.contains("could not connect to 127.0.0.1"));
}

#[tokio::test]
async fn a_damaged_key_and_a_name_without_address_are_findings() {
    let parent = tempfile::tempdir().unwrap();
    let state = crate::state_dir::StateDir::open(&parent.path().join("state")).unwrap();
    state.write("agent.key", b"nonsense").unwrap();
    // Too long for any name service, so none is asked.
    let host = format!("{}.example", "x".repeat(70));
    let text = format!(
        "agent_id = \"7d444840-9dc0-11d1-b245-5ffdce74fad2\"\n\
         backend_url = \"https://{host}\"\nfirewall = \"observe\"\nstate_dir = {:?}\n",
        state.path()
    );
    let config = Config::parse(&text, |_| None).unwrap();

    let diagnosis = examine(&config).await;

    assert!(find(&diagnosis, "key").found.contains("is not a key"));
    let name = find(&diagnosis, "name");
    assert!(name.found.contains(&host), "{name:?}");
    assert!(name.fix.as_ref().unwrap().contains("/etc/resolv.conf"));
    assert!(find(&diagnosis, "disk").ok);
}

#[test]
fn a_diagnosis_as_json_keeps_its_names() {
    let fix = "turn on time synchronization: timedatectl set-ntp true";
    let diagnosis = Diagnosis::of(vec![
        Finding::well("key", "none yet; the first run makes it"),
        Finding::wrong("clock", "90 s behind the daemon's", fix),
    ]);

    let shown = serde_json::to_string_pretty(&diagnosis).unwrap();

    let golden = include_str!("../../tests/golden/doctor.json");
    assert_eq!(shown.trim(), golden.trim());
}

#[test]
fn who_changes_files_is_judged_by_what_the_running_agent_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let state = StateDir::open(&path).unwrap();
    let config = config(&path, 9);
    let (board, sources) = SourceBoard::new();
    let check = |standing: Option<Standing>, words: &str| {
        if let Some(standing) = standing {
            board.tell(FILE_ACTORS, standing, "fanotify says no", "x");
        }
        let report = StatusReport {
            process: std::process::id(),
            sources: sources.borrow().clone(),
            ..StatusReport::default()
        };
        let text = hidps_wire::encode(&report);
        state.write("status.json", text.as_bytes()).unwrap();

        let finding = host::check_who(&config);

        assert!(finding.found.contains(words), "{words}: {finding:?}");
    };

    // Whatever this process may do, nobody runs who could say it.
    check(Some(Standing::Off), "started by this user");
    let _lock = state.lock().unwrap();
    check(None, "nobody who did it: fanotify says no");
    check(Some(Standing::Read), "tells the running agent");
}

#[test]
fn why_the_running_agent_has_no_link_is_a_finding() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let state = StateDir::open(&path).unwrap();
    let config = config(&path, 9);
    let check = |link: LinkState, is_well: bool, words: &str| {
        let report = StatusReport {
            process: std::process::id(),
            link,
            ..StatusReport::default()
        };
        let text = hidps_wire::encode(&report);
        state.write("status.json", text.as_bytes()).unwrap();

        let finding = host::check_link(&config);

        assert_eq!(finding.ok, is_well, "{finding:?}");
        assert!(finding.found.contains(words), "{words}: {finding:?}");
    };
    let refused = LinkState::Waiting {
        reason: "agents show a client certificate here".to_owned(),
        refused: true,
    };

    check(refused.clone(), true, "the agent does not run");
    let _lock = state.lock().unwrap();
    check(refused, false, "down: agents show a client certificate");
    check(LinkState::WaitingForApproval, false, "an admin to approve");
    let backend = "https://x".to_owned();
    check(LinkState::Connected { backend }, true, "connected");
}

#[test]
fn a_status_that_cannot_be_read_or_is_another_process_s_is_no_link() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let config = config(&path, 9);
    let check = |is_well: bool, words: &str| {
        let finding = host::check_link(&config);

        assert_eq!(finding.ok, is_well, "{finding:?}");
        assert!(finding.found.contains(words), "{words}: {finding:?}");
    };
    let is_of_process = |process: u32| {
        let report = StatusReport {
            process,
            link: LinkState::Connected {
                backend: "https://x".to_owned(),
            },
            ..StatusReport::default()
        };
        hidps_wire::encode(&report)
    };

    check(true, "the agent does not run");
    let state = StateDir::open(&path).unwrap();
    check(true, "the agent does not run");
    let _lock = state.lock().unwrap();
    check(false, "no status yet");
    state.write("status.json", b"{").unwrap();
    check(false, "damaged");
    // No process has so great a number.
    let gone = is_of_process(u32::MAX);
    state.write("status.json", gone.as_bytes()).unwrap();
    check(false, "which is gone");
    let alive = is_of_process(std::process::id());
    state.write("status.json", alive.as_bytes()).unwrap();
    check(true, "connected");
}

#[test]
fn what_a_finding_quotes_stays_on_its_line() {
    let diagnosis = Diagnosis::of(vec![Finding::wrong(
        "link",
        "down: \u{1b}[2J\nok   key",
        "mend\r\u{202e}it",
    )]);

    let text = diagnosis.text();

    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        !text.trim_end().chars().any(hidps_wire::is_misleading),
        "{text}"
    );
}
