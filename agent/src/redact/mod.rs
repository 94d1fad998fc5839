//! Secrets taken out of command lines before they leave the host; what is left stays readable.
//! It knows forms and names of secrets, not secrets: what looks like an ordinary word is kept.
//!
//! A secret is what follows a flag, variable, header or key whose name says so (`names`), the
//! password in the address of a server (`logins`), an argument that a known program takes for one
//! (`programs`, `table`), or a token whose own form is known (`pieces`). The rest is untouched, as
//! rules look at it.
//!
//! An argument has known borders (`arguments`): a secret ends where its argument does, and only a
//! flag says anything about the next one. A text is what a shell reads (`scripts`, `words`): words
//! with quotes, commands between `|`, `;`, `&`, parentheses and lines, each with its own program,
//! and commands within words. What stands behind `-c` is a text, and so is an argument with spaces.
//! A program is known in the place of a command alone (`commands`): behind nothing, variables, or
//! programs that start another; a word that looks like its name is none.

mod arguments;
mod commands;
mod log;
mod logins;
mod names;
mod pieces;
mod private_key;
mod programs;
mod scripts;
mod table;
mod words;

use commands::Command;
pub use log::LoggedCommands;
use names::Meaning;

/// What stands in the place of a secret.
pub const MASK: &str = "***";

/// How deep texts are looked for in texts, as in `sh -c "su -c 'mysql …'"`.
const MAX_DEPTH: u8 = 6;

/// The arguments of a program, joined by spaces, without secrets.
#[must_use]
pub fn redact_arguments<'t>(arguments: impl IntoIterator<Item = &'t str>) -> String {
    let mut line = Line::default();
    for argument in arguments {
        if !line.out.is_empty() {
            line.out.push(' ');
        }
        line.take_argument(&private_key::mask(argument), 0);
    }
    line.out
}

/// The arguments of a program without secrets, one by one.
#[must_use]
pub fn redact_each<'t>(arguments: impl IntoIterator<Item = &'t str>) -> Vec<String> {
    let mut line = Line::default();
    let mut redacted = Vec::new();
    for argument in arguments {
        line.take_argument(&private_key::mask(argument), 0);
        redacted.push(std::mem::take(&mut line.out));
    }
    redacted
}

/// A command line that a shell reads, as in the log of cron, without secrets.
#[must_use]
pub fn redact_command(text: &str) -> String {
    let mut line = Line::default();
    line.take_script(&private_key::mask(text), 0);
    line.out
}

/// Arguments that were joined by spaces without quotes, as in the log of sudo, without secrets.
#[must_use]
pub fn redact_joined(text: &str) -> String {
    let mut line = Line::default();
    line.take_joined(&private_key::mask(text));
    line.out
}

/// What the next word is, by the word before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Next {
    /// Anything.
    #[default]
    Word,
    /// What this meaning makes a secret, unless it looks like another flag.
    OrFlag(Meaning),
    /// A secret in any case.
    Secret,
    /// A secret, if it stands in quotes.
    Quoted,
    /// The rest of a secret whose quotes are never closed in this line.
    ToTheEnd,
    /// `user:secret`, or a user alone.
    Login(char),
    /// The value of a header or a key, unless it is a path.
    Field,
    /// The scheme of an `Authorization` header, or already the secret.
    Credentials,
    /// What stands behind a scheme that is not known.
    Credential,
    /// Another `name=secret` of a cookie.
    Cookie,
    /// Code.
    Code,
}

/// A line that is taken in word by word.
#[derive(Debug, Default)]
struct Line {
    out: String,
    command: Command,
    next: Next,
    /// An interpreter was told to take its arguments for code.
    is_code: bool,
    /// What this command writes is read as a password.
    is_fed: bool,
}

/// Whether a word is a flag and not a secret that begins with a dash.
fn is_flag(word: &str) -> bool {
    let Some(name) = word.strip_prefix('-') else {
        return false;
    };
    name.trim_start_matches('-')
        .starts_with(|c: char| c.is_ascii_alphabetic())
}

/// Whether a flag is followed by code, as in `sh -ec`.
fn takes_code(flag: &str) -> bool {
    let letters = flag.strip_prefix('-').unwrap_or_default();
    flag == "--command"
        || (1..=6).contains(&letters.len())
            && letters.ends_with(['c', 'e'])
            && letters.bytes().all(|c| c.is_ascii_alphabetic())
}

/// A word without quotes around it.
fn bare(word: &str) -> &str {
    word.trim_matches(['"', '\''])
}

#[cfg(test)]
mod tests;
