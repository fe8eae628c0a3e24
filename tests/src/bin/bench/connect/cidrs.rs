//! Exclude lists of any length.

use std::net::Ipv4Addr;

/// `count` CIDRs, `last` at the end. Short ones: 10,000 have to fit one argument, which holds 128 KiB
/// (include/uapi/linux/binfmts.h: MAX_ARG_STRLEN).
pub(crate) fn list(count: usize, last: Ipv4Addr) -> String {
    let digits = |number: usize| [number / 1000, number / 100 % 10, number / 10 % 10, number % 10];
    let mut all: Vec<String> = (1000..1000 + count.saturating_sub(1))
        .map(|number| {
            let [a, b, c, d] = digits(number);
            format!("{a}.{b}.{c}.{d}/32")
        })
        .collect();
    all.push(format!("{last}/32"));
    all.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_different_ones_fit_an_argument() {
        let text = list(10_000, Ipv4Addr::new(10, 10, 0, 9));
        let mut all: Vec<&str> = text.split(',').collect();
        assert_eq!(all.last(), Some(&"10.10.0.9/32"));
        all.sort_unstable();
        all.dedup();
        assert_eq!((all.len(), text.len() < 128 << 10), (10_000, true));
    }
}
