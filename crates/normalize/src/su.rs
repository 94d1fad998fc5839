//! Messages of su, in the words of util-linux and of shadow.
//! A line in other words is kept and not interpreted.

use super::login::{Login, Outcome};
use super::reading::{Facts, Reading};

/// Reads a message.
pub(super) fn parse(message: &str) -> Reading<'_> {
    parse_util_linux(message)
        .or_else(|| parse_shadow(message))
        .or_else(|| parse_sign(message))
        .into()
}

/// `[FAILED SU ](to root) bob on pts/0`
fn parse_util_linux(message: &str) -> Option<Facts<'_>> {
    let (outcome, rest) = match message.strip_prefix("FAILED SU ") {
        Some(rest) => (Outcome::Failure, rest),
        None => (Outcome::Success, message),
    };
    let (target, rest) = rest.strip_prefix("(to ")?.split_once(") ")?;
    let (user, terminal) = rest.split_once(" on ")?;
    build(outcome, user, target, Some(terminal))
}

/// `Successful su for root by bob`, `FAILED su for root by bob`
fn parse_shadow(message: &str) -> Option<Facts<'_>> {
    let (outcome, rest) = match message.strip_prefix("Successful su for ") {
        Some(rest) => (Outcome::Success, rest),
        None => (Outcome::Failure, message.strip_prefix("FAILED su for ")?),
    };
    let (target, user) = rest.split_once(" by ")?;
    build(outcome, user, target, None)
}

/// `+ pts/0 bob:root`, `- pts/0 bob:root`: companions of the lines above.
fn parse_sign(message: &str) -> Option<Facts<'_>> {
    let rest = message
        .strip_prefix("+ ")
        .or_else(|| message.strip_prefix("- "))?;
    let (terminal, rest) = rest.split_once(' ')?;
    let (user, target) = rest.split_once(':').or_else(|| rest.split_once('-'))?;
    build(Outcome::Attempt, user, target, Some(terminal))
}

fn build<'a>(
    outcome: Outcome,
    user: &'a str,
    target: &'a str,
    terminal: Option<&'a str>,
) -> Option<Facts<'a>> {
    // Names of this host's users have no spaces, so a text with one is something else.
    let is_name = |text: &str| !text.is_empty() && !text.contains(char::is_whitespace);
    if !is_name(user) || !is_name(target) {
        return None;
    }
    let login = Login {
        method: Some("su"),
        user: Some(user),
        ..Login::new(outcome)
    };
    let facts = login.into_facts().text("USER", target);
    Some(facts.text_if("TTY", terminal))
}
