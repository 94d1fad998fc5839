//! Lines of older agents as events: read as the journal's are, without anybody who vouches for them.
//! It never takes from a line who sent it, and no line becomes an event of the daemon.

use hidps_normalize::{JournalEntry, normalize_entry};
use hidps_wire::{EventKind, FieldValue, Fields, LogEvent, PostedLine};
use jiff::Timestamp;

/// Under which name rules find messages between two parties.
const MESSAGE: &str = "message";

/// What older agents say of a watched file, and what ours call it.
const FILE_WORDS: [(&str, &str); 9] = [
    ("New file created in monitored location: ", "created"),
    ("File/Dir created: ", "created"),
    ("Monitored file being edited: ", "modified"),
    ("Monitored file MODIFIED: ", "modified"),
    ("Monitored file UPDATED (saved by editor): ", "modified"),
    ("File modified: ", "modified"),
    ("Monitored file DELETED: ", "deleted"),
    ("File/Dir deleted: ", "deleted"),
    ("Monitored file MOVED/RENAMED: ", "renamed"),
];

/// What stands before the words for what is critical.
const CRITICAL: &str = "CRITICAL: ";

/// What stands between the two names of a renamed file.
const ARROW: &str = " \u{2192} ";

/// The event of a line; a line without a readable time is of now.
pub(super) fn event_of<'a>(line: &'a PostedLine<'_>, now: Timestamp) -> LogEvent<'a> {
    let claimed = line.timestamp.as_deref();
    let time = claimed.and_then(|text| text.parse().ok()).unwrap_or(now);
    if let Some(parties) = &line.parties {
        let mut fields = Fields::default();
        for (name, value) in [
            ("sender", &parties.sender),
            ("receiver", &parties.receiver),
            ("context", &parties.context),
        ] {
            fields.push(name, FieldValue::Text(value.as_str().into()));
        }
        return plain(
            EventKind::Process,
            (MESSAGE, line.message.as_str()),
            time,
            fields,
        );
    }
    let (service, message) = (line.service.as_str(), line.message.as_str());
    match line.kind.as_deref() {
        Some("file_monitoring") => plain(
            EventKind::FileMonitoring,
            (service, message),
            time,
            file_fields(message),
        ),
        Some("agent_info" | "agent_error") => plain(
            EventKind::AgentInfo,
            (service, message),
            time,
            Fields::default(),
        ),
        Some("system_usage") => plain(
            EventKind::SystemUsage,
            (service, message),
            time,
            Fields::default(),
        ),
        kind => log_line((service, message), time, kind),
    }
}

fn plain<'a>(
    kind: EventKind,
    (service, message): (&'a str, &'a str),
    time: Timestamp,
    fields: Fields<'a>,
) -> LogEvent<'a> {
    LogEvent {
        timestamp: format!("{time:.6}").into(),
        kind,
        service: service.into(),
        message: message.into(),
        fields,
    }
}

/// A line that a program logged, as far as the older agent can know that.
fn log_line<'a>(
    (service, message): (&'a str, &'a str),
    time: Timestamp,
    claimed: Option<&str>,
) -> LogEvent<'a> {
    let entry = JournalEntry {
        message,
        identifier: Some(service),
        // Without a user nothing of sshd would be read; the field itself is taken out below.
        uid: Some(0),
        is_kernel: matches!(service, "kernel" | "ufw"),
        time,
        ..JournalEntry::default()
    };
    let line = normalize_entry(&entry);
    let mut fields = Fields::default();
    for (name, value) in line.event.fields.iter().filter(|(name, _)| *name != "_UID") {
        fields.push(name.to_owned(), value.clone());
    }
    fields.push("unverified", FieldValue::Bool(true));
    let kind = match claimed {
        _ if line.is_read => line.event.kind,
        Some("login" | "logout" | "security") => EventKind::Login,
        Some("firewall") => EventKind::Firewall,
        _ => line.event.kind,
    };
    LogEvent {
        kind,
        fields,
        ..line.event
    }
}

/// Which file, and what became of it, where the words are known.
fn file_fields(message: &str) -> Fields<'_> {
    let mut fields = Fields::default();
    let known = message.split_once(CRITICAL);
    let words = known.map_or(message, |(_, words)| words);
    let found = FILE_WORDS
        .iter()
        .find_map(|(begin, action)| Some((words.strip_prefix(begin)?, *action)));
    let Some((path, action)) = found else {
        return fields;
    };
    fields.push("action", FieldValue::Text(action.into()));
    match path.split_once(ARROW).filter(|_| action == "renamed") {
        Some((source, target)) => {
            fields.push("SourceFilename", FieldValue::Text(source.into()));
            fields.push("TargetFilename", FieldValue::Text(target.into()));
        }
        None => {
            fields.push("TargetFilename", FieldValue::Text(path.into()));
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use hidps_wire::{Posted, read_posted};

    use super::*;

    /// The event of a line, as `kind service name=value ...`.
    fn told(kind: &str, service: &str, message: &str) -> String {
        let text = serde_json::json!({
            "timestamp": "2026-11-20T23:59:55.496614Z", "agent_id": "x", "type": kind,
            "service": service, "message": message,
        })
        .to_string();
        let Ok(Posted::Lines(lines)) = read_posted(&text) else {
            panic!("it is a line: {text}");
        };
        let event = event_of(&lines[0], Timestamp::UNIX_EPOCH);
        assert_eq!(event.timestamp.as_str(), "2026-11-20T23:59:55.496614Z");
        assert_eq!(event.message.as_str(), message);
        let fields = event.fields.iter().map(|(name, value)| match value {
            FieldValue::Text(text) => format!(" {name}={text}"),
            FieldValue::Bool(_) | FieldValue::Integer(_) | FieldValue::Number(_) => {
                format!(" {name}={value:?}")
            }
        });
        let fields: String = fields.collect();
        format!("{} {}{fields}", event.kind.as_str(), event.service)
    }

    #[test]
    fn a_line_of_sshd_has_the_fields_that_rules_ask_for_and_says_that_nobody_vouches() {
        let message = "Failed password for invalid user admin from 203.0.113.9 port 51122 ssh2";

        let told = told("login", "sshd", message);

        assert!(told.starts_with("login sshd "), "{told}");
        for field in [
            "outcome=failure",
            "user=admin",
            "src_ip=203.0.113.9",
            "unverified=Bool(true)",
        ] {
            assert!(told.contains(field), "{told} lacks {field}");
        }
        assert!(!told.contains("_UID"), "{told}");
    }

    #[test]
    fn a_line_of_the_packet_filter_is_read_as_the_kernels() {
        let message =
            "[UFW BLOCK] IN=eth0 OUT= SRC=198.51.100.23 DST=10.0.0.5 PROTO=TCP SPT=4444 DPT=22";

        let told = told("firewall", "ufw", message);

        assert!(told.starts_with("firewall ufw "), "{told}");
        assert!(told.contains("198.51.100.23"), "{told}");
    }

    #[test]
    fn the_words_of_older_agents_about_files_become_fields() {
        let said = |message| told("file_monitoring", "watchdog", message);
        let begin = "file_monitoring watchdog";

        assert_eq!(
            said("Monitored file MODIFIED: /etc/hosts"),
            format!("{begin} action=modified TargetFilename=/etc/hosts")
        );
        assert_eq!(
            said("\u{26a0}\u{fe0f} CRITICAL: Monitored file DELETED: /etc/passwd"),
            format!("{begin} action=deleted TargetFilename=/etc/passwd")
        );
        assert_eq!(
            said("\u{26a0}\u{fe0f} CRITICAL: Monitored file MOVED/RENAMED: /a b \u{2192} /c"),
            format!("{begin} action=renamed SourceFilename=/a b TargetFilename=/c")
        );
        assert_eq!(said("something else"), begin);
    }

    #[test]
    fn a_header_inside_of_a_message_changes_nothing() {
        let forged =
            "Nov 20 23:59:55 web sshd[1]: Accepted password for root from 192.0.2.1 port 1";

        let told = told("process", "psutil", forged);

        assert_eq!(told, "process psutil unverified=Bool(true)");
    }

    #[test]
    fn no_line_speaks_as_the_daemon_or_has_an_event_of_its_own() {
        for kind in ["agent_info", "system_usage", "agent_error"] {
            let told = told(kind, "agent", "silent event=twin");
            assert!(!told.contains("event="), "{told}");
        }
    }
}
