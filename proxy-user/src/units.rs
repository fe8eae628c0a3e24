//! Numbers for people.

/// Three digits and a unit.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "K", "M", "G", "T", "P"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit > 0 && value < 10.0 {
        format!("{value:.1}{}", UNITS[unit])
    } else {
        format!("{value:.0}{}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_at_most_four_characters() {
        for (count, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1.0K"),
            (1024 * 1024, "1.0M"),
            (150 << 20, "150M"),
            (u64::MAX, "16384P"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
