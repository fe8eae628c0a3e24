//! The version numbers that tools print.

/// `1.97.0` of `rustc 1.97.0-nightly (e50aa6fba 2026-05-19)`, `0.13.0` of `bpf-linker 0.13.0`.
pub(crate) fn release(line: &str) -> Option<String> {
    let number = line.split_whitespace().nth(1)?;
    number.split('-').next().map(str::to_owned)
}

/// Compares dotted numbers; what is not a number counts as 0.
pub(crate) fn at_least(version: &str, wanted: &str) -> bool {
    let parts = |v: &str| -> Vec<u32> { v.split('.').map(|n| n.parse().unwrap_or(0)).collect() };
    parts(version) >= parts(wanted)
}

#[cfg(test)]
mod tests {
    use super::{at_least, release};

    #[test]
    fn versions_compare_as_numbers() {
        assert!(at_least("1.96.0", "1.95"));
        assert!(at_least("1.95.0", "1.95"));
        assert!(at_least("1.100.0", "1.95"));
        assert!(!at_least("1.85.0", "1.95"));
        assert!(!at_least("0.9.14", "0.13.0"));
    }

    #[test]
    fn release_drops_channel_and_commit() {
        assert_eq!(release("rustc 1.97.0-nightly (e50aa6fba 2026-05-19)").as_deref(), Some("1.97.0"));
        assert_eq!(release("bpf-linker 0.13.0").as_deref(), Some("0.13.0"));
        assert_eq!(release("").as_deref(), None);
    }
}
