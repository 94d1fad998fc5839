//! Who may connect: only the holder of the admitted key, once per signature, in time.

use ed25519_dalek::{Signer as _, SigningKey};
use hidps_wire::{EnrollRequest, Enrollment};
use uuid::Uuid;

use super::*;
use crate::ports::StoreResult;

const AGENT: AgentId = AgentId::new(Uuid::from_u128(1));
const OTHER: AgentId = AgentId::new(Uuid::from_u128(2));
const NOW: i64 = 1_800_000_000;

/// One agent's key.
struct FakeDirectory(AgentCredential);

impl Directory for FakeDirectory {
    fn credential(&self, agent: AgentId) -> StoreResult<'_, Option<AgentCredential>> {
        let found = (agent == AGENT).then(|| self.0.clone());
        Box::pin(async move { Ok(found) })
    }

    fn enroll(
        &self,
        _: AgentId,
        _: Option<String>,
        _: EnrollRequest,
    ) -> StoreResult<'_, Enrollment> {
        Box::pin(async { Ok(Enrollment::Pending) })
    }
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn auth(status: KeyStatus) -> AgentAuth {
    let public_key = key().verifying_key().to_bytes();
    AgentAuth::new(Arc::new(FakeDirectory(AgentCredential {
        public_key,
        status,
    })))
}

/// The headers of a connect, signed for `signed_host` and sent to `host`.
fn headers(agent: AgentId, signed_host: &str, host: &str, seconds: i64) -> HeaderMap {
    let nonce = "00112233445566778899aabbccddeeff";
    let timestamp = u64::try_from(seconds).expect("after 1970");
    let claim = ConnectClaim {
        agent_id: agent,
        host: signed_host,
        timestamp,
        nonce,
    };
    let signature = STANDARD.encode(key().sign(&claim.signing_bytes()).to_bytes());
    let pairs = [
        (HEADER_AGENT, agent.to_string()),
        (HEADER_TIMESTAMP, timestamp.to_string()),
        (HEADER_NONCE, nonce.to_owned()),
        (HEADER_SIGNATURE, signature),
        ("host", host.to_owned()),
    ];
    let parse =
        |(name, value): (&'static str, String)| (name.parse().unwrap(), value.parse().unwrap());
    pairs.map(parse).into_iter().collect()
}

async fn verdict(auth: &AgentAuth, headers: &HeaderMap) -> Result<AgentId, ConnectError> {
    auth.verify(headers, Timestamp::from_second(NOW).expect("a valid time"))
        .await
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

    assert!(matches!(
        verdict(&auth, &late).await,
        Err(ConnectError::Clock(3_600))
    ));
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
