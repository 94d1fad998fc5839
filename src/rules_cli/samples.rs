//! Events from files for whoever looks at rules: JSON as agents send it, or raw lines of a log.
//! It never takes a text for an event that an agent could not have sent.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use hidps_normalize::{LineSource, normalize};
use hidps_wire::{LogEvent, MAX_AGENT_FRAME_BYTES, decode};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::RulesCliError;
use super::journal_lines::{self, normalize_entry_line};

/// Largest file of events: more than anybody wants to wait for.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// Reads a file, or standard input for `-`.
pub(super) fn read_text(path: &Path) -> Result<String, RulesCliError> {
    let shown = path.display();
    let fault = |error: io::Error| {
        RulesCliError::Events(format!(
            "cannot read the events in {shown}: {error}; name a file, or - for standard input"
        ))
    };
    let mut text = String::new();
    let n_bytes = if path == Path::new("-") {
        io::stdin()
            .lock()
            .take(MAX_BYTES + 1)
            .read_to_string(&mut text)
    } else {
        let file = File::open(path).map_err(fault)?;
        file.take(MAX_BYTES + 1).read_to_string(&mut text)
    };
    if n_bytes.map_err(fault)? as u64 > MAX_BYTES {
        let text = format!("{shown} has more than {MAX_BYTES} bytes; name a part of it");
        return Err(RulesCliError::Events(text));
    }
    Ok(text)
}

/// The events of a text: one JSON object, perhaps over several lines, or one a line.
pub(super) fn parse_events(text: &str) -> Result<Vec<LogEvent<'_>>, RulesCliError> {
    let whole = decode::<LogEvent<'_>>(text.trim(), MAX_AGENT_FRAME_BYTES);
    if let Ok(event) = whole {
        return Ok(vec![event]);
    }
    let lines = text.lines().enumerate();
    let filled = lines.filter(|(_, line)| !line.trim().is_empty());
    let events: Result<Vec<_>, _> = filled
        .map(|(index, line)| {
            decode(line.trim(), MAX_AGENT_FRAME_BYTES).map_err(|error| {
                RulesCliError::Events(format!(
                    "line {} is no event: {error}; for a raw line of a log, say which program wrote it, as \
                     with --program sshd; an event is written as agents send it, such as {EXAMPLE}",
                    index + 1
                ))
            })
        })
        .collect();
    let events = events?;
    if events.is_empty() {
        let text = format!("there is no event; write one as agents send it, such as {EXAMPLE}");
        return Err(RulesCliError::Events(text));
    }
    Ok(events)
}

/// The events that an agent would make of raw lines; an empty line is none.
/// With the name `journal` for the program they are entries as `journalctl -o json` prints them.
pub(super) fn normalize_lines<'a>(text: &'a str, program: &'a str) -> Vec<LogEvent<'a>> {
    let source = LineSource {
        program,
        seen: Timestamp::now(),
        zone: TimeZone::UTC,
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    if program == journal_lines::FORM {
        return lines
            .flat_map(|line| normalize_entry_line(line, &source))
            .collect();
    }
    let repeated = |line| {
        let read = normalize(line, &source);
        std::iter::repeat_n(read.event, read.count as usize)
    };
    lines.flat_map(repeated).collect()
}

/// An event that can be copied and changed.
const EXAMPLE: &str = r#"{"timestamp":"2026-11-21T10:00:00Z","type":"login","service":"sshd","message":"Failed password for root from 192.0.2.7 port 4 ssh2","fields":{"outcome":"failure","user":"root","src_ip":"192.0.2.7"}}"#;

/// The time an event claims, in milliseconds; an unreadable one is that of the event before.
pub(super) fn claimed_ms(event: &LogEvent<'_>, before: i64) -> i64 {
    let time: Result<Timestamp, _> = event.timestamp.parse();
    time.map_or(before, Timestamp::as_millisecond)
}

/// The time of a bare event, in milliseconds: RFC 3339 text, or a number of seconds or milliseconds
/// since 1970.
pub(super) fn instant_ms(value: &Value) -> Option<i64> {
    if let Some(text) = value.as_str() {
        return text.parse().ok().map(Timestamp::as_millisecond);
    }
    let number = value.as_f64()?;
    // As seconds this would be past the year 5000; as milliseconds it is after March 1973.
    let seconds = if number.abs() < 1e11 {
        number
    } else {
        number / 1000.0
    };
    let since_epoch = SignedDuration::try_from_secs_f64(seconds).ok()?;
    let at = Timestamp::from_duration(since_epoch).ok()?;
    Some(at.as_millisecond())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_example_is_an_event() {
        assert_eq!(parse_events(EXAMPLE).expect("it is one").len(), 1);
    }

    #[test]
    fn one_event_may_take_several_lines_and_several_take_one_each() {
        let spread = EXAMPLE.replace(',', ",\n");
        let two = format!("{EXAMPLE}\n\n{EXAMPLE}\n");

        assert_eq!(parse_events(&spread).expect("it is one").len(), 1);
        assert_eq!(parse_events(&two).expect("they are two").len(), 2);
    }

    #[test]
    fn a_line_that_is_no_event_is_named() {
        let text = format!("{EXAMPLE}\nFailed password\n");

        let error = parse_events(&text).expect_err("it is none").to_string();

        assert!(error.starts_with("line 2 is no event"), "{error}");
        assert!(parse_events(" \n").is_err());
    }

    #[test]
    fn times_of_bare_events_are_text_seconds_or_milliseconds() {
        let at = Some(1_795_255_200_500);

        assert_eq!(instant_ms(&json!("2026-11-21T10:00:00.5Z")), at);
        assert_eq!(instant_ms(&json!(1_795_255_200.5)), at);
        assert_eq!(instant_ms(&json!(1_795_255_200_500_i64)), at);
        for odd in [json!("yesterday"), json!(null), json!([1]), json!(1e300)] {
            assert_eq!(instant_ms(&odd), None, "{odd}");
        }
    }
}
