//! Who a Supabase access token speaks for: keys, algorithms and claims, checked without I/O or clock.
//! It never says what a person may do; that is asked of Postgres.

mod fault;
mod key_set;
mod signed;
mod verifier;

#[cfg(test)]
mod tests;

pub use fault::{KeySetFault, TokenFault};
pub use key_set::{KeySet, MAX_KEY_SET_BYTES, MAX_KEYS};
pub use signed::MAX_TOKEN_BYTES;
pub use verifier::{Claims, Verifier};
