//! Entries of the journal as `journalctl -o json` prints them, read as an agent reads the journal.
//! Whoever wrote the file is believed: it is for looking at rules, and no host sends such lines.

use hidps_normalize::{JournalEntry, LineSource, normalize, normalize_entry};
use hidps_wire::LogEvent;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// The name by which the arguments ask for this form.
pub(super) const FORM: &str = "journal";

/// The events of one line; one that is no entry is a line of an unknown program.
pub(super) fn normalize_entry_line(line: &str, source: &LineSource<'_>) -> Vec<LogEvent<'static>> {
    let Ok(Value::Object(fields)) = serde_json::from_str(line) else {
        let read = normalize(line, source);
        return vec![read.event.into_owned()];
    };
    let message = text(&fields, "MESSAGE").unwrap_or_default();
    let [identifier, comm, exe, unit, transport] = [
        "SYSLOG_IDENTIFIER",
        "_COMM",
        "_EXE",
        "_SYSTEMD_UNIT",
        "_TRANSPORT",
    ]
    .map(|name| text(&fields, name));
    let number = |name| text(&fields, name).and_then(|text| text.parse::<i64>().ok());
    let small = |name| number(name).and_then(|number| u32::try_from(number).ok());
    let time = number("__REALTIME_TIMESTAMP").map(Timestamp::from_microsecond);
    let entry = JournalEntry {
        message: message.trim_end(),
        identifier: identifier.as_deref(),
        pid: small("_PID"),
        uid: small("_UID"),
        comm: comm.as_deref(),
        exe: exe.as_deref(),
        unit: unit.as_deref(),
        is_kernel: transport.as_deref() == Some("kernel"),
        time: time.and_then(Result::ok).unwrap_or(source.seen),
    };
    let read = normalize_entry(&entry);
    let count = read.count as usize;
    vec![read.event.into_owned(); count]
}

/// A field: a string, the bytes of one that is not text, or the first of several.
fn text(fields: &Map<String, Value>, name: &str) -> Option<String> {
    read_text(fields.get(name)?)
}

fn read_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(values) => {
            let byte = |value: &Value| u8::try_from(value.as_u64()?).ok();
            let bytes: Option<Vec<u8>> = values.iter().map(byte).collect();
            match bytes {
                Some(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
                None => read_text(values.first().filter(|first| first.is_string())?),
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hidps_wire::FieldValue;
    use jiff::tz::TimeZone;

    fn read(line: &str) -> LogEvent<'static> {
        let source = LineSource {
            program: "unknown",
            seen: Timestamp::UNIX_EPOCH,
            zone: TimeZone::UTC,
        };
        normalize_entry_line(line, &source).remove(0)
    }

    #[test]
    fn an_entry_as_journalctl_prints_it_is_the_event_of_an_agent() {
        let event = read(
            r#"{"_UID":"0","_PID":"77","__REALTIME_TIMESTAMP":"1795255200500000","SYSLOG_IDENTIFIER":"sshd","_COMM":"sshd","_EXE":"/usr/sbin/sshd","_TRANSPORT":"syslog","MESSAGE":"Failed password for root from 192.0.2.7 port 4 ssh2"}"#,
        );

        assert_eq!(&*event.service, "sshd");
        assert_eq!(&*event.timestamp, "2026-11-21T10:00:00.500000Z");
        let field = |name| event.fields.get(name).cloned();
        assert_eq!(field("src_ip"), Some(FieldValue::from("192.0.2.7")));
        assert_eq!(field("pid"), Some(FieldValue::Integer(77)));
    }

    #[test]
    fn what_is_not_vouched_for_is_not_believed_here_either() {
        let event = read(
            r#"{"_UID":"1000","_COMM":"logger","SYSLOG_IDENTIFIER":"sshd","MESSAGE":"Failed password for root from 192.0.2.7 port 4 ssh2"}"#,
        );

        assert_eq!(&*event.service, "logger");
        assert_eq!(event.fields.get("claimed"), Some(&FieldValue::from("sshd")));
    }

    #[test]
    fn bytes_several_values_and_lines_that_are_no_entry_are_read_as_what_they_are() {
        let bytes = read(r#"{"_COMM":["a","b"],"MESSAGE":[104,105,255]}"#);
        let line = read("just a line");

        assert_eq!((&*bytes.service, &*bytes.message), ("a", "hi\u{fffd}"));
        assert_eq!(&*line.message, "just a line");
    }
}
