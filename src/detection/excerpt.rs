//! The one way in which a piece of an event gets into an alert: bounded, tame, without secrets.
//! It never decides whether something may be quoted; the rule does.

use std::sync::LazyLock;

use hidps_wire::printable;
use regex::Regex;

/// Longest excerpt, in characters.
const MAX_CHARS: usize = 256;

/// What stands in place of a secret.
const HIDDEN: &str = "${1}***";

/// Shapes in which people write secrets on command lines and into logs.
static SECRETS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let name = "pass(?:word|wd|phrase)?|secret|token|api[_-]?key|authorization";
    [
        format!(r#"(?i)((?:{name})["']?\s*[=:]\s*(?:bearer\s+)?)\S+"#),
        format!(r"(?i)(--(?:{name})\s+)\S+"),
        r"(\s-p)[^\s-]\S*".to_owned(),
        r"(://[^/\s:@]+:)[^@\s]+".to_owned(),
    ]
    .iter()
    .map(|pattern| Regex::new(pattern).expect("a pattern of this file compiles"))
    .collect()
});

/// Parts of names of fields whose values are secrets, whatever these look like; letters and digits
/// only, in lower case.
const SECRET_NAMES: [&str; 10] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "authorization",
    "credential",
    "privatekey",
    "cookie",
];

/// Whether a field of this name holds a secret.
pub(super) fn is_secret(field: &str) -> bool {
    let plain = field.chars().filter(|sign| sign.is_alphanumeric());
    let plain: String = plain.flat_map(char::to_lowercase).collect();
    SECRET_NAMES.iter().any(|name| plain.contains(name))
}

/// An excerpt of the value of a field.
pub(super) fn excerpt_of(field: &str, value: &str) -> String {
    if is_secret(field) {
        return "***".to_owned();
    }
    excerpt(value)
}

/// An excerpt of text from a host.
pub(super) fn excerpt(text: &str) -> String {
    let tame = printable(text, MAX_CHARS);
    SECRETS.iter().fold(tame, |text, secret| {
        secret.replace_all(&text, HIDDEN).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(excerpt(text), expected);
    }

    #[test]
    fn secrets_are_hidden_in_the_shapes_people_write_them() {
        check("mysql -u root -phunter2 shop", "mysql -u root -p*** shop");
        check("curl --token abc https://x", "curl --token *** https://x");
        check("DB_PASSWORD=abc;id", "DB_PASSWORD=***");
        check("Authorization: Bearer abc.def", "Authorization: Bearer ***");
        check(
            "psql postgres://app:abc@db/shop",
            "psql postgres://app:***@db/shop",
        );
    }

    #[test]
    fn a_field_that_is_called_a_secret_is_hidden_whatever_its_value() {
        for field in [
            "password",
            "DB_Password",
            "http.headers.Authorization",
            "api-key",
            "sessionToken",
            "client_secret",
        ] {
            assert_eq!(excerpt_of(field, "correct horse"), "***", "{field}");
        }
        for field in ["user", "method", "src_ip", "CommandLine", "path"] {
            assert_eq!(excerpt_of(field, "password"), "password", "{field}");
        }
    }

    #[test]
    fn ordinary_lines_are_left_as_they_are() {
        check(
            "Failed password for root from 192.0.2.7",
            "Failed password for root from 192.0.2.7",
        );
        check("ssh -p 22 host", "ssh -p 22 host");
    }

    #[test]
    fn an_excerpt_is_short_and_tame() {
        assert_eq!(excerpt(&"x".repeat(10_000)).len(), MAX_CHARS);
        check("a\u{0}b", "a\u{fffd}b");
    }
}
