//! The HIDPS agent: streams a host's log events and applies its desired state.
//! It knows the protocol of `hidps-wire` and the host it runs on, and nothing of Supabase.
//!
//! ```text
//! daemon ─ link ─ documents ─▶ converge ─▶ ledger, firewall, file_watch, probe
//!             ◀─ status_queue ────┘               │
//!             ◀─── event_queue ◀── file_watch, converge, normalize ◀─ collect (journal, log files)
//!             │                   └────────── collect::process, sockets (threads)
//!             ◀─── usage, processes, facts ◀──── collect::readings
//! ```

pub mod agent;
pub mod agent_note;
pub mod backend;
pub mod backoff;
pub mod cli;
pub mod clock;
pub mod collect;
pub mod conditions;
pub mod config;
pub mod converge;
pub mod dial;
pub mod doctor;
pub mod enroll;
pub mod error_chain;
pub mod event_queue;
mod exchange;
pub mod file_watch;
pub mod firewall;
pub mod host_facts;
pub mod identity;
pub mod keys;
pub mod ledger;
pub mod link;
pub mod plan;
pub mod probe;
pub mod redact;
pub mod report;
pub mod retirement;
pub mod rotate;
pub mod rotate_key;
pub mod service_unit;
pub mod shutdown;
pub mod state_dir;
pub mod status_queue;
pub mod supervisor;
pub mod telemetry;
pub mod text;
pub mod version;
pub mod withdraw;

pub use hidps_normalize as normalize;
