//! Lines as real programs wrote them, and lines that somebody forged.

mod accounts;
mod forged;
mod journal;
mod kernel;
mod logins;
mod sshd;

use super::*;
use hidps_wire::{EventKind, FieldValue};

const SEEN: &str = "2026-11-21T01:02:10Z";

fn read<'a>(program: &'a str, line: &'a str) -> NormalLine<'a> {
    let source = LineSource {
        program,
        seen: SEEN.parse().unwrap(),
        zone: TimeZone::UTC,
    };
    normalize(line, &source)
}

/// The fields as `name=value`, in order.
fn fields(program: &str, line: &str) -> String {
    let printed: Vec<_> = read(program, line)
        .event
        .fields
        .iter()
        .map(|(name, value)| match value {
            FieldValue::Bool(value) => format!("{name}={value}"),
            FieldValue::Integer(value) => format!("{name}={value}"),
            FieldValue::Number(value) => format!("{name}={value}"),
            FieldValue::Text(value) => format!("{name}={}", &**value),
        })
        .collect();
    printed.join("|")
}

/// Every line of a table says what stands beside it.
fn check(program: &str, table: &[(&str, &str)]) {
    for (line, expected) in table {
        assert_eq!(fields(program, line), *expected, "{program}: {line}");
    }
}

/// Lines that were understood and say nothing of their own.
fn check_companions(program: &str, lines: &[&str]) {
    for line in lines {
        let read = read(program, line);

        assert!(read.is_read, "{program}: {line}");
        assert!(read.event.fields.is_empty(), "{program}: {line}");
    }
}

/// Lines that nobody claims to understand.
fn check_unread(program: &str, lines: &[&str]) {
    for line in lines {
        let read = read(program, line);

        assert!(!read.is_read, "{program}: {line}");
        assert_eq!(&*read.event.message, *line);
    }
}

#[test]
fn a_header_gives_time_program_and_process() {
    let line = "Nov 21 01:02:03 web-01 sshd-session[77]: Failed password for root from 10.0.0.1 port 5 ssh2";

    let read = read("unknown", line);

    assert_eq!(&*read.event.timestamp, "2026-11-21T01:02:03.000000Z");
    assert_eq!(&*read.event.service, "sshd");
    assert_eq!(read.event.kind, EventKind::Login);
    assert_eq!(
        &*read.event.message,
        "Failed password for root from 10.0.0.1 port 5 ssh2"
    );
    assert!(fields("unknown", line).ends_with("|program=sshd-session|pid=77"));
}

#[test]
fn anything_else_is_an_event_with_its_message_intact() {
    let line = "Nov 21 01:02:03 web-01 nginx[9]: GET / \"weird\\ text\"  200";

    let read = read("unknown", line);

    assert_eq!(read.event.kind, EventKind::Process);
    assert_eq!(&*read.event.service, "nginx");
    assert_eq!(&*read.event.message, "GET / \"weird\\ text\"  200");
}

#[test]
fn repeats_are_told_one_by_one_within_reason() {
    let line = |count: &str| {
        format!(
            "message repeated {count} times: [ Failed password for root from 10.0.0.1 port 5 ssh2]"
        )
    };

    assert_eq!(read("sshd", &line("3")).count, 3);
    assert_eq!(read("sshd", &line("4000000000")).count, MAX_REPEATS);
    assert_eq!(read("sshd", &line("x")).count, 1);
    assert!(fields("sshd", &line("3")).contains("src_ip=10.0.0.1"));
}
