//! The signed connect: what an agent signs so that the daemon knows it during the handshake.
//! The bytes are defined here and nowhere else; keys and verification live with the two ends.

use std::fmt::Write as _;

use crate::ids::AgentId;

/// Request header with the agent id.
pub const HEADER_AGENT: &str = "x-hidps-agent";
/// Request header with the time of signing, seconds since the Unix epoch.
pub const HEADER_TIMESTAMP: &str = "x-hidps-timestamp";
/// Request header with 16 random bytes in lower-case hex.
pub const HEADER_NONCE: &str = "x-hidps-nonce";
/// Request header with the Ed25519 signature in base64.
pub const HEADER_SIGNATURE: &str = "x-hidps-signature";
/// Path of the agents' WebSocket.
pub const CONNECT_PATH: &str = "/v1/agents/connect";

/// What a connect claims; all of it is signed, so that a captured request is useless elsewhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectClaim<'a> {
    /// The agent.
    pub agent_id: AgentId,
    /// The `Host` header of the request, in lower case.
    pub host: &'a str,
    /// Seconds since the Unix epoch.
    pub timestamp: u64,
    /// The nonce header.
    pub nonce: &'a str,
}

impl ConnectClaim<'_> {
    /// The bytes to sign: a domain label, then one line per value.
    #[must_use]
    pub fn signing_bytes(&self) -> Vec<u8> {
        let mut text = String::from("hidps-connect-v1\n");
        for part in [self.host, CONNECT_PATH, self.nonce] {
            text.push_str(part);
            text.push('\n');
        }
        write!(text, "{}\n{}\n", self.agent_id, self.timestamp).expect("a string takes any text");
        text.into_bytes()
    }
}
