//! Values as Istio's Go code reads them.

use std::{str::FromStr, time::Duration};

/// The items of a comma list: trimmed, empty ones dropped (`"6000,7000,"` has two).
pub(super) fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Why `022` is no number here: one of two readings is not what was meant.
pub(super) const LEADING_ZERO: &str = "has a leading zero, and iptables would read it as octal";

/// Decimal digits only: `u16::from_str` would take `+80`, which iptables and Go do not.
pub(super) fn parse_number<T: FromStr>(text: &str) -> Result<T, &'static str> {
    if text.is_empty() {
        return Err("is empty");
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("is not a decimal number");
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(LEADING_ZERO);
    }
    text.parse().map_err(|_| "is out of range")
}

/// A 32-bit number, decimal or `0x` hexadecimal: marks and route tables are written both ways.
pub(super) fn parse_mark(text: &str) -> Result<u32, &'static str> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) if !hex.is_empty() && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            u32::from_str_radix(hex, 16).map_err(|_| "is out of range")
        }
        Some(_) => Err("is not a hexadecimal number"),
        None => parse_number(text),
    }
}

/// strconv.ParseBool.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// time.ParseDuration, without its negative values: `"5s"`, `"1m30s"`, `"1.5h"`, `"300ms"`, `"0"`.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos: f64 = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let count: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        nanos += count
            * match &rest[..unit_end] {
                "ns" => 1.0,
                "us" | "\u{b5}s" | "\u{3bc}s" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    // Go keeps durations in an i64 of nanoseconds.
    (nanos <= i64::MAX as f64).then(|| Duration::from_nanos(nanos as u64))
}
