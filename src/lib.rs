//! The HIDPS daemon, in reading order.
//!
//! ```text
//! agent socket → streams → detection → persistence (outbox) → Supabase
//!                    └→ fan-out → viewers (never stored)
//! Supabase → persistence (feed → mirror) → reconcile → streams → agent
//! notification rows → notify → mail
//! ```

pub mod chance;
pub mod config;
pub mod daemon;
pub mod detection;
pub mod health;
pub mod model;
pub mod notify;
pub mod persistence;
pub mod ports;
pub mod reconcile;
pub mod rules_cli;
pub mod steady_clock;
pub mod streams;
pub mod tasks;
pub mod telemetry;
