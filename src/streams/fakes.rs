//! Stand-ins for the ports of `streams`, for its tests: keys, rights, desired state, records.
//! They behave like the real ones as far as the tests look, and remember what they were told.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey};
use hidps_wire::{
    AgentId, ConnectClaim, EnrollRequest, Enrollment, HEADER_AGENT, HEADER_NONCE, HEADER_SIGNATURE,
    HEADER_TIMESTAMP, RotateClaim, RotateRequest,
};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use crate::config::Tokens;
use crate::model::{
    AgentAccess, AgentCredential, AgentRefusal, ChangeReport, ConditionReport, DesiredState,
    FactsReport, HostFacts, KeyStatus, Observation, OrgId, OwnedAgent, PresenceReport,
    ProcessesReport, PublicKey, UsageReport,
};
use crate::ports::{
    Access, DesiredSource, Directory, EventIntake, Observations, RawBatch, Records, SigningKeys,
    StoreError, StoreErrorKind, StoreResult,
};

/// An enrolled agent.
pub(super) const AGENT: AgentId = AgentId::new(Uuid::from_u128(1));
/// An agent of somebody else.
pub(super) const OTHER: AgentId = AgentId::new(Uuid::from_u128(2));

/// Another enrolled agent, which the tests give the same key.
pub(super) const NEIGHBOUR: AgentId = AgentId::new(Uuid::from_u128(3));

/// The key of [`AGENT`].
pub(super) fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// The headers of a connect signed with the key of [`AGENT`], with a fresh nonce.
pub(super) fn sign_connect(agent: AgentId, host: &str, seconds: i64) -> HeaderMap {
    sign_connect_by(&key(), agent, host, seconds)
}

/// The same signed with another key.
pub(super) fn sign_connect_by(
    key: &SigningKey,
    agent: AgentId,
    host: &str,
    seconds: i64,
) -> HeaderMap {
    let nonce = Uuid::new_v4().simple().to_string();
    let timestamp = u64::try_from(seconds).expect("after 1970");
    let claim = ConnectClaim {
        agent_id: agent,
        host,
        timestamp,
        nonce: &nonce,
    };
    let signature = sign(key, &claim.signing_bytes());
    signed_headers(agent, timestamp, nonce, signature)
}

/// The headers and the body of a rotation from one key to another, with a fresh nonce.
pub(super) fn sign_rotation(
    (present, successor): (&SigningKey, &SigningKey),
    agent: AgentId,
    host: &str,
    seconds: i64,
) -> (HeaderMap, RotateRequest) {
    let nonce = Uuid::new_v4().simple().to_string();
    let timestamp = u64::try_from(seconds).expect("after 1970");
    let public_key = STANDARD.encode(successor.verifying_key().to_bytes());
    let claim = RotateClaim {
        agent_id: agent,
        host,
        timestamp,
        nonce: &nonce,
        public_key: &public_key,
    };
    let claim = claim.signing_bytes();
    let headers = signed_headers(agent, timestamp, nonce, sign(present, &claim));
    let proof = sign(successor, &claim);
    (headers, RotateRequest { public_key, proof })
}

fn sign(key: &SigningKey, claim: &[u8]) -> String {
    STANDARD.encode(key.sign(claim).to_bytes())
}

fn signed_headers(agent: AgentId, timestamp: u64, nonce: String, signature: String) -> HeaderMap {
    let pairs = [
        (HEADER_AGENT, agent.to_string()),
        (HEADER_TIMESTAMP, timestamp.to_string()),
        (HEADER_NONCE, nonce),
        (HEADER_SIGNATURE, signature),
    ];
    let parse =
        |(name, value): (&'static str, String)| (name.parse().unwrap(), value.parse().unwrap());
    pairs.map(parse).into_iter().collect()
}

/// An assertion of a client, signed with the key of [`AGENT`], with some claims replaced.
pub(super) fn sign_assertion(agent: AgentId, audience: &str, replaced: &Value) -> String {
    let mut claims = json!({
        "iss": agent, "sub": agent, "aud": audience, "jti": Uuid::new_v4(),
        "iat": Timestamp::now().as_second(), "exp": Timestamp::now().as_second() + 60,
    });
    for (name, value) in replaced.as_object().expect("claims are an object") {
        claims[name] = value.clone();
    }
    let coded = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let header = coded(r#"{"alg":"EdDSA","typ":"JWT"}"#);
    let message = format!("{header}.{}", coded(&claims.to_string()));
    let signature = key().sign(message.as_bytes()).to_bytes();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The public key of [`AGENT`], as tokens name it.
pub(super) fn public_key() -> String {
    STANDARD.encode(key().verifying_key().to_bytes())
}

/// Knows the key of [`AGENT`] and of [`NEIGHBOUR`], and nothing else.
#[derive(Debug)]
pub(super) struct FakeDirectory {
    status: KeyStatus,
    is_down: bool,
    hangs: bool,
    /// Whom it was told of.
    pub(super) refusals: Mutex<Vec<AgentRefusal>>,
    /// How often a secret of a client was asked about.
    pub(super) n_secrets: AtomicUsize,
    /// From where enrollments came.
    pub(super) enrolled_from: Mutex<Vec<Option<IpAddr>>>,
    /// The key of [`AGENT`] after rotations, and those before it.
    key: Mutex<(PublicKey, Vec<PublicKey>)>,
}

impl FakeDirectory {
    pub(super) fn with_status(status: KeyStatus) -> Self {
        Self {
            status,
            is_down: false,
            hangs: false,
            refusals: Mutex::default(),
            n_secrets: AtomicUsize::default(),
            enrolled_from: Mutex::default(),
            key: Mutex::new((key().verifying_key().to_bytes(), Vec::new())),
        }
    }
}

impl FakeDirectory {
    /// A directory that is told of refused agents and never answers.
    pub(super) fn that_hangs() -> Self {
        Self {
            hangs: true,
            ..Self::with_status(KeyStatus::Admitted)
        }
    }

    /// A directory that does not answer.
    pub(super) fn down() -> Self {
        Self {
            is_down: true,
            ..Self::with_status(KeyStatus::Admitted)
        }
    }
}

impl Directory for FakeDirectory {
    fn admitted(&self, agents: Vec<AgentId>) -> StoreResult<'_, Vec<AgentId>> {
        Box::pin(async move {
            if self.is_down {
                return Err(failure(StoreErrorKind::Unavailable));
            }
            Ok(agents.into_iter().filter(|agent| *agent == AGENT).collect())
        })
    }

    fn credentials(
        &self,
        agents: Vec<AgentId>,
    ) -> StoreResult<'_, Vec<(AgentId, AgentCredential)>> {
        let status = self.status;
        let present = self.key.lock().expect("unpoisoned").0;
        let credential = move |agent| AgentCredential {
            org: OrgId(Uuid::from_u128(10)),
            public_key: if agent == AGENT {
                present
            } else {
                key().verifying_key().to_bytes()
            },
            status,
        };
        Box::pin(async move {
            if self.is_down {
                return Err(failure(StoreErrorKind::Unavailable));
            }
            let known = agents.into_iter();
            let known = known.filter(|agent| [AGENT, NEIGHBOUR].contains(agent));
            Ok(known.map(|agent| (agent, credential(agent))).collect())
        })
    }

    fn enroll(
        &self,
        agent: AgentId,
        token: Option<String>,
        request: EnrollRequest,
        from: Option<IpAddr>,
    ) -> StoreResult<'_, Enrollment> {
        Box::pin(async move {
            let mut places = self.enrolled_from.lock().expect("unpoisoned");
            places.push(from);
            drop(places);
            match token.as_deref() {
                _ if agent != AGENT => Err(failure(StoreErrorKind::NotFound)),
                Some("good") => Ok(Enrollment::Admitted),
                Some(_) => Err(failure(StoreErrorKind::Unauthorized)),
                // Somebody else came before it.
                None if request.hostname == "late" => Err(failure(StoreErrorKind::Unauthorized)),
                None => Ok(Enrollment::Pending),
            }
        })
    }

    fn use_token(&self, agent: AgentId, token: String, _: Option<IpAddr>) -> StoreResult<'_, ()> {
        self.n_secrets.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            match token.as_str() {
                _ if self.is_down => Err(failure(StoreErrorKind::Unavailable)),
                "good" if agent == AGENT => Ok(()),
                _ => Err(failure(StoreErrorKind::Unauthorized)),
            }
        })
    }

    fn record_refusal(&self, refusal: AgentRefusal) -> StoreResult<'_, ()> {
        Box::pin(async move {
            if self.is_down {
                return Err(failure(StoreErrorKind::Unavailable));
            }
            if self.hangs {
                std::future::pending::<()>().await;
            }
            self.refusals.lock().expect("unpoisoned").push(refusal);
            Ok(())
        })
    }

    fn rotate(
        &self,
        signer: OwnedAgent,
        successor: PublicKey,
        _: Option<IpAddr>,
    ) -> StoreResult<'_, ()> {
        let mut held = self.key.lock().expect("unpoisoned");
        let (present, gone) = &mut *held;
        let rotated = if signer.agent != AGENT || signer.key != *present {
            Err(failure(StoreErrorKind::Unauthorized))
        } else if successor == *present || gone.contains(&successor) {
            Err(failure(StoreErrorKind::Rejected))
        } else {
            gone.push(std::mem::replace(present, successor));
            Ok(())
        };
        Box::pin(async { rotated })
    }
}

/// Lets the bearer of a token whose mark is `good` read [`AGENT`] only; a `stranger` reads nothing, it
/// is away for `down`, and knows no other. For `late` it is as for `good`, but the second question about nobody waits for one about
/// somebody.
#[derive(Debug, Default)]
pub(super) struct FakeAccess {
    pub(super) asked: AtomicUsize,
    /// Whether nobody may read anything any more.
    pub(super) is_removed: AtomicBool,
    /// Whether every session has ended.
    pub(super) is_signed_out: AtomicBool,
    pub(super) asked_nobody: AtomicUsize,
    somebody: Notify,
}

impl Access for FakeAccess {
    fn readable(&self, token: String, agents: Vec<AgentId>) -> StoreResult<'_, Vec<AgentAccess>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let mark = mark_of(&token);
            if self.is_signed_out.load(Ordering::Relaxed) {
                return Err(failure(StoreErrorKind::Unauthorized));
            }
            if mark == "stranger" || self.is_removed.load(Ordering::Relaxed) {
                return Ok(Vec::new());
            }
            if mark == "down" {
                return Err(failure(StoreErrorKind::Unavailable));
            }
            if mark == "late" {
                if !agents.is_empty() {
                    self.somebody.notify_one();
                } else if self.asked_nobody.fetch_add(1, Ordering::Relaxed) == 1 {
                    self.somebody.notified().await;
                }
            } else if mark != "good" {
                return Err(failure(StoreErrorKind::Unauthorized));
            }
            let readable = agents.into_iter().filter(|agent| *agent == AGENT);
            Ok(readable
                .map(|agent_id| AgentAccess {
                    agent_id,
                    can_admin: false,
                })
                .collect())
        })
    }
}

/// Secret that signs people's tokens.
const SECRET: &str = "a secret of the tests, long enough";

/// Issuer of people's tokens.
const ISSUER: &str = "http://supabase.test/auth/v1";

/// What tokens have to say.
pub(super) fn token_settings() -> Tokens {
    Tokens {
        issuer: ISSUER.to_owned(),
        audience: "authenticated".to_owned(),
        secret: Some(SECRET.to_owned().into()),
    }
}

/// A token of a person, marked for [`FakeAccess`], with some claims replaced.
pub(super) fn sign_token(mark: &str, replaced: &Value) -> String {
    sign_token_with(SECRET, mark, replaced)
}

/// The same, signed with another secret.
pub(super) fn sign_token_with(secret: &str, mark: &str, replaced: &Value) -> String {
    let claims = claims_of_token(mark, replaced);
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).expect("claims can be signed")
}

fn claims_of_token(mark: &str, replaced: &Value) -> Value {
    let now = Timestamp::now().as_second();
    let mut claims = json!({
        "sub": Uuid::nil(), "role": "authenticated", "aud": "authenticated", "iss": ISSUER,
        "exp": now + 60, "mark": mark,
    });
    for (name, value) in replaced.as_object().expect("claims are an object") {
        claims[name] = value.clone();
    }
    claims
}

/// The mark in a token.
fn mark_of(token: &str) -> String {
    let payload = token.split('.').nth(1).expect("it was verified");
    let json = URL_SAFE_NO_PAD.decode(payload).expect("it was verified");
    let claims: Value = serde_json::from_slice(&json).expect("it was verified");
    claims["mark"].as_str().unwrap_or_default().to_owned()
}

/// Publishes the public half of the key that signs in [`sign_token_by_key`], under this name.
#[derive(Debug)]
pub(super) struct PublishedKey(pub(super) &'static str);

impl SigningKeys for PublishedKey {
    fn read_keys(&self) -> StoreResult<'_, Vec<u8>> {
        let x = URL_SAFE_NO_PAD.encode(key().verifying_key().to_bytes());
        let key = json!({"kty": "OKP", "crv": "Ed25519", "kid": self.0, "alg": "EdDSA", "x": x});
        let list = json!({ "keys": [key] }).to_string();
        Box::pin(async { Ok(list.into_bytes()) })
    }
}

/// A token of a person, signed with a key that is named so.
pub(super) fn sign_token_by_key(name: &str, mark: &str) -> String {
    // The frame of an Ed25519 key in PKCS #8, before its 32 bytes.
    let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    der.extend(key().to_bytes());
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some(name.to_owned());
    let claims = claims_of_token(mark, &json!({}));
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ed_der(&der)).expect("signed")
}

fn failure(kind: StoreErrorKind) -> StoreError {
    StoreError {
        operation: "test",
        kind,
        source: "scripted".into(),
    }
}

/// A desired state that tests set.
#[derive(Debug)]
pub(super) struct FakeDesired {
    pub(super) slot: watch::Sender<Option<Arc<DesiredState>>>,
}

impl DesiredSource for FakeDesired {
    fn follow(&self, _: AgentId) -> watch::Receiver<Option<Arc<DesiredState>>> {
        self.slot.subscribe()
    }
}

/// Remembers records and batches.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    pub(super) conditions: Mutex<Vec<ConditionReport>>,
    pub(super) changes: Mutex<Vec<ChangeReport>>,
    pub(super) presence: Mutex<BTreeMap<AgentId, bool>>,
    pub(super) hosts: Mutex<Vec<HostFacts>>,
    pub(super) processes: Mutex<Vec<ProcessesReport>>,
    pub(super) facts: Mutex<Vec<FactsReport>>,
    pub(super) batches: Mutex<Vec<RawBatch>>,
    pub(super) observations: Mutex<Vec<(AgentId, Observation)>>,
}

impl Records for Recorder {
    fn conditions(&self, reports: Vec<ConditionReport>) {
        self.conditions.lock().expect("unpoisoned").extend(reports);
    }

    fn presence(&self, report: PresenceReport) {
        self.presence
            .lock()
            .expect("unpoisoned")
            .insert(report.agent_id, report.online);
        self.hosts.lock().expect("unpoisoned").extend(report.host);
    }

    fn change(&self, report: ChangeReport) {
        self.changes.lock().expect("unpoisoned").push(report);
    }

    fn usage(&self, _: UsageReport) {}

    fn processes(&self, report: ProcessesReport) {
        self.processes.lock().expect("unpoisoned").push(report);
    }

    fn facts(&self, report: FactsReport) {
        self.facts.lock().expect("unpoisoned").push(report);
    }
}

impl EventIntake for Recorder {
    fn submit(&self, batch: RawBatch) -> Result<(), RawBatch> {
        self.batches.lock().expect("unpoisoned").push(batch);
        Ok(())
    }
}

impl Observations for Recorder {
    fn observe(&self, agent: AgentId, observation: Observation) -> bool {
        let mut observations = self.observations.lock().expect("unpoisoned");
        observations.push((agent, observation));
        true
    }
}
