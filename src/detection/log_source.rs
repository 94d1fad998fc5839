//! Which of Sigma's log sources an event belongs to.
//! It trusts an agent about its own host, and about nothing that the daemon itself observes.

use hidps_rules::LogSource;
use hidps_wire::{EventKind, FieldValue, LogEvent};

/// What belongs to everything that comes through the system's log.
const SYSLOG: &[&str] = &["syslog"];

/// What belongs to programs that decide who is who.
const AUTH: &[&str] = &["auth", "syslog"];

/// What an agent may call itself the source of, beside the product's own service; each is the
/// whole list of `event` names it may use there, as a rule compares names without their case.
const CLAIMS: [(&str, &[&str]); 4] = [
    (
        AGENT,
        &[
            "started",
            "events_lost",
            "file_events_lost",
            "document_refused",
            "lines_unread",
            "lines_sampled",
            "source_lost",
            "events_held",
        ],
    ),
    (NETWORK, &["listening_port_opened", "listening_port_closed"]),
    (PROCESS, &["exited"]),
    (USAGE, &[]),
];

/// The service of what is said about an agent, by itself or by the daemon.
pub(super) const AGENT: &str = "agent";

/// The service of reports on processor, memory and disk.
pub(super) const USAGE: &str = "usage";

/// The service of processes that ended.
const PROCESS: &str = "process";

/// The service of ports that are listened on.
const NETWORK: &str = "network";

/// The log source of an event that an agent sent.
pub(super) fn log_source<'a>(event: &'a LogEvent<'_>) -> LogSource<'a> {
    match event.kind {
        EventKind::SystemUsage => ours(USAGE),
        EventKind::AgentInfo => ours(AGENT),
        EventKind::FileMonitoring => of_linux("file_event"),
        EventKind::Login | EventKind::Firewall => of_program(event),
        EventKind::Process => match kind_by_fields(event) {
            Some(ByFields::Execution) => of_linux("process_creation"),
            Some(ByFields::Connection) => of_linux("network_connection"),
            Some(ByFields::Port) => ours(NETWORK),
            Some(ByFields::Exit) => ours(PROCESS),
            Some(ByFields::Audit) => LogSource {
                also: &[],
                ..of_program(event)
            },
            None => of_program(event),
        },
    }
}

/// Whether the event is a line that a program logged.
pub(super) fn is_line(event: &LogEvent<'_>) -> bool {
    match event.kind {
        EventKind::Login | EventKind::Firewall => true,
        EventKind::Process => kind_by_fields(event).is_none(),
        EventKind::SystemUsage | EventKind::AgentInfo | EventKind::FileMonitoring => false,
    }
}

/// Whether an agent may use this value of the field `event`, by which the product's own rules tell
/// one thing from another; the daemon's words are not the agent's to say.
pub(super) fn may_claim(source: LogSource<'_>, value: &FieldValue<'_>) -> bool {
    if source.product != Some("hidps") {
        return true;
    }
    let claims = CLAIMS
        .iter()
        .find(|(service, _)| source.service == Some(*service));
    match (claims, value) {
        (Some((_, names)), FieldValue::Text(text)) => names.contains(&text.as_str()),
        _ => false,
    }
}

/// What an event without a kind of its own is, by the fields that only such events have.
enum ByFields {
    Execution,
    Connection,
    Port,
    Exit,
    Audit,
}

fn kind_by_fields(event: &LogEvent<'_>) -> Option<ByFields> {
    let has = |names: &[&str]| names.iter().any(|name| event.fields.get(name).is_some());
    let is = |service: &str| event.service.as_str() == service;
    if is("auditd") && has(&["type"]) {
        Some(ByFields::Audit)
    } else if is(NETWORK) && has(&["event"]) {
        Some(ByFields::Port)
    } else if is(PROCESS) && has(&["event"]) {
        Some(ByFields::Exit)
    } else if has(&["DestinationIp", "DestinationHostname", "Initiated"]) {
        Some(ByFields::Connection)
    } else if has(&["Image", "CommandLine"]) || (is(PROCESS) && has(&["ProcessId"])) {
        Some(ByFields::Execution)
    } else {
        None
    }
}

/// One of the product's own log sources.
pub(super) const fn ours(service: &str) -> LogSource<'_> {
    LogSource {
        category: None,
        product: Some("hidps"),
        service: Some(service),
        also: &[],
    }
}

const fn of_linux(category: &str) -> LogSource<'_> {
    LogSource {
        category: Some(category),
        product: Some("linux"),
        service: None,
        also: &[],
    }
}

fn of_program<'a>(event: &'a LogEvent<'_>) -> LogSource<'a> {
    let service = event.service.as_str();
    let is_by_pam = event.fields.get("pam_module").is_some();
    LogSource {
        category: None,
        product: Some("linux"),
        service: Some(service),
        also: further_services(service, is_by_pam),
    }
}

/// The names beside its program's under which rules look for a line.
fn further_services(service: &str, is_by_pam: bool) -> &'static [&'static str] {
    match service {
        "ufw" => &["kernel", "syslog"],
        "crontab" | "anacron" => &["cron", "auth", "syslog"],
        "clamd" | "clamscan" | "clamdscan" | "clamonacc" | "freshclam" => &["clamav", "syslog"],
        "guacd" => &["guacamole", "syslog"],
        "sshd"
        | "sudo"
        | "su"
        | "login"
        | "cron"
        | "doas"
        | "pkexec"
        | "polkitd"
        | "polkit-agent-helper-1"
        | "systemd-logind"
        | "unix_chkpwd"
        | "runuser"
        | "useradd"
        | "userdel"
        | "usermod"
        | "groupadd"
        | "groupdel"
        | "groupmod"
        | "gpasswd"
        | "chage"
        | "chfn"
        | "chsh"
        | "passwd"
        | "chpasswd"
        | "newusers" => AUTH,
        _ if is_by_pam => AUTH,
        _ => SYSLOG,
    }
}
