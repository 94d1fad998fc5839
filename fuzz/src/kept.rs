//! What the agent has kept on disk, as a failing disk or another version leaves it.
//! It never keeps anything.

use std::collections::BTreeMap;

use hidps_agent::collect::positions::Position;
use hidps_agent::firewall::fuzzing::{is_broken_off, read_found};
use hidps_agent::identity::Identity;
use hidps_agent::ledger::{Acceptance, LedgerRecord, Trial, judge, plan_record};
use hidps_agent::report::{ShownDesired, ShownDocument, ShownStatus, StatusReport};
use hidps_wire::{AgentId, encode, is_misleading};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// One of the agent's files, which is read as each of them: refused, or read as it is written again.
pub fn agent_state(data: &[u8]) {
    read_ledger(data);
    read::<BTreeMap<String, Position>>(data);
    if let Some(report) = read::<StatusReport>(data) {
        let shown = ShownStatus::of(report, AgentId::new(Uuid::nil()), true);
        assert!(shown.text().lines().count() >= 3, "it says how it is");
    }
    assert_ne!(read_found(data), Some(false), "it is read as it is written");
    if let Some(identity) = Identity::parse(data) {
        assert_eq!(identity.public_key().len(), 44, "a key is 32 bytes");
        assert!(
            !format!("{identity:?}")
                .as_bytes()
                .windows(43)
                .any(|shown| { data.trim_ascii().starts_with(shown) }),
            "the private key stays"
        );
    }
    check_broken_off(&String::from_utf8_lossy(data));
}

/// What JSON says, if it says that; it is read again as it is written.
fn read<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(data: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(data).ok()?;
    let again = serde_json::from_str(&encode(&read));
    assert_eq!(
        again.ok().as_ref(),
        Some(&read),
        "it is read as it is written"
    );
    Some(read)
}

fn read_ledger(data: &[u8]) {
    let Some(record) = read::<LedgerRecord>(data) else {
        return;
    };
    let known = judge(Some(&record), &record.accepted);
    assert_eq!(known, Ok(Acceptance::Known), "what is held is known");
    let agent = record.agent_id;
    let next = plan_record(Some(&record), agent, record.accepted.clone(), Some(true));
    assert_eq!(next.accepted, record.accepted, "it is what was offered");
    let tried = record.trial.as_ref().map(Trial::goal);
    let is_as_before = tried.as_ref() == Some(&record.goal());
    assert!(
        !record.wants_trial() || !is_as_before,
        "a trial changes something"
    );
    let shown = ShownDesired {
        agent_id: agent,
        accepted: Some(ShownDocument::of(record)),
        missing: None,
    };
    for line in shown.text().split('\n') {
        assert!(!line.contains(is_misleading), "it can be shown: {line:?}");
    }
}

/// A text is never broken off of itself, and its first half, ended within a line, may be.
fn check_broken_off(whole: &str) {
    assert!(!is_broken_off(whole, whole), "what is whole is whole");
    let half = &whole[..whole.floor_char_boundary(whole.len() / 2)];
    let _ = is_broken_off(whole, half);
}
