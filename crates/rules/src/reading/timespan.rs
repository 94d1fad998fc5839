//! Spans of time as rules write them: `60s`, `5m`, `2h`, `1d`, `1w`.
//! It never reads a clock.

use crate::fault::Fault;
use crate::reading::metadata::read_text;
use crate::reading::yaml::Node;

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
            "write a whole number and s, m, h, d or w, such as 60s; 31 days at most",
        )
    })
}

/// A whole number of seconds, minutes, hours, days or weeks, in seconds.
pub(crate) fn parse_timespan(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        "w" => 7 * 24 * 60 * 60,
        _ => return None,
    };
    if !number.chars().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    number.parse::<i64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::parse_timespan;

    #[test]
    fn spans_are_whole_numbers_of_one_unit() {
        let table = [
            ("90s", Some(90)),
            ("90m", Some(5_400)),
            ("2h", Some(7_200)),
            ("1d", Some(86_400)),
            ("4w", Some(2_419_200)),
            ("1M", None),
            ("s", None),
            ("1.5h", None),
            ("-1s", None),
            ("1h30m", None),
            ("99999999999999999999d", None),
            ("9223372036854775807d", None),
        ];
        for (text, seconds) in table {
            assert_eq!(parse_timespan(text), seconds, "{text}");
        }
    }
}
