//! Rust text with its comments and literals blanked out, so that rules look at code only.
//! It never parses: lines and columns stay where they were, everything else is left to the rules.

/// A copy of the text in which comments and the contents of literals are spaces.
pub(crate) fn blank(text: &str) -> String {
    let mut blanker = Blanker {
        rest: text.chars().peekable(),
        out: String::with_capacity(text.len()),
    };
    while blanker.step() {}
    blanker.out
}

/// The part of blanked code before its inline test module, if it has one.
pub(crate) fn without_inline_tests(blanked: &str) -> &str {
    blanked
        .find("#[cfg(test)]\nmod ")
        .and_then(|at| blanked.get(..at))
        .unwrap_or(blanked)
}

/// The number of the line, from 1, that holds the byte at `at`.
pub(crate) fn line_at(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// The words of blanked code, each an identifier or keyword, with the byte it begins at.
pub(crate) fn words(blanked: &str) -> impl Iterator<Item = (usize, &str)> {
    blanked
        .split(|c: char| !is_word(c))
        .filter(|word| !word.is_empty())
        .map(|word| (word.as_ptr() as usize - blanked.as_ptr() as usize, word))
}

/// Whether a character may be part of an identifier.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

struct Blanker<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    out: String,
}

impl Blanker<'_> {
    fn step(&mut self) -> bool {
        let after_word = self.out.chars().next_back().is_some_and(is_word);
        let Some(c) = self.keep() else {
            return false;
        };
        match (c, self.rest.peek()) {
            ('/', Some('/')) => self.line_comment(),
            ('/', Some('*')) => self.block_comment(),
            ('"', _) => self.string(),
            ('\'', _) => self.quote(),
            ('r', Some('"' | '#')) if !after_word || self.out.ends_with("br") => self.raw_string(),
            _ => {}
        }
        true
    }

    fn keep(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        self.out.push(c);
        Some(c)
    }

    fn blank(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        for _ in 0..c.len_utf8() {
            self.out.push(' ');
        }
        if c == '\n' {
            self.out.pop();
            self.out.push('\n');
        }
        Some(c)
    }

    fn line_comment(&mut self) {
        while self.rest.peek().is_some_and(|c| *c != '\n') {
            self.blank();
        }
    }

    fn block_comment(&mut self) {
        self.blank();
        let mut depth = 1;
        let mut before = ' ';
        while let Some(c) = self.blank() {
            match (before, c) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                _ => {
                    before = c;
                    continue;
                }
            }
            if depth == 0 {
                return;
            }
            before = ' ';
        }
    }

    fn string(&mut self) {
        while let Some(next) = self.rest.peek() {
            match next {
                '"' => {
                    self.keep();
                    return;
                }
                '\\' => {
                    self.blank();
                    self.blank();
                }
                _ => {
                    self.blank();
                }
            }
        }
    }

    /// A character literal ends in a quote after one character or an escape; a lifetime does not.
    fn quote(&mut self) {
        let mut ahead = self.rest.clone();
        match ahead.next() {
            Some('\\') => {
                self.blank();
                self.blank();
                while self.rest.peek().is_some_and(|c| *c != '\'' && *c != '\n') {
                    self.blank();
                }
                self.keep();
            }
            Some(_) if ahead.next() == Some('\'') => {
                self.blank();
                self.keep();
            }
            _ => {}
        }
    }

    fn raw_string(&mut self) {
        let mut ahead = self.rest.clone();
        let mut hashes = 0;
        while ahead.peek() == Some(&'#') {
            ahead.next();
            hashes += 1;
        }
        if ahead.next() != Some('"') {
            return; // a raw identifier
        }
        for _ in 0..=hashes {
            self.keep();
        }
        let mut closing = None;
        while closing != Some(hashes) {
            match self.blank() {
                Some('"') => closing = Some(0),
                Some('#') => closing = closing.map(|count: usize| count + 1),
                Some(_) => closing = None,
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(blank(text), expected);
    }

    #[test]
    fn comments_become_spaces() {
        check("a // todo\nb", &format!("a /{}\nb", " ".repeat(6)));
        check("a /* x /* y */ z */ b", &format!("a /{} b", " ".repeat(16)));
        check(
            "/// crate::x\nfn f() {}",
            &format!("/{}\nfn f() {{}}", " ".repeat(11)),
        );
    }

    #[test]
    fn contents_of_strings_become_spaces() {
        check(r#"f("crate::x", 1)"#, r#"f("        ", 1)"#);
        check(r#"f("a\"b", c)"#, r#"f("    ", c)"#);
        check(r##"f(r#"a"b"#, c)"##, r##"f(r#"     , c)"##);
        check("f(\"ä\")", "f(\"  \")");
    }

    #[test]
    fn characters_are_literals_and_lifetimes_are_not() {
        check("f('\"', 'a', '\\'', b)", "f(' ', ' ', '  ', b)");
        check("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}");
    }

    #[test]
    fn raw_identifiers_stay() {
        check("let r#type = 1;", "let r#type = 1;");
    }

    #[test]
    fn an_inline_test_module_is_not_production_code() {
        let text = "fn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::x;\n}\n";

        assert_eq!(without_inline_tests(text), "fn f() {}\n");
    }

    #[test]
    fn words_carry_their_place() {
        let found: Vec<_> = words("use crate::a_b;").collect();

        assert_eq!(found, [(0, "use"), (4, "crate"), (11, "a_b")]);
    }
}
