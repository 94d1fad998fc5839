//! Who may connect: only the holder of the admitted key, once per signature, in time.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::streams::fakes::{AGENT, FakeDirectory, OTHER, sign_connect};

const NOW: i64 = 1_800_000_000;

/// A check, and the look-ups it asks.
struct Rig {
    auth: AgentAuth,
    _lookups: JoinSet<()>,
}

fn auth(status: KeyStatus) -> Rig {
    rig(FakeDirectory::with_status(status))
}

fn rig(directory: FakeDirectory) -> Rig {
    let (lookups, keys) = KeyLookups::new(Arc::new(directory));
    let mut tasks = JoinSet::new();
    tasks.spawn(lookups.run(CancellationToken::new()));
    Rig {
        auth: AgentAuth::new(keys),
        _lookups: tasks,
    }
}

/// The headers of a connect, signed for `signed_host` and sent to `host`.
fn headers(agent: AgentId, signed_host: &str, host: &str, seconds: i64) -> HeaderMap {
    let mut headers = sign_connect(agent, signed_host, seconds);
    headers.insert("host", host.parse().unwrap());
    headers
}

async fn verdict(rig: &Rig, headers: &HeaderMap) -> Result<AgentId, ConnectError> {
    rig.auth
        .verify(headers, Timestamp::from_second(NOW).expect("a valid time"))
        .await
        .map(|owned| owned.agent)
}

#[tokio::test]
async fn the_holder_of_the_key_is_let_in_once_per_signature() {
    let auth = auth(KeyStatus::Admitted);
    let headers = headers(AGENT, "hidps.example", "HIDPS.example", NOW);

    assert_eq!(
        verdict(&auth, &headers).await.expect("a good connect"),
        AGENT
    );
    assert!(matches!(
        verdict(&auth, &headers).await,
        Err(ConnectError::Replayed)
    ));
}

#[tokio::test]
async fn a_signature_for_another_host_or_agent_is_refused() {
    let auth = auth(KeyStatus::Admitted);
    let elsewhere = headers(AGENT, "evil.example", "hidps.example", NOW);
    let mut renamed = headers(OTHER, "hidps.example", "hidps.example", NOW);

    assert!(matches!(
        verdict(&auth, &elsewhere).await,
        Err(ConnectError::Unknown)
    ));
    assert!(matches!(
        verdict(&auth, &renamed).await,
        Err(ConnectError::Unknown)
    ));
    renamed.insert(HEADER_AGENT, AGENT.to_string().parse().unwrap());
    assert!(matches!(
        verdict(&auth, &renamed).await,
        Err(ConnectError::Unknown)
    ));
}

#[tokio::test]
async fn a_clock_that_is_off_is_told_by_how_much() {
    let auth = auth(KeyStatus::Admitted);
    let late = headers(AGENT, "hidps.example", "hidps.example", NOW - 3_600);

    let fault = clock_fault(&auth, &late).await;

    assert_eq!((fault.seconds, fault.signer), (-3_600, Some(AGENT)));
}

#[tokio::test]
async fn nobody_else_can_say_that_an_agents_clock_is_off() {
    let auth = auth(KeyStatus::Admitted);
    let for_another_host = headers(AGENT, "other.example", "hidps.example", NOW + 3_600);
    let of_no_agent = headers(OTHER, "hidps.example", "hidps.example", NOW + 3_600);

    for headers in [for_another_host, of_no_agent] {
        let fault = clock_fault(&auth, &headers).await;
        assert_eq!((fault.seconds, fault.signer), (3_600, None));
    }
}

async fn clock_fault(rig: &Rig, headers: &HeaderMap) -> ClockFault {
    match verdict(rig, headers).await {
        Err(ConnectError::Clock(fault)) => fault,
        other => panic!("not a clock that is off: {other:?}"),
    }
}

#[tokio::test]
async fn pending_and_revoked_keys_are_told_apart_only_to_their_holder() {
    let good = headers(AGENT, "hidps.example", "hidps.example", NOW);

    assert!(matches!(
        verdict(&auth(KeyStatus::Pending), &good).await,
        Err(ConnectError::Pending)
    ));
    assert!(matches!(
        verdict(&auth(KeyStatus::Revoked), &good).await,
        Err(ConnectError::Revoked)
    ));
}

#[tokio::test]
async fn each_header_is_checked() {
    let auth = auth(KeyStatus::Admitted);
    for name in [
        HEADER_AGENT,
        HEADER_TIMESTAMP,
        HEADER_NONCE,
        HEADER_SIGNATURE,
        "host",
    ] {
        let mut headers = headers(AGENT, "hidps.example", "hidps.example", NOW);
        headers.insert(name, "é".parse().unwrap());

        let refused = verdict(&auth, &headers).await;

        assert!(
            matches!(refused, Err(ConnectError::Header(found)) if found == name),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_directory_that_is_down_is_no_reason_to_call_a_key_unknown() {
    let rig = rig(FakeDirectory::down());
    let good = headers(AGENT, "hidps.example", "hidps.example", NOW);

    let refused = verdict(&rig, &good).await;

    assert!(
        matches!(refused, Err(ConnectError::Unavailable(_))),
        "{refused:?}"
    );
}
