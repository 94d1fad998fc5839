//! The loop of the host: accept, enforce facet by facet, read back, confirm, report.
//! It never asks how a state was reached, and works the same with and without a connection.
//!
//! [`Core`] decides and does nothing; [`Converge`] does what it asks for, one thing after the
//! other, and answers.

mod commit;
mod core;
mod driver;
mod effect;

pub use self::core::{AUDIT_INTERVAL, Core, CoreSettings};
pub use driver::Converge;
pub use effect::{Effect, Note, ProbeId};

#[cfg(test)]
mod tests;
