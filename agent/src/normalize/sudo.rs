//! Messages of sudo: who ran what as whom, and who was not allowed to.
//! Directories and commands are chosen by users: a line that repeats its own grammar is left unread.

use super::login::{Login, Outcome, Reading};

/// The keys before the command, in any order; the command is always last.
const KEYS: [&str; 7] = ["TTY", "CHROOT", "PWD", "GROUP", "USER", "TSID", "ENV"];

/// Reads `U : [reason ; ]TTY=… ; PWD=… ; USER=… ; COMMAND=…`.
pub(super) fn parse(message: &str) -> Reading<'_> {
    let Some((user, rest)) = message.trim_start().split_once(" : ") else {
        return Reading::Other;
    };
    if user.is_empty() || user.contains(char::is_whitespace) {
        return Reading::Other;
    }
    let (reason, rest) = split_reason(rest);
    let Some((head, command)) = rest.split_once("COMMAND=") else {
        return Reading::Other;
    };
    let Some(mut more) = parse_head(head) else {
        return Reading::Ambiguous;
    };
    let speaks_grammar = |key: &str| command.contains(&format!(" ; {key}="));
    if speaks_grammar("COMMAND") || KEYS.into_iter().any(speaks_grammar) {
        return Reading::Ambiguous;
    }
    more.push(("COMMAND", command));
    if let Some(reason) = reason {
        more.push(("reason", reason));
    }
    let outcome = if reason.is_some() {
        Outcome::Failure
    } else {
        Outcome::Success
    };
    Reading::Login(Box::new(Login {
        method: Some("sudo"),
        user: Some(user),
        more,
        ..Login::new(outcome)
    }))
}

/// What keeps the command from running comes before the first key.
fn split_reason(rest: &str) -> (Option<&str>, &str) {
    let begins_with_key = |text: &str| {
        let key = text.split_once('=').map(|(key, _)| key);
        key.is_some_and(|key| KEYS.contains(&key) || key == "COMMAND")
    };
    if begins_with_key(rest) {
        return (None, rest);
    }
    rest.split_once(" ; ")
        .map_or((None, rest), |(reason, rest)| (Some(reason), rest))
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
