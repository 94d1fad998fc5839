//! Sigma strings: wildcards and escapes as the specification has them, and their matching.
//! It never folds case by itself; callers fold the pattern and the text alike.

use memchr::memmem::Finder;

use crate::fold::fold;
use crate::glob::Glob;

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
        let fold_part = |part| match part {
            Part::Text(text) => Part::Text(fold(&text)),
            Part::AnyRun | Part::AnyChar => part,
        };
        Self(self.0.into_iter().map(fold_part).collect())
    }

    /// Whether it holds no characters and no wildcards.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a literal character.
    fn push_char(&mut self, character: char) {
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
