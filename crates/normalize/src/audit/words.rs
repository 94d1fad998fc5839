//! The words of a record: `name=value`, with values in quotes, bare, or a message within one.
//! It decodes nothing and drops nothing but white space.

/// What auditd puts between a record and the names that it adds to it.
const ENRICHED: char = '\u{1d}';

/// Most words of a record; a call has about thirty.
const MAX_WORDS: usize = 512;

/// A word of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Word<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a str,
    /// Whether it stood in quotes; the kernel writes what it cannot quote in hexadecimal digits.
    pub(super) is_quoted: bool,
}

/// The words of a record, in order, and what is none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Words<'a> {
    pub(super) named: Vec<Word<'a>>,
    pub(super) others: Vec<&'a str>,
}

/// Splits the body of a record.
pub(super) fn split(body: &str) -> Words<'_> {
    let mut words = Words::default();
    let (told, added) = body.rsplit_once(ENRICHED).unwrap_or((body, ""));
    words.take_told(told);
    words.take(added);
    words
}

impl<'a> Words<'a> {
    /// A message of a program stands in single quotes, and what it says may have any in it.
    fn take_told(&mut self, text: &'a str) {
        let message = text.split_once("msg='").and_then(|(before, rest)| {
            let (inner, after) = rest.rsplit_once('\'')?;
            Some((before, inner, after))
        });
        match message {
            // First what the kernel says of the sender, which no message can overrule.
            Some((before, inner, after)) => {
                for part in [before, inner, after] {
                    self.take(part);
                }
            }
            None => self.take(text),
        }
    }

    fn take(&mut self, text: &'a str) {
        let mut rest = text.trim_start();
        while !rest.is_empty() && self.named.len() + self.others.len() < MAX_WORDS {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            let Some((name, value)) = word.split_once('=').filter(|(name, _)| is_name(name)) else {
                // auditd puts brackets around what it makes of an address.
                if word != "}" {
                    self.others.push(word);
                }
                rest = after.trim_start();
                continue;
            };
            let name = name.trim_start_matches('(');
            let quoted = value.strip_prefix('"').and_then(|_| {
                let from = rest.get(word.len() - value.len() + 1..)?;
                from.split_once('"')
            });
            let (value, is_quoted) = match quoted {
                Some((value, behind)) => {
                    rest = behind;
                    (value, true)
                }
                None => {
                    rest = after;
                    (trim_bare(value), false)
                }
            };
            let is_known = self.named.iter().any(|word| word.name == name);
            if !is_known && (is_quoted || value != "{") {
                self.named.push(Word {
                    name,
                    value,
                    is_quoted,
                });
            }
            rest = rest.trim_start_matches([',', ')']).trim_start();
        }
    }
}

/// Old programs list their values in brackets: `(hostname=?, addr=?)`.
fn trim_bare(value: &str) -> &str {
    if value.starts_with(['(', '{']) {
        return value;
    }
    value.trim_end_matches([',', ')'])
}

fn is_name(text: &str) -> bool {
    let text = text.strip_prefix('(').unwrap_or(text);
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b"_-[]./".contains(&b);
    !text.is_empty() && text.len() <= 64 && text.bytes().all(is_part)
}
