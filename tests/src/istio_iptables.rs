//! The real istio-iptables, from Istio's Go module: `cargo xtask cluster build` builds it.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::agent;

/// The binary: `SIDESTEP_ISTIO_IPTABLES`, else where xtask puts it.
pub fn binary() -> Result<PathBuf> {
    let built = agent::repository().join("target/cluster/bin/istio-iptables");
    std::env::var_os("SIDESTEP_ISTIO_IPTABLES")
        .map(PathBuf::from)
        .or_else(|| built.is_file().then_some(built))
        .context("no istio-iptables of Istio's: `cargo xtask cluster build` (needs Go), or set SIDESTEP_ISTIO_IPTABLES")
}

/// What it handed to iptables-restore, then to ip6tables-restore, from its log.
pub fn restored(log: &str) -> [String; 2] {
    let mut texts = [String::new(), String::new()];
    let mut into = None;
    for line in log.lines() {
        if line.contains("\tRunning iptables restore with: ") {
            into = Some(usize::from(line.contains("ip6tables")));
        } else if is_entry(line) {
            into = None;
        } else if let Some(family) = into {
            texts[family].push_str(line);
            texts[family].push('\n');
        }
    }
    texts
}

/// Whether a line begins a log entry: a time, a tab. Rules have no tab.
fn is_entry(line: &str) -> bool {
    line.split_once('\t').is_some_and(|(time, _)| time.ends_with('Z') && time.contains('T'))
}

#[cfg(test)]
mod tests {
    use super::restored;

    #[test]
    fn rules_end_where_the_next_entry_begins() {
        let log = "2026-11-28T22:28:58.232423Z\tinfo\tApplying iptables chains and rules\n\
            2026-11-28T22:28:58.232492Z\tinfo\tRunning iptables restore with: iptables-nft-restore and the following input:\n\
            * nat\n-N A\nCOMMIT\n\
            2026-11-28T22:28:58.244305Z\tinfo\tRunning iptables restore with: ip6tables-nft-restore and the following input:\n\
            * raw\nCOMMIT\n2026-11-28T22:28:58.253263Z\tinfo\tFinal iptables state (IPv4):\n*nat\n";
        assert_eq!(restored(log), ["* nat\n-N A\nCOMMIT\n", "* raw\nCOMMIT\n"]);
    }
}
