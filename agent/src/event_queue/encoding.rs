//! The text form of an event, cut so that the daemon always accepts it.
//! It never drops an event: what is too long is shortened and marked.

use crate::text::cut;
use hidps_wire::{FieldValue, Fields, LogEvent, MAX_AGENT_FRAME_BYTES, MAX_EVENT_TEXT_BYTES, Text};

/// Longest encoded event, half a frame: escapes can make a text six times as long, and the
/// envelope needs room.
const MAX_ENCODED_BYTES: usize = MAX_AGENT_FRAME_BYTES / 2;

/// What is left of the texts of an event that is too long in its encoded form.
const SHORT_TEXT_BYTES: usize = 8 * 1024;

/// What is left of the texts of an event whose many fields are still too long.
const SHORTEST_TEXT_BYTES: usize = 256;

/// The event as JSON, within every limit of the protocol.
pub(super) fn encode_within_limits(event: LogEvent<'_>) -> String {
    let event = if event.is_within_limits() {
        event
    } else {
        shorten(event, MAX_EVENT_TEXT_BYTES)
    };
    let text = hidps_wire::encode(&event);
    if text.len() <= MAX_ENCODED_BYTES {
        return text;
    }
    let event = shorten(event, SHORT_TEXT_BYTES);
    let text = hidps_wire::encode(&event);
    if text.len() <= MAX_ENCODED_BYTES {
        return text;
    }
    hidps_wire::encode(&shorten(event, SHORTEST_TEXT_BYTES))
}

/// Cuts every text to a length and says so in the field `truncated`.
fn shorten(event: LogEvent<'_>, max: usize) -> LogEvent<'_> {
    let mut fields = Fields::default();
    fields.push("truncated", FieldValue::Bool(true));
    for (name, value) in event.fields.iter() {
        if name == "truncated" {
            continue;
        }
        let name = cut(name, max).to_owned();
        let value = match value {
            FieldValue::Text(text) => FieldValue::from(cut(text, max).to_owned()),
            FieldValue::Bool(value) => FieldValue::Bool(*value),
            FieldValue::Integer(value) => FieldValue::Integer(*value),
            FieldValue::Number(value) => FieldValue::Number(*value),
        };
        fields.push(name, value);
    }
    let cut_text = |text: &Text<'_>| Text::from(cut(text, max).to_owned());
    LogEvent {
        timestamp: cut_text(&event.timestamp),
        kind: event.kind,
        service: cut_text(&event.service),
        message: cut_text(&event.message),
        fields,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hidps_wire::{EventKind, MAX_EVENT_FIELDS, decode};
    use proptest::prelude::*;

    fn event(message: String, field: String, n_fields: usize) -> LogEvent<'static> {
        let mut fields = Fields::default();
        for number in 0..n_fields {
            fields.push(format!("f{number}"), field.clone());
        }
        LogEvent {
            timestamp: "2026-11-21T01:02:03Z".into(),
            kind: EventKind::Process,
            service: "test".into(),
            message: message.into(),
            fields,
        }
    }

    proptest! {
        // Each case encodes up to megabytes.
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn whatever_the_texts_the_daemon_can_read_it(
            unit in "\\PC|\u{1}|é|\n|\"",
            repeats in 1_usize..40_000,
            n_fields in 0_usize..=MAX_EVENT_FIELDS,
        ) {
            let text = unit.repeat(repeats);

            let encoded = encode_within_limits(event(text.clone(), text, n_fields));

            let read: LogEvent<'_> = decode(&encoded, MAX_ENCODED_BYTES).unwrap();
            prop_assert!(read.is_within_limits());
        }
    }

    #[test]
    fn an_ordinary_event_is_left_as_it_is() {
        let event = event("a line".to_owned(), "a value".to_owned(), 3);

        let encoded = encode_within_limits(event.clone());

        assert_eq!(encoded, hidps_wire::encode(&event));
    }

    #[test]
    fn a_cut_event_says_so() {
        let encoded = encode_within_limits(event("x".repeat(40_000), String::new(), 0));

        let read: LogEvent<'_> = decode(&encoded, MAX_ENCODED_BYTES).unwrap();
        assert_eq!(read.fields.get("truncated"), Some(&FieldValue::Bool(true)));
        assert_eq!(read.message.len(), MAX_EVENT_TEXT_BYTES);
    }
}
