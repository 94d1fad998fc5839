//! Passwords in the addresses of servers within one word: `scheme://user:password@host`, or bare.
//! It judges by the form alone: no name, program or word before it plays a part.

use super::MASK;

/// What looks like a user before a colon and says what kind of address follows.
const KINDS: [&str; 8] = ["acct", "im", "mailto", "sip", "sips", "smtp", "tel", "xmpp"];

/// What ends a server in an address that has a scheme.
const ENDS_SERVER: [char; 3] = ['/', '?', '#'];

/// What stands between the members of a list, or the parts of a query.
const BETWEEN: [char; 7] = [',', ';', '|', '&', '?', '#', '='];

/// The word without the passwords of its addresses; nothing where it has none.
pub(super) fn mask(word: &str) -> Option<String> {
    if !word.contains('@') || !word.contains(':') {
        return None;
    }
    let mut out = String::with_capacity(word.len());
    let (mut rest, mut is_behind) = (word, false);
    while let Some((before, behind)) = rest.split_once("://") {
        take_between(before, is_behind, &mut out);
        out.push_str("://");
        // The server of the next address may stand in what looks like the login of this one.
        rest = take_login(behind, &mut out);
        is_behind = true;
    }
    take_between(rest, is_behind, &mut out);
    Some(out).filter(|out| out != word)
}

/// Writes the login at the beginning of an address, and returns what follows it.
fn take_login<'w>(address: &'w str, out: &mut String) -> &'w str {
    let Some((login, rest)) = login_end(address).and_then(|at| address.split_at_checked(at)) else {
        return address;
    };
    match login
        .split_once(':')
        .filter(|(_, secret)| !secret.is_empty())
    {
        Some((user, _)) => push_masked(user, out),
        None if is_token(login) => out.push_str(MASK),
        None => out.push_str(login),
    }
    rest
}

/// Whether a user without a password is one: no person's name is so long and has digits.
fn is_token(user: &str) -> bool {
    user.len() >= 20
        && user.contains(|c: char| c.is_ascii_digit())
        && user.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

/// Where the `@` behind the login of an address is.
fn login_end(address: &str) -> Option<usize> {
    let server = address.find(ENDS_SERVER).unwrap_or(address.len());
    if let Some(at) = address.get(..server)?.rfind('@') {
        return Some(at);
    }
    // A slash in a password is against the rules of addresses, and taken by many programs.
    let (_, port) = address.get(..server)?.rsplit_once(':')?;
    let is_port = port.ends_with(']') || port.chars().all(|c| c.is_ascii_digit());
    let end = address.find("://").unwrap_or(address.len());
    address.get(..end)?.rfind('@').filter(|_| !is_port)
}

/// Writes what stands before, between and behind addresses with a scheme.
fn take_between(text: &str, is_behind: bool, out: &mut String) {
    // A path may have colons and `@`; only what is listed behind it is an address again.
    let path = if is_behind { path_end(text) } else { 0 };
    let (path, text) = text.split_at_checked(path).unwrap_or((text, ""));
    out.push_str(path);
    match bare_password(text) {
        Some((user, host)) => {
            push_masked(user, out);
            out.push_str(host);
        }
        None => out.push_str(text),
    }
}

fn path_end(text: &str) -> usize {
    let path = text.find(ENDS_SERVER).unwrap_or(text.len());
    let listed = text.get(path..).and_then(|path| path.find(BETWEEN));
    listed.map_or(text.len(), |at| path + at + 1)
}

/// What stands before and behind the password of an address without a scheme.
fn bare_password(text: &str) -> Option<(&str, &str)> {
    let mut at = text.rfind('@')?;
    while text.get(at..)?.starts_with("@sha256:") {
        at = text.get(..at)?.rfind('@')?;
    }
    let (login, host) = text.split_at_checked(at)?;
    let mut start = 0;
    loop {
        let rest = login.get(start..)?;
        let colon = rest.find(':')?;
        let user = rest.get(..colon)?;
        let name = user.rsplit(BETWEEN).next().unwrap_or(user);
        if KINDS.contains(&name) {
            start += colon + 1;
        } else if user.starts_with('/') && name == user {
            start += rest.find(BETWEEN)? + 1;
        } else {
            let end = start + colon;
            let is_empty = end + 1 == at;
            return Some((login.get(..end)?, host)).filter(|_| !is_empty);
        }
    }
}

fn push_masked(user: &str, out: &mut String) {
    out.push_str(user);
    out.push(':');
    out.push_str(MASK);
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn each_password_in_a_word_of_addresses_is_masked() {
        for (word, expected) in [
            (
                "--endpoints=http://a:pw1@h1,http://b:pw2@h2",
                "--endpoints=http://a:***@h1,http://b:***@h2",
            ),
            (
                "https://a2345678901234567890z@dev.azure.com/o/p",
                "https://***@dev.azure.com/o/p",
            ),
            ("bob:pw@db,http://x", "bob:***@db,http://x"),
            ("http://x/y,bob:pw@db", "http://x/y,bob:***@db"),
            ("http://x?u=http://b:pw@h/p", "http://x?u=http://b:***@h/p"),
            ("http://x/y?u=b:pw@h", "http://x/y?u=b:***@h"),
            (
                "amqp://a:p@h1/v;amqp://b:q@h2/v",
                "amqp://a:***@h1/v;amqp://b:***@h2/v",
            ),
            ("mongodb://a:p,w@h1,b:q@h2/db", "mongodb://a:***@h2/db"),
            ("postgres://u:p/w@db:5432/x", "postgres://u:***@db:5432/x"),
            ("mailto:a@b,bob:pw@db", "mailto:a@b,bob:***@db"),
            ("sip:bob:pw@h", "sip:bob:***@h"),
            ("/x:y@z,bob:pw@db", "/x:y@z,bob:***@db"),
            ("bob:pw@h,nginx:1@sha256:ab", "bob:***@h,nginx:1@sha256:ab"),
        ] {
            assert_eq!(mask(word).as_deref(), Some(expected), "{word}");
            assert_eq!(mask(expected), None, "a second look at {expected}");
        }
    }

    #[test]
    fn addresses_without_a_password_are_left_alone() {
        for word in [
            "http://localhost:4873/@scope/pkg@1.0:x",
            "http://[::1]/x@y",
            "http://[::1]:80/x@y",
            "ssh://git@h:22/r",
            "https://an-organization-with-a-name@dev.azure.com/o",
            "git@h:org/r.git",
            "nginx:1@sha256:abc@sha256:def",
            "--to=mailto:bob@example.org",
            "/etc/systemd/system/a:b@c.service",
            "bob:@h",
        ] {
            assert_eq!(mask(word), None, "{word}");
        }
    }
}
