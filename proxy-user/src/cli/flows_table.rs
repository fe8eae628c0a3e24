//! A flow as a line for people, within 80 columns where addresses are short.

use std::net::SocketAddr;

use proxy_core::harmless::harmless;
use proxy_plane::flows::{Flow, Named as _, Path, Process};

pub(crate) const HEAD: &str =
    "STATE   HOP        RULE CLIENT                DESTINATION           BYTES UP/DN";

/// One line.
pub(crate) fn row(flow: &Flow) -> String {
    let hop = match flow.forward {
        Some(forward) => format!("{}-{}", flow.hop.label(), forward.label()),
        None => flow.hop.label().to_owned(),
    };
    format!(
        "{:<7} {:<10} {:<4} {:<21} {:<21} {}/{}{}",
        flow.close.map_or("live", |close| close.label()),
        hop,
        flow.rule.map_or("-", |rule| rule.label()),
        end(flow.original_client.unwrap_or(flow.client), flow.client_process.as_ref()),
        end(flow.original_destination, flow.server_process.as_ref()),
        bytes(flow.upload.bytes().total()),
        bytes(flow.download.bytes().total()),
        match flow.path {
            Path::Redirected => " R",
            Path::Mixed => " r",
            Path::Stacked => "",
        },
    )
}

/// The process where the address says nothing.
fn end(addr: SocketAddr, process: Option<&Process>) -> String {
    match (addr.ip(), process) {
        (ip, Some(process)) if ip.is_loopback() => format!("{}:{}", harmless(&process.comm), addr.port()),
        _ => addr.to_string(),
    }
}

/// Three digits and a unit.
pub(super) fn bytes(count: u64) -> String {
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
        assert!(HEAD.len() <= 80);
    }
}
