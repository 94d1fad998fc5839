//! Commands that others have logged: sudo's and cron's lines quote what was run.
//! It leaves every other line as it is: there, words like `password for` are no secrets.

use hidps_wire::{FieldValue, Fields, LogEvent};

use super::redact_command;

/// Where the command begins in the lines of a program, and what closes it.
const QUOTES: [(&str, &str, &str); 3] = [
    ("sudo", "COMMAND=", ""),
    ("sudo", "(command continued) ", ""),
    ("cron", "CMD (", ")"),
];

/// The fields that hold the same command.
const FIELDS: [&str; 2] = ["COMMAND", "command"];

/// The event of a log line without the secrets of a command that it quotes.
#[must_use]
pub fn redact_logged_command(mut event: LogEvent<'_>) -> LogEvent<'_> {
    let quote = QUOTES.iter().find_map(|(service, begin, end)| {
        let is_of = event.service.as_str() == *service;
        let at = event.message.find(begin).filter(|_| is_of)? + begin.len();
        let (before, command) = event.message.split_at_checked(at)?;
        let command = command.strip_suffix(end).unwrap_or(command);
        Some((before.len(), command.len(), redact_command(command)))
    });
    let Some((start, length, shown)) = quote else {
        return event;
    };
    let message = event.message.as_str();
    if message.get(start..start + length) == Some(shown.as_str()) {
        return event;
    }
    let before = message.get(..start).unwrap_or_default();
    let after = message.get(start + length..).unwrap_or_default();
    event.message = format!("{before}{shown}{after}").into();
    let mut fields = Fields::with_capacity(event.fields.iter().count());
    for (name, value) in event.fields.iter() {
        let value = match value {
            FieldValue::Text(text) if FIELDS.contains(&name) => redact_command(text).into(),
            FieldValue::Bool(_)
            | FieldValue::Integer(_)
            | FieldValue::Number(_)
            | FieldValue::Text(_) => value.clone(),
        };
        fields.push(name.to_owned(), value);
    }
    event.fields = fields;
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalize::{LineSource, normalize};
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    fn redacted(program: &str, line: &str) -> LogEvent<'static> {
        let source = LineSource {
            program,
            seen: Timestamp::UNIX_EPOCH,
            zone: TimeZone::UTC,
        };
        redact_logged_command(normalize(line, &source).event).into_owned()
    }

    #[test]
    fn a_command_of_sudo_or_cron_loses_its_secrets_in_text_and_fields() {
        let sudo = "bob : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/usr/bin/mysql -phunter2 db";
        let sudo = redacted("sudo", sudo);
        let cron = redacted("CRON", "(root) CMD (PGPASSWORD=hunter2 pg_dump x)");
        let ambiguous = "bob : PWD=/ ; USER=root ; COMMAND=/x --token hunter2 ; USER=root";
        let ambiguous = redacted("sudo", ambiguous);

        let masked = FieldValue::from("/usr/bin/mysql -p*** db");
        assert_eq!(sudo.fields.get("COMMAND"), Some(&masked));
        assert!(sudo.message.ends_with("COMMAND=/usr/bin/mysql -p*** db"));
        assert_eq!(&*cron.message, "(root) CMD (PGPASSWORD=*** pg_dump x)");
        let masked = FieldValue::from("PGPASSWORD=*** pg_dump x");
        assert_eq!(cron.fields.get("command"), Some(&masked));
        assert!(!ambiguous.message.contains("hunter2"), "{ambiguous:?}");
    }

    #[test]
    fn other_lines_are_left_as_they_are() {
        let line = "Failed password for root from 10.0.0.1 port 5 ssh2";

        assert_eq!(&*redacted("sshd", line).message, line);
    }
}
