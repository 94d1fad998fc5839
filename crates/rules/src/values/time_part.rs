//! Parts of a time that rules compare: minute, hour, day, week, month and year.
//! It never converts between zones: a time means what is written.

/// A part of a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TimePart {
    /// 0 to 59.
    Minute,
    /// 0 to 23.
    Hour,
    /// 1 to 31.
    Day,
    /// 1 to 53, as ISO 8601 counts weeks.
    Week,
    /// 1 to 12.
    Month,
    /// The year.
    Year,
}

impl TimePart {
    /// The part under Sigma's name for it.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "minute" => Self::Minute,
            "hour" => Self::Hour,
            "day" => Self::Day,
            "week" => Self::Week,
            "month" => Self::Month,
            "year" => Self::Year,
            _ => return None,
        })
    }

    /// This part of a time written as ISO 8601 or RFC 3339 have it; a date alone has no hour.
    pub(crate) fn of(self, text: &str) -> Option<i64> {
        let (date, clock) = text.trim().split_at_checked("2026-11-21".len())?;
        let date = read_date(date)?;
        match self {
            Self::Minute => read_clock(clock).map(|(_, minute)| minute),
            Self::Hour => read_clock(clock).map(|(hour, _)| hour),
            Self::Day => Some(date.day),
            Self::Week => Some(date.week()),
            Self::Month => Some(date.month),
            Self::Year => Some(date.year),
        }
        .filter(|_| clock.is_empty() || read_clock(clock).is_some())
    }
}

/// A day of the calendar.
#[derive(Clone, Copy)]
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

/// Days before each month of a common year.
const DAYS_BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

/// Reads `2026-11-21`.
fn read_date(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let mut next = |length: usize| digits(parts.next()?, length);
    let date = Date {
        year: next(4)?,
        month: next(2)?,
        day: next(2)?,
    };
    let fits =
        (1..=12).contains(&date.month) && (1..=days_in(date.year, date.month)).contains(&date.day);
    fits.then_some(date)
}

/// Reads the hour and the minute of `T13:45`, whatever follows.
fn read_clock(text: &str) -> Option<(i64, i64)> {
    let rest = text.strip_prefix(['T', 't', ' '])?;
    let (hour, rest) = rest.split_once(':')?;
    let (minute, behind) = rest.split_at_checked(2)?;
    let (hour, minute) = (digits(hour, 2)?, digits(minute, 2)?);
    let ends = !behind.starts_with(|next: char| next.is_ascii_digit());
    (hour < 24 && minute < 60 && ends).then_some((hour, minute))
}

/// A number of exactly so many digits.
fn digits(text: &str, length: usize) -> Option<i64> {
    let is_number = text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Whether a year has a 29 February.
fn is_leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

/// How many days a month has.
fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// How many ISO weeks a year has.
fn weeks_in(year: i64) -> i64 {
    let ends_on = |year: i64| (year + year / 4 - year / 100 + year / 400).rem_euclid(7);
    52 + i64::from(ends_on(year) == 4 || ends_on(year - 1) == 3)
}

impl Date {
    /// The ISO week it lies in.
    fn week(self) -> i64 {
        let index = usize::try_from(self.month - 1).unwrap_or(0);
        let before = DAYS_BEFORE.get(index).copied().unwrap_or(0);
        let leap = i64::from(self.month > 2 && is_leap(self.year));
        let past = self.year - 1;
        let monday_based = (past + past / 4 - past / 100 + past / 400).rem_euclid(7);
        let of_year = before + leap + self.day;
        let weekday = (monday_based + of_year - 1).rem_euclid(7) + 1;
        let week = (of_year - weekday + 10) / 7;
        match week {
            0 => weeks_in(past),
            _ if week > weeks_in(self.year) => 1,
            _ => week,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TimePart;

    #[test]
    fn parts_are_read_as_they_are_written() {
        let table = [
            ("2026-11-21T13:45:59Z", [45, 13, 21, 47, 11, 2026]),
            ("2026-11-21 00:00:00.123+05:30", [0, 0, 21, 47, 11, 2026]),
            ("2024-02-29T23:59", [59, 23, 29, 9, 2, 2024]),
            ("2021-01-03T01:02:03", [2, 1, 3, 53, 1, 2021]),
            ("2024-12-30T01:02:03", [2, 1, 30, 1, 12, 2024]),
            ("2000-01-01T00:00:00Z", [0, 0, 1, 52, 1, 2000]),
        ];
        let names = ["minute", "hour", "day", "week", "month", "year"];

        for (text, parts) in table {
            for (name, part) in names.iter().zip(parts) {
                assert_eq!(
                    TimePart::parse(name).unwrap().of(text),
                    Some(part),
                    "{name} of {text}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_time_has_no_parts() {
        for text in [
            "",
            "now",
            "1763732759",
            "21.11.2026 13:45",
            "2026-13-01T00:00:00Z",
            "2026-02-30T00:00:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T13:60:00Z",
            "2026-11-21X13:45",
            "2026-11-21T13:4",
            "2026-11-2ä",
            "+026-11-21T13:45:00Z",
        ] {
            assert_eq!(TimePart::Day.of(text), None, "{text}");
        }
        assert_eq!(TimePart::Hour.of("2026-11-21"), None);
        assert_eq!(TimePart::Day.of("2026-11-21"), Some(21));
    }
}
