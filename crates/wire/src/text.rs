//! Text that borrows from the frame it was parsed from whenever it can.
//! It exists because serde borrows a bare `Cow<str>` only at the top of a struct, not inside a list.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A string that stays a slice of the frame unless JSON escapes forced a copy.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Text<'a>(Cow<'a, str>);

impl<'a> Text<'a> {
    /// The text as a slice.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same text, owned, free of the frame's lifetime.
    #[must_use]
    pub fn into_owned(self) -> Text<'static> {
        Text(Cow::Owned(self.0.into_owned()))
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text from outside that may be shown: at most `max_chars`, what [`is_misleading`] replaced.
#[must_use]
pub fn printable(text: &str, max_chars: usize) -> String {
    text.chars().take(max_chars).map(tame).collect()
}

/// The character as it may be shown.
pub(crate) fn tame(c: char) -> char {
    if is_misleading(c) {
        char::REPLACEMENT_CHARACTER
    } else {
        c
    }
}

/// Whether a character deceives a reader about the text it stands in: control characters, ends of
/// lines and paragraphs, what turns the direction of writing, and all else that Unicode wants shown as
/// nothing (`Default_Ignorable_Code_Point`) or between the lines.
#[must_use]
pub fn is_misleading(c: char) -> bool {
    let deceives = matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    );
    c.is_control() || deceives
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SQL: &str =
        include_str!("../../../supabase/migrations/20261121010100_private_helpers.sql");

    /// What stands between two marks of the text that follows a third.
    fn between<'a>(after: &str, begin: &str, end: &str) -> &'a str {
        let (_, rest) = SQL.split_once(after).expect("the function is there");
        let (_, rest) = rest.split_once(begin).expect("it begins");
        rest.split_once(end).expect("it ends").0
    }

    /// The characters of an escaped text, and those between two of them.
    fn expand(escaped: &str) -> BTreeSet<char> {
        let (mut found, mut last, mut is_range) = (BTreeSet::new(), None, false);
        let mut rest = escaped.chars();
        while let Some(c) = rest.next() {
            let c = match c {
                '-' => {
                    is_range = true;
                    continue;
                }
                '\\' => read_escape(&mut rest),
                plain => plain,
            };
            let first = last.filter(|_| is_range).unwrap_or(c);
            found.extend(first..=c);
            (last, is_range) = (Some(c), false);
        }
        found
    }

    fn read_escape(rest: &mut std::str::Chars<'_>) -> char {
        let digits = match rest.next() {
            Some('t') => return '\t',
            Some('n') => return '\n',
            Some('r') => return '\r',
            Some('u') => 4,
            Some('U') => 8,
            other => panic!("an escape that is not known: {other:?}"),
        };
        let hex: String = rest.take(digits).collect();
        let number = u32::from_str_radix(&hex, 16).expect("hexadecimal");
        char::from_u32(number).expect("a character")
    }

    #[test]
    fn the_database_takes_out_what_is_misleading_and_nothing_else() {
        let function = "create function private.clean_text";
        let mut taken = expand(between(function, "translate(value, e'", "'"));
        // A text of SQL goes on after the end of a line.
        let parts = between(function, "'[", "]'").split('\'').step_by(2);
        taken.extend(expand(&parts.collect::<String>()));

        // NUL is in no text of a database.
        let misleading: BTreeSet<char> = ('\u{1}'..=char::MAX)
            .filter(|c| is_misleading(*c))
            .collect();

        let differing: Vec<_> = taken.symmetric_difference(&misleading).collect();
        assert!(differing.is_empty(), "{differing:x?}");
    }

    #[test]
    fn marks_that_hide_or_turn_text_are_misleading_and_letters_of_any_script_are_not() {
        for c in
            "\u{ad}\u{180e}\u{206a}\u{fe0f}\u{fff9}\u{e0041}\u{202e}\u{2028}\u{1b}\u{85}".chars()
        {
            assert!(is_misleading(c), "{c:?}");
        }
        for c in "aé ñΩжשعदก한中🦀\u{a0}\u{301}".chars() {
            assert!(!is_misleading(c), "{c:?}");
        }
    }
}
