//! A raw line of a log into an event: who wrote it, when, and what it says as typed fields.
//! It keeps every message as it was written and never takes text for a fact: an address must
//! parse, a pattern reaches from end to end, and what can be read in two ways is left unread.

mod address;
pub mod audit;
mod cron;
mod firewall;
mod header;
mod journal;
mod kernel;
mod login;
mod login_program;
mod pam;
mod program;
mod reading;
mod rfc5424;
mod sshd;
mod su;
mod sudo;
mod systemd;
mod users;

use hidps_wire::LogEvent;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use header::parse_header;
pub use journal::{JournalEntry, normalize_entry};
use program::{Understood, understand};
use reading::{Facts, Reading};

/// Repeats of one line that are told one by one, so that attempts can be counted; a logger that
/// joins more than this has told enough.
const MAX_REPEATS: u32 = 100;

/// What is known of a line beside its text.
#[derive(Clone, Debug)]
pub struct LineSource<'a> {
    /// The program, when the line does not say.
    pub program: &'a str,
    /// When it was read.
    pub seen: Timestamp,
    /// The host's time zone: classic headers do not name theirs.
    pub zone: TimeZone,
}

/// What a line says, and how often it says it.
#[derive(Clone, PartialEq, Debug)]
pub struct NormalLine<'a> {
    /// The event.
    pub event: LogEvent<'a>,
    /// How many such events the line stands for, at least 1.
    pub count: u32,
    /// Whether the line was understood; one that was not is told all the same, as its message.
    pub is_read: bool,
}

/// Reads a line.
#[must_use]
pub fn normalize<'a>(line: &'a str, source: &LineSource<'a>) -> NormalLine<'a> {
    let header = parse_header(line.trim_end(), source.seen, &source.zone);
    let program = header.program.unwrap_or(source.program);
    let (message, count) = unfold_repeats(header.message);
    let Understood {
        service,
        kind,
        reading,
    } = understand(program, header.pid, message);
    let is_read = reading != Reading::Other;
    let facts = match reading {
        Reading::Stated(facts) => facts,
        Reading::Ambiguous => Facts::none().flag("ambiguous", true),
        Reading::Companion | Reading::Other => Facts::none(),
    };
    let facts = facts.text_if("program", Some(program).filter(|name| *name != service));
    // A message that names a process itself means that one, not its own program's.
    let facts = facts.number_unless_told("pid", header.pid);
    NormalLine {
        event: LogEvent {
            timestamp: rfc3339(header.timestamp.unwrap_or(source.seen)).into(),
            kind,
            service: service.into(),
            message: message.into(),
            fields: facts.into_fields(),
        },
        count,
        is_read,
    }
}

/// A time for an event: UTC with microseconds, as finer digits only cost bytes.
fn rfc3339(time: Timestamp) -> String {
    format!("{time:.6}")
}

/// rsyslog writes equal messages once: `message repeated 3 times: [ Failed password … ]`.
fn unfold_repeats(message: &str) -> (&str, u32) {
    let unfold = || {
        let rest = message.strip_prefix("message repeated ")?;
        let (count, rest) = rest.split_once(" times: [ ")?;
        let inner = rest.strip_suffix(']')?;
        let count: u32 = count.parse().ok()?;
        Some((inner, count.clamp(1, MAX_REPEATS)))
    };
    unfold().unwrap_or((message, 1))
}

#[cfg(test)]
mod tests;
