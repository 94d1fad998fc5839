//! The file of a ledger: what survives, what is set aside, and what is only put off.

use hidps_wire::{Apply, ContentHash, DesiredDocument, Generation};

use super::*;

fn agent() -> AgentId {
    AgentId::new(uuid::Uuid::from_u128(7))
}

fn state() -> (tempfile::TempDir, StateDir) {
    let parent = tempfile::tempdir().unwrap();
    let state = StateDir::open(&parent.path().join("state")).unwrap();
    (parent, state)
}

fn ledger(state: &StateDir) -> Ledger {
    Ledger::new(state.clone(), agent())
}

fn record(generation: u64) -> LedgerRecord {
    LedgerRecord {
        agent_id: agent(),
        accepted: Apply {
            generation: Generation(generation),
            hash: ContentHash("h".to_owned()),
            document: DesiredDocument {
                firewall_enabled: Some(true),
                monitored_files: vec!["/etc/passwd".to_owned()],
                ..DesiredDocument::default()
            },
        },
        trial: None,
    }
}

#[test]
fn a_record_survives_a_restart() {
    let (_parent, state) = state();
    let mut on_trial = record(3);
    on_trial.trial = Some(Trial {
        confirmed: Some(Generation(2)),
        restore: false,
        attempts: 1,
        ..Trial::default()
    });

    ledger(&state).write(&on_trial).unwrap();

    assert_eq!(ledger(&state).load().unwrap(), on_trial);
}

#[test]
fn a_ledger_of_before_there_were_trials_is_read_and_counts_as_confirmed() {
    let (_parent, state) = state();
    let old = format!(
        r#"{{"agent_id":"{}","accepted":{{"generation":3,"hash":"h","document":{{"firewall_enabled":true,"monitored_files":["/etc/passwd"]}}}}}}"#,
        agent()
    );
    state.write(FILE, old.as_bytes()).unwrap();

    assert_eq!(ledger(&state).load().unwrap(), record(3));
    // What is confirmed is written as it was then, so that an older agent can read it too.
    ledger(&state).write(&record(3)).unwrap();
    assert_eq!(state.read(FILE).unwrap().unwrap(), old.as_bytes());
}

#[test]
fn a_new_host_has_received_nothing() {
    let (_parent, state) = state();

    let loaded = ledger(&state).load();

    assert!(matches!(loaded, Err(NoDocument::NotReceived)));
}

#[test]
fn a_damaged_ledger_is_kept_aside_and_told_until_a_document_comes() {
    for content in ["", "{", "{\"agent_id\":1}", "[]"] {
        let (_parent, state) = state();
        state.write(FILE, content.as_bytes()).unwrap();

        let first = ledger(&state).load().unwrap_err().to_string();
        let again = ledger(&state).load().unwrap_err().to_string();

        assert!(
            first.contains("was damaged and is kept as ledger.damaged"),
            "{first}"
        );
        assert_eq!(first, again);
        assert_eq!(state.read(FILE).unwrap(), None);
        let kept = state.read(DAMAGED_FILE).unwrap();
        assert_eq!(kept.as_deref(), Some(content.as_bytes()));
        ledger(&state).write(&record(1)).unwrap();
        assert_eq!(ledger(&state).load().unwrap(), record(1));
    }
}

#[test]
fn a_ledger_that_cannot_be_read_is_never_set_aside() {
    let (_parent, state) = state();
    ledger(&state).write(&record(9)).unwrap();
    let (file, away) = (state.path().join(FILE), state.path().join("away"));
    std::fs::rename(&file, &away).unwrap();
    std::os::unix::fs::symlink(&file, &file).unwrap();

    let unreadable = ledger(&state).load().unwrap_err();
    let was_set_aside = state.has(DAMAGED_FILE);
    std::fs::rename(&away, &file).unwrap();

    assert!(unreadable.is_unreadable());
    assert!(!was_set_aside);
    assert_eq!(ledger(&state).load().unwrap(), record(9));
}

#[test]
fn a_record_takes_the_place_of_a_ledger_that_stays_unreadable() {
    let (_parent, state) = state();
    let file = state.path().join(FILE);
    std::os::unix::fs::symlink(&file, &file).unwrap();

    ledger(&state).write(&record(2)).unwrap();

    assert_eq!(ledger(&state).load().unwrap(), record(2));
}

#[test]
fn another_agents_ledger_is_not_taken() {
    let (_parent, state) = state();
    ledger(&state).write(&record(9)).unwrap();

    let other = Ledger::new(state, AgentId::new(uuid::Uuid::from_u128(8)));

    assert!(matches!(other.load(), Err(NoDocument::OtherAgent(_))));
}

#[test]
fn a_record_that_cannot_be_kept_is_an_error() {
    let (parent, state) = state();
    let ledger = ledger(&state);
    std::fs::remove_dir_all(parent.path().join("state")).unwrap();

    assert!(matches!(
        ledger.write(&record(1)),
        Err(StateError::Write { .. })
    ));
}

/// Every state that the two files of a write may be found in after power failed in the midst of it:
/// the ledger, and the draft of the next one, if there is any.
fn states_after_power_loss(old: &[u8], new: &[u8]) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let mut states = vec![(old.to_vec(), None)];
    // Before the rename the old one is whole, whatever has become of the draft: any part of it
    // written, or its length known to the disk before its content.
    for end in 0..=new.len() {
        let written = new.get(..end).unwrap().to_vec();
        let mut zeros = written.clone();
        zeros.resize(new.len(), 0);
        states.push((old.to_vec(), Some(written)));
        states.push((old.to_vec(), Some(zeros)));
    }
    // After it the new one is, for it was on the disk before; the draft's name may still be there.
    states.push((new.to_vec(), None));
    states.push((new.to_vec(), Some(new.to_vec())));
    states
}

#[test]
fn power_that_fails_in_any_write_leaves_the_old_document_or_the_new_one_and_room_for_the_next() {
    let text = |generation| hidps_wire::encode(&record(generation)).into_bytes();
    let (_parent, state) = state();
    let ledger = ledger(&state);
    let draft = state.path().join(format!("{FILE}.new"));

    for (held, left) in states_after_power_loss(&text(1), &text(2)) {
        std::fs::write(state.path().join(FILE), &held).unwrap();
        std::fs::remove_file(&draft).ok();
        if let Some(left) = &left {
            std::fs::write(&draft, left).unwrap();
        }

        let found = ledger.load().unwrap();
        ledger.write(&record(3)).unwrap();

        let expected = if held == text(1) { 1 } else { 2 };
        assert_eq!(found, record(expected), "{left:?}");
        assert_eq!(ledger.load().unwrap(), record(3), "{left:?}");
        assert!(!draft.exists() && !state.has(DAMAGED_FILE));
    }
}
