//! Messages of su, in the words of util-linux and of shadow.
//! A line in other words is kept and not interpreted.

use super::login::{Login, Outcome, Reading};

/// Reads a message.
pub(super) fn parse(message: &str) -> Reading<'_> {
    parse_util_linux(message)
        .or_else(|| parse_shadow(message))
        .into()
}

/// `[FAILED SU ](to root) bob on pts/0`
fn parse_util_linux(message: &str) -> Option<Login<'_>> {
    let (outcome, rest) = message
        .strip_prefix("FAILED SU ")
        .map_or((Outcome::Success, message), |rest| (Outcome::Failure, rest));
    let (target, rest) = rest.strip_prefix("(to ")?.split_once(") ")?;
    let (user, terminal) = rest.split_once(" on ")?;
    build(outcome, user, target, Some(terminal))
}

/// `Successful su for root by bob`, `FAILED su for root by bob`
fn parse_shadow(message: &str) -> Option<Login<'_>> {
    let (outcome, rest) = match message.strip_prefix("Successful su for ") {
        Some(rest) => (Outcome::Success, rest),
        None => (Outcome::Failure, message.strip_prefix("FAILED su for ")?),
    };
    let (target, user) = rest.split_once(" by ")?;
    build(outcome, user, target, None)
}

fn build<'a>(
    outcome: Outcome,
    user: &'a str,
    target: &'a str,
    terminal: Option<&'a str>,
) -> Option<Login<'a>> {
    // Names of this host's users have no spaces, so a text with one is something else.
    let is_name = |text: &str| !text.is_empty() && !text.contains(char::is_whitespace);
    if !is_name(user) || !is_name(target) {
        return None;
    }
    let mut more = vec![("USER", target)];
    more.extend(terminal.map(|terminal| ("TTY", terminal)));
    Some(Login {
        method: Some("su"),
        user: Some(user),
        more,
        ..Login::new(outcome)
    })
}
