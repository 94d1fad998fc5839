//! The bodies of the fuzz targets: each takes any bytes and panics only if a promise is broken.
//! They never touch a file or a socket; `tests/replay.rs` runs them over the committed corpora.

mod configured;
mod firewall;
mod frames;
mod host;
mod kept;
mod rules;
mod tokens;

pub use configured::*;
pub use firewall::*;
pub use frames::*;
pub use host::*;
pub use kept::*;
pub use rules::*;
pub use tokens::*;

/// A fuzz target by name.
pub type Target = (&'static str, fn(&[u8]));

/// All targets; each has a file in `fuzz_targets` and a directory in `corpus`.
pub const TARGETS: [Target; 35] = [
    ("agent_config", agent_config),
    ("agent_state", agent_state),
    ("audit_record", audit_record),
    ("file_actors", file_actors),
    ("file_memory", file_memory),
    ("host_files", host_files),
    ("host_tables", host_tables),
    ("journal_entry", journal_entry),
    ("journal_file", journal_file),
    ("kernel_record", kernel_record),
    ("access_token", access_token),
    ("command_line", command_line),
    ("log_line", log_line),
    ("log_message", log_message),
    ("log_pieces", log_pieces),
    ("netlink_messages", netlink_messages),
    ("nft_listing", nft_listing),
    ("process_sources", process_sources),
    ("proxy_answer", proxy_answer),
    ("realtime_client_frame", realtime_client_frame),
    ("realtime_frames", realtime_frames),
    ("rule_condition", rule_condition),
    ("rule_event", rule_event),
    ("rule_file", rule_file),
    ("rule_pipeline", rule_pipeline),
    ("rule_placeholders", rule_placeholders),
    ("token_request", token_request),
    ("ufw_rules", ufw_rules),
    ("watch_path", watch_path),
    ("wire_agent_frame", wire_agent_frame),
    ("wire_daemon_frame", wire_daemon_frame),
    ("wire_event_batch", wire_event_batch),
    ("wire_posted", wire_posted),
    ("wire_key_bodies", wire_key_bodies),
    ("wire_viewer_frame", wire_viewer_frame),
];
