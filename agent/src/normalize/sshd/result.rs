//! Messages of OpenSSH's server about logins.
//! The user name in them is chosen by whoever knocks, spaces and all: every pattern is anchored at
//! both ends, and the address is the one that the server itself wrote last.

use super::login::{Endpoint, Login, Outcome, Reading, parse_ip};

/// Reads a message.
pub(super) fn parse(message: &str) -> Reading<'_> {
    let message = message.trim_end();
    let message = message.strip_suffix(" [preauth]").unwrap_or(message);
    let result = parse_result(message);
    if result != Reading::Other {
        return result;
    }
    parse_invalid_user(message)
        .or_else(|| parse_departure(message))
        .into()
}

/// `Failed password for [invalid user ]U from A port N ssh2`, `Accepted publickey for … ssh2: K F`
fn parse_result(message: &str) -> Reading<'_> {
    let results = [
        ("Accepted ", Outcome::Success),
        ("Failed ", Outcome::Failure),
        ("Postponed ", Outcome::Attempt),
        ("Partial ", Outcome::Attempt),
    ];
    for (word, outcome) in results {
        let Some((method, rest)) = message
            .strip_prefix(word)
            .and_then(|rest| rest.split_once(" for "))
        else {
            continue;
        };
        if !method
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-/".contains(&b))
        {
            return Reading::Other;
        }
        // A client asks with "none" which methods there are; nothing was tried.
        let outcome = match (outcome, method) {
            (Outcome::Failure, "none") => Outcome::Attempt,
            (outcome, _) => outcome,
        };
        return read_target(
            rest,
            Login {
                method: Some(method),
                ..Login::new(outcome)
            },
        );
    }
    let exceeded = "maximum authentication attempts exceeded for ";
    let message = message.strip_prefix("error: ").unwrap_or(message);
    message
        .strip_prefix(exceeded)
        .map_or(Reading::Other, |rest| {
            read_target(rest, Login::new(Outcome::Aborted))
        })
}

/// `[invalid user ]U from A port N ssh2…`: all ways to split it are tried. One is the truth; two
/// mean that somebody chose a name or a certificate that looks like the other half.
fn read_target<'a>(rest: &'a str, login: Login<'a>) -> Reading<'a> {
    let (invalid, rest) = strip_invalid_user(rest);
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
    Reading::Login(Box::new(Login {
        user: Some(user),
        source: Some(source),
        invalid_user: Some(invalid),
        ..login
    }))
}

fn strip_invalid_user(rest: &str) -> (bool, &str) {
    // No real user has a space in the name.
    rest.strip_prefix("invalid user ")
        .map_or((false, rest), |rest| (true, rest))
}

/// `A port N ssh2`, then nothing, or `: TYPE FINGERPRINT`, or that and a certificate's description.
fn parse_ssh2_endpoint(tail: &str) -> Option<Endpoint> {
    let (address, rest) = tail.split_once(" port ")?;
    let (port, rest) = rest.split_once(" ssh2")?;
    let is_whole = rest.is_empty() || rest.strip_prefix(": ").is_some_and(is_key);
    if !is_whole {
        return None;
    }
    parse_endpoint(address, port)
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

fn parse_endpoint(address: &str, port: &str) -> Option<Endpoint> {
    Some(Endpoint {
        ip: parse_ip(address)?,
        port: Some(port.parse().ok()?),
    })
}

/// `Invalid user U from A port N`, without the port in old versions.
fn parse_invalid_user(message: &str) -> Option<Login<'_>> {
    let rest = message.strip_prefix("Invalid user ")?;
    // The server writes the address last.
    let (user, tail) = rest.rsplit_once(" from ").or_else(|| {
        // An empty name leaves only one space.
        rest.strip_prefix("from ").map(|tail| ("", tail))
    })?;
    let source = match tail.split_once(" port ") {
        Some((address, port)) => parse_endpoint(address, port)?,
        None => Endpoint {
            ip: parse_ip(tail)?,
            port: None,
        },
    };
    Some(Login {
        user: Some(user),
        source: Some(source),
        invalid_user: Some(true),
        ..Login::new(Outcome::Attempt)
    })
}

/// `Connection closed by [authenticating user U |invalid user U ]A port N`, and its relatives.
fn parse_departure(message: &str) -> Option<Login<'_>> {
    let beginnings = [
        "Connection closed by ",
        "Connection reset by ",
        "Disconnected from ",
    ];
    let rest = beginnings
        .iter()
        .find_map(|beginning| message.strip_prefix(beginning))?;
    let (rest, port) = rest.rsplit_once(" port ")?;
    let (user, address) = rest
        .rsplit_once(' ')
        .map_or((None, rest), |(user, address)| (Some(user), address));
    let source = parse_endpoint(address, port)?;
    let (invalid_user, user) = match user {
        None => (None, None),
        Some(text) => {
            if let Some(user) = text.strip_prefix("invalid user ") {
                (Some(true), Some(user))
            } else if let Some(user) = text.strip_prefix("authenticating user ") {
                (Some(false), Some(user))
            } else if let Some(user) = text.strip_prefix("user ") {
                (Some(false), Some(user))
            } else {
                return None;
            }
        }
    };
    Some(Login {
        user,
        source: Some(source),
        invalid_user,
        ..Login::new(Outcome::Aborted)
    })
}
