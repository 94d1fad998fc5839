//! The fields that events of a log source have, where that is known.
//! It never refuses a rule: lint asks it what is most likely a slip of the pen.

use crate::reading::metadata::read_text;
use crate::reading::yaml::Node;

/// Fields of a started process.
const PROCESS: &[&str] = &[
    "CommandLine",
    "CurrentDirectory",
    "Image",
    "ImageDeleted",
    "LogonId",
    "ParentCommandLine",
    "ParentImage",
    "ParentProcessId",
    "ProcessId",
    "User",
];

/// Fields of a changed file.
const FILE: &[&str] = &[
    "CommandLine",
    "Image",
    "ProcessId",
    "SourceFilename",
    "TargetFilename",
    "User",
    "action",
    "group_id",
    "mode",
    "old_group_id",
    "old_mode",
    "old_owner",
    "old_sha256",
    "owner",
    "setuid",
    "sha256",
    "size",
    "unhashed",
    "watched",
];

/// Fields of a connection.
const CONNECTION: &[&str] = &[
    "DestinationHostname",
    "DestinationIp",
    "DestinationPort",
    "Image",
    "Initiated",
    "Protocol",
    "SourceIp",
    "SourcePort",
    "User",
];

/// Fields of log lines, of whatever program.
const LINE: &[&str] = &[
    "CHROOT",
    "COMMAND",
    "ENV",
    "GROUP",
    "HOST",
    "PWD",
    "TSID",
    "TTY",
    "USER",
    "action",
    "address",
    "ambiguous",
    "attempts",
    "by",
    "by_uid",
    "command",
    "device",
    "dst_ip",
    "dst_port",
    "flags",
    "gid",
    "group",
    "home",
    "icmp_code",
    "icmp_type",
    "in",
    "invalid_user",
    "length",
    "mac",
    "members",
    "message",
    "method",
    "module",
    "new_user",
    "out",
    "outcome",
    "pam_module",
    "pam_service",
    "pid",
    "port",
    "preauth",
    "prefix",
    "process",
    "program",
    "proto",
    "reason",
    "result",
    "shell",
    "src_ip",
    "src_port",
    "subsystem",
    "target_user",
    "ttl",
    "uid",
    "unit",
    "user",
    "user_unit",
];

/// Services whose lines are taken apart.
const LINE_SERVICES: [&str; 10] = [
    "auth", "cron", "kernel", "su", "sshd", "sudo", "syslog", "systemd", "ufw", "useradd",
];

/// The fields of the events that a document is about; nothing where they are not known.
pub(crate) fn fields_of(document: &Node) -> Option<Vec<&'static str>> {
    let source = document.get("logsource")?;
    let part = |key| read_text(source, key).ok().flatten().unwrap_or_default();
    let (category, product, service) = (part("category"), part("product"), part("service"));
    if product != "linux" {
        return None;
    }
    let own = match (category.as_str(), service.as_str()) {
        ("process_creation", "") => PROCESS,
        ("file_event", "") => FILE,
        ("network_connection", "") => CONNECTION,
        ("", service) if LINE_SERVICES.contains(&service) => LINE,
        _ => return None,
    };
    Some(own.iter().copied().chain(["message"]).collect())
}

/// The known field that differs only in case or signs from an unknown one.
pub(crate) fn resembling<'k>(field: &str, known: &[&'k str]) -> Option<&'k str> {
    let bare = |name: &str| -> String {
        let letters = name.chars().filter(|letter| letter.is_alphanumeric());
        letters.flat_map(char::to_lowercase).collect()
    };
    let wanted = bare(field);
    known.iter().copied().find(|name| bare(name) == wanted)
}
