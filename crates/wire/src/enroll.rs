//! Enrollment: an agent hands over its public key once and learns whether it may connect.
//! The private key and the enrollment token never appear in these bodies; the token is a header.

use serde::{Deserialize, Serialize};

/// Body of `POST /v1/agents/{agent_id}/enroll`; the token, if any, is in `X-API-Key`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrollRequest {
    /// Ed25519 public key, 32 bytes in base64.
    pub public_key: String,
    /// Host name, claimed.
    pub hostname: String,
    /// Operating system, claimed.
    pub os: String,
    /// Processor architecture, claimed.
    pub arch: String,
    /// Version of the agent program.
    pub agent_version: String,
}

/// Body of the answer with HTTP status 200.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrollResponse {
    /// What became of the request.
    pub enrollment: Enrollment,
}

/// What became of an enrollment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Enrollment {
    /// The key may connect.
    Admitted,
    /// An admin has to approve the key first.
    Pending,
}
