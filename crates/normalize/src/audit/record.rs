//! One record, taken apart: what kind it is, of which event, and what it says.
//! It is lenient with what a record lacks and never takes one thing for another.

use std::borrow::Cow;

use super::decode::{decode, is_encoded, text};
use super::execve::{self, Piece};
use super::kind;
use super::words::{Words, split};

/// Longest word beside its name that is kept whole; the kernel's own records are no longer.
const MAX_VALUE_BYTES: usize = 16 * 1024;

/// What may look like the stamp of a record in a message.
const MAX_STAMPS: usize = 8;

/// The kernel's own log has no longer lines than about this, and cuts them.
const MIN_CUT_BYTES: usize = 900;

/// Which event a record belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AuditId {
    /// When it happened, in milliseconds since 1970.
    pub millis: i64,
    /// Its number since the boot.
    pub serial: u64,
}

/// A record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditRecord {
    /// Which event it belongs to.
    pub id: AuditId,
    /// Its kind by the name that auditd has for it.
    pub kind: Cow<'static, str>,
    /// What it says, decoded, in order.
    pub(super) fields: Vec<(String, String)>,
    /// Pieces of a program's arguments.
    pub(super) pieces: Vec<Piece>,
    /// Words without a name.
    pub(super) others: String,
}

/// Reads a line of auditd's log: `type=KIND msg=audit(TIME:SERIAL): …`.
#[must_use]
pub fn parse_line(line: &str) -> Option<AuditRecord> {
    let line = line.trim();
    // Hosts that collect the records of others say whose one is.
    let line = match line.strip_prefix("node=") {
        Some(rest) => rest.split_once(' ')?.1,
        None => line,
    };
    let (name, rest) = line.strip_prefix("type=")?.split_once(' ')?;
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b"_[]".contains(&b);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(is_part) {
        return None;
    }
    read(kind::known(name), rest.strip_prefix("msg=")?)
}

/// Reads a message of the kernel: `audit(TIME:SERIAL): …`, and the number of its kind beside it.
#[must_use]
pub fn parse_message(kind: u16, message: &str) -> Option<AuditRecord> {
    read(kind::name_of(kind), message.trim_end_matches(['\0', '\n']))
}

fn read(kind: Cow<'static, str>, text: &str) -> Option<AuditRecord> {
    let (stamp, body) = text.strip_prefix("audit(")?.split_once("):")?;
    let (time, serial) = stamp.split_once(':')?;
    let (seconds, millis) = time.split_once('.')?;
    let seconds: u32 = seconds.parse().ok()?;
    let millis: u16 = millis.parse().ok().filter(|millis| *millis < 1_000)?;
    let id = AuditId {
        millis: i64::from(seconds) * 1_000 + i64::from(millis),
        serial: serial.parse().ok()?,
    };
    Some(read_words(kind, id, body))
}

/// Reads what follows the stamp of a record, whose last word may be a part of a longer one.
#[must_use]
pub fn read_body(kind: u16, id: AuditId, body: &str, is_cut: bool) -> AuditRecord {
    let body = body.trim_end_matches(['\0', '\n']);
    let body = if is_cut {
        without_last_word(body)
    } else {
        body
    };
    read_words(kind::name_of(kind), id, body)
}

/// Finds a record in a message of a log, as the kernel's own log and programs that pass records on
/// have them: what stands before it, and the record.
#[must_use]
pub fn find_record(message: &str, is_cut: bool) -> Option<(&str, AuditRecord)> {
    let places = message.match_indices("audit(").take(MAX_STAMPS);
    places.into_iter().find_map(|(at, _)| {
        let before = message.get(..at)?;
        let begin = before.rfind("type=")?;
        let (name, between) = before.get(begin + "type=".len()..)?.split_once(' ')?;
        let (kind, is_kernels) = match name.parse() {
            Ok(number) if between.is_empty() => (kind::name_of(number), true),
            Err(_) if between == "msg=" => (kind::known(name), false),
            Ok(_) | Err(_) => return None,
        };
        let is_cut = is_cut || (is_kernels && message.len() >= MIN_CUT_BYTES);
        let text = message.get(at..)?;
        let text = if is_cut {
            without_last_word(text)
        } else {
            text
        };
        Some((before.get(..begin)?, read(kind, text)?))
    })
}

/// A text that was cut somewhere, without the word that may not be whole.
pub(super) fn without_last_word(text: &str) -> &str {
    let end = text.rfind(char::is_whitespace);
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

fn read_words(kind: Cow<'static, str>, id: AuditId, body: &str) -> AuditRecord {
    let words = split(body);
    let pieces = if kind == "EXECVE" {
        execve::take_pieces(&words)
    } else {
        Vec::new()
    };
    AuditRecord {
        fields: read_fields(&words, !pieces.is_empty()),
        others: cut(words.others.join(" ")),
        id,
        kind,
        pieces,
    }
}

fn read_fields(words: &Words<'_>, has_pieces: bool) -> Vec<(String, String)> {
    let mut fields = Vec::with_capacity(words.named.len());
    for word in &words.named {
        if has_pieces && execve::is_of_arguments(word.name) {
            continue;
        }
        let value = if is_encoded(word.name) {
            let Some(bytes) = decode(word.value, word.is_quoted) else {
                continue;
            };
            match word.name {
                // What somebody typed, passwords and all: only how much it was is told.
                "data" => {
                    fields.push(("data_bytes".to_owned(), bytes.len().to_string()));
                    continue;
                }
                // More than one key are joined by a byte that nobody types.
                "key" => text(&bytes).replace('\u{1}', ","),
                _ => text(&bytes),
            }
        } else {
            word.value.to_owned()
        };
        fields.push((word.name.to_owned(), cut(value)));
    }
    fields
}

impl AuditRecord {
    /// The value of a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// About how many bytes it takes.
    pub(super) fn size(&self) -> usize {
        let fields = self
            .fields
            .iter()
            .map(|(name, value)| name.len() + value.len() + 48);
        let pieces = self.pieces.iter().map(|piece| piece.bytes.len() + 48);
        128 + self.others.len() + fields.sum::<usize>() + pieces.sum::<usize>()
    }
}

fn cut(mut value: String) -> String {
    let mut end = value.len().min(MAX_VALUE_BYTES);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    value.truncate(end);
    value
}
