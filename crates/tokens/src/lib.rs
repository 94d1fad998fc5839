//! Who a token speaks for: a person's of Supabase, and the short ones of agents that speak HTTP alone.
//! It does no I/O, reads no clock, and never says what anybody may do.

mod agent_token;
mod client;
mod fault;
mod key_set;
mod signed;
mod verifier;

#[cfg(test)]
mod tests;

pub use agent_token::{AGENT_TOKEN_SECS, AgentClaims, AgentTokens};
pub use client::{ClientAssertion, ClientProof, RequestFault, TokenRequest, parse_token_request};
pub use fault::{KeySetFault, TokenFault};
pub use key_set::{KeySet, MAX_KEY_SET_BYTES, MAX_KEYS};
pub use signed::MAX_TOKEN_BYTES;
pub use verifier::{Claims, Verifier};
