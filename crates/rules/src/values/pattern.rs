//! Sigma strings: wildcards and escapes as the specification has them, and their matching.
//! It never folds case by itself; callers fold the pattern and the text alike.

use memchr::memmem::Finder;

use crate::values::fold::fold;
use crate::values::glob::Glob;

/// A piece of a Sigma string.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// Literal text, never empty.
    Text(String),
    /// `*`: any characters, none included.
    AnyRun,
    /// `?`: exactly one character.
    AnyChar,
}

/// A Sigma string taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SigmaString(Vec<Part>);

impl SigmaString {
    /// Reads wildcards and escapes: `\*`, `\?` and `\\` are the characters themselves, and a
    /// backslash before anything else is a backslash.
    pub(crate) fn parse(text: &str) -> Self {
        let mut parts = Self(Vec::new());
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '\\' => {
                    let literal = characters.next_if(|next| matches!(next, '*' | '?' | '\\'));
                    parts.push_char(literal.unwrap_or('\\'));
                }
                '*' => parts.push_run(),
                '?' => parts.0.push(Part::AnyChar),
                other => parts.push_char(other),
            }
        }
        parts
    }

    /// A string without wildcards, taken literally.
    pub(crate) fn literal(text: &str) -> Self {
        let mut parts = Self(Vec::new());
        text.chars()
            .for_each(|character| parts.push_char(character));
        parts
    }

    /// A string in which `*` is the only special character.
    pub(crate) fn with_runs(text: &str) -> Self {
        let mut parts = Self(Vec::new());
        for character in text.chars() {
            match character {
                '*' => parts.push_run(),
                other => parts.push_char(other),
            }
        }
        parts
    }

    /// The same string with anything before it.
    pub(crate) fn after_anything(mut self) -> Self {
        if self.0.first() != Some(&Part::AnyRun) {
            self.0.insert(0, Part::AnyRun);
        }
        self
    }

    /// The same string with anything behind it.
    pub(crate) fn before_anything(mut self) -> Self {
        self.push_run();
        self
    }

    /// The same string in caseless form.
    pub(crate) fn folded(self) -> Self {
        self.map_texts(fold)
    }

    /// Its pieces.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The same string with its literal texts rewritten.
    pub(crate) fn map_texts(self, rewrite: impl Fn(&str) -> String) -> Self {
        let map = |part| match part {
            Part::Text(text) => Part::Text(rewrite(&text)),
            Part::AnyRun | Part::AnyChar => part,
        };
        Self(self.0.into_iter().map(map).collect())
    }

    /// The same string with one literal character before it.
    pub(crate) fn with_prefix(self, character: char) -> Self {
        let mut prefixed = Self(Vec::new());
        prefixed.push_char(character);
        self.0.into_iter().for_each(|part| prefixed.push(part));
        prefixed
    }

    /// Adds a piece.
    pub(crate) fn push(&mut self, part: Part) {
        match part {
            Part::Text(text) => text.chars().for_each(|character| self.push_char(character)),
            Part::AnyRun => self.push_run(),
            Part::AnyChar => self.0.push(part),
        }
    }

    /// Whether it holds no characters and no wildcards.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a literal character.
    pub(crate) fn push_char(&mut self, character: char) {
        match self.0.last_mut() {
            Some(Part::Text(text)) => text.push(character),
            _ => self.0.push(Part::Text(character.into())),
        }
    }

    /// Adds `*`, of which two in a row mean no more than one.
    fn push_run(&mut self) {
        if self.0.last() != Some(&Part::AnyRun) {
            self.0.push(Part::AnyRun);
        }
    }
}

/// A Sigma string made ready for matching, in its cheapest form.
#[derive(Clone, Debug)]
pub(crate) enum Pattern {
    /// Every text.
    Any,
    /// The text itself.
    Exact(String),
    /// Texts that begin so.
    Prefix(String),
    /// Texts that end so.
    Suffix(String),
    /// Texts that hold this somewhere.
    Contains(Box<Finder<'static>>),
    /// Everything else.
    Glob(Glob),
}

impl Pattern {
    /// Chooses the cheapest form.
    pub(crate) fn compile(string: &SigmaString) -> Self {
        match string.0.as_slice() {
            [] => Self::Exact(String::new()),
            [Part::AnyRun] => Self::Any,
            [Part::Text(text)] => Self::Exact(text.clone()),
            [Part::Text(text), Part::AnyRun] => Self::Prefix(text.clone()),
            [Part::AnyRun, Part::Text(text)] => Self::Suffix(text.clone()),
            [Part::AnyRun, Part::Text(text), Part::AnyRun] => {
                Self::Contains(Box::new(Finder::new(text).into_owned()))
            }
            parts => Self::Glob(Glob::compile(parts)),
        }
    }

    /// Whether the whole of `text` matches.
    pub(crate) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => text == exact,
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Self::Suffix(suffix) => text.ends_with(suffix.as_str()),
            Self::Contains(finder) => finder.find(text.as_bytes()).is_some(),
            Self::Glob(glob) => glob.matches(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

    use super::{Part, Pattern, SigmaString};
    use crate::values::fold::fold;

    /// The obvious matcher: tries every length of every `*`.
    fn naive_matches(parts: &[Part], text: &[char]) -> bool {
        match parts.split_first() {
            None => text.is_empty(),
            Some((Part::AnyRun, rest)) => {
                (0..=text.len()).any(|length| naive_matches(rest, &text[length..]))
            }
            Some((Part::AnyChar, rest)) => !text.is_empty() && naive_matches(rest, &text[1..]),
            Some((Part::Text(literal), rest)) => {
                let literal: Vec<char> = literal.chars().collect();
                text.starts_with(&literal) && naive_matches(rest, &text[literal.len()..])
            }
        }
    }

    /// Texts over few characters, so that patterns often match them.
    fn small_text(characters: &'static str) -> impl Strategy<Value = String> {
        let characters: Vec<char> = characters.chars().collect();
        proptest::collection::vec(proptest::sample::select(characters), 0..12)
            .prop_map(|chosen| chosen.into_iter().collect())
    }

    /// Writes a text so that it means itself.
    fn escape(text: &str) -> String {
        let write = |character| match character {
            '*' | '?' | '\\' => format!("\\{character}"),
            other => other.to_string(),
        };
        text.chars().map(write).collect()
    }

    fn parse(text: &str) -> SigmaString {
        SigmaString::parse(text)
    }

    #[test]
    fn escapes_are_read_as_the_specification_has_them() {
        let table: [(&str, &[Part]); 12] = [
            (r"a\*b", &[Part::Text("a*b".into())]),
            (r"a\?b", &[Part::Text("a?b".into())]),
            (
                r"a\\*b",
                &[
                    Part::Text(r"a\".into()),
                    Part::AnyRun,
                    Part::Text("b".into()),
                ],
            ),
            (r"a\\\*b", &[Part::Text(r"a\*b".into())]),
            (r"C:\Windows", &[Part::Text(r"C:\Windows".into())]),
            (r"C:\\Windows", &[Part::Text(r"C:\Windows".into())]),
            (r"\\\\host", &[Part::Text(r"\\host".into())]),
            (r"\\\host", &[Part::Text(r"\\host".into())]),
            (r"end\", &[Part::Text(r"end\".into())]),
            ("**", &[Part::AnyRun]),
            ("?*?", &[Part::AnyChar, Part::AnyRun, Part::AnyChar]),
            ("", &[]),
        ];

        for (text, parts) in table {
            assert_eq!(parse(text).0, parts, "{text}");
        }
    }

    #[test]
    fn every_pattern_takes_its_cheapest_form() {
        let form = |text: &str| match Pattern::compile(&parse(text)) {
            Pattern::Any => "any",
            Pattern::Exact(_) => "exact",
            Pattern::Prefix(_) => "prefix",
            Pattern::Suffix(_) => "suffix",
            Pattern::Contains(_) => "contains",
            Pattern::Glob(_) => "glob",
        };

        let forms = ["*", "a", "", "a*", "*a", "*a*", "a*a", "?"].map(form);

        assert_eq!(
            forms,
            [
                "any", "exact", "exact", "prefix", "suffix", "contains", "glob", "glob"
            ]
        );
    }

    proptest! {
        #[test]
        fn patterns_match_what_the_obvious_matcher_matches(
            pattern in small_text(r"ab*?\ä"),
            text in small_text(r"ab*?\ä"),
        ) {
            let string = parse(&pattern);
            let characters: Vec<char> = text.chars().collect();

            let matches = Pattern::compile(&string).matches(&text);

            assert_eq!(matches, naive_matches(&string.0, &characters), "{pattern:?} on {text:?}");
        }

        #[test]
        fn an_escaped_text_matches_itself_and_nothing_else(
            text in small_text(r"ab*?\"),
            other in small_text(r"ab*?\"),
        ) {
            let pattern = Pattern::compile(&parse(&escape(&text)));

            assert!(pattern.matches(&text));
            assert_eq!(pattern.matches(&other), text == other);
        }

        #[test]
        fn a_literal_is_what_its_escaped_form_is(text in any::<String>()) {
            assert_eq!(SigmaString::literal(&text), parse(&escape(&text)));
        }

        #[test]
        fn placing_a_pattern_is_writing_stars_round_it(
            pattern in small_text("ab*?"),
            text in small_text("ab"),
            place in prop_oneof![Just((true, false)), Just((false, true)), Just((true, true))],
        ) {
            let (before, behind) = place;
            let mut placed = parse(&pattern);
            let mut written = pattern.clone();
            if before {
                placed = placed.after_anything();
                written = format!("*{written}");
            }
            if behind {
                placed = placed.before_anything();
                written.push('*');
            }

            let matches = Pattern::compile(&placed).matches(&text);

            assert_eq!(matches, Pattern::compile(&parse(&written)).matches(&text));
        }

        #[test]
        fn folding_a_pattern_and_a_text_ignores_case_only(
            pattern in small_text("aAbBäÄσςΣ*?"),
            text in small_text("aAbBäÄσςΣ"),
        ) {
            let folded = Pattern::compile(&parse(&pattern).folded()).matches(&fold(&text));

            let lower = Pattern::compile(&parse(&fold(&pattern))).matches(&fold(&text));

            assert_eq!(folded, lower);
        }
    }
}
