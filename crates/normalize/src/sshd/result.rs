//! What became of an attempt to log in.
//! It never takes a part of a user's name or of a certificate for an address.

use crate::address::Endpoint;
use crate::login::{Login, Outcome};
use crate::reading::Reading;

/// Reads a message.
pub(super) fn parse(message: &str) -> Reading<'_> {
    let results = [
        ("Accepted ", Outcome::Success),
        ("Failed ", Outcome::Failure),
        ("Postponed ", Outcome::Attempt),
        ("Partial ", Outcome::Attempt),
    ];
    for (word, outcome) in results {
        if let Some(rest) = message.strip_prefix(word) {
            return parse_result(rest, outcome);
        }
    }
    if let Some(rest) = message.strip_prefix("maximum authentication attempts exceeded for ") {
        let reading = read_target(rest, Login::new(Outcome::Aborted));
        return reading.map(|facts| facts.text("action", "too_many_failures"));
    }
    let login = parse_invalid_user(message)
        .or_else(|| parse_pam_error(message))
        .or_else(|| parse_request(message));
    login.map_or(Reading::Other, Reading::from)
}

/// `METHOD for [invalid user ]U from A port N ssh2[: TYPE FINGERPRINT]`
fn parse_result(rest: &str, outcome: Outcome) -> Reading<'_> {
    let Some((method, rest)) = rest.split_once(" for ") else {
        return Reading::Other;
    };
    let is_method = |b: u8| b.is_ascii_alphanumeric() || b"-/".contains(&b);
    if !method.bytes().all(is_method) {
        return Reading::Other;
    }
    // A client asks with "none" which methods there are; nothing was tried.
    let outcome = match (outcome, method) {
        (Outcome::Failure, "none") => Outcome::Attempt,
        (outcome, _) => outcome,
    };
    let login = Login {
        method: Some(method),
        ..Login::new(outcome)
    };
    read_target(rest, login)
}

/// `[invalid user ]U from A port N ssh2…`: all ways to split it are tried. One is the truth; two
/// mean that somebody chose a name or a certificate that looks like the other half.
fn read_target<'a>(rest: &'a str, login: Login<'a>) -> Reading<'a> {
    // No real user has a space in the name.
    let (invalid, rest) = match rest.strip_prefix("invalid user ") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let mut readings = rest.match_indices(" from ").filter_map(|(at, separator)| {
        let (user, tail) = (rest.get(..at)?, rest.get(at + separator.len()..)?);
        Some((user, parse_ssh2_endpoint(tail)?))
    });
    let Some((user, source)) = readings.next() else {
        return Reading::Other;
    };
    if readings.next().is_some() {
        return Reading::Ambiguous;
    }
    let login = Login {
        user: Some(user),
        source: Some(source),
        invalid_user: Some(invalid),
        ..login
    };
    login.into()
}

/// `A port N ssh2`, then nothing, or `: TYPE FINGERPRINT`, or that and a certificate's description.
fn parse_ssh2_endpoint(tail: &str) -> Option<Endpoint<'_>> {
    let (address, rest) = tail.split_once(" port ")?;
    let (port, rest) = rest.split_once(" ssh2")?;
    let is_whole = rest.is_empty() || rest.strip_prefix(": ").is_some_and(is_key);
    if !is_whole {
        return None;
    }
    Endpoint::parse(address, port)
}

/// `RSA SHA256:…`, or `RSA-CERT SHA256:… ID … (serial N) CA RSA SHA256:…`.
fn is_key(text: &str) -> bool {
    let mut words = text.splitn(3, ' ');
    let (Some(kind), Some(fingerprint)) = (words.next(), words.next()) else {
        return false;
    };
    let is_described = words.next().is_none_or(|rest| {
        rest.starts_with("ID ") && rest.contains(" (serial ") && rest.contains(" CA ")
    });
    !kind.is_empty() && fingerprint.contains(':') && is_described
}

/// `Invalid user U from A port N`, without the port in old versions; `Illegal` in very old ones.
fn parse_invalid_user(message: &str) -> Option<Login<'_>> {
    let rest = message
        .strip_prefix("Invalid user ")
        .or_else(|| message.strip_prefix("Illegal user "))?;
    // The server writes the address last.
    let (user, tail) = rest.rsplit_once(" from ").or_else(|| {
        // An empty name leaves only one space.
        rest.strip_prefix("from ").map(|tail| ("", tail))
    })?;
    Some(Login {
        user: Some(user),
        source: Some(Endpoint::parse_words(tail)?),
        invalid_user: Some(true),
        ..Login::new(Outcome::Attempt)
    })
}

/// `PAM: REASON for [illegal user ]U from A`, a companion of the failure's own line.
fn parse_pam_error(message: &str) -> Option<Login<'_>> {
    let rest = message.strip_prefix("PAM: ")?;
    let (rest, host) = rest.rsplit_once(" from ")?;
    let (_, user) = rest.split_once(" for ")?;
    let (invalid, user) = match user.strip_prefix("illegal user ") {
        Some(user) => (true, user),
        None => (false, user),
    };
    Some(Login {
        user: Some(user),
        source: Some(Endpoint::parse_host(host)?),
        invalid_user: Some(invalid),
        ..Login::new(Outcome::Attempt)
    })
}

/// `input_userauth_request: invalid user U`, of versions before 7.
fn parse_request(message: &str) -> Option<Login<'_>> {
    let user = message.strip_prefix("input_userauth_request: invalid user ")?;
    Some(Login {
        user: Some(user),
        invalid_user: Some(true),
        ..Login::new(Outcome::Attempt)
    })
}
