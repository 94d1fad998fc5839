//! Commands that others have logged: lines of sudo, cron, systemd and their like quote what was run.
//! It leaves every other line as it is: there, words like `password for` are no secrets.

mod quotes;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use hidps_wire::{FieldValue, Fields, LogEvent};

use super::{MASK, redact_command, redact_each, redact_joined};
use quotes::find_commands;

/// The fields that hold a command, or what goes before one.
const FIELDS: [&str; 3] = [COMMAND, "command", ENV];

/// Sudo's command.
const COMMAND: &str = "COMMAND";

/// The variables that sudo set for its command.
const ENV: &str = "ENV";

/// The fields that say who wrote a line, beside its service: what it calls itself.
const NAMES: [&str; 2] = ["claimed", "program"];

/// What stands before the rest of a command that sudo had no room for in one line.
const CONTINUED: &str = "(command continued) ";

/// Commands of which the rest may still come.
const MAX_BEGUN: usize = 16;

/// Most bytes of such a command; what follows is masked.
const MAX_BEGUN_BYTES: usize = 64 * 1024;

/// Takes the secrets out of the commands that log lines quote.
#[derive(Debug, Default)]
pub struct LoggedCommands {
    /// Sudo's last commands, the oldest first: what a line's first word means may only be known by
    /// the line before it.
    begun: VecDeque<Begun>,
}

/// A command as far as sudo has told it.
struct Begun {
    /// The user, and the process of sudo where it is known.
    of: (String, Option<i64>),
    text: String,
    /// Whether its last line broke off within a word.
    is_within_word: bool,
}

impl std::fmt::Debug for Begun {
    /// It is not shown: it may have secrets in it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Begun").finish_non_exhaustive()
    }
}

impl LoggedCommands {
    /// The event of a log line without the secrets of a command that it quotes.
    #[must_use]
    pub fn redact<'a>(&mut self, event: LogEvent<'a>) -> LogEvent<'a> {
        let message = event.message.as_str();
        let places = find_commands(&names_of(&event), message);
        let mut redacted = Vec::with_capacity(places.len());
        for (begin, end) in places {
            let before = message.get(..begin).unwrap_or_default();
            let text = message.get(begin..end).unwrap_or_default();
            let shown = if before.ends_with(CONTINUED) {
                self.redact_rest(author(&event), text)
            } else if before.ends_with("ENV=") {
                redact_variables(text)
            } else if before.ends_with("COMMAND=") {
                self.begin(author(&event), text);
                redact_joined(text)
            } else {
                redact_command(text)
            };
            redacted.push((begin, text.to_owned(), shown));
        }
        if redacted.iter().all(|(_, text, shown)| text == shown) {
            return event;
        }
        rewrite(event, &redacted)
    }

    /// Keeps a command until its rest has come or enough others have.
    fn begin(&mut self, of: (String, Option<i64>), text: &str) {
        self.begun.retain(|begun| begun.of != of);
        if self.begun.len() >= MAX_BEGUN {
            self.begun.pop_front();
        }
        self.begun.push_back(Begun {
            of,
            text: text.to_owned(),
            is_within_word: false,
        });
    }

    /// More of a command, by what is known of its beginning.
    fn redact_rest(&mut self, of: (String, Option<i64>), rest: &str) -> String {
        let known = self.begun.iter_mut().find(|begun| begun.of == of);
        let Some(begun) = known else {
            return redact_headless(rest);
        };
        if begun.text.len() + rest.len() > MAX_BEGUN_BYTES {
            return MASK.to_owned();
        }
        let before = redact_joined(&begun.text);
        let between = if begun.is_within_word { "" } else { " " };
        begun.text.push_str(between);
        begun.text.push_str(rest);
        // Sudo breaks a line at its last space, where it has one.
        begun.is_within_word = !rest.contains(' ');
        let whole = redact_joined(&begun.text);
        let shown = whole
            .strip_prefix(&before)
            .and_then(|shown| shown.strip_prefix(between));
        shown.unwrap_or(MASK).to_owned()
    }
}

/// What a writer calls itself, and what it is.
fn names_of<'e>(event: &'e LogEvent<'_>) -> Vec<&'e str> {
    let more = NAMES.iter().filter_map(|name| event.fields.get(name));
    let more = more.filter_map(|value| match value {
        FieldValue::Text(text) => Some(text.as_str()),
        FieldValue::Bool(_) | FieldValue::Integer(_) | FieldValue::Number(_) => None,
    });
    std::iter::once(event.service.as_str())
        .chain(more)
        .collect()
}

/// Whose line of sudo an event is.
fn author(event: &LogEvent<'_>) -> (String, Option<i64>) {
    let user = event.message.split(" : ").next().unwrap_or_default();
    let pid = match event.fields.get("pid") {
        Some(FieldValue::Integer(pid)) => Some(*pid),
        _ => None,
    };
    (user.trim().to_owned(), pid)
}

/// Variables, joined by spaces without quotes, whose values may have spaces in them.
fn redact_variables(text: &str) -> String {
    let mut variables: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match variables.last_mut().filter(|_| !is_assignment(word)) {
            Some(variable) => {
                variable.push(' ');
                variable.push_str(word);
            }
            None => variables.push(word.to_owned()),
        }
    }
    redact_each(variables.iter().map(String::as_str)).join(" ")
}

fn is_assignment(word: &str) -> bool {
    let name = word.split_once('=').map_or("", |(name, _)| name);
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(is_part)
}

/// The rest of a command whose beginning nobody has seen: its first word may be a secret by the
/// last one of the line before, and a flag one by a program that is not known.
fn redact_headless(rest: &str) -> String {
    let (first, more) = rest.split_once(' ').unwrap_or((rest, ""));
    let first = if first.starts_with('/') { first } else { MASK };
    let more = redact_joined(more);
    let more = more.split(' ').map(|word| match word.strip_prefix("-p") {
        Some(secret) if !secret.is_empty() && secret != MASK => format!("-p{MASK}"),
        Some(_) | None => word.to_owned(),
    });
    let words: Vec<_> = std::iter::once(first.to_owned()).chain(more).collect();
    words.join(" ").trim_end().to_owned()
}

/// An event with other texts in the places of some, in its message and in its fields.
fn rewrite<'a>(mut event: LogEvent<'a>, redacted: &[(usize, String, String)]) -> LogEvent<'a> {
    let message = event.message.as_str();
    let (mut told, mut from) = (String::with_capacity(message.len()), 0);
    for (begin, text, shown) in redacted {
        told.push_str(message.get(from..*begin).unwrap_or_default());
        told.push_str(shown);
        from = begin + text.len();
    }
    told.push_str(message.get(from..).unwrap_or_default());
    event.message = told.into();
    let redact = |name: &str, value: &str| {
        let known = redacted.iter().find(|(_, text, _)| text.trim() == value);
        match known {
            Some((_, _, shown)) => shown.trim().to_owned(),
            None if name == ENV => redact_variables(value),
            None if name == COMMAND => redact_joined(value),
            None => redact_command(value),
        }
    };
    let mut fields = Fields::with_capacity(event.fields.iter().count());
    for (name, value) in event.fields.iter() {
        let value = match value {
            FieldValue::Text(text) if FIELDS.contains(&name) => redact(name, text).into(),
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
