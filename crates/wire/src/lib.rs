//! The protocol between agents, the daemon and viewers: its types, limits and text form.
//! It never does I/O, reads a clock or holds a connection.
//!
//! Every frame is one WebSocket text frame with one JSON object whose `type` names a variant of a
//! closed enum; unknown types and unknown fields are refused. An agent's frames carry no agent
//! id: who speaks is known from the connection. `docs/protocol.md` has the contract with examples.

mod agent_frame;
mod bounded;
mod collection;
mod condition;
mod connect;
mod daemon_frame;
mod decode;
mod desired;
mod enroll;
mod facts;
mod firewall;
mod ids;
mod limits;
mod log_event;
mod posted;
mod processes;
mod question;
mod rotate;
mod shown;
mod text;
mod usage;
mod viewer_frame;

pub use agent_frame::{AgentFrame, Applied, EventBatch, Hello, Status};
pub use collection::{
    Collection, CollectionEntry, FACTS_INTERVAL_SECS, NETWORK_INTERVAL_SECS,
    PROCESS_POLL_INTERVAL_SECS, RefusedSetting, SAMPLING, TOP_PROCESSES_INTERVAL_SECS,
    USAGE_INTERVAL_SECS,
};
pub use condition::{AgentCondition, ConditionStatus, FacetCondition, SubjectCondition};
pub use connect::{
    CONNECT_PATH, ConnectClaim, HEADER_AGENT, HEADER_NONCE, HEADER_SIGNATURE, HEADER_TIMESTAMP,
};
pub use daemon_frame::{Apply, DaemonFrame, RetryAdvice, Welcome};
pub use decode::{DecodeError, decode, encode, frame_type};
pub use desired::{
    Desired, DesiredDocument, FirewallIntent, PathError, Refused, RefusedPath, WatchDepth,
    WatchPath, WatchSet,
};
pub use enroll::{EnrollRequest, EnrollResponse, Enrollment};
pub use facts::{
    Antivirus, Facts, Interface, OpenPort, OpenPorts, PendingUpdates, TimeSync, Transport,
};
pub use firewall::{
    Direction, FilterRule, FirewallAction, FirewallPolicy, FirewallRuleEntry,
    FirewallSettingsEntry, IpNetwork, Packet, PacketKind, PortRange, RefusedRule, RuleError,
    Service,
};
pub use ids::{AgentId, ContentHash, Generation};
pub use limits::{
    MAX_AGENT_FRAME_BYTES, MAX_COMMAND_BYTES, MAX_CONDITION_SUBJECTS, MAX_DAEMON_FRAME_BYTES,
    MAX_DOCUMENT_ENTRIES, MAX_EVENT_FIELDS, MAX_EVENT_TEXT_BYTES, MAX_EVENTS_PER_BATCH,
    MAX_FIREWALL_RULES, MAX_INTERFACE_ADDRESSES, MAX_INTERFACES, MAX_OPEN_PORTS, MAX_PATH_BYTES,
    MAX_PLAN_LINES, MAX_PROCESSES, MAX_USAGE_ENTRIES, MAX_VIEWER_FRAME_BYTES, MAX_WATCHED_PATHS,
    PROTOCOL_VERSION,
};
pub use log_event::{EventKind, FieldValue, Fields, LogEvent};
pub use posted::{Parties, Posted, PostedLine, PostedReport, read_posted};
pub use processes::{ProcessEntry, Processes};
pub use question::{
    Answer, CutOff, FirewallPlan, FirewallRule, HostPlan, PlannedChange, PlannedPeer, Question,
};
pub use rotate::{RotateClaim, RotateRequest, RotateResponse, rotate_path};
pub use shown::Shown;
pub use text::{Text, is_misleading, printable};
pub use usage::{DiskUse, Sensor, Usage};
pub use viewer_frame::{Refusal, StreamFrame, ViewerFrame};
