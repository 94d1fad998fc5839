//! Private keys in the forms of OpenSSL, OpenSSH and OpenPGP, which have lines and spaces.
//! It masks no more than the key: what stands behind it is looked at as if it were not there.

use std::borrow::Cow;

use super::MASK;

/// What a key begins and ends with, before its name.
const BEGIN: &str = "-----BEGIN";
const END: &str = "-----END";

/// What follows a name.
const DASHES: &str = "-----";

/// How names of private keys end: OpenSSL's and OpenSSH's (RFC 7468), and OpenPGP's (RFC 9580).
const NAMES: [&str; 2] = ["PRIVATE KEY", "PRIVATE KEY BLOCK"];

/// Far less than the 64 letters of a full line, and more than the words of a command have.
const SHORTEST_LINE: usize = 24;

/// Longest name, in bytes.
const MAX_NAME: usize = 64;

/// The text without its private keys.
pub(super) fn mask(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = next_key(rest) {
        out.push_str(before);
        out.push_str(MASK);
        rest = behind;
    }
    if rest.len() == text.len() {
        return Cow::Borrowed(text);
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// What stands before and behind the first private key.
fn next_key(text: &str) -> Option<(&str, &str)> {
    let (before, key) = split_at_mark(text, BEGIN, |_| true)?;
    // What is not written as a key is none, whatever ends it.
    if let Some((_, behind)) = split_at_mark(key, END, is_key) {
        return Some((before, behind));
    }
    Some((before, key.get(cut_key_end(key)..)?))
}

/// Whether this may stand between the marks of a key: headers, and lines that only the last may be short.
fn is_key(inside: &str) -> bool {
    let is_header = |line: &&str| line.contains(": ");
    let lines = inside.lines().filter(|line| !is_header(line));
    let mut words = lines.flat_map(str::split_whitespace);
    let _last = words.next_back();
    inside.chars().all(is_of_key) && words.all(|word| word.len() >= SHORTEST_LINE)
}

/// Where a key ends of which the end was cut off: its lines, and then one that may be short.
fn cut_key_end(key: &str) -> usize {
    let run = key.find(|c| !is_of_base64(c)).unwrap_or(key.len());
    let Some(run) = key.get(..run) else {
        return 0;
    };
    let is_alone = run.split_whitespace().count() == 1;
    let (mut at, mut end) = (0, 0);
    for word in run.split_inclusive(char::is_whitespace) {
        let length = word.trim_end().len();
        let is_line = length >= SHORTEST_LINE;
        if is_line || (length > 0 && (end > 0 || is_alone)) {
            end = at + length;
        }
        if length > 0 && !is_line {
            break;
        }
        at += word.len();
    }
    end
}

/// What stands before the first mark of a private key, and what behind it; nothing if what stands
/// before the first mark of any kind is not as it has to be.
fn split_at_mark<'t>(
    text: &'t str,
    mark: &str,
    is_wanted: impl Fn(&str) -> bool,
) -> Option<(&'t str, &'t str)> {
    let mut from = 0;
    loop {
        let at = from + text.get(from..)?.find(mark)?;
        let before = text.get(..at)?;
        if !is_wanted(before) {
            return None;
        }
        from = at + mark.len();
        if let Some(behind) = behind_name(text.get(from..)?) {
            return Some((before, behind));
        }
    }
}

/// What stands behind the name of a private key and the dashes that close it.
fn behind_name(text: &str) -> Option<&str> {
    let (name, behind) = text.split_at_checked(text.find('-')?)?;
    let is_private = NAMES.iter().any(|ending| name.trim_end().ends_with(ending));
    let is_name = is_private && name.len() <= MAX_NAME;
    behind.strip_prefix(DASHES).filter(|_| is_name)
}

fn is_of_base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || c.is_whitespace() || matches!(c, '+' | '/' | '=' | '\\')
}

/// Keys that are locked say how, in headers, and others what made them.
fn is_of_key(c: char) -> bool {
    is_of_base64(c) || matches!(c, '-' | ':' | ',' | '.')
}
