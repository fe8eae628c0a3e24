//! A span of time as people say it.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// For clap: `90s`, `1h30m`, `500ms`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || "write numbers with units, as 30s, 5m, 1h30m or 1d".to_owned();
    let mut rest = text;
    let mut sum = 0u64;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        // ms before m.
        let (unit, millis) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit)).ok_or_else(wrong)?;
        rest = &rest[unit.len()..];
        sum = number.checked_mul(*millis).and_then(|more| sum.checked_add(more)).ok_or_else(wrong)?;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_millis(sum)) }
}

/// As [`parse`] takes it.
pub(crate) fn exact(span: Duration) -> String {
    let mut left = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, millis) in UNITS.iter().rev() {
        let number = left / millis;
        left %= millis;
        if number > 0 || (left == 0 && text.is_empty() && *unit == "ms") {
            text += &format!("{number}{unit}");
        }
    }
    text
}

/// At most four characters.
pub(crate) fn short(us: u64) -> String {
    const SECOND: u64 = 1_000_000;
    const MINUTE: u64 = 60 * SECOND;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match us {
        ..1000 => "<1ms".to_owned(),
        1000..100_000 => format!("{}ms", us / 1000),
        // Tenths, cut off as the others are.
        100_000..10_000_000 => format!("{}.{}s", us / SECOND, us % SECOND / 100_000),
        10_000_000..MINUTE => format!("{}s", us / SECOND),
        MINUTE..HOUR => format!("{}m", us / MINUTE),
        HOUR..DAY => format!("{}h", us / HOUR),
        _ => format!("{}d", us / DAY),
    }
}

/// The time of day where it was within a day of `now`, else the day; both in UTC, of microseconds since the epoch.
pub(crate) fn clock(at_us: u64, now_us: u64) -> String {
    const DAY: u64 = 86_400;
    let seconds = at_us / 1_000_000;
    if now_us.saturating_sub(at_us) < DAY * 1_000_000 {
        let (hour, minute) = (seconds % DAY / 3600, seconds % 3600 / 60);
        return format!("{hour:02}:{minute:02}:{:02}", seconds % 60);
    }
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, month, day) = date(seconds / DAY);
    format!("{} {day}", MONTHS[month as usize - 1])
}

/// `2026-11-29T20:11:05.123456Z`.
pub(crate) fn timestamp(at_us: u64) -> String {
    const DAY: u64 = 86_400;
    let seconds = at_us / 1_000_000;
    let (year, month, day) = date(seconds / DAY);
    let (hour, minute, second) = (seconds % DAY / 3600, seconds % 3600 / 60, seconds % 60);
    let micros = at_us % 1_000_000;
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Year, month and day of a number of days since the epoch, in the Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64) {
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut left) = (1970, days);
    while left >= 365 + u64::from(is_leap(year)) {
        left -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_said_as_it_is_typed() {
        for text in ["0ms", "500ms", "30s", "1h30m", "1d", "2d3h4m5s6ms"] {
            assert_eq!(exact(parse(text).unwrap()), text);
        }
    }

    #[test]
    fn spans_have_units() {
        for (text, millis) in [("500ms", 500), ("30s", 30_000), ("1h30m", 5_400_000), ("2d", 172_800_000)] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for wrong in
            ["", "5", "m", "-5m", "5 m", "5w", "1h5", "99999999999999999999d", "18446744073709551615d"]
        {
            assert!(parse(wrong).unwrap_err().contains("30s, 5m"), "{wrong}");
        }
    }

    #[test]
    fn spans_are_short() {
        let day = 86_400_000_000;
        for (us, text) in [
            (0, "<1ms"),
            (999, "<1ms"),
            (1_000, "1ms"),
            (99_999, "99ms"),
            (350_000, "0.3s"),
            (9_999_999, "9.9s"),
            (59_999_999, "59s"),
            (60_000_000, "1m"),
            (3_599_000_000, "59m"),
            (day - 1, "23h"),
            (999 * day, "999d"),
        ] {
            assert_eq!(short(us), text);
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000007Z"),
            (951_782_400, "2000-02-29T00:00:00.000007Z"),
            (1_795_983_065, "2026-11-29T20:11:05.000007Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000007Z"),
        ] {
            assert_eq!(timestamp(seconds * 1_000_000 + 7), text);
        }
        let now = 1_795_983_065_000_000;
        assert_eq!(clock(now, now), "20:11:05");
        assert_eq!(clock(now, now + 86_400_000_000), "Nov 29");
    }
}
