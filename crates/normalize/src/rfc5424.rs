//! The header of RFC 5424: `<PRI>1 TIME HOST APP PID MSGID [DATA] MESSAGE`.
//! It never looks into the structured data; only its end matters.

use jiff::Timestamp;

use super::header::MAX_PROGRAM_BYTES;

/// What the header says; each part may be nil.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Rfc5424<'a> {
    pub(super) time: Option<Timestamp>,
    pub(super) program: Option<&'a str>,
    pub(super) pid: Option<u32>,
    pub(super) message: &'a str,
}

/// Takes a line apart whose priority is already off; none if it is of another form.
pub(super) fn parse(line: &str) -> Option<Rfc5424<'_>> {
    let rest = line.strip_prefix("1 ")?;
    let (time, rest) = rest.split_once(' ')?;
    let time = match time {
        "-" => None,
        time => Some(time.parse::<Timestamp>().ok()?),
    };
    let (_host, rest) = rest.split_once(' ')?;
    let (program, rest) = rest.split_once(' ')?;
    let (pid, rest) = rest.split_once(' ')?;
    let (_message_id, rest) = rest.split_once(' ')?;
    let message = skip_data(rest)?;
    let is_name =
        program.len() <= MAX_PROGRAM_BYTES && program.bytes().all(|b| b.is_ascii_graphic());
    Some(Rfc5424 {
        time,
        program: Some(program).filter(|name| *name != "-" && is_name),
        pid: pid.parse().ok(),
        // Some programs put a byte order mark before their text, as the standard wants it.
        message: message.strip_prefix('\u{feff}').unwrap_or(message),
    })
}

/// Skips `-` or `[ID NAME="VALUE" …][…]`; in values `"`, `\` and `]` stand behind a `\`.
fn skip_data(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_prefix('-') {
        return after_space(rest);
    }
    let mut rest = text;
    while let Some(inside) = rest.strip_prefix('[') {
        rest = skip_element(inside)?;
    }
    (rest.len() < text.len()).then(|| after_space(rest))?
}

fn skip_element(inside: &str) -> Option<&str> {
    let (mut in_quotes, mut is_escaped) = (false, false);
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_quotes => is_escaped = true,
            b'"' => in_quotes = !in_quotes,
            b']' if !in_quotes => return inside.get(at + 1..),
            _ => {}
        }
    }
    None
}

/// The message; a line may end without one.
fn after_space(rest: &str) -> Option<&str> {
    if rest.is_empty() {
        return Some(rest);
    }
    rest.strip_prefix(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_header_is_found() {
        let check = |line: &str, program: Option<&str>, pid: Option<u32>, message: &str| {
            let header = parse(line).expect("it is of the form");

            assert_eq!((header.program, header.pid), (program, pid), "{line}");
            assert_eq!(header.message, message, "{line}");
        };

        check(
            "1 2026-11-21T01:02:03.25Z web-01 sshd 77 - - Failed password",
            Some("sshd"),
            Some(77),
            "Failed password",
        );
        check(
            "1 2026-11-21T02:02:03+01:00 web-01 su - ID47 [a@1 k=\"x \\\" ] [b\" l=\"\\]\"][c@2] \u{feff}(to root) bob",
            Some("su"),
            None,
            "(to root) bob",
        );
        check("1 - - - - - -", None, None, "");
    }

    #[test]
    fn what_is_not_of_the_form_is_left_alone() {
        for line in [
            "1 file copied by bob today - - done",
            "1 2026-11-21T01:02:03Z h p 1 - [never closed",
            "1 2026-11-21T01:02:03Z h p 1 - [k=\"x\\\"] message",
            "1 2026-11-21T01:02:03Z h p 1 - -message",
            "2 2026-11-21T01:02:03Z h p 1 - - message",
            "1 2026-11-21T01:02:03Z h",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
