//! The one place where an event becomes what rules see: Sigma's log source and field names.
//! The envelope stays outside the fields, so that an agent's `type` never meets auditd's.

use hidps_rules::{Event, LogSource, Value};
use hidps_wire::{FieldValue, LogEvent};

use crate::detection::log_source::{is_line, log_source, may_claim};

/// What the kernel adds to the path of a program whose file is gone.
const DELETED: &str = " (deleted)";

/// The name under which rules see an `event` that an agent may not claim.
const CLAIMED_EVENT: &str = "claimed_event";

/// An event of an agent as rules see it, borrowed from the one that arrived.
#[derive(Debug)]
pub(super) struct RuleView<'a> {
    source: LogSource<'a>,
    message: &'a str,
    fields: Vec<(&'a str, Value<'a>)>,
}

impl<'a> RuleView<'a> {
    /// The view of an event.
    #[must_use]
    pub(super) fn of(event: &'a LogEvent<'_>) -> Self {
        let source = log_source(event);
        // One for the program's name, one for a program whose file is gone.
        let mut fields = Vec::with_capacity(event.fields.iter().count() + 2);
        for (name, field) in event.fields.iter() {
            match name {
                "event" if !may_claim(source, field) => {
                    fields.push((CLAIMED_EVENT, value(field)));
                }
                "Image" | "ParentImage" => push_image(&mut fields, name, field),
                _ => fields.push((name, value(field))),
            }
        }
        // Rules search a line as a file holds it, and there the program's name is part of it.
        if is_line(event) && event.fields.get("program").is_none() {
            fields.push(("program", Value::Str(event.service.as_str())));
        }
        Self {
            source,
            message: &event.message,
            fields,
        }
    }

    /// The event for the engine.
    #[must_use]
    pub(super) fn event(&self) -> Event<'_> {
        Event {
            logsource: self.source,
            message: self.message,
            fields: &self.fields,
        }
    }
}

fn value<'a>(field: &'a FieldValue<'_>) -> Value<'a> {
    match field {
        FieldValue::Bool(truth) => Value::Bool(*truth),
        FieldValue::Integer(number) => Value::Int(*number),
        FieldValue::Number(number) => Value::Float(*number),
        FieldValue::Text(text) => Value::Str(text.as_str()),
    }
}

/// A program's path as rules know it; that its file is gone is told apart, as rules compare ends.
fn push_image<'a>(
    fields: &mut Vec<(&'a str, Value<'a>)>,
    name: &'a str,
    field: &'a FieldValue<'_>,
) {
    let FieldValue::Text(text) = field else {
        return fields.push((name, value(field)));
    };
    match text.as_str().strip_suffix(DELETED) {
        Some(path) => {
            fields.push((name, Value::Str(path)));
            if name == "Image" {
                fields.push(("ImageDeleted", Value::Bool(true)));
            }
        }
        None => fields.push((name, Value::Str(text.as_str()))),
    }
}

#[cfg(test)]
mod tests;
