//! Texts that a shell reads: commands, each with its program, and words with quotes.
//! It never looks further than the line for the end of a secret.

use super::words::{self, Piece};
use super::{Command, Line, MASK, MAX_DEPTH, Meaning, Next, bare, is_flag, names, pieces};

/// What reads a password from the command before it.
const READERS: [&str; 4] = ["chpasswd", "sudo -S", "passwd --stdin", "cryptsetup"];

/// How far a command that reads a password is looked for.
const MAX_FED_BYTES: usize = 1_024;

impl Line {
    /// Takes in a text with commands of its own.
    pub(super) fn take_script(&mut self, text: &str, depth: u8) {
        let outer = (std::mem::take(&mut self.command), self.is_code, self.is_fed);
        (self.is_code, self.is_fed, self.next) = (false, false, Next::Word);
        let may_feed = READERS.iter().any(|reader| text.contains(reader));
        let mut interrupted = Vec::new();
        let mut pieces = words::split(text);
        while let Some(piece) = pieces.next() {
            match piece {
                Piece::Space(space) => self.take_space(space),
                Piece::Word(word) => {
                    let begins = may_feed && self.command.begins();
                    self.take_word(word, depth);
                    let is_told = begins
                        && matches!(
                            word.rsplit(['(', ';', '&', '|', '/']).next(),
                            Some("echo" | "printf")
                        );
                    self.is_fed |= is_told && feeds(pieces.rest());
                }
                Piece::Interrupted(word) => self.take_interrupted(word, depth),
                Piece::Begin(sign) => {
                    self.out.push_str(sign);
                    interrupted.push((self.command, self.is_fed));
                    self.end_command();
                }
                Piece::End(sign) => {
                    self.out.push_str(sign);
                    (self.command, self.is_fed) = interrupted.pop().unwrap_or_default();
                    self.next = Next::Word;
                }
            }
        }
        (self.command, self.is_code, self.is_fed) = outer;
        self.next = Next::Word;
    }

    /// Takes in arguments that were joined by spaces, where quotes are letters as any.
    pub(super) fn take_joined(&mut self, text: &str) {
        let mut rest = text;
        while !rest.is_empty() {
            let start = rest
                .find(|c: char| !c.is_whitespace())
                .unwrap_or(rest.len());
            let (space, from) = rest.split_at(start);
            self.out.push_str(space);
            if self.next == Next::Code && !from.starts_with(['-', '+']) {
                self.take_script(from, 1);
                return;
            }
            let end = from.find(char::is_whitespace).unwrap_or(from.len());
            let (word, behind) = from.split_at(end);
            let is_code = self.next == Next::Code;
            if !word.is_empty() {
                self.take_unquoted(word);
                self.command.note(word);
            }
            if is_code {
                self.next = Next::Code;
            }
            rest = behind;
        }
    }

    fn take_space(&mut self, space: &str) {
        let line_end = space.find('\n');
        if self.next == Next::ToTheEnd {
            let shown = line_end.and_then(|at| space.get(at..));
            self.out.push_str(shown.unwrap_or_default());
        } else {
            self.out.push_str(space);
        }
        if line_end.is_some() && !self.out.trim_end().ends_with('\\') {
            let next = self.next;
            self.end_command();
            // Only JSON goes on behind the end of a line.
            if matches!(next, Next::Secret | Next::Field | Next::Quoted) {
                self.next = Next::Quoted;
            }
        }
    }

    fn end_command(&mut self) {
        self.command = Command::default();
        self.is_fed = false;
        self.next = Next::Word;
    }

    /// Takes a word whose double quotes are interrupted by a command as if they ended there.
    fn take_interrupted(&mut self, word: &str, depth: u8) {
        let is_empty = word.ends_with("=\"") || word == "\"";
        if is_empty {
            self.out.push_str(word);
        } else {
            self.take_word(&format!("{word}\""), depth);
            if self.out.ends_with('"') {
                self.out.pop();
            }
        }
        self.next = Next::Word;
    }

    /// Takes what stands between white space, in which one command may end and another begin.
    fn take_word(&mut self, word: &str, depth: u8) {
        let mut rest = word;
        while let Some(at) = words::separator(rest) {
            let (segment, behind) = rest.split_at(at);
            if at > 0 && !self.is_expected(segment) {
                break;
            }
            if at > 0 {
                self.take_segment(segment, depth);
            }
            let (sign, behind) = behind.split_at_checked(1).unwrap_or((behind, ""));
            self.out.push_str(sign);
            self.end_command();
            rest = behind;
        }
        if words::separator(rest).is_none() {
            if !rest.is_empty() {
                self.take_segment(rest, depth);
            }
            return;
        }
        // Addresses and JSON may have such signs in them.
        self.next = pieces::mask(rest, &mut self.out);
        let next = self.next;
        let mut last = rest;
        while let Some(at) = words::separator(last) {
            last = last.get(at + 1..).unwrap_or_default();
        }
        self.end_command();
        self.next = next;
        self.command.note(bare(last));
    }

    /// Whether it is known what a word means, before it is looked at with what follows it.
    fn is_expected(&self, word: &str) -> bool {
        if self.next == Next::Quoted {
            return word.starts_with(['"', '\'', '=', ':']);
        }
        self.next != Next::Word || self.is_fed || self.command.argument(bare(word)).is_some()
    }

    /// Takes a word that no sign between commands is in.
    fn take_segment(&mut self, word: &str, depth: u8) {
        if self.next == Next::ToTheEnd {
            self.next = Next::ToTheEnd;
            return;
        }
        if word == "\\" {
            self.out.push_str(word);
            return;
        }
        if let Some((quote, inside)) = quoted(word).filter(|_| depth < MAX_DEPTH) {
            self.out.push(quote);
            let is_name = self.next == Next::Word && names::meaning(inside) != Meaning::Harmless;
            self.take_argument(inside, depth);
            self.out.push(quote);
            if is_name && self.next == Next::Word {
                self.next = Next::Quoted;
            }
            return;
        }
        self.take_unquoted(word);
        self.command.note(bare(word));
    }

    fn take_unquoted(&mut self, word: &str) {
        match std::mem::take(&mut self.next) {
            Next::OrFlag(_) if is_flag(word) => self.take_plain(word),
            Next::OrFlag(meaning) if !meaning.is_secret(bare(word)) => self.out.push_str(word),
            Next::Quoted if matches!(word, "=" | ":") => {
                self.out.push_str(word);
                self.next = Next::Quoted;
            }
            Next::Quoted if !word.starts_with(['"', '\'']) => self.take_plain(word),
            Next::Field | Next::Credentials if word.starts_with('/') => self.take_plain(word),
            Next::Credentials if names::is_scheme(bare(word)) => {
                self.out.push_str(word);
                self.next = Next::Field;
            }
            Next::Credential if word.starts_with(['/', '-', '"', '\'']) || word.contains("://") => {
                self.take_plain(word);
            }
            Next::Cookie if !word.contains('=') || word.contains('/') => self.take_plain(word),
            Next::Credentials => {
                self.mask_word(word);
                self.next = Next::Credential;
            }
            Next::Field | Next::Cookie if word.ends_with(';') => {
                self.mask_word(word);
                self.next = Next::Cookie;
            }
            Next::OrFlag(_)
            | Next::Secret
            | Next::Quoted
            | Next::Field
            | Next::Cookie
            | Next::Credential => self.mask_word(word),
            Next::Login(between) => self.mask_login(word, 0, between),
            _ if self.is_fed && !is_flag(word) => self.mask_word(word),
            Next::Word | Next::Code | Next::ToTheEnd => self.take_plain(word),
        }
    }

    /// A word of which nothing is known by the one before it.
    fn take_plain(&mut self, word: &str) {
        let name = bare(word);
        if self.take_known(name) {
            return;
        }
        self.next = pieces::mask(word, &mut self.out);
        self.expect_behind(name);
        if self.next == Next::Word && precedes_quoted(word) {
            self.next = Next::Quoted;
        }
    }

    /// Quotes stay where they were, and so does what only ends a list behind them.
    fn mask_word(&mut self, word: &str) {
        let quote = word.chars().next().filter(|c| matches!(c, '"' | '\''));
        let closed = quote.and_then(|quote| {
            let (_, after) = word.get(1..)?.rsplit_once(quote)?;
            let is_end = after
                .chars()
                .all(|c| matches!(c, ',' | ';' | '}' | ']' | ')'));
            is_end.then_some((quote, after))
        });
        match closed {
            Some((quote, after)) => {
                self.out.push(quote);
                self.out.push_str(MASK);
                self.out.push(quote);
                self.out.push_str(after);
            }
            None => self.out.push_str(MASK),
        }
        if quote.is_some_and(|quote| word.matches(quote).count() == 1) {
            self.next = Next::ToTheEnd;
        }
    }
}

/// Whether the command behind the next bar reads a password.
fn feeds(rest: &str) -> bool {
    let end = rest.floor_char_boundary(MAX_FED_BYTES.min(rest.len()));
    let rest = rest.get(..end).unwrap_or_default();
    let bar =
        words::separator(rest).filter(|at| rest.get(*at..).is_some_and(|s| s.starts_with('|')));
    let Some(reader) = bar.and_then(|at| rest.get(at + 1..)) else {
        return false;
    };
    let reader = reader.split(['|', ';', '\n']).next().unwrap_or_default();
    READERS.iter().any(|name| reader.contains(name))
}

/// Whether what follows in quotes is a secret, as in SQL, or in JSON with spaces around its colon.
fn precedes_quoted(word: &str) -> bool {
    let name = bare(word);
    if word.ends_with('"') {
        let key = name
            .trim_end_matches(['"', '\\'])
            .rsplit(['"', '\''])
            .next();
        return key.is_some_and(|key| names::meaning(key) != Meaning::Harmless);
    }
    name.eq_ignore_ascii_case("password") || name.eq_ignore_ascii_case("by")
}

/// The inside of a word that is wholly in quotes.
fn quoted(word: &str) -> Option<(char, &str)> {
    let quote = word.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inside = word.strip_prefix(quote)?.strip_suffix(quote)?;
    (!inside.contains(quote)).then_some((quote, inside))
}
