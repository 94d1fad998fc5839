//! Rotation: an agent gives up its key for a new one and proves with both that it is to be so.
//! No private key and no token appears here.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::ids::AgentId;

/// Body of `POST /v1/agents/{agent_id}/rotate`; the headers are those of a connect, and their
/// signature is by the present key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateRequest {
    /// The new Ed25519 public key, 32 bytes in base64.
    pub public_key: String,
    /// The signature of the same bytes by the new key, in base64: who asks has it.
    pub proof: String,
}

/// Body of the answer with HTTP status 200.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateResponse {
    /// The key that is the agent's from now on, in base64.
    pub public_key: String,
}

/// What a rotation claims; all of it is signed by the present key and by the new one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RotateClaim<'a> {
    /// The agent.
    pub agent_id: AgentId,
    /// The `Host` header of the request, in lower case.
    pub host: &'a str,
    /// Seconds since the Unix epoch.
    pub timestamp: u64,
    /// The nonce header.
    pub nonce: &'a str,
    /// The new public key in base64.
    pub public_key: &'a str,
}

impl RotateClaim<'_> {
    /// The bytes to sign: a domain label, then one line per value.
    #[must_use]
    pub fn signing_bytes(&self) -> Vec<u8> {
        let mut text = String::from("hidps-rotate-v1\n");
        for part in [self.host, &rotate_path(self.agent_id), self.nonce] {
            text.push_str(part);
            text.push('\n');
        }
        let (agent, timestamp) = (self.agent_id, self.timestamp);
        writeln!(text, "{agent}\n{timestamp}\n{}", self.public_key)
            .expect("a string takes any text");
        text.into_bytes()
    }
}

/// Path of an agent's rotations.
#[must_use]
pub fn rotate_path(agent: AgentId) -> String {
    format!("/v1/agents/{agent}/rotate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_names_every_value_and_is_no_connect() {
        let claim = RotateClaim {
            agent_id: "0190a000-0000-7000-8000-000000000001".parse().unwrap(),
            host: "hidps.example.com",
            timestamp: 1_795_222_923,
            nonce: "000102030405060708090a0b0c0d0e0f",
            public_key: "GX9rI+FshTLGq8g4+s1ep4m+DHaykgM0A5v6iz02jWE=",
        };

        assert_eq!(
            String::from_utf8(claim.signing_bytes()).unwrap(),
            "hidps-rotate-v1\nhidps.example.com\n\
             /v1/agents/0190a000-0000-7000-8000-000000000001/rotate\n\
             000102030405060708090a0b0c0d0e0f\n0190a000-0000-7000-8000-000000000001\n1795222923\n\
             GX9rI+FshTLGq8g4+s1ep4m+DHaykgM0A5v6iz02jWE=\n"
        );
    }
}
