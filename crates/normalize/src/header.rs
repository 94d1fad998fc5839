//! The beginning of a line: time, host and program, in each form of syslog.
//! A line without a header is all message; nothing is ever cut off by mistake.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::rfc5424;

/// A header whose time is further away than this is wrong, or not a header's.
const MAX_DISTANCE: SignedDuration = SignedDuration::from_hours(24);

/// Longest name of a program; longer ones are not names.
pub(super) const MAX_PROGRAM_BYTES: usize = 64;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// A line taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Header<'a> {
    pub(super) timestamp: Option<Timestamp>,
    pub(super) program: Option<&'a str>,
    pub(super) pid: Option<u32>,
    pub(super) message: &'a str,
}

/// Takes a line apart.
pub(super) fn parse_header<'a>(line: &'a str, seen: Timestamp, zone: &TimeZone) -> Header<'a> {
    let headless = Header {
        timestamp: None,
        program: None,
        pid: None,
        message: line,
    };
    let stripped = strip_priority(line);
    // Only behind a priority: without one a line of plain text could pass for this form.
    let has_priority = stripped.len() < line.len();
    if let Some(header) = rfc5424::parse(stripped).filter(|_| has_priority) {
        return Header {
            timestamp: header.time.filter(|time| is_near(*time, seen)),
            program: header.program,
            pid: header.pid,
            message: header.message,
        };
    }
    let timed = parse_iso(stripped, zone).or_else(|| parse_classic(stripped, seen, zone));
    let Some((time, rest)) = timed else {
        return headless;
    };
    let Some((host, rest)) = rest.split_once(' ') else {
        return headless;
    };
    if host.is_empty() {
        return headless;
    }
    let timestamp = Some(time).filter(|time| is_near(*time, seen));
    let (program, pid, message) = split_tag(rest);
    Header {
        timestamp,
        program,
        pid,
        message,
    }
}

/// Whether a time can be a line's.
fn is_near(time: Timestamp, seen: Timestamp) -> bool {
    time.duration_since(seen).abs() <= MAX_DISTANCE
}

/// `<38>`, as some loggers leave it in files.
fn strip_priority(line: &str) -> &str {
    let strip = || {
        let (number, rest) = line.strip_prefix('<')?.split_once('>')?;
        let is_priority = !number.is_empty() && number.len() <= 3 && all_digits(number);
        is_priority.then_some(rest)
    };
    strip().unwrap_or(line)
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `2026-11-21T01:02:03.456789+01:00 `
fn parse_iso<'a>(line: &'a str, zone: &TimeZone) -> Option<(Timestamp, &'a str)> {
    let (text, rest) = line.split_once(' ')?;
    if !text.contains('T') {
        return None;
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some((time, rest));
    }
    let local: DateTime = text.parse().ok()?;
    Some((zone.to_timestamp(local).ok()?, rest))
}

/// `Nov  1 01:02:03 `: local time without a year.
fn parse_classic<'a>(
    line: &'a str,
    seen: Timestamp,
    zone: &TimeZone,
) -> Option<(Timestamp, &'a str)> {
    let (month, rest) = line.split_once(' ')?;
    let month = MONTHS.iter().position(|name| *name == month)?;
    let month = i8::try_from(month + 1).ok()?;
    let (day, rest) = rest.trim_start_matches(' ').split_once(' ')?;
    let (time, rest) = rest.split_once(' ')?;
    let day: i8 = Some(day).filter(|day| all_digits(day))?.parse().ok()?;
    let time: Time = Some(time).filter(|time| time.len() == 8)?.parse().ok()?;
    let this_year = zone.to_datetime(seen).year();
    // Around New Year the nearest of three years is meant.
    let nearest = [this_year - 1, this_year, this_year + 1]
        .into_iter()
        .filter_map(|year| Date::new(year, month, day).ok())
        .filter_map(|date| zone.to_timestamp(date.to_datetime(time)).ok())
        .min_by_key(|time| time.duration_since(seen).abs())?;
    Some((nearest, rest))
}

/// `sshd[123]: `; a line without it is all message.
fn split_tag(rest: &str) -> (Option<&str>, Option<u32>, &str) {
    let split = || {
        let (tag, message) = rest.split_once(':')?;
        let (program, pid) = match tag.split_once('[') {
            Some((program, pid)) => (program, Some(pid.strip_suffix(']')?)),
            None => (tag, None),
        };
        // Display managers leave a bracket behind: `gdm-password][77]`.
        let program = program.strip_suffix(']').unwrap_or(program);
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_./@()".contains(c);
        if program.is_empty() || program.len() > MAX_PROGRAM_BYTES || !program.chars().all(is_name)
        {
            return None;
        }
        Some((program, pid.and_then(|pid| pid.parse().ok()), message))
    };
    split().map_or((None, None, rest), |(program, pid, message)| {
        (Some(program), pid, message.trim_start_matches(' '))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: &str = "2026-11-21T01:02:10Z";

    fn parse(line: &str) -> Header<'_> {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        parse_header(line, SEEN.parse().unwrap(), &zone)
    }

    #[test]
    fn both_forms_of_headers_are_read() {
        let check = |line: &str, time: &str, program: Option<&str>, pid: Option<u32>| {
            let header = parse(line);

            assert_eq!(header.timestamp, Some(time.parse().unwrap()), "{line}");
            assert_eq!((header.program, header.pid), (program, pid), "{line}");
            assert_eq!(header.message, "text: more", "{line}");
        };

        let (time, fine) = ("2026-11-21T01:02:03Z", "2026-11-21T01:02:03.25Z");
        check(
            "Nov 21 02:02:03 web-01 sshd[77]: text: more",
            time,
            Some("sshd"),
            Some(77),
        );
        check(
            "<38>Nov 21 02:02:03 web-01 sshd[77]: text: more",
            time,
            Some("sshd"),
            Some(77),
        );
        check(
            "2026-11-21T02:02:03+01:00 h sudo:   text: more",
            time,
            Some("sudo"),
            None,
        );
        check(
            "2026-11-21T01:02:03.25Z h systemd-logind[1]: text: more",
            fine,
            Some("systemd-logind"),
            Some(1),
        );
        check(
            "2026-11-21T02:02:03 h CRON[5]: text: more",
            time,
            Some("CRON"),
            Some(5),
        );
        check(
            "<38>1 2026-11-21T01:02:03Z h sshd 77 - - text: more",
            time,
            Some("sshd"),
            Some(77),
        );
        check(
            "Nov 21 02:02:03 h gdm-password][77]: text: more",
            time,
            Some("gdm-password"),
            Some(77),
        );
        check(
            "Nov 21 02:02:03 h /usr/sbin/x: text: more",
            time,
            Some("/usr/sbin/x"),
            None,
        );
    }

    #[test]
    fn the_year_of_a_classic_header_is_the_nearest() {
        let zone = TimeZone::UTC;
        let seen: Timestamp = "2027-01-01T00:00:05Z".parse().unwrap();

        let header = parse_header("Dec 31 23:59:59 h p: m", seen, &zone);

        assert_eq!(
            header.timestamp,
            Some("2026-12-31T23:59:59Z".parse().unwrap())
        );
    }

    #[test]
    fn a_time_far_away_is_not_believed() {
        let header = parse("2019-01-01T00:00:00Z h sshd[1]: m");

        assert_eq!((header.timestamp, header.program), (None, Some("sshd")));
    }

    #[test]
    fn a_line_without_a_header_is_all_message() {
        for line in [
            "Failed password for root from 127.0.0.1 port 48056 ssh2",
            "Nov",
            "Nov 99 02:02:03 h p: m",
            "Nov 21 02:02 h p: m",
            "2026-11-21T01:02:03Z",
            "",
            "<999999>x",
            "Notamonth 21 02:02:03 h p: m",
        ] {
            let header = parse(line);

            assert_eq!((header.message, header.program), (line, None), "{line:?}");
        }
    }

    #[test]
    fn a_header_without_a_tag_keeps_its_message() {
        let header = parse("Nov 21 02:02:03 web-01 last message was: strange");

        assert_eq!(header.program, None);
        assert_eq!(header.message, "last message was: strange");
    }
}
