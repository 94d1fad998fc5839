//! Private keys in the forms of OpenSSL and OpenSSH, which have lines and spaces.
//! It masks no more than the key: what stands behind it is looked at as if it were not there.

use std::borrow::Cow;

use super::MASK;

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
    // A certificate may stand before the key, and the end of another key before both.
    let first = text.find("-----BEGIN")?;
    let mark = first + text.get(first..)?.find("PRIVATE KEY-----")?;
    let before = text.get(..text.get(..mark)?.rfind("-----BEGIN")?)?;
    let key = text.get(mark + "PRIVATE KEY-----".len()..)?;
    let end = key.find("-----END").and_then(|end| {
        let name = key.get(end..)?;
        let length = name.find("PRIVATE KEY-----")? + "PRIVATE KEY-----".len();
        // What has other letters than a key is none, whatever ends it.
        let is_key = length < 64 && key.get(..end)?.chars().all(is_of_key);
        is_key.then_some(end + length)
    });
    let end = end.or_else(|| key.find(|c| !is_of_base64(c)));
    Some((before, key.get(end.unwrap_or(key.len())..)?))
}

fn is_of_base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || c.is_whitespace() || matches!(c, '+' | '/' | '=' | '\\')
}

/// Keys that are locked say how, in headers.
fn is_of_key(c: char) -> bool {
    is_of_base64(c) || matches!(c, '-' | ':' | ',')
}
