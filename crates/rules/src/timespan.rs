//! Spans of time as rules write them: `60s`, `5m`, `2h`, `1d`.
//! It never reads a clock.

use crate::fault::Fault;
use crate::metadata::read_text;
use crate::yaml::Node;

/// Longest window: memory holds at most this much of an agent's past.
const MAX_TIMESPAN_SECS: i64 = 31 * 24 * 60 * 60;

/// Reads how far back the window reaches.
pub(crate) fn read_timespan(node: &Node) -> Result<i64, Fault> {
    let at = node.get("timespan").map_or(node.at, |node| node.at);
    let text = read_text(node, "timespan")?.unwrap_or_default();
    let secs = parse_timespan(&text).filter(|secs| (1..=MAX_TIMESPAN_SECS).contains(secs));
    secs.map(|secs| secs * 1000).ok_or_else(|| {
        Fault::new(
            at,
            format!("'{text}' is not a timespan"),
            "write a whole number and s, m, h or d, such as 60s; 31 days at most",
        )
    })
}

/// A whole number of seconds, minutes, hours or days, in seconds.
pub(crate) fn parse_timespan(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    if !number.chars().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    number.parse::<i64>().ok()?.checked_mul(unit)
}
