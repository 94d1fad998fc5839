//! What the arguments of a program are, by its short flags and where they stand.
//! It looks at one word at a time and never runs anything; the programs are listed in `table`.

use super::table::{LOGIN, PROGRAMS};

/// Where in a word, or behind it, the secret is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Argument {
    /// The secret begins at this byte; at the word's end, it is the next word.
    Secret(usize),
    /// A user and, behind this sign, the secret begin at this byte.
    Login(usize, char),
}

/// A flag that is no single letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flag {
    /// The secret follows in the same word.
    Prefix(&'static str),
    /// The secret is the next word, or stands behind `=`.
    Word(&'static str),
    /// The same for a user and, behind this sign, the secret.
    Login(&'static str, char),
    /// The secret follows this in the midst of a word that begins with a slash.
    Part(&'static str),
}

/// A program and its flags.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Program {
    /// Its names; `*` at one's end or beginning stands for anything.
    pub(super) names: &'static [&'static str],
    /// Letters with the secret in the same word or in the next.
    pub(super) either: &'static str,
    /// Letters with the secret in the same word only.
    pub(super) attached: &'static str,
    /// Letters with a user and a secret, and what stands between the two.
    pub(super) logins: &'static [(char, char)],
    /// Letters that take something else.
    pub(super) values: &'static str,
    /// Flags of more letters.
    pub(super) flags: &'static [Flag],
    /// The words before an argument that is a secret; `*` stands for any.
    pub(super) places: &'static [&'static [&'static str]],
    /// A word that says so makes the next one a secret, as in `config set password x`.
    pub(super) is_keyed: bool,
    /// An argument with a slash in it is a user and a password.
    pub(super) connects: bool,
    /// It takes a password by `-p` behind the word `login`.
    pub(super) logs_in: bool,
}

impl Program {
    /// A program without flags.
    pub(super) const PLAIN: Self = Self {
        names: &[],
        either: "",
        attached: "",
        logins: &[],
        values: "",
        flags: &[],
        places: &[],
        is_keyed: false,
        connects: false,
        logs_in: false,
    };

    /// The program of a name.
    pub(super) fn of(name: &str) -> Option<&'static Self> {
        let is_name =
            |pattern: &&'static str| match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
                (Some(part), _) => name.contains(part),
                (None, Some(begin)) => name.starts_with(begin),
                (None, None) => *pattern == name,
            };
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !name.chars().all(is_part) {
            return None;
        }
        PROGRAMS
            .iter()
            .find(|program| program.names.iter().any(is_name))
    }

    /// What a word is that makes this program another one.
    pub(super) fn behind(&'static self, word: &str) -> &'static Self {
        if self.logs_in && word == "login" {
            &LOGIN
        } else {
            self
        }
    }

    /// What a flag carries.
    pub(super) fn argument(&self, word: &str) -> Option<Argument> {
        if !word.starts_with(['-', '/']) {
            let is_login = self.connects && word.contains('/') && !word.starts_with('@');
            return is_login.then_some(Argument::Login(0, '/'));
        }
        self.flags
            .iter()
            .find_map(|flag| flag.argument(word))
            .or_else(|| self.letters(word))
    }

    /// Whether the word after this flag belongs to it.
    pub(super) fn takes_next(&self, word: &str) -> bool {
        let is_letter = |c: char| self.values.contains(c);
        word.strip_prefix('-')
            .and_then(|letters| letters.char_indices().find(|(_, c)| is_letter(*c)))
            .is_some_and(|(at, c)| at + 1 + c.len_utf8() == word.len())
    }

    /// What the letters behind one dash carry.
    fn letters(&self, word: &str) -> Option<Argument> {
        for (at, c) in word.char_indices().skip(1) {
            let behind = at + c.len_utf8();
            if self.either.contains(c) || self.attached.contains(c) && behind < word.len() {
                return Some(Argument::Secret(behind));
            }
            if let Some((_, between)) = self.logins.iter().find(|(letter, _)| *letter == c) {
                return Some(Argument::Login(behind, *between));
            }
            if !c.is_ascii_alphanumeric() || self.values.contains(c) || word.starts_with('/') {
                return None;
            }
        }
        None
    }
}

impl Flag {
    fn argument(self, word: &str) -> Option<Argument> {
        let behind = |flag: &str| {
            let rest = word.strip_prefix(flag)?;
            (rest.is_empty() || rest.starts_with('=')).then(|| word.len().min(flag.len() + 1))
        };
        match self {
            Self::Prefix(flag) => (word.len() > flag.len() && word.starts_with(flag))
                .then_some(Argument::Secret(flag.len())),
            Self::Word(flag) => behind(flag).map(Argument::Secret),
            Self::Login(flag, between) => behind(flag).map(|at| Argument::Login(at, between)),
            Self::Part(part) => word
                .find(part)
                .filter(|_| word.starts_with('/'))
                .map(|at| Argument::Secret(at + part.len())),
        }
    }
}
