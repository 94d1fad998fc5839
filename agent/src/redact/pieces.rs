//! Secrets within one word: `name=secret`, headers and JSON, passwords of logins, known tokens.
//! It never looks at the words around it; what the next word is, it returns.

use std::borrow::Cow;

use super::names::{self, Meaning};
use super::{MASK, Next, logins};

/// Beginnings of tokens whose form is known, and how many letters at least follow.
const TOKENS: [(&str, usize); 30] = [
    ("hvs.", 16),
    ("hvb.", 16),
    ("tskey-", 10),
    ("pypi-", 20),
    ("SG.", 20),
    ("xapp-", 10),
    ("eyJ", 17),
    ("AKIA", 16),
    ("ASIA", 16),
    ("AIza", 30),
    ("ghp_", 20),
    ("gho_", 20),
    ("ghu_", 20),
    ("ghs_", 20),
    ("ghr_", 20),
    ("github_pat_", 20),
    ("glpat-", 16),
    ("xoxa-", 10),
    ("xoxb-", 10),
    ("xoxp-", 10),
    ("xoxr-", 10),
    ("xoxs-", 10),
    ("sk_live_", 16),
    ("sk_test_", 16),
    ("rk_live_", 16),
    ("sk-", 20),
    ("sb_secret_", 10),
    ("npm_", 30),
    ("hf_", 30),
    ("dop_v1_", 30),
];

/// Addresses whose path is the secret.
const HOOKS: [&str; 4] = [
    "hooks.slack.com/services/",
    "api.telegram.org/bot",
    "discord.com/api/webhooks/",
    ".webhook.office.com/webhookb2/",
];

/// How often a word is looked at until nothing more is found; one mask may lay open the form of another.
const MAX_LOOKS: u8 = 8;

/// Writes the word without its secrets; returns what the next word is.
pub(super) fn mask(word: &str, out: &mut String) -> Next {
    if !word.contains([':', '=', '@', '(']) && !may_be_token(word) {
        out.push_str(word);
        return Next::Word;
    }
    let mut shown = Cow::Borrowed(word);
    let mut next = Next::Word;
    for _ in 0..MAX_LOOKS {
        let look;
        (look, next) = mask_once(&shown);
        if look == shown {
            break;
        }
        shown = Cow::Owned(look);
    }
    out.push_str(&shown);
    next
}

fn mask_once(word: &str) -> (String, Next) {
    let without_login = logins::mask(word);
    let (without_values, next) = mask_values(without_login.as_deref().unwrap_or(word));
    (mask_tokens(&mask_hooks(&without_values)), next)
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

fn ends_value(c: char) -> bool {
    matches!(
        c,
        '&' | ';' | ',' | '"' | '\'' | '(' | ')' | '{' | '}' | '<' | '>' | '|'
    ) || c.is_whitespace()
}

/// Masks what follows a secret's name and `=` or `:`.
fn mask_values(word: &str) -> (String, Next) {
    let mut out = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(start) = rest.find(is_name) {
        let (before, from_name) = rest.split_at(start);
        out.push_str(before);
        let end = from_name.find(|c| !is_name(c)).unwrap_or(from_name.len());
        let (name, after) = from_name.split_at(end);
        out.push_str(name);
        rest = after;
        let Some(value) = behind_sign(after) else {
            continue;
        };
        let meaning = names::meaning(name);
        if meaning == Meaning::Harmless {
            continue;
        }
        let is_field = after.starts_with(':');
        let (sign, value) = after.split_at(after.len() - value.len());
        out.push_str(sign);
        rest = value;
        if value.is_empty() {
            // A header, or JSON with a space; a shell variable that is emptied has no value.
            let next = match (sign.contains(':'), names::has_scheme(name)) {
                (true, true) => Next::Credentials,
                (true, false) => Next::Field,
                (false, _) => Next::Word,
            };
            return (out, next);
        }
        if is_field && value.starts_with('/') || !meaning.is_secret(value.trim_start_matches('"')) {
            continue;
        }
        if let Some(list) = nested(name, value) {
            let (inside, after) = value.split_at(list);
            mask_strings(inside, &mut out);
            rest = after;
            continue;
        }
        match mask_value(name, value, &mut out) {
            Ok(after) => rest = after,
            Err(next) => return (out, next),
        }
    }
    out.push_str(rest);
    (out, Next::Word)
}

/// How long the list or object of JSON is that stands as a value.
fn nested(name: &str, value: &str) -> Option<usize> {
    let close = match value.chars().next()? {
        '[' => ']',
        // What Kubernetes calls a secret there is a reference to one.
        '{' if !name.eq_ignore_ascii_case("secret") => '}',
        _ => return None,
    };
    Some(value.find(close).unwrap_or(value.len()))
}

/// Masks what stands in quotes and is no name.
fn mask_strings(list: &str, out: &mut String) {
    let mut rest = list;
    while let Some((before, from)) = rest.split_once('"') {
        out.push_str(before);
        out.push('"');
        let (inside, after) = from.split_once('"').unwrap_or((from, ""));
        let is_name = after.trim_start().starts_with(':');
        out.push_str(if is_name || inside.is_empty() {
            inside
        } else {
            MASK
        });
        if inside.len() < from.len() {
            out.push('"');
        }
        rest = after;
    }
    out.push_str(rest);
}

/// Masks one value and returns what is behind it, or what the next word is, where the value was only
/// a scheme or does not end in this word.
fn mask_value<'w>(name: &str, value: &'w str, out: &mut String) -> Result<&'w str, Next> {
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    let (inside, after) = match quote.and_then(|quote| Some((quote, value.strip_prefix(quote)?))) {
        Some((quote, inside)) => {
            out.push(quote);
            let Some(end) = inside.find(quote) else {
                out.push_str(MASK);
                return Err(Next::ToTheEnd);
            };
            inside.split_at(end)
        }
        None => value.split_at(value.find(ends_value).unwrap_or(value.len())),
    };
    if names::has_scheme(name) && after.is_empty() && names::is_scheme(inside) {
        out.push_str(inside);
        return Err(Next::Field);
    }
    if !inside.is_empty() {
        out.push_str(MASK);
    }
    Ok(after)
}

/// What follows `=` or `:` behind a name, where JSON may close a quote before it.
fn behind_sign(after: &str) -> Option<&str> {
    let after = after.strip_prefix("\\\"").unwrap_or(after);
    let after = after.strip_prefix(['"', '\'']).unwrap_or(after);
    let is_call = after.starts_with("('") || after.starts_with("(\"");
    after.strip_prefix(if is_call { &['('][..] } else { &['=', ':'] })
}

/// Writes the word without what makes an address of a chat's hook a secret.
fn mask_hooks(word: &str) -> Cow<'_, str> {
    let hook = HOOKS
        .iter()
        .find_map(|hook| Some(word.find(hook)? + hook.len()));
    let Some((before, secret)) = hook.and_then(|at| word.split_at_checked(at)) else {
        return Cow::Borrowed(word);
    };
    let ends = |c: char| !c.is_ascii_alphanumeric() && !matches!(c, '/' | '_' | '-' | ':');
    let end = secret.find(ends).unwrap_or(secret.len());
    match secret.split_at_checked(end) {
        Some((hidden, behind)) if !hidden.is_empty() => {
            Cow::Owned(format!("{before}{MASK}{behind}"))
        }
        _ => Cow::Borrowed(word),
    }
}

/// Whether a word is long enough to have a token in it.
fn may_be_token(word: &str) -> bool {
    word.len() >= 13 && TOKENS.iter().any(|(begin, _)| word.contains(begin))
}

/// Writes the word without tokens whose form is known.
fn mask_tokens(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let is_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let mut rest = word;
    while let Some(start) = rest.find(is_token) {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let end = from.find(|c| !is_token(c)).unwrap_or(from.len());
        let (run, after) = from.split_at(end);
        let is_known = TOKENS.iter().any(|(begin, more)| {
            let behind = from.strip_prefix(begin).unwrap_or_default();
            behind
                .bytes()
                .take_while(|c| is_token(char::from(*c)))
                .take(*more)
                .count()
                == *more
        });
        rest = after;
        if is_known {
            out.push_str(MASK);
            // The parts of a web token are joined by dots.
            let end = after.find(|c| !is_token(c) && c != '.');
            rest = after.get(end.unwrap_or(after.len())..).unwrap_or_default();
        } else {
            out.push_str(run);
        }
    }
    out.push_str(rest);
    out
}
