//! Numbers and addresses for people.

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

/// Cut to `width` columns where the end tells more than the beginning, as of an address; what is cut begins with a mark.
pub(crate) fn fit_end(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let tail = text.chars().skip(length + 1 - width.max(1));
    ['…'].into_iter().chain(tail).take(width).collect()
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

    #[test]
    fn an_address_keeps_its_end() {
        for (width, text) in [(13, "10.0.0.1:8080"), (8, "….1:8080"), (1, "…"), (0, "")] {
            assert_eq!(fit_end("10.0.0.1:8080", width), text);
        }
    }
}
