//! Text of a host that is stored and shown: bounded, and without characters that deceive a reader.
//! It never refuses a text; what may not stand in it is replaced, and what is too long is cut.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize};

use crate::text::tame;

/// At most `MAX` bytes without control characters and without marks that turn the direction of
/// what is written; whoever sends them, they do not get past the decoder.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Shown<const MAX: usize>(String);

impl<const MAX: usize> Shown<MAX> {
    /// A text that may be shown.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut shown = String::with_capacity(text.len().min(MAX));
        for c in text.chars().map(tame) {
            if shown.len() + c.len_utf8() > MAX {
                break;
            }
            shown.push(c);
        }
        Self(shown)
    }

    /// Bytes that need not be text, such as the name of a process.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        // A replaced byte takes three, so what is beyond MAX bytes never fits.
        let most = bytes.get(..MAX.min(bytes.len())).unwrap_or(bytes);
        Self::new(&String::from_utf8_lossy(most))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> Deref for Shown<MAX> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> fmt::Display for Shown<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const MAX: usize> From<&str> for Shown<MAX> {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Shown<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::Text::deserialize(deserializer).map(|text| Self::new(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_deceives_a_reader_is_replaced() {
        let shown = Shown::<64>::new("a\u{202e}b\u{0}c\nd\u{7f}\u{2066}e\u{feff}");

        assert_eq!(
            shown.as_str(),
            "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}\u{fffd}e\u{fffd}"
        );
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(Shown::<4>::new("äöü").as_str(), "äö");
        assert_eq!(Shown::<5>::new("äöü").as_str(), "äö");
    }

    #[test]
    fn bytes_that_are_no_text_become_text() {
        let shown = Shown::<10>::from_bytes(b"\xff\xfe\xfd\xfc\xfb");

        assert_eq!(shown.as_str(), "\u{fffd}\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_text_of_a_frame_is_tamed_when_it_is_read() {
        let shown: Shown<3> = serde_json::from_str(r#""a\u0000bc""#).unwrap();

        assert_eq!(shown.as_str(), "a");
    }
}
