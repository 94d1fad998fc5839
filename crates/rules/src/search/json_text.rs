//! The tokens of JSON: space, texts with escapes, numbers, words.
//! It never takes what the grammar does not have, and never leaves the text.

/// What is wrong with a text that should be JSON.
pub(crate) type JsonProblem = &'static str;

/// A place in a JSON text.
#[derive(Debug)]
pub(crate) struct Cursor<'j> {
    json: &'j str,
    at: usize,
    /// The last text that had escapes, without them.
    decoded: String,
}

/// A text that was read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Text<'j> {
    /// As it stands.
    Plain(&'j str),
    /// It had escapes; the cursor has it until the next.
    Decoded,
}

impl<'j> Cursor<'j> {
    /// The beginning of a text; `decoded` is a buffer that is given back by [`Self::end`].
    pub(crate) fn new(json: &'j str, decoded: String) -> Self {
        Self {
            json,
            at: 0,
            decoded,
        }
    }

    /// How many bytes were read, and the buffer.
    pub(crate) fn end(self) -> (usize, String) {
        (self.at, self.decoded)
    }

    /// The next byte that is not space.
    pub(crate) fn next_token(&mut self) -> Result<u8, JsonProblem> {
        loop {
            match self.json.as_bytes().get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(byte) => {
                    self.at += 1;
                    return Ok(*byte);
                }
                None => return Err("the text ends"),
            }
        }
    }

    /// Nothing but space may follow.
    pub(crate) fn finish(&mut self) -> Result<(), JsonProblem> {
        match self.next_token() {
            Ok(_) => Err("something follows the object"),
            Err(_) => Ok(()),
        }
    }

    /// What was read.
    pub(crate) fn text<'t>(&'t self, text: Text<'t>) -> &'t str {
        match text {
            Text::Plain(plain) => plain,
            Text::Decoded => &self.decoded,
        }
    }

    /// Reads a text whose first quote is read.
    pub(crate) fn read_text(&mut self) -> Result<Text<'j>, JsonProblem> {
        let start = self.at;
        if self.skip_plain()? == b'"' {
            let plain = self.json.get(start..self.at - 1).ok_or("a text is cut")?;
            return Ok(Text::Plain(plain));
        }
        self.decoded.clear();
        let mut start = start;
        loop {
            // The byte read last is a quote or a backslash.
            let plain = self.json.get(start..self.at - 1).ok_or("a text is cut")?;
            self.decoded.push_str(plain);
            if self.json.as_bytes().get(self.at - 1) == Some(&b'"') {
                return Ok(Text::Decoded);
            }
            let character = self.read_escape()?;
            self.decoded.push(character);
            start = self.at;
            self.skip_plain()?;
        }
    }

    /// Reads a text whose first quote is read, if it is just this one, which needs no escapes.
    pub(crate) fn skip_text(&mut self, text: &str) -> bool {
        let rest = self.json.as_bytes().get(self.at..).unwrap_or_default();
        let is_it = rest.get(text.len()) == Some(&b'"') && rest.starts_with(text.as_bytes());
        if is_it {
            self.at += text.len() + 1;
        }
        is_it
    }

    /// Reads up to and with the next quote or backslash and answers which it is.
    fn skip_plain(&mut self) -> Result<u8, JsonProblem> {
        let bytes = self.json.as_bytes();
        while let Some(block) = bytes.get(self.at..).and_then(<[u8]>::first_chunk::<8>) {
            let special = mark_special(u64::from_le_bytes(*block));
            if special != 0 {
                self.at += special.trailing_zeros() as usize / 8;
                break;
            }
            self.at += 8;
        }
        loop {
            let byte = bytes.get(self.at).ok_or("a text does not end")?;
            self.at += 1;
            match byte {
                b'"' | b'\\' => return Ok(*byte),
                0..0x20 => return Err("a control character stands in a text"),
                _ => {}
            }
        }
    }

    /// Reads the rest of an escape.
    fn read_escape(&mut self) -> Result<char, JsonProblem> {
        let byte = *self
            .json
            .as_bytes()
            .get(self.at)
            .ok_or("a text does not end")?;
        self.at += 1;
        Ok(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.read_unit(),
            _ => return Err("an escape is unknown"),
        })
    }

    /// Reads the rest of an escape by number, of two where one is half a character.
    fn read_unit(&mut self) -> Result<char, JsonProblem> {
        const HALF: JsonProblem = "an escape is half a character";
        let first = self.read_digits()?;
        if !(0xd800..0xe000).contains(&first) {
            return char::from_u32(first).ok_or(HALF);
        }
        self.read_word("\\u").map_err(|_| HALF)?;
        let second = self.read_digits()?;
        if first >= 0xdc00 || !(0xdc00..0xe000).contains(&second) {
            return Err(HALF);
        }
        char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or(HALF)
    }

    /// Reads four hexadecimal digits.
    fn read_digits(&mut self) -> Result<u32, JsonProblem> {
        const DIGITS: JsonProblem = "an escape needs four hexadecimal digits";
        let digits = self.json.get(self.at..self.at + 4).ok_or(DIGITS)?;
        self.at += 4;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(DIGITS);
        }
        u32::from_str_radix(digits, 16).map_err(|_| DIGITS)
    }

    /// Reads what has to follow.
    pub(crate) fn read_word(&mut self, rest: &str) -> Result<(), JsonProblem> {
        let follows = self.json.as_bytes().get(self.at..).unwrap_or_default();
        if !follows.starts_with(rest.as_bytes()) {
            return Err("a word is unknown");
        }
        self.at += rest.len();
        Ok(())
    }

    /// Reads a number whose first byte is read, and whether it has neither fraction nor exponent.
    pub(crate) fn read_number(&mut self) -> Result<(&'j str, bool), JsonProblem> {
        let start = self.at - 1;
        let bytes = self.json.as_bytes();
        if bytes.get(start) == Some(&b'-') {
            self.read_a_digit()?;
        }
        if bytes.get(self.at - 1) != Some(&b'0') {
            self.skip_digits();
        }
        let mut is_whole = true;
        if bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.read_a_digit()?;
            self.skip_digits();
            is_whole = false;
        }
        if let Some(b'e' | b'E') = bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = bytes.get(self.at) {
                self.at += 1;
            }
            self.read_a_digit()?;
            self.skip_digits();
            is_whole = false;
        }
        let digits = self.json.get(start..self.at).ok_or("a number is cut")?;
        Ok((digits, is_whole))
    }

    /// Reads a digit.
    fn read_a_digit(&mut self) -> Result<(), JsonProblem> {
        match self.json.as_bytes().get(self.at) {
            Some(b'0'..=b'9') => {
                self.at += 1;
                Ok(())
            }
            _ => Err("a number lacks a digit"),
        }
    }

    /// Reads digits as long as there are any.
    fn skip_digits(&mut self) {
        while let Some(b'0'..=b'9') = self.json.as_bytes().get(self.at) {
            self.at += 1;
        }
    }
}

/// The highest bit of every byte that is a quote, a backslash or a control character; bytes behind
/// the first such may have theirs by mistake.
fn mark_special(block: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zeros = |block: u64| block.wrapping_sub(ONES) & !block & HIGH;
    let controls = block.wrapping_sub(ONES * 0x20) & !block & HIGH;
    zeros(block ^ (ONES * 0x22)) | zeros(block ^ (ONES * 0x5c)) | controls
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use crate::search::json::load_json;
    use crate::search::view::{FieldTable, Scratch};

    /// Whether a text is taken as an event.
    fn is_taken(json: &str, whole: bool) -> bool {
        let mut fields = FieldTable::default();
        fields.slot("a");
        load_json(&mut Scratch::default(), json, &fields, whole).is_ok()
    }

    /// Whether a text is a JSON object.
    fn is_object(json: &str) -> bool {
        serde_json::from_str::<serde_json::Value>(json).is_ok_and(|value| value.is_object())
    }

    proptest! {
        #[test]
        fn what_is_taken_is_json_and_what_is_json_is_taken(
            inside in r#"[\[\]{},: \n"\\ntfu0189.eE+\-axé/]{0,12}"#,
            text in r#"[a-c"\\/bfnrtuDd8cC0 é\n]{0,12}"#,
            number in "-?[0-9.eE+-]{1,8}",
            word in "(true|false|null|tru|nul|[a-z]{1,5})",
        ) {
            for json in [
                inside.clone(),
                format!("{{{inside}}}"),
                format!("{{\"a\":{inside}}}"),
                format!("{{\"a\":[{inside}]}}"),
                format!("{{\"a\":\"{text}\",\"{text}\":1}}"),
                format!(r#"{{"a":"\ud83d{text}"}}"#),
                format!("{{\"a\":{number},\"b\":{number}}}"),
                format!(" {{ \"a\" : [ {word} , {{}} , [] ] , \"b\" : {word} }} "),
            ] {
                for whole in [false, true] {
                    assert_eq!(is_taken(&json, whole), is_object(&json), "{json}");
                }
            }
        }
    }

    #[test]
    fn the_grammar_is_kept_where_readers_are_often_lax() {
        for json in [
            r#"{"a":01}"#,
            r#"{"a":-}"#,
            r#"{"a":1.}"#,
            r#"{"a":.5}"#,
            r#"{"a":1e}"#,
            r#"{"a":+1}"#,
            r#"{"a":1e999}"#,
            r#"{"b":-1e999}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\udc00\ud800"}"#,
            r#"{"a":"\u00g0"}"#,
            r#"{"a":"\u+123"}"#,
            r#"{"a":"\x"}"#,
            "{\"a\":\"\u{1}\"}",
            r#"{"a":1,}"#,
            r#"{"a":[1,]}"#,
            r#"{a:1}"#,
            r#"{"a":1}}"#,
            r#"{"a":NaN}"#,
            r#"{"a":tRue}"#,
            r#"{"a"}"#,
            r#"{"a":"#,
            r#"{"a":"\"#,
            r#"{"a":"\u12"#,
            "\u{feff}{}",
        ] {
            assert!(!is_taken(json, true), "{json}");
            assert!(!is_object(json), "{json}");
        }
        let deep = |levels: usize| {
            format!("{}{}", "{\"a\":".repeat(levels), "1").to_owned() + &"}".repeat(levels)
        };
        assert!(is_taken(&deep(127), true) && is_object(&deep(127)));
        assert!(!is_taken(&deep(128), true) && !is_object(&deep(128)));
    }
}
