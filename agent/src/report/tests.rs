//! What the commands show from a state directory.

use super::*;
use crate::collect::source_board::{SourceBoard, SourceState, Standing};
use crate::config::Config;
use crate::ledger::{Ledger, LedgerRecord, Trial};
use hidps_wire::{
    AgentCondition, Applied, Apply, ConditionStatus, ContentHash, DesiredDocument, FacetCondition,
    Generation,
};

fn config(state_dir: &std::path::Path) -> Config {
    let text = format!(
        "agent_id = \"7d444840-9dc0-11d1-b245-5ffdce74fad2\"\n\
         backend_url = \"http://127.0.0.1:9\"\nstate_dir = {state_dir:?}\n"
    );
    Config::parse(&text, |_| None).unwrap()
}

fn state() -> (tempfile::TempDir, StateDir, Config) {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("state");
    let state = StateDir::open(&path).unwrap();
    let config = config(&path);
    (parent, state, config)
}

#[tokio::test]
async fn the_status_of_an_agent_that_ended_is_shown_as_such() {
    let (_parent, state, config) = state();
    let condition = AgentCondition {
        facet: FacetCondition::FirewallSynced,
        status: ConditionStatus::False,
        reason: "NftMissing".to_owned(),
        message: "nft is not installed".to_owned(),
        subjects: Vec::new(),
    };
    let applied = Applied {
        generation: Generation(7),
        hash: ContentHash("h".to_owned()),
        entries: 0,
    };
    let host = Status {
        applied: Some(applied),
        conditions: vec![condition],
        firewall_active: None,
    };
    let (host_tx, host) = watch::channel(Some(host));
    let (link_tx, link) = watch::channel(LinkState::WaitingForApproval);
    let mut lines = LineCounts::default();
    lines.unread.count("named");
    lines.lost.count("kernel log", Some(3));
    lines.lost.count("processes", Some(4));
    lines.sampled.count("log files", 9);
    let (counts_tx, counts) = watch::channel(lines);
    let (board, sources) = SourceBoard::new();
    let denied = "permission denied";
    board.tell("journal", Standing::Failed, denied, "dropped lines");
    let read = |source, how, cannot_see| board.tell(source, Standing::Read, how, cannot_see);
    read("kernel log", "from /dev/kmsg", "old messages");
    read("log files", "/var/log/app.log", "old lines");
    read("processes", "the kernel tells", "threads");
    drop((host_tx, link_tx, counts_tx, board));
    keep_status_file(state, host, link, (counts, sources)).await;

    let shown = read_status(&config).unwrap();
    let text = shown.text();

    assert_eq!(shown.exit_code(), 3, "it does not run");
    for words in [
        "no; this is what it knew",
        "journal        NOT READ since 2",
        ": permission denied",
        "kernel log     read since 2",
        "from /dev/kmsg; lost: 3; cannot see: old messages",
        "/var/log/app.log; lost: none; sampled: 9 left out; cannot see: old lines",
        "approve",
        "generation 7",
        "NO (NftMissing)",
        "not understood named 1",
        "lost           kernel log 3, processes 4",
        "the kernel tells; lost: 4; cannot see: threads",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn without_a_status_the_command_says_so() {
    let (_parent, state, config) = state();

    assert!(matches!(read_status(&config), Err(ReportError::NoStatus)));
    state.write(FILE, b"{").unwrap();
    assert!(matches!(read_status(&config), Err(ReportError::Damaged(_))));
}

#[test]
fn the_desired_document_is_shown_with_what_was_refused() {
    let (_parent, state, config) = state();
    assert!(
        read_desired(&config)
            .unwrap()
            .text()
            .contains("no desired state was received yet")
    );
    let ledger = Ledger::new(state, config.agent_id);
    let document = DesiredDocument {
        firewall_enabled: Some(true),
        monitored_files: ["/etc/passwd", "/etc/a\u{7f}b", "../x"]
            .map(str::to_owned)
            .to_vec(),
        ..DesiredDocument::default()
    };
    ledger
        .write(&LedgerRecord {
            agent_id: config.agent_id,
            accepted: Apply {
                generation: Generation(3),
                hash: ContentHash("abc\u{1b}[2J".to_owned()),
                document,
            },
            trial: Some(Trial {
                confirmed: None,
                restore: false,
                attempts: 1,
                ..Trial::default()
            }),
        })
        .unwrap();

    let text = read_desired(&config).unwrap().text();

    for words in [
        "generation 3",
        "hash       abc\u{fffd}[2J\n",
        "firewall   on, not confirmed; it was off",
        "watch      /etc/passwd",
        "watch      /etc/a\u{fffd}b",
        "refused    ../x",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn what_a_running_agent_exits_with_says_how_its_link_is() {
    let check = |link: LinkState, expected: u8| {
        let status = ShownStatus {
            sources: Vec::new(),
            agent_id: config(std::path::Path::new("/x")).agent_id,
            running: true,
            process: Some(1),
            written_at: String::new(),
            link,
            applied: None,
            conditions: Vec::new(),
            unread: UnreadLines::default(),
            lost: SourceLosses::default(),
            dropped: Losses::default(),
        };
        assert_eq!(status.exit_code(), expected, "{}", status.link);
    };

    check(
        LinkState::Connected {
            backend: "https://x".to_owned(),
        },
        0,
    );
    check(LinkState::Starting, 4);
    let waiting = |refused| LinkState::Waiting {
        reason: "no route".to_owned(),
        refused,
    };
    check(waiting(false), 4);
    check(waiting(true), 6);
    check(LinkState::WaitingForApproval, 5);
}

/// What programs read must not change its names by accident: the golden files are the contract.
fn check_golden(value: &impl Serialize, golden: &str) {
    let shown = serde_json::to_string_pretty(value).unwrap();

    assert_eq!(shown.trim(), golden.trim());
}

#[test]
fn the_status_as_json_keeps_its_names() {
    let mut unread = UnreadLines::default();
    unread.count("named");
    let mut lost = SourceLosses::default();
    lost.count("journal", Some(3));
    lost.count("journal", None);
    let shown = ShownStatus {
        sources: vec![ShownSource {
            name: "journal".to_owned(),
            state: SourceState {
                standing: Standing::Read,
                since: "2026-11-21T01:02:03.123456Z".to_owned(),
                how: "from journald's files".to_owned(),
                cannot_see: "dropped lines".to_owned(),
            },
            lost: Some("3 and unknown".to_owned()),
            sampled: 12,
        }],
        agent_id: config(std::path::Path::new("/x")).agent_id,
        running: true,
        process: Some(4_711),
        written_at: "2026-11-21T01:04:05.123456Z".to_owned(),
        link: LinkState::Waiting {
            reason: "no route".to_owned(),
            refused: false,
        },
        applied: Some(Applied {
            generation: Generation(7),
            hash: ContentHash("h".to_owned()),
            entries: 1,
        }),
        conditions: vec![AgentCondition {
            facet: FacetCondition::FirewallSynced,
            status: ConditionStatus::True,
            reason: "Enabled".to_owned(),
            message: "the firewall is on".to_owned(),
            subjects: Vec::new(),
        }],
        unread,
        lost,
        dropped: Losses {
            telemetry: 12,
            activity: 3,
            security: 2,
            files: 2,
            ..Losses::default()
        },
    };

    check_golden(&shown, include_str!("../../tests/golden/status.json"));
}

#[test]
fn the_desired_document_as_json_keeps_its_names() {
    let shown = ShownDesired {
        agent_id: config(std::path::Path::new("/x")).agent_id,
        accepted: Some(ShownDocument {
            generation: Generation(3),
            hash: ContentHash("abc".to_owned()),
            document: DesiredDocument {
                firewall_enabled: Some(true),
                monitored_files: vec!["/etc/passwd".to_owned()],
                ..DesiredDocument::default()
            },
            refused: vec![ShownRefusal {
                path: "../x".to_owned(),
                error: "is not absolute".to_owned(),
            }],
            refused_rules: vec![ShownRule {
                rule: Some(uuid::Uuid::nil()),
                error: "has ports that are none".to_owned(),
            }],
            firewall: "on, not confirmed; it was off".to_owned(),
            on_trial: true,
        }),
        missing: None,
    };

    check_golden(&shown, include_str!("../../tests/golden/desired.json"));
}

#[test]
fn no_text_of_the_status_file_reaches_a_terminal_as_it_is() {
    let (_parent, state, config) = state();
    let hostile = || "\u{1b}]0;x\u{7}\nrunning        yes\u{202e}".to_owned();
    let source = SourceState {
        standing: Standing::Read,
        since: hostile(),
        how: hostile(),
        cannot_see: hostile(),
    };
    let report = StatusReport {
        written_at: hostile(),
        link: LinkState::Waiting {
            reason: hostile(),
            refused: false,
        },
        host: Some(Status {
            applied: None,
            conditions: vec![AgentCondition {
                facet: FacetCondition::FirewallSynced,
                status: ConditionStatus::True,
                reason: hostile(),
                message: hostile(),
                subjects: Vec::new(),
            }],
            firewall_active: None,
        }),
        sources: [(hostile(), source)].into(),
        ..StatusReport::default()
    };
    let text = hidps_wire::encode(&report);
    state.write(FILE, text.as_bytes()).unwrap();

    let shown = read_status(&config).unwrap().text();

    // Agent, running, link, the source, desired and the condition.
    assert_eq!(shown.lines().count(), 6, "{shown}");
    let misleads = |line: &str| line.chars().any(hidps_wire::is_misleading);
    assert!(!shown.lines().any(misleads), "{shown}");
}

#[test]
fn a_lock_that_cannot_be_asked_for_is_not_shown_as_an_agent_that_ended() {
    let (_parent, state, config) = state();
    let report = hidps_wire::encode(&StatusReport::default());
    state.write(FILE, report.as_bytes()).unwrap();
    std::fs::create_dir(state.path().join("lock")).unwrap();

    assert!(matches!(read_status(&config), Err(ReportError::State(_))));
}
