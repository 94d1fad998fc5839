//! Messages of sudo: who ran what as whom, and who was not allowed to.
//! Directories and commands are chosen by users: a line that repeats its own grammar is left unread.

use super::address::parse_number;
use super::login::{Login, Outcome};
use super::reading::{Facts, Reading};

/// The keys before the command, in any order; the command is always last.
const KEYS: [&str; 8] = [
    "HOST", "TTY", "CHROOT", "PWD", "GROUP", "USER", "TSID", "ENV",
];

/// Reads `U : [reason ; ]TTY=… ; PWD=… ; USER=… ; COMMAND=…`.
pub(super) fn parse(message: &str) -> Reading<'_> {
    let Some((user, rest)) = message.trim_start().split_once(" : ") else {
        return Reading::Other;
    };
    if user.is_empty() || user.contains(char::is_whitespace) {
        return Reading::Other;
    }
    if let Some(rest) = rest.strip_prefix("(command continued) ") {
        let facts = Facts::action("command_continued").text("user", user);
        return facts.text("COMMAND", rest).into();
    }
    let (reason, rest) = split_reason(rest);
    let Some((head, command)) = rest.split_once("COMMAND=") else {
        return Reading::Other;
    };
    let Some(keys) = parse_head(head) else {
        return Reading::Ambiguous;
    };
    let mut parts = command.split(" ; ").skip(1);
    if parts.any(|part| split_key(part).is_some()) {
        return Reading::Ambiguous;
    }
    let outcome = if reason.is_some() {
        Outcome::Failure
    } else {
        Outcome::Success
    };
    let login = Login {
        method: Some("sudo"),
        user: Some(user),
        ..Login::new(outcome)
    };
    let facts = keys
        .into_iter()
        .fold(login.into_facts(), |facts, (key, value)| {
            facts.text(key, value)
        });
    let facts = facts.text("COMMAND", command);
    match reason {
        Some(reason) => add_reason(facts, reason).into(),
        None => facts.into(),
    }
}

/// The reason in sudo's words, and by a name where it is a known one.
fn add_reason<'a>(facts: Facts<'a>, reason: &'a str) -> Facts<'a> {
    let facts = facts.text("reason", reason);
    let attempts = reason
        .strip_suffix(" incorrect password attempts")
        .or_else(|| reason.strip_suffix(" incorrect password attempt"))
        .and_then(parse_number::<u32>);
    if let Some(attempts) = attempts {
        let facts = facts.text("action", "incorrect_password");
        return facts.number("attempts", attempts);
    }
    let action = match reason {
        "user NOT in sudoers" | "user NOT authorized on host" => "not_in_sudoers",
        "command not allowed" => "command_not_allowed",
        "no tty" => "no_tty",
        "a password is required" => "password_required",
        _ => return facts,
    };
    facts.text("action", action)
}

/// What keeps the command from running comes before the first key.
fn split_reason(rest: &str) -> (Option<&str>, &str) {
    if split_key(rest).is_some() {
        return (None, rest);
    }
    rest.split_once(" ; ")
        .map_or((None, rest), |(reason, rest)| (Some(reason), rest))
}

/// `KEY=VALUE`, with a key of sudo's own.
fn split_key(part: &str) -> Option<(&str, &str)> {
    let (key, value) = part.split_once('=')?;
    (key == "COMMAND" || KEYS.contains(&key)).then_some((key, value))
}

/// `TTY=… ; PWD=… ; USER=… ; `: each key at most once, and nothing between them.
fn parse_head(head: &str) -> Option<Vec<(&'static str, &str)>> {
    let mut found: Vec<(&'static str, &str)> = Vec::new();
    let head = head.strip_suffix(" ; ").unwrap_or(head);
    for part in head.split(" ; ").filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=')?;
        let key = KEYS.into_iter().find(|known| *known == key)?;
        if found.iter().any(|(known, _)| *known == key) {
            return None;
        }
        found.push((key, value));
    }
    Some(found)
}
