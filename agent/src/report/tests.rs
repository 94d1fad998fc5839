//! What the commands show from a state directory.

use super::*;
use crate::ledger::Ledger;
use hidps_wire::{
    AgentCondition, Applied, Apply, ContentHash, DesiredDocument, FacetCondition, Generation,
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
    let host = Status {
        applied: Some(Applied {
            generation: Generation(7),
            hash: ContentHash("h".to_owned()),
            entries: 0,
        }),
        conditions: vec![condition],
        firewall_active: None,
    };
    let (host_tx, host) = watch::channel(Some(host));
    let (link_tx, link) = watch::channel(LinkState::WaitingForApproval);
    let mut lines = UnreadLines::default();
    lines.count("named");
    let (unread_tx, unread) = watch::channel(lines);
    drop((host_tx, link_tx, unread_tx));
    keep_status_file(state, host, link, unread).await;

    let text = show_status(&config).unwrap();

    for words in [
        "no; this is what it knew",
        "approve",
        "generation 7",
        "NO (NftMissing)",
        "not understood named 1",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn without_a_status_the_command_says_so() {
    let (_parent, state, config) = state();

    assert!(matches!(show_status(&config), Err(ReportError::NoStatus)));
    state.write(FILE, b"{").unwrap();
    assert!(matches!(show_status(&config), Err(ReportError::Damaged(_))));
}

#[test]
fn the_desired_document_is_shown_with_what_was_refused() {
    let (_parent, state, config) = state();
    assert!(
        show_desired(&config)
            .unwrap()
            .contains("no desired state was received yet")
    );
    let ledger = Ledger::new(state, config.agent_id);
    let document = DesiredDocument {
        firewall_enabled: Some(true),
        monitored_files: vec!["/etc/passwd".to_owned(), "../x".to_owned()],
    };
    ledger
        .write(&LedgerRecord {
            agent_id: config.agent_id,
            accepted: Apply {
                generation: Generation(3),
                hash: ContentHash("abc".to_owned()),
                document,
            },
            trial: Some(Trial {
                confirmed: None,
                restore: false,
                attempts: 1,
            }),
        })
        .unwrap();

    let text = show_desired(&config).unwrap();

    for words in [
        "generation 3",
        "firewall   on, not confirmed; it was off",
        "watch      /etc/passwd",
        "refused    ../x",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}
