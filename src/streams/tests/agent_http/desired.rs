//! What a host that can only ask is told: the document, that it has it, or why it is held back.

use hidps_wire::{ContentHash, DesiredDocument, Generation};

use super::*;

fn document(n_paths: usize) -> DesiredDocument {
    DesiredDocument {
        monitored_files: (0..n_paths).map(|n| format!("/etc/{n}")).collect(),
        ..DesiredDocument::default()
    }
}

pub(super) fn desire(world: &World, generation: u64, n_paths: usize) {
    let desired = crate::model::DesiredState {
        generation: Generation(generation),
        hash: ContentHash(format!("{n_paths:x}")),
        document: document(n_paths),
        ..desired_state()
    };
    world.desired.slot.send_replace(Some(Arc::new(desired)));
}

#[tokio::test]
async fn a_host_is_told_the_document_until_it_says_that_it_has_it() {
    let world = world(KeyStatus::Admitted).await;
    let host = Host::of(&world, AGENT);
    desire(&world, 8, 2);

    let answered = host.desired("").send().await.expect("the daemon answers");
    assert_eq!(answered.status(), StatusCode::OK);
    // As it was written: a frame begins with its type.
    let text = answered.text().await.expect("a body");
    let frame: DaemonFrame = decode(&text, usize::MAX).expect("a frame of the socket");
    let DaemonFrame::Apply(apply) = frame else {
        panic!("{text}");
    };
    assert_eq!(
        (apply.generation, apply.document),
        (Generation(8), document(2))
    );
    let older = status_of(host.desired("?generation=7&hash=1&entries=1")).await;
    assert_eq!(older, 200);
    let same = status_of(host.desired("?generation=8&hash=2&entries=2")).await;
    assert_eq!(same, 304);
    let changes = locked(&world.recorder.changes);
    assert!(changes.iter().all(|change| change.sent_at.is_some()));
    assert_eq!(changes.len(), 1, "each generation is told of as sent once");
}

#[tokio::test]
async fn what_a_host_loses_bit_by_bit_is_held_as_if_it_were_lost_at_once() {
    let world = world(KeyStatus::Admitted).await;
    let host = Host::of(&world, AGENT);
    desire(&world, 8, 16);
    let has = |generation: u64, n: usize| {
        host.desired(&format!("?generation={generation}&hash={n:x}&entries={n}"))
    };

    assert_eq!(status_of(has(8, 16)).await, 304);
    desire(&world, 9, 8);
    assert_eq!(status_of(has(8, 16)).await, 200);
    assert_eq!(status_of(has(9, 8)).await, 304);
    desire(&world, 10, 4);
    let (status, body) = answer(has(9, 8)).await;
    assert_eq!(status, StatusCode::CONFLICT, "{body}");
    assert!(body["error"].to_string().contains("had 16"), "{body}");
}

#[tokio::test]
async fn what_is_held_is_recorded_once_and_a_host_that_says_always_something_else_waits() {
    let world = world(KeyStatus::Admitted).await;
    let host = Host::of(&world, AGENT);
    desire(&world, 8, 0);
    let n_held = || {
        let conditions = locked(&world.recorder.conditions);
        let held = conditions
            .iter()
            .filter(|condition| condition.kind == crate::model::ConditionKind::Held);
        held.count()
    };

    for _ in 0..5 {
        let query = "?generation=7&hash=a&entries=10";
        assert_eq!(status_of(host.desired(query)).await, 409);
    }
    assert_eq!(n_held(), 1);
    let mut statuses = Vec::new();
    for n in 0..45 {
        let query = format!("?generation=7&hash=a&entries={}", 11 + n);
        statuses.push(status_of(host.desired(&query)).await);
    }
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    assert!(n_held() <= 40, "{}", n_held());
}

#[tokio::test]
async fn what_is_held_back_is_not_told_but_why() {
    let world = world(KeyStatus::Admitted).await;
    let host = Host::of(&world, AGENT);
    desire(&world, 8, 0);

    for (query, word) in [
        ("?generation=7&hash=a&entries=10", "Emptied"),
        ("?generation=9&hash=a&entries=10", "GenerationWentBack"),
        ("?generation=8&hash=other&entries=10", "ContentDiffers"),
    ] {
        locked(&world.recorder.conditions).clear();
        let (status, body) = answer(host.desired(query)).await;
        assert_eq!(status, StatusCode::CONFLICT, "{query}");
        assert!(
            body["error"]
                .as_str()
                .expect("text")
                .contains("held_releases"),
            "{body}"
        );
        let conditions = locked(&world.recorder.conditions);
        assert!(
            conditions.iter().any(|condition| condition.reason == word),
            "{conditions:?}"
        );
    }
}

#[tokio::test]
async fn what_a_host_says_it_has_applied_is_said_whole() {
    let world = world(KeyStatus::Admitted).await;
    let host = Host::of(&world, AGENT);
    desire(&world, 8, 0);

    for query in [
        "?generation=7",
        "?generation=x&hash=a&entries=1",
        "?agent_id=1",
    ] {
        assert_eq!(status_of(host.desired(query)).await, 400, "{query}");
    }
    let status = json!({
        "type": "status", "applied": {"generation": 8, "hash": "0", "entries": 0},
        "firewall_active": null, "conditions": [
            {"type": "FirewallSynced", "status": "true", "reason": "Unmanaged", "message": "off"},
            {"type": "FilesWatched", "status": "true", "reason": "Watched", "message": "none"},
        ],
    });
    assert_eq!(status_of(host.post(status.to_string())).await, 200);
    let changes = locked(&world.recorder.changes);
    assert!(
        changes.iter().any(|change| change.observed_at.is_some()),
        "{changes:?}"
    );
    assert!(
        changes.iter().all(|change| change.sent_at.is_none()),
        "{changes:?}"
    );
}
