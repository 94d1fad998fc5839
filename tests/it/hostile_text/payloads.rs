//! What somebody hostile writes where a log line is made: each aims at one of those who read it.
//! Nothing here depends on how it is sent.

use hidps_wire::MAX_EVENT_TEXT_BYTES;
use uuid::Uuid;

/// Far beyond what a line may be.
const ENDLESS: usize = 1024 * 1024;

/// One hostile text.
pub(super) struct Payload {
    /// Whom it aims at.
    pub(super) name: &'static str,
    /// What finds it again, at its beginning.
    pub(super) marker: String,
    /// The text after the marker.
    pub(super) bytes: Vec<u8>,
    /// A piece of it that a reader must still see as it was written.
    pub(super) kept: &'static str,
}

impl Payload {
    /// Marker and text.
    pub(super) fn marked(&self) -> Vec<u8> {
        [self.marker.as_bytes(), &self.bytes].concat()
    }

    /// The same as text, no longer than an event may carry beside other words.
    pub(super) fn text(&self) -> String {
        let bytes = self.marked();
        let most = bytes.len().min(MAX_EVENT_TEXT_BYTES / 2);
        String::from_utf8_lossy(bytes.get(..most).unwrap_or_default()).into_owned()
    }

    /// Whether it is longer than a line may be.
    pub(super) fn is_endless(&self) -> bool {
        self.bytes.len() >= ENDLESS
    }
}

/// Whom each text aims at, the text, and a piece of it that must stay readable.
const TEXTS: [(&str, &[u8], &str); 12] = [
    (
        "a terminal",
        b"\x1b[2J\x1b[31mred\x1b]0;owned\x07",
        "[31mred",
    ),
    (
        "a browser",
        b"<script>alert(1)</script><img src=x onerror=alert(1)>",
        "<script>alert(1)</script>",
    ),
    (
        "the headers of a mail",
        b"\rBcc: spy@evil.test\r\rSubject: all is well",
        "Bcc: spy@evil.test",
    ),
    (
        "a template",
        b"{{7*7}}${7*7}#{7*7}<%= 7*7 %>{0}%s%n${jndi:ldap:x}",
        "{{7*7}}${7*7}#{7*7}<%= 7*7 %>{0}%s%n${jndi:ldap:x}",
    ),
    (
        "the direction of writing",
        "\u{202e}txt.exe\u{2066}\u{200f}\u{61c}".as_bytes(),
        "txt.exe",
    ),
    (
        "what has no width",
        "pay\u{200b}pal\u{2060}\u{feff}.test".as_bytes(),
        ".test",
    ),
    ("the end of a C string", b"\0after the end", "after the end"),
    (
        "a decoder of UTF-8",
        b"\xff\xfe\xc3\x28\xed\xa0\x80after it",
        "after it",
    ),
    (
        "the database",
        b"'; drop table public.alerts; --",
        "'; drop table public.alerts; --",
    ),
    (
        "the end of a line",
        "one\u{2028}two\u{2029}three\u{85}four".as_bytes(),
        "three",
    ),
    (
        "somebody who clicks",
        b"https://evil.test/reset",
        "evil.test/reset",
    ),
    ("metrics", b"\"} 9 # {rule=\"forged", "\"} 9 # {rule="),
];

/// All of them, with markers of their own.
pub(super) fn payloads() -> Vec<Payload> {
    let run = Uuid::new_v4().simple().to_string();
    let endless = ("memory", vec![b'A'; ENDLESS], "AAAA");
    let owned = TEXTS.map(|(name, bytes, kept)| (name, bytes.to_vec(), kept));
    let all = owned.into_iter().chain([endless]).enumerate();
    all.map(|(number, (name, bytes, kept))| Payload {
        name,
        marker: format!("mark{}n{number}n", run.chars().take(8).collect::<String>()),
        bytes,
        kept,
    })
    .collect()
}
