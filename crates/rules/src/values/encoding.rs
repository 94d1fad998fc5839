//! Encodings of values: base64 and its offsets, wide characters, interchangeable dashes.
//! It never decodes anything; it spells values the way an attacker's encoded text has them.

use crate::values::pattern::{Part, SigmaString};

/// A rewriting of a value before it is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Encoding {
    /// Base64 of the whole value.
    Base64,
    /// Base64 of the value at each of three offsets within a longer text.
    Base64Offset,
    /// UTF-16, little end first.
    Wide,
    /// UTF-16, big end first.
    WideBigEndian,
    /// UTF-16, little end first, with its mark before it.
    WideMarked,
    /// Each dash or slash that begins a word as any of five characters.
    Dashes,
}

/// Why a value cannot be encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EncodingFault {
    /// It has wildcards, which have no encoded form.
    Wildcards,
    /// It has characters outside ASCII, whose encoded bytes are not text.
    NotAscii,
    /// It has more dashes than can be spelled out.
    Dashes,
}

/// The characters that Windows programs accept for a dash.
const DASHES: [char; 5] = ['-', '/', '\u{2013}', '\u{2014}', '\u{2015}'];

/// Most dashes spelled out in one value: 125 spellings, as in the reference implementation.
const MAX_DASHES: usize = 3;

/// The mark before UTF-16 text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The same mark as bytes, little end first.
const MARK_BYTES: [u8; 2] = [0xff, 0xfe];

impl Encoding {
    /// The encoding under Sigma's name for it.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "base64" => Self::Base64,
            "base64offset" => Self::Base64Offset,
            "wide" | "utf16le" => Self::Wide,
            "utf16be" => Self::WideBigEndian,
            "utf16" => Self::WideMarked,
            "windash" => Self::Dashes,
            _ => return None,
        })
    }

    /// Every spelling of a value that went through the encodings `before` already; one of them is
    /// enough for a match.
    pub(crate) fn apply(
        self,
        value: SigmaString,
        before: &[Self],
    ) -> Result<Vec<SigmaString>, EncodingFault> {
        match self {
            Self::Base64 => {
                let bytes = literal_bytes(&value, before)?;
                Ok(vec![SigmaString::literal(&base64(&bytes))])
            }
            Self::Base64Offset => {
                let bytes = literal_bytes(&value, before)?;
                Ok((0..3).map(|offset| base64_at(&bytes, offset)).collect())
            }
            Self::Wide => widen(value, |byte| [byte, '\0']).map(|wide| vec![wide]),
            Self::WideBigEndian => widen(value, |byte| ['\0', byte]).map(|wide| vec![wide]),
            Self::WideMarked => {
                let wide = widen(value, |byte| [byte, '\0'])?;
                Ok(vec![wide.with_prefix(BYTE_ORDER_MARK)])
            }
            Self::Dashes => spell_dashes(&value),
        }
    }
}

/// The bytes of a value without wildcards; the mark of UTF-16 is two of them, not a character.
fn literal_bytes(value: &SigmaString, before: &[Encoding]) -> Result<Vec<u8>, EncodingFault> {
    let text = match value.parts() {
        [] => "",
        [Part::Text(text)] => text,
        _ => return Err(EncodingFault::Wildcards),
    };
    let is_marked = before.contains(&Encoding::WideMarked);
    match text.strip_prefix(BYTE_ORDER_MARK).filter(|_| is_marked) {
        Some(rest) => Ok([&MARK_BYTES, rest.as_bytes()].concat()),
        None => Ok(text.as_bytes().to_vec()),
    }
}

/// Every character as two; wildcards stay.
fn widen(value: SigmaString, pair: fn(char) -> [char; 2]) -> Result<SigmaString, EncodingFault> {
    let is_ascii = |part: &Part| !matches!(part, Part::Text(text) if !text.is_ascii());
    if !value.parts().iter().all(is_ascii) {
        return Err(EncodingFault::NotAscii);
    }
    Ok(value.map_texts(|text| text.chars().flat_map(pair).collect()))
}

/// What of the base64 of a longer text is the same whatever stands before and behind.
fn base64_at(bytes: &[u8], offset: usize) -> SigmaString {
    let mut padded = vec![b' '; offset];
    padded.extend_from_slice(bytes);
    let encoded = base64(&padded);
    let skip = [0, 2, 3].get(offset).copied().unwrap_or(0);
    let cut = [0, 3, 2].get(padded.len() % 3).copied().unwrap_or(0);
    let kept: String = encoded
        .chars()
        .take(encoded.len().saturating_sub(cut))
        .skip(skip)
        .collect();
    SigmaString::literal(&kept)
}

/// Base64 with padding, as RFC 4648 has it.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for position in 0..4 {
            let sextet = (bits >> (18 - 6 * position)) & 63;
            let letter = ALPHABET.get(sextet as usize).copied().unwrap_or(b'=');
            text.push(if position > chunk.len() {
                '='
            } else {
                letter.into()
            });
        }
    }
    text
}

/// Spells each dash or slash at the beginning of a word in every way.
fn spell_dashes(value: &SigmaString) -> Result<Vec<SigmaString>, EncodingFault> {
    let mut n_dashes = 0;
    let mut spellings: Vec<SigmaString> = vec![SigmaString::literal("")];
    for part in value.parts() {
        let Part::Text(text) = part else {
            spellings
                .iter_mut()
                .for_each(|spelling| spelling.push(part.clone()));
            continue;
        };
        let characters: Vec<char> = text.chars().collect();
        for (index, character) in characters.iter().enumerate() {
            let before = index
                .checked_sub(1)
                .and_then(|before| characters.get(before));
            let is_dash = matches!(character, '-' | '/')
                && !before.is_some_and(|before| is_word(*before))
                && characters.get(index + 1).is_some_and(|next| is_word(*next));
            n_dashes += usize::from(is_dash);
            if n_dashes > MAX_DASHES {
                return Err(EncodingFault::Dashes);
            }
            let ways: &[char] = if is_dash {
                &DASHES
            } else {
                std::slice::from_ref(character)
            };
            spellings = spell(&spellings, ways);
        }
    }
    Ok(spellings)
}

/// Every spelling followed by every way to write the next character.
fn spell(spellings: &[SigmaString], ways: &[char]) -> Vec<SigmaString> {
    let with = |spelling: &SigmaString, way: char| {
        let mut spelling = spelling.clone();
        spelling.push_char(way);
        spelling
    };
    spellings
        .iter()
        .flat_map(|spelling| ways.iter().map(move |way| with(spelling, *way)))
        .collect()
}

/// Whether a character is part of a word.
fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::{Encoding, EncodingFault};
    use crate::values::pattern::{Pattern, SigmaString};

    /// The literal spellings of a value.
    fn spell(encoding: &str, value: &str) -> Vec<String> {
        let encoding = Encoding::parse(encoding).unwrap();
        let spellings = encoding.apply(SigmaString::parse(value), &[]).unwrap();
        let text = |spelling: &SigmaString| {
            let Pattern::Exact(text) = Pattern::compile(spelling) else {
                return "*".to_owned();
            };
            text
        };
        spellings.iter().map(text).collect()
    }

    #[test]
    fn base64_is_as_the_standard_has_it() {
        let table = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("fooba", "Zm9vYmE="),
        ];

        for (plain, encoded) in table {
            assert_eq!(spell("base64", plain), [encoded]);
        }
    }

    #[test]
    fn base64_at_each_offset_is_part_of_every_longer_text() {
        let parts = spell("base64offset", "http://");

        assert_eq!(parts, ["aHR0cDovL", "h0dHA6Ly", "odHRwOi8v"]);
    }

    #[test]
    fn wide_characters_are_two_each() {
        assert_eq!(spell("wide", "ab"), ["a\0b\0"]);
        assert_eq!(spell("utf16le", "ab"), ["a\0b\0"]);
        assert_eq!(spell("utf16be", "ab"), ["\0a\0b"]);
        assert_eq!(spell("utf16", "ab"), ["\u{feff}a\0b\0"]);
    }

    #[test]
    fn dashes_at_the_beginning_of_words_are_spelled_in_five_ways() {
        let spellings = spell("windash", "a-b -x /y");

        assert_eq!(spellings.len(), 25);
        assert!(spellings.contains(&"a-b /x \u{2014}y".to_owned()));
        assert!(
            spellings
                .iter()
                .all(|spelling| spelling.starts_with("a-b "))
        );
    }

    #[test]
    fn what_has_no_encoded_form_is_refused() {
        let refuse = |encoding: Encoding, value: &str| {
            encoding.apply(SigmaString::parse(value), &[]).unwrap_err()
        };

        assert_eq!(refuse(Encoding::Base64, "a*"), EncodingFault::Wildcards);
        assert_eq!(refuse(Encoding::Wide, "ä"), EncodingFault::NotAscii);
        assert_eq!(
            refuse(Encoding::Dashes, "-a -b -c -d"),
            EncodingFault::Dashes
        );
    }
}
