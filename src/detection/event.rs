//! The one place where a log event becomes what rules see: Sigma's log source and field names.
//! The envelope stays outside the fields, so that an agent's `type` never meets auditd's.

use hidps_rules::{Event, LogSource, Value};
use hidps_wire::{EventKind, FieldValue, LogEvent};

/// The fields of an event as rules see them.
#[must_use]
pub(super) fn rule_fields<'a>(event: &'a LogEvent<'_>) -> Vec<(&'a str, Value<'a>)> {
    let value = |value: &'a FieldValue<'_>| match value {
        FieldValue::Bool(truth) => Value::Bool(*truth),
        FieldValue::Integer(number) => Value::Int(*number),
        FieldValue::Number(number) => Value::Float(*number),
        FieldValue::Text(text) => Value::Str(text.as_str()),
    };
    event
        .fields
        .iter()
        .map(|(name, field)| (name, value(field)))
        .collect()
}

/// The event as rules see it, over its own fields.
#[must_use]
pub(super) fn rule_event<'a>(
    event: &'a LogEvent<'_>,
    fields: &'a [(&'a str, Value<'a>)],
) -> Event<'a> {
    Event {
        logsource: log_source(event),
        message: &event.message,
        fields,
    }
}

fn log_source<'a>(event: &'a LogEvent<'_>) -> LogSource<'a> {
    let linux = |category, service| LogSource {
        category,
        product: Some("linux"),
        service,
        also: &[],
    };
    let ours = |service| LogSource {
        category: None,
        product: Some("hidps"),
        service,
        also: &[],
    };
    match event.kind {
        EventKind::Login | EventKind::Firewall => linux(None, Some(event.service.as_str())),
        EventKind::FileMonitoring => linux(Some("file_event"), None),
        EventKind::Process if is_execution(event) => linux(Some("process_creation"), None),
        EventKind::Process => linux(None, Some(event.service.as_str())),
        EventKind::SystemUsage => ours(Some("usage")),
        EventKind::AgentInfo => ours(Some("agent")),
    }
}

/// Whether the event is the start of a process; otherwise it is a line that a program logged.
fn is_execution(event: &LogEvent<'_>) -> bool {
    ["Image", "CommandLine"]
        .iter()
        .any(|name| event.fields.get(name).is_some())
}
