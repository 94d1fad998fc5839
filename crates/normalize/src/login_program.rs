//! Messages of login, in the words of util-linux and of shadow.
//! A name in them is whatever somebody typed; what can be read in two ways is left unread.

use super::address::{Endpoint, parse_number};
use super::login::{Login, Outcome};
use super::reading::{Facts, Reading, is_name, split_only};

/// Reads a message.
pub(super) fn parse(message: &str) -> Reading<'_> {
    let message = message.trim_end();
    if let Some(rest) = message.strip_prefix("FAILED LOGIN ") {
        return parse_failed(rest);
    }
    if let Some(rest) = message.strip_prefix("TOO MANY LOGIN TRIES (") {
        return parse_too_many(rest);
    }
    let got_in = parse_root(message)
        .or_else(|| parse_login(message))
        .or_else(|| parse_dialup(message));
    got_in.into()
}

/// Shadow: `(N) on '/dev/tty1' FOR 'root', Authentication failure`, or `… FOR 'UNKNOWN', …`.
/// util-linux: `SESSION … `, `N FROM tty1 FOR root, Authentication failure`
fn parse_failed(rest: &str) -> Reading<'_> {
    if let Some(rest) = rest.strip_prefix('(') {
        let Some((count, rest)) = rest.split_once(") on ") else {
            return Reading::Other;
        };
        return parse_failure(count, rest, " FOR ");
    }
    if let Some(rest) = rest.strip_prefix("SESSION FROM ") {
        return parse_failure("1", rest, " FOR ");
    }
    match rest.split_once(" FROM ") {
        Some((count, rest)) => parse_failure(count, rest, " FOR "),
        None => Reading::Other,
    }
}

/// `N) FROM tty1 FOR root, Authentication failure`, in the words of util-linux;
/// `N) on '/dev/tty1' FOR 'root'` in those of shadow
fn parse_too_many(rest: &str) -> Reading<'_> {
    let split = rest
        .split_once(") FROM ")
        .or_else(|| rest.split_once(") on "));
    let Some((count, rest)) = split else {
        return Reading::Other;
    };
    let reading = parse_failure(count, rest, " FOR ");
    // Each of the tries has had a line of its own.
    reading.map(|_| {
        let place = rest.split_once(" FOR ").map_or(rest, |(place, _)| place);
        let (place, _) = split_host(place);
        Facts::action("too_many_tries").text("TTY", terminal(place))
    })
}

/// `PLACE FOR NAME, REASON`; the place is a terminal or a host.
fn parse_failure<'a>(count: &'a str, rest: &'a str, separator: &str) -> Reading<'a> {
    if parse_number::<u32>(count).is_none() {
        return Reading::Other;
    }
    let Some((place, rest)) = rest.split_once(separator) else {
        return Reading::Other;
    };
    let Some((name, reason)) = split_reason(rest) else {
        return Reading::Ambiguous;
    };
    let (place, host) = split_host(place);
    let name = unquote(name);
    let source = Endpoint::parse_host(host.unwrap_or(place));
    let is_terminal = host.is_some() || source.is_none();
    let login = Login {
        method: Some("login"),
        // Both write this word where the name might be a password.
        user: Some(name).filter(|name| *name != "UNKNOWN" && *name != "(unknown)"),
        source,
        invalid_user: (name == "UNKNOWN").then_some(true),
        ..Login::new(Outcome::Failure)
    };
    let facts = login.into_facts().text_if("reason", reason);
    let tty = Some(terminal(place)).filter(|_| is_terminal);
    facts.text_if("TTY", tty).into()
}

/// `NAME, REASON`, or the name alone; none when a comma could end either.
fn split_reason(text: &str) -> Option<(&str, Option<&str>)> {
    if !text.contains(", ") {
        return Some((text, None));
    }
    let (name, reason) = split_only(text, ", ")?;
    Some((name, Some(reason)))
}

/// `ROOT LOGIN ON tty1[ FROM host]`, ` ROOT LOGIN  on '/dev/tty1'[ from 'host']`
fn parse_root(message: &str) -> Option<Facts<'_>> {
    let rest = message.trim_start().strip_prefix("ROOT LOGIN")?;
    let rest = rest.trim_start();
    let (place, host) = match rest.strip_prefix("ON ") {
        Some(rest) => rest.split_once(" FROM ").map_or((rest, None), with_host),
        None => {
            let rest = rest.strip_prefix("on ")?;
            rest.split_once(" from ").map_or((rest, None), with_host)
        }
    };
    success("root", place, host)
}

/// `LOGIN ON tty1 BY bob[ FROM host]`
fn parse_login(message: &str) -> Option<Facts<'_>> {
    let rest = message.strip_prefix("LOGIN ON ")?;
    let (place, rest) = rest.split_once(" BY ")?;
    let (user, host) = rest.split_once(" FROM ").map_or((rest, None), with_host);
    success(user, place, host)
}

/// `DIALUP AT ttyS0 BY bob`, a companion of the line above it.
fn parse_dialup(message: &str) -> Option<Facts<'_>> {
    let (place, user) = message.strip_prefix("DIALUP AT ")?.split_once(" BY ")?;
    is_name(user).then(|| {
        Facts::action("dialup")
            .text("user", user)
            .text("TTY", place)
    })
}

fn with_host<'a>((text, host): (&'a str, &'a str)) -> (&'a str, Option<&'a str>) {
    (text, Some(host))
}

fn success<'a>(user: &'a str, place: &'a str, host: Option<&'a str>) -> Option<Facts<'a>> {
    let tty = terminal(unquote(place));
    let is_terminal = !tty.is_empty() && !tty.contains(char::is_whitespace);
    let source = host.and_then(|host| Endpoint::parse_host(unquote(host)));
    let login = Login {
        method: Some("login"),
        user: Some(user),
        source,
        ..Login::new(Outcome::Success)
    };
    (is_name(user) && is_terminal).then(|| login.into_facts().text("TTY", tty))
}

/// `'/dev/tty1' from 'host'`, `tty1`, or a host alone
fn split_host(place: &str) -> (&str, Option<&str>) {
    match place.split_once("' from '") {
        Some((place, host)) => (
            place.strip_prefix('\'').unwrap_or(place),
            Some(host.strip_suffix('\'').unwrap_or(host)),
        ),
        None => (unquote(place), None),
    }
}

/// A terminal without its folder.
fn terminal(place: &str) -> &str {
    place.strip_prefix("/dev/").unwrap_or(place)
}

fn unquote(text: &str) -> &str {
    let inner = text
        .strip_prefix('\'')
        .and_then(|text| text.strip_suffix('\''));
    inner.unwrap_or(text)
}
