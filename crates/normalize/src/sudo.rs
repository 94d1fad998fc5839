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
    let ending = split_ending(command).filter(|_| reason.is_none());
    let facts = match (&ending, reason) {
        (Some(_), _) => Facts::action("command_ended").text("user", user),
        (None, Some(_)) => begin(user, Outcome::Failure),
        (None, None) => begin(user, Outcome::Success),
    };
    let facts = keys
        .into_iter()
        .fold(facts, |facts, (key, value)| facts.text(key, value));
    match (ending, reason) {
        (Some(ending), _) => add_ending(facts, &ending).into(),
        (None, Some(reason)) => add_reason(facts.text("COMMAND", command), reason).into(),
        (None, None) => facts.text("COMMAND", command).into(),
    }
}

/// What a user was or was not allowed to do.
fn begin(user: &str, outcome: Outcome) -> Facts<'_> {
    let login = Login {
        method: Some("sudo"),
        user: Some(user),
        ..Login::new(outcome)
    };
    login.into_facts()
}

/// How a command that was told of when it began has ended.
struct Ending<'a> {
    command: &'a str,
    signal: Option<&'a str>,
    status: u32,
}

/// Reads the line that `log_exit_status` adds: `… ; COMMAND=… ; SIGNAL=… ; EXIT=…`.
fn split_ending(command: &str) -> Option<Ending<'_>> {
    let (rest, status) = command.rsplit_once(" ; EXIT=")?;
    let status = parse_number(status)?;
    let is_signal = |name: &&str| name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let signalled = rest.rsplit_once(" ; SIGNAL=");
    Some(match signalled.filter(|(_, name)| is_signal(name)) {
        Some((command, name)) => Ending {
            command,
            signal: Some(name),
            status,
        },
        None => Ending {
            command: rest,
            signal: None,
            status,
        },
    })
}

/// The command again, and how it ended.
fn add_ending<'a>(facts: Facts<'a>, ending: &Ending<'a>) -> Facts<'a> {
    let facts = facts.text("COMMAND", ending.command);
    let facts = facts.number("exit", ending.status);
    match ending.signal {
        Some(name) => facts.text("signal", name),
        None => facts,
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
