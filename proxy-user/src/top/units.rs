//! Numbers as people read them, in a fixed width.

const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];

/// `12.3 MB/s`; `-` where nothing is known yet.
pub(super) fn rate(bytes_per_second: Option<f64>) -> String {
    let Some(mut value) = bytes_per_second else { return "-".to_owned() };
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 99.95 {
        format!("{value:.0} {}/s", UNITS[unit])
    } else {
        format!("{value:.1} {}/s", UNITS[unit])
    }
}

/// `52 us`, `1.4 ms`, `2.1 s`
pub(super) fn time(us: Option<u64>) -> String {
    match us {
        None => "-".to_owned(),
        Some(us @ 0..1_000) => format!("{us} us"),
        Some(us @ 1_000..1_000_000) => format!("{:.1} ms", us as f64 / 1e3),
        Some(us) => format!("{:.1} s", us as f64 / 1e6),
    }
}

/// Cut to `width` columns; what is cut ends with a mark.
pub(super) fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_to_their_columns() {
        for (value, text) in [
            (0.0, "0 B/s"),
            (999.4, "999 B/s"),
            (999.6, "1.0 kB/s"),
            (34_500_000.0, "34.5 MB/s"),
            (345_000_000.0, "345 MB/s"),
            (1e15, "1000 TB/s"),
        ] {
            assert_eq!(rate(Some(value)), text);
        }
        assert_eq!([time(None), time(Some(52)), time(Some(1400))], ["-", "52 us", "1.4 ms"]);
        assert_eq!([fit("10.0.0.1:80", 11), fit("10.0.0.1:8080", 11)], ["10.0.0.1:80", "10.0.0.1:8…"]);
    }
}
