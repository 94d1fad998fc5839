//! Secrets taken out of command lines before they leave the host; what is left stays readable.
//! It knows forms and names of secrets, not secrets: what looks like an ordinary word is kept.
//!
//! A secret is what follows a flag, variable, header or key whose name says so, the password in
//! the address of a server, an argument that a known program takes for one, or a token whose own
//! form is known. The rest of the line is untouched, as rules look at it.

mod log;
mod logins;
mod names;
mod pieces;
mod programs;
mod words;

pub use log::LoggedCommands;
use programs::{Argument, Program};

/// What stands in the place of a secret.
pub const MASK: &str = "***";

/// How deep texts are looked for in texts, as in `sh -c "su -c 'mysql …'"`.
const MAX_DEPTH: u8 = 4;

/// The arguments of a program, joined by spaces, without secrets.
#[must_use]
pub fn redact_arguments<'t>(arguments: impl IntoIterator<Item = &'t str>) -> String {
    let mut line = Line::default();
    for argument in arguments {
        if !line.out.is_empty() {
            line.out.push(' ');
        }
        line.take_argument(argument);
    }
    line.out
}

/// The arguments of a program without secrets, one by one.
#[must_use]
pub fn redact_each<'t>(arguments: impl IntoIterator<Item = &'t str>) -> Vec<String> {
    let mut line = Line::default();
    let mut redacted = Vec::new();
    for argument in arguments {
        line.take_argument(argument);
        redacted.push(std::mem::take(&mut line.out));
    }
    redacted
}

/// A command line that is one text, as in the log of sudo, without secrets.
#[must_use]
pub fn redact_command(text: &str) -> String {
    let mut line = Line::default();
    match before_private_key(text) {
        Some(before) => {
            line.take_text(before, 0);
            if !line.out.ends_with(MASK) {
                line.out.push_str(MASK);
            }
        }
        None => line.take_text(text, 0),
    }
    line.out
}

/// What the next word is, by the word before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Next {
    /// Anything.
    #[default]
    Word,
    /// A secret, unless it looks like another flag.
    SecretOrFlag,
    /// A secret in any case.
    Secret,
    /// The rest of a secret whose quotes are never closed, as where a long line was cut.
    SecretToTheEnd,
    /// `user:secret`, or a user alone.
    Login(char),
    /// The scheme of an `Authorization` header, or already the secret.
    Credentials,
}

/// A line that is taken in word by word.
#[derive(Debug, Default)]
struct Line {
    out: String,
    program: Option<&'static Program>,
    next: Next,
}

impl Line {
    fn take_argument(&mut self, argument: &str) {
        if let Some(before) = before_private_key(argument) {
            self.out.push_str(before);
            self.out.push_str(MASK);
            self.next = Next::Word;
            return;
        }
        // A secret with spaces is one argument, and a command within an argument is many words.
        let is_text = argument.contains(char::is_whitespace);
        if is_text && !matches!(self.next, Next::Secret | Next::SecretOrFlag) {
            let outer = self.program;
            self.take_text(argument, 1);
            self.next = Next::Word;
            self.program = outer;
        } else {
            self.take_word(argument, 0);
            // The quote of an argument of its own is a part of the secret.
            if self.next == Next::SecretToTheEnd {
                self.next = Next::Word;
            }
        }
    }

    fn take_text(&mut self, text: &str, depth: u8) {
        for piece in words::split(text) {
            if self.next == Next::SecretToTheEnd {
                return;
            }
            match piece {
                words::Piece::Space(space) => self.out.push_str(space),
                words::Piece::Word(word) => self.take_word(word, depth),
            }
        }
    }

    fn take_word(&mut self, word: &str, depth: u8) {
        match std::mem::take(&mut self.next) {
            Next::SecretOrFlag if is_flag(word) => self.take_plain(word, depth),
            Next::SecretOrFlag | Next::Secret => self.mask_word(word),
            // It was masked with its beginning.
            Next::SecretToTheEnd => {}
            Next::Credentials if names::is_scheme(bare(word)) => {
                self.out.push_str(word);
                self.next = Next::Secret;
            }
            Next::Credentials => self.mask_word(word),
            Next::Login(between) if word.contains(between) => {
                let end = word.find(between).map_or(0, |at| at + between.len_utf8());
                self.out.push_str(word.get(..end).unwrap_or_default());
                self.out.push_str(MASK);
            }
            Next::Login(_) | Next::Word => self.take_plain(word, depth),
        }
    }

    /// A word of which nothing is known by the one before it.
    fn take_plain(&mut self, word: &str, depth: u8) {
        if let Some((quote, inside)) = quoted_text(word).filter(|_| depth < MAX_DEPTH) {
            self.out.push(quote);
            self.take_text(inside, depth + 1);
            self.out.push(quote);
            self.next = Next::Word;
            return;
        }
        match self.program.map(|program| program.argument(bare(word))) {
            Some(Some(Argument::Attached(flag))) => {
                self.out.push_str(flag);
                self.out.push_str(MASK);
                return;
            }
            Some(Some(Argument::Secret)) => {
                self.out.push_str(word);
                self.next = Next::Secret;
                return;
            }
            Some(Some(Argument::Login(between))) => {
                self.out.push_str(word);
                self.next = Next::Login(between);
                return;
            }
            Some(None) | None => {}
        }
        let is_past = self.program.is_some_and(Program::runs_another) && !word.starts_with('-');
        if is_past || word.starts_with(['|', ';', '&']) {
            self.program = Program::of(bare(word));
        } else if let Some(program) = Program::of(bare(word)) {
            self.program = Some(program);
        }
        self.next = pieces::mask(word, &mut self.out);
        if self.next == Next::Word && is_flag(word) && names::is_secret_flag(bare(word)) {
            self.next = Next::SecretOrFlag;
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
            self.next = Next::SecretToTheEnd;
        }
    }
}

/// What stands before a private key in the form of OpenSSL or OpenSSH, which has lines and spaces.
fn before_private_key(text: &str) -> Option<&str> {
    // A certificate may stand before the key, and the end of another key before both.
    let first = text.find("-----BEGIN")?;
    let end = first + text.get(first..)?.find("PRIVATE KEY-----")?;
    text.get(..text.get(..end)?.rfind("-----BEGIN")?)
}

/// Whether a word is a flag and not a secret that begins with a dash.
fn is_flag(word: &str) -> bool {
    let Some(name) = word.strip_prefix('-') else {
        return false;
    };
    name.trim_start_matches('-')
        .starts_with(|c: char| c.is_ascii_alphabetic())
}

/// A word without quotes around it.
fn bare(word: &str) -> &str {
    word.trim_matches(['"', '\''])
}

/// The inside of a word that is wholly in quotes and has several words in it.
fn quoted_text(word: &str) -> Option<(char, &str)> {
    let quote = word.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inside = word.strip_prefix(quote)?.strip_suffix(quote)?;
    let is_text = inside.contains(char::is_whitespace) && !inside.contains(quote);
    is_text.then_some((quote, inside))
}

#[cfg(test)]
mod tests;
