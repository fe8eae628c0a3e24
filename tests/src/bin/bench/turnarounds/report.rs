//! The numbers of `bench turnarounds`.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::files;
use crate::machine::Machine;

/// How far a quantile may be from the known one.
const WITHIN: f64 = 0.1;

#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(super) struct Quantiles {
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
}

impl Quantiles {
    /// Of single values: the smallest that is not less than such a share of them.
    pub(super) fn of(mut us: Vec<u64>) -> Self {
        us.sort_unstable();
        let at = |percent: usize| us.get((us.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Self { p50_us: at(50).unwrap_or(0), p99_us: at(99).unwrap_or(0) }
    }
}

/// One end of a hop, and what is known of the same requests.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Compared {
    pub(super) over: &'static str,
    pub(super) path: &'static str,
    pub(super) hop: &'static str,
    pub(super) end: &'static str,
    pub(super) told: Quantiles,
    pub(super) beside: &'static str,
    pub(super) known: Quantiles,
}

impl Compared {
    /// By how much of the known each is off, p50 and p99.
    fn off(&self) -> [f64; 2] {
        [(self.told.p50_us, self.known.p50_us), (self.told.p99_us, self.known.p99_us)]
            .map(|(told, known)| told as f64 / known as f64 - 1.0)
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) schema: u32,
    pub(super) machine: Machine,
    pub(super) requests: u64,
    pub(super) compared: Vec<Compared>,
}

impl Report {
    /// Whether all are as near as they should be.
    pub(super) fn met(&self) -> bool {
        self.compared.iter().flat_map(Compared::off).all(|off| off.abs() <= WITHIN)
    }

    pub(super) fn write(&self, out: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)?;
        files::write(out, [("turnarounds.json", json), ("turnarounds.md", self.markdown())])
    }

    pub(super) fn markdown(&self) -> String {
        let mut out = String::new();
        let Machine { kernel, sidestep, commit, envoy, .. } = &self.machine;
        writeln!(
            out,
            "- Linux {kernel}; {sidestep} ({commit}), Envoy {envoy}; {} requests each",
            self.requests
        )
        .ok();
        out += "\n| forwarded over | messages | hop, end | beside | p50 ms: told, known | off | p99 ms: told, known | off |\n";
        out += "|---|---|---|---|---|---|---|---|\n";
        for line in &self.compared {
            let Compared { over, path, hop, end, told, beside, known } = line;
            let [p50, p99] = line.off().map(|off| format!("{:+.1} %", off * 100.0));
            let ms = |told: u64, known: u64| format!("{:.2}, {:.2}", told as f64 / 1e3, known as f64 / 1e3);
            let (of_p50, of_p99) = (ms(told.p50_us, known.p50_us), ms(told.p99_us, known.p99_us));
            writeln!(
                out,
                "| {over} | {path} | {hop}, {end} | {beside} | {of_p50} | {p50} | {of_p99} | {p99} |"
            )
            .ok();
        }
        let verdict = if self.met() { "met" } else { "missed" };
        writeln!(out, "\nWithin {:.0} % everywhere: {verdict}.", WITHIN * 100.0).ok();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_values() {
        assert_eq!(Quantiles::of((1..=100).rev().collect()), Quantiles { p50_us: 50, p99_us: 99 });
        assert_eq!(Quantiles::of(vec![7]), Quantiles { p50_us: 7, p99_us: 7 });
    }

    #[test]
    fn too_slow_and_too_fast_are_as_bad() {
        let of = |told: u64| {
            let known = Quantiles { p50_us: 1000, p99_us: 1000 };
            let told = Quantiles { p50_us: 1000, p99_us: told };
            Compared { over: "lo", path: "stacked", hop: "inner", end: "client", told, beside: "", known }
                .off()[1]
        };
        assert!(of(1090) < WITHIN && of(1110) > WITHIN && of(890) < -WITHIN);
    }
}
