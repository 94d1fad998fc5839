//! What systemd tells of its units.
//! Descriptions are free text and never become a unit's name.

use super::reading::{Facts, Reading};

/// What units' names end in.
const KINDS: [&str; 11] = [
    "service",
    "socket",
    "target",
    "timer",
    "mount",
    "automount",
    "swap",
    "path",
    "slice",
    "scope",
    "device",
];

/// Reads a message; the manager of the whole host is process 1, every other one is a user's.
pub(super) fn parse(message: &str, pid: Option<u32>) -> Reading<'_> {
    let message = message.trim_end();
    let reading = parse_result(message).map_or_else(|| parse_state(message), Reading::from);
    reading.and_flag("user_unit", pid.is_some_and(|pid| pid != 1))
}

/// `U: Failed with result 'R'.`
fn parse_result(message: &str) -> Option<Facts<'_>> {
    let (unit, rest) = message.split_once(": ")?;
    let result = rest
        .strip_prefix("Failed with result '")?
        .strip_suffix("'.")?;
    let is_word = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    let facts = || Facts::action("unit_failed").text("unit", unit);
    (is_unit(unit) && is_word(result)).then(|| facts().text("result", result))
}

/// `Started U - DESCRIPTION.`, or only the description in old versions
fn parse_state(message: &str) -> Reading<'_> {
    let verbs = [
        ("Started ", Some("unit_started")),
        ("Finished ", Some("unit_started")),
        ("Stopped ", Some("unit_stopped")),
        ("Reloaded ", Some("unit_reloaded")),
        ("Starting ", None),
        ("Stopping ", None),
        ("Reloading ", None),
        ("Failed to start ", None),
    ];
    for (verb, action) in verbs {
        let Some(rest) = message.strip_prefix(verb) else {
            continue;
        };
        let Some(action) = action else {
            return Reading::Companion;
        };
        let name = rest.split_once(" - ").map_or(rest, |(name, _)| name);
        let name = name.strip_suffix('.').unwrap_or(name);
        let unit = Some(name).filter(|name| is_unit(name));
        return Facts::action(action).text_if("unit", unit).into();
    }
    Reading::Other
}

/// Whether a text is the name of a unit: one word with a known end.
fn is_unit(text: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
    let kind = text.rsplit_once('.').map(|(_, kind)| kind);
    kind.is_some_and(|kind| KINDS.contains(&kind)) && text.bytes().all(is_part)
}
