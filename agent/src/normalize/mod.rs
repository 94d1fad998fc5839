//! A raw line of a log into an event: who wrote it, when, and what it says as typed fields.
//! It keeps every message as it was written and never takes text for a fact: an address must
//! parse, a pattern reaches from end to end, and what can be read in two ways is left unread.

mod header;
mod login;
mod pam;
mod sshd;
mod su;
mod sudo;

use hidps_wire::{EventKind, FieldValue, Fields, LogEvent};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::clock;
use header::parse_header;
use login::Reading;

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
}

/// Reads a line.
#[must_use]
pub fn normalize<'a>(line: &'a str, source: &LineSource<'a>) -> NormalLine<'a> {
    let header = parse_header(line.trim_end(), source.seen, &source.zone);
    let program = header.program.unwrap_or(source.program);
    let (message, count) = unfold_repeats(header.message);
    let service = service_of(program);
    let reading = read_login(service, message);
    let mut fields = Fields::default();
    if program != service {
        fields.push("program", program);
    }
    if let Some(pid) = header.pid {
        fields.push("pid", i64::from(pid));
    }
    match reading {
        Reading::Login(login) => login.push_fields(&mut fields),
        Reading::Ambiguous => {
            fields.push("ambiguous", FieldValue::Bool(true));
        }
        Reading::Other => {}
    }
    NormalLine {
        event: LogEvent {
            timestamp: clock::rfc3339(header.timestamp.unwrap_or(source.seen)).into(),
            kind: kind_of(service, message),
            service: service.into(),
            message: message.into(),
            fields,
        },
        count,
    }
}

/// The name rules know a program by: OpenSSH is several programs since version 9.8.
fn service_of(program: &str) -> &str {
    let name = program.rsplit('/').next().unwrap_or(program);
    match name {
        "sshd-session" | "sshd-auth" => "sshd",
        _ => name,
    }
}

fn kind_of(service: &str, message: &str) -> EventKind {
    match service {
        "sshd" | "sudo" | "su" | "login" => EventKind::Login,
        "kernel"
            if ["IN=", "OUT=", "SRC="]
                .iter()
                .all(|key| message.contains(key)) =>
        {
            EventKind::Firewall
        }
        _ => EventKind::Process,
    }
}

fn read_login<'a>(service: &str, message: &'a str) -> Reading<'a> {
    if let Some(login) = pam::parse(message) {
        return login;
    }
    match service {
        "sshd" => sshd::parse(message),
        "sudo" => sudo::parse(message),
        "su" => su::parse(message),
        _ => Reading::Other,
    }
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
