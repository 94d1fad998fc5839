//! Every size the protocol bounds, with the reason for the number.
//! It never enforces them; the decoder, the constructors and the sockets do.

/// Version of the protocol, sent in `hello`; the daemon refuses every other one.
pub const PROTOCOL_VERSION: u32 = 1;

/// Largest frame an agent may send, in bytes: a full batch of long lines with room to spare.
pub const MAX_AGENT_FRAME_BYTES: usize = 256 * 1024;

/// Largest frame a daemon may send, in bytes: 1,000 watched paths of the greatest length and more
/// would not fit one firewall table, so a longer document is a mistake.
pub const MAX_DAEMON_FRAME_BYTES: usize = 8 * 1024 * 1024;

/// Largest frame a viewer may send, in bytes: a token of a few kilobytes is the longest message.
pub const MAX_VIEWER_FRAME_BYTES: usize = 16 * 1024;

/// Most events in one batch: batches of 32 already cost 7 times less than single frames, and a
/// larger one only adds delay.
pub const MAX_EVENTS_PER_BATCH: usize = 64;

/// Longest text of one event (message, service or a field), in bytes; agents cut and mark it.
pub const MAX_EVENT_TEXT_BYTES: usize = 32 * 1024;

/// Most named fields of one event.
pub const MAX_EVENT_FIELDS: usize = 64;

/// Longest watched path, in bytes: Linux's `PATH_MAX` without its terminating NUL.
pub const MAX_PATH_BYTES: usize = 4095;

/// Most watched paths of one agent.
pub const MAX_WATCHED_PATHS: usize = 1_000;

/// Most firewall rules of one agent: a long list of addresses, and still 2 MB of a document.
pub const MAX_FIREWALL_RULES: usize = 10_000;

/// Most paths and most rules of a document that are read at all: those beyond what an agent watches
/// or enforces are refused one by one, which has to end somewhere.
pub const MAX_DOCUMENT_ENTRIES: usize = 50_000;

/// Most things a condition names one by one: enough to act on, few enough for one row.
pub const MAX_CONDITION_SUBJECTS: usize = 100;

/// Most lines of a plan's difference of rule sets.
pub const MAX_PLAN_LINES: usize = 1_000;

/// Most processes of a snapshot: more than a page shows, and with the longest texts still a frame.
pub const MAX_PROCESSES: usize = 200;

/// Longest command line of a process in a snapshot, in bytes.
pub const MAX_COMMAND_BYTES: usize = 384;

/// Most network interfaces of a host's facts; a host of containers has hundreds that say nothing.
pub const MAX_INTERFACES: usize = 64;

/// Most addresses of one interface.
pub const MAX_INTERFACE_ADDRESSES: usize = 16;

/// Most open ports of a host's facts.
pub const MAX_OPEN_PORTS: usize = 256;

/// Most file systems and most sensors of a usage report.
pub const MAX_USAGE_ENTRIES: usize = 32;
