//! Which lane of the ring an event waits in: what it is about, and how dear that is.
//! It counts nothing and knows no limit.

use hidps_wire::{EventKind, LogEvent};

/// How dear an event is when there is no room for all; the least is lost first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Priority {
    /// Lines without a meaning of their own, ends of processes, usage.
    Telemetry,
    /// Programs that begin, connections, ports, audit records, and what the agent says of itself.
    Activity,
    /// Logins, sudo, accounts, the firewall and watched files.
    Security,
}

/// What an event is about. Events of one priority share its room by these, so that a flood of one
/// thing, which somebody may cause on purpose, never pushes out the others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Lane {
    /// Lines of programs.
    Lines,
    /// Processes that ended.
    Exits,
    /// How busy the host is.
    Usage,
    /// Programs that began.
    Programs,
    /// Connections and ports.
    Network,
    /// Records of the audit.
    Audit,
    /// What the agent says of itself.
    Notes,
    /// Watched files.
    Files,
    /// The packet filter.
    Firewall,
    /// Logins from elsewhere, which anybody may try.
    RemoteLogins,
    /// Logins on the host, sudo and its like, accounts.
    Logins,
}

impl Lane {
    /// All of them, in the order in which their priorities are lost.
    pub const ALL: [Self; 11] = [
        Self::Lines,
        Self::Exits,
        Self::Usage,
        Self::Programs,
        Self::Network,
        Self::Audit,
        Self::Notes,
        Self::Files,
        Self::Firewall,
        Self::RemoteLogins,
        Self::Logins,
    ];

    /// Its place among all of them.
    #[must_use]
    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// How dear its events are.
    #[must_use]
    pub const fn priority(self) -> Priority {
        match self {
            Self::Lines | Self::Exits | Self::Usage => Priority::Telemetry,
            Self::Programs | Self::Network | Self::Audit | Self::Notes => Priority::Activity,
            Self::Files | Self::Firewall | Self::RemoteLogins | Self::Logins => Priority::Security,
        }
    }

    /// The lane of an event.
    #[must_use]
    pub fn of(event: &LogEvent<'_>) -> Self {
        let has = |name| event.fields.get(name).is_some();
        match event.kind {
            EventKind::Login if has("src_ip") => Self::RemoteLogins,
            EventKind::Login => Self::Logins,
            EventKind::Firewall => Self::Firewall,
            EventKind::FileMonitoring => Self::Files,
            EventKind::AgentInfo => Self::Notes,
            EventKind::SystemUsage => Self::Usage,
            // An end says less than the beginning that was told before.
            EventKind::Process if has("ExitCode") || has("Signal") => Self::Exits,
            EventKind::Process if has("DestinationIp") || has("port") => Self::Network,
            EventKind::Process if has("Image") || has("CommandLine") => Self::Programs,
            EventKind::Process if &*event.service == "auditd" => Self::Audit,
            EventKind::Process => Self::Lines,
        }
    }
}
