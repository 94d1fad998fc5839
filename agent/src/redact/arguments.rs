//! Arguments of a program, whose borders are known: a secret ends where its argument does.
//! It never carries anything over to the next argument but what a flag says of it.

use super::programs::Argument;
use super::{Line, MASK, MAX_DEPTH, Meaning, Next, is_flag, names, pieces, takes_code};

impl Line {
    /// Takes in one argument, or what stands in a pair of quotes.
    pub(super) fn take_argument(&mut self, argument: &str, depth: u8) {
        match std::mem::take(&mut self.next) {
            Next::OrFlag(meaning) if !is_flag(argument) => {
                let is_secret = meaning.is_secret(argument);
                self.out.push_str(if is_secret { MASK } else { argument });
            }
            Next::Field if argument.starts_with('/') => self.take_free(argument, depth),
            Next::Secret | Next::Quoted | Next::Field | Next::Credentials => {
                self.out.push_str(MASK);
            }
            Next::Login(between) => self.mask_login(argument, 0, between),
            Next::Code if !argument.starts_with(['-', '+']) => {
                self.take_script(argument, depth + 1);
            }
            Next::Code => {
                self.take_free(argument, depth);
                self.next = Next::Code;
            }
            Next::Word if self.is_fed && !is_flag(argument) => self.out.push_str(MASK),
            Next::Word if self.is_code || self.command.is_remote() => {
                self.take_script(argument, depth + 1);
            }
            Next::Word | Next::OrFlag(_) | Next::ToTheEnd | Next::Credential | Next::Cookie => {
                self.take_free(argument, depth);
            }
        }
        self.command.note(argument);
    }

    /// An argument of which nothing is known by the one before it.
    fn take_free(&mut self, argument: &str, depth: u8) {
        if self.take_known(argument) || self.take_named(argument, depth) {
            return;
        }
        if depth < MAX_DEPTH && argument.contains(char::is_whitespace) {
            self.take_script(argument, depth + 1);
            return;
        }
        // Only a flag says anything about the next argument.
        pieces::mask(argument, &mut self.out);
        self.expect_behind(argument);
    }

    /// Takes a word that carries a secret, or says that the next one does, by its program.
    pub(super) fn take_known(&mut self, word: &str) -> bool {
        match self.command.argument(word) {
            Some(Argument::Secret(at)) if at >= word.len() => {
                self.out.push_str(word);
                self.next = Next::Secret;
            }
            Some(Argument::Secret(at)) => {
                self.out.push_str(word.get(..at).unwrap_or_default());
                self.out.push_str(MASK);
            }
            Some(Argument::Login(at, between)) if at >= word.len() => {
                self.out.push_str(word);
                self.next = Next::Login(between);
            }
            Some(Argument::Login(at, between)) => self.mask_login(word, at, between),
            None if self.command.is_secret_place(word) => self.out.push_str(MASK),
            None if self.command.is_key(word) => {
                self.out.push_str(word);
                self.next = Next::OrFlag(Meaning::Secret);
            }
            None => return false,
        }
        true
    }

    /// Masks what follows the user of a login that begins at this byte.
    pub(super) fn mask_login(&mut self, word: &str, at: usize, between: char) {
        let (flag, login) = word.split_at_checked(at).unwrap_or((word, ""));
        self.out.push_str(flag);
        match login.split_once(between) {
            Some((user, secret)) => {
                self.out.push_str(user);
                self.out.push(between);
                self.out.push_str(if secret.is_empty() { "" } else { MASK });
            }
            None => {
                pieces::mask(login, &mut self.out);
            }
        }
    }

    /// Takes an argument that begins with a name and a sign: `--flag=value`, `NAME=value`,
    /// `Header: value`.
    fn take_named(&mut self, argument: &str, depth: u8) -> bool {
        let Some((name, sign, value)) = named(argument) else {
            return false;
        };
        let meaning = names::meaning(name);
        let is_text = value.contains(char::is_whitespace) && depth < MAX_DEPTH;
        if meaning == Meaning::Harmless {
            if is_text && sign == "=" {
                self.out.push_str(name);
                self.out.push_str(sign);
                self.take_script(value, depth + 1);
            }
            return is_text && sign == "=";
        }
        self.out.push_str(name);
        self.out.push_str(sign);
        let is_kept = sign.starts_with(':') && value.starts_with('/') || !meaning.is_secret(value);
        if is_kept && is_text {
            self.take_script(value, depth + 1);
        } else if is_kept {
            pieces::mask(value, &mut self.out);
        } else if !value.is_empty() {
            self.mask_named(name, value, depth);
        }
        true
    }

    fn mask_named(&mut self, name: &str, value: &str, depth: u8) {
        let scheme = value.split(char::is_whitespace).next().unwrap_or_default();
        if names::has_scheme(name) && names::is_scheme(scheme) {
            self.out.push_str(scheme);
            if scheme.len() < value.len() {
                self.out.push(' ');
                self.out.push_str(MASK);
            }
            return;
        }
        // A command whose output is the secret is none.
        match value.find("$(").filter(|_| depth < MAX_DEPTH) {
            Some(at) => {
                let (secret, code) = value.split_at(at);
                self.out.push_str(if secret.is_empty() { "" } else { MASK });
                self.take_script(code, depth + 1);
            }
            None => self.out.push_str(MASK),
        }
    }

    /// Notes what a flag says about the next word.
    pub(super) fn expect_behind(&mut self, word: &str) {
        if !is_flag(word) {
            return;
        }
        let meaning = names::meaning(word);
        if self.next == Next::Word && meaning != Meaning::Harmless && !word.contains(['=', ':']) {
            self.next = Next::OrFlag(meaning);
        } else if takes_code(word) && self.command.may_take_code() {
            self.is_code |= self.command.is_interpreter();
            self.next = Next::Code;
        }
    }
}

/// The name, the sign and the value of an argument that begins with a name.
fn named(argument: &str) -> Option<(&str, &str, &str)> {
    let end =
        argument.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '.'))?;
    let (name, rest) = argument.split_at(end);
    let value = rest.strip_prefix(['=', ':']).filter(|_| end > 0)?;
    let value = if rest.starts_with(':') {
        value.trim_start()
    } else {
        value
    };
    let sign = rest.get(..rest.len() - value.len())?;
    Some((name, sign, value))
}
